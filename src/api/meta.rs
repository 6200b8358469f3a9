//! The parts that every Kubernetes object has.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `metadata`, as far as it matters here; what else an API server adds (managedFields and so on) is passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMeta {
    /// A DNS subdomain (RFC 1123): 1 to 253 of `a-z`, `0-9`, `-` and `.`.
    pub name: String,
    /// A DNS label (RFC 1123): 1 to 63 of `a-z`, `0-9` and `-`; `default` unless told.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Which object of this name it is: one that is deleted and made again has another. A file has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// When it was created (RFC 3339); decides conflicts. Objects without one come before all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<String>,
    /// Grows with every change of the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// Labels; nothing here looks at them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations; nothing here looks at them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// Whether `name` is a DNS label (RFC 1123): 1 to 63 of `a-z`, `0-9` and `-`, no `-` at its ends.
pub fn is_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

/// Whether `name` is a DNS subdomain (RFC 1123): labels joined by dots, at most 253 bytes.
pub fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label)
}

/// Whether two objects of one name, with these uids, are known to be different ones: then what was good of the one says nothing of
/// the other.
pub fn is_another(one: Option<&str>, other: Option<&str>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

impl ObjectMeta {
    /// What is wrong with the name or the namespace, if anything: the field and the words.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        if !is_subdomain(&self.name) {
            let what = format!(
                "{:?} is not a name: write 1 to 253 of a-z, 0-9, - and ., with a letter or digit at both ends",
                self.name
            );
            return Some(("metadata.name", what));
        }
        if !is_label(&self.namespace) {
            let what = format!(
                "{:?} is not a namespace: write 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends",
                self.namespace
            );
            return Some(("metadata.namespace", what));
        }
        None
    }
}
