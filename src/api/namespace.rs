//! A Namespace of Kubernetes, as far as it is read here: its labels, for Gateways that admit routes by them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The label by which a namespace is selected by its name. The API server gives it to each.
const NAME: &str = "kubernetes.io/metadata.name";

/// A Namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Name and labels.
    pub metadata: NamespaceMeta,
}

/// See [`Namespace::metadata`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceMeta {
    /// Its name.
    pub name: String,
    /// Which object of this name it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Namespace {
    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        let written = self.metadata.labels.get(key).map(String::as_str);
        // In a folder nobody writes it down.
        written.or_else(|| (key == NAME).then_some(&*self.metadata.name))
    }
}

/// A label selector of Kubernetes: all that it says must hold. One that says nothing selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceSelector {
    /// Labels and their values.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
    /// What else must hold.
    #[serde(default)]
    pub match_expressions: Vec<LabelRequirement>,
}

/// See [`NamespaceSelector::match_expressions`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelRequirement {
    /// The label.
    pub key: String,
    /// What must hold of it.
    pub operator: LabelOperator,
    /// For `In` and `NotIn`: its values.
    #[serde(default)]
    pub values: Vec<String>,
}

/// See [`LabelRequirement::operator`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum LabelOperator {
    /// It has one of the values.
    In,
    /// It has none of the values, or is not there.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

impl NamespaceSelector {
    /// What of it means nothing: the field, and what would be right.
    pub fn problem(&self) -> Option<(String, &'static str)> {
        self.match_expressions.iter().enumerate().find_map(|(i, it)| {
            let has_values = !it.values.is_empty();
            let words = match it.operator {
                LabelOperator::In | LabelOperator::NotIn if !has_values => "needs a value at least",
                LabelOperator::Exists | LabelOperator::DoesNotExist if has_values => {
                    "has no use for values: leave them out"
                }
                _ => return None,
            };
            Some((format!("matchExpressions[{i}].values"), words))
        })
    }

    /// How many comparisons it takes.
    pub fn cost(&self) -> usize {
        let values = self.match_expressions.iter().map(|it| it.values.len().max(1));
        self.match_labels.len() + values.sum::<usize>()
    }

    /// Whether it selects the namespace.
    pub fn selects(&self, namespace: &Namespace) -> bool {
        let holds = |it: &LabelRequirement| {
            let value = namespace.label(&it.key);
            let is_in = value.is_some_and(|value| it.values.iter().any(|one| one == value));
            match it.operator {
                LabelOperator::In => is_in,
                LabelOperator::NotIn => !is_in,
                LabelOperator::Exists => value.is_some(),
                LabelOperator::DoesNotExist => value.is_none(),
            }
        };
        self.match_labels.iter().all(|(key, value)| namespace.label(key) == Some(value))
            && self.match_expressions.iter().all(holds)
    }
}
