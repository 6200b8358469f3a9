//! From which namespaces a listener admits routes (`allowedRoutes.namespaces`).

use std::collections::HashMap;

use crate::api::gateway::{FromNamespaces, Listener};
use crate::api::namespace::{Namespace, NamespaceSelector};
use crate::api::read::read;
use crate::authz::policy::objects::PolicyObjects;

/// The most comparisons that a selector may take for one namespace.
const MAX_COST: usize = 256;

/// The namespaces whose labels are known.
pub(super) struct Labels<'a> {
    by_name: HashMap<&'a str, &'a Namespace>,
    is_unknown: bool,
}

/// Whose routes a listener admits.
pub(super) enum Admits<'a> {
    Same(&'a str),
    All,
    Selected(NamespaceSelector, &'a Labels<'a>),
    Nobody,
}

impl<'a> Labels<'a> {
    pub(super) fn of(objects: &'a PolicyObjects) -> Self {
        let named = |it: &'a Namespace| (it.metadata.name.as_str(), it);
        let by_name = objects.namespaces.iter().map(|it| named(&it.object)).collect();
        Self { by_name, is_unknown: objects.namespaces_unknown }
    }

    /// Why no selector can select anything.
    fn lack(&self) -> Option<&'static str> {
        if self.is_unknown {
            Some(
                "`Selector` needs the labels of namespaces, and nobody tells of them here, so it admits no route: a gate of the whole \
                 cluster and the controller read them with `policies.kubernetes.namespaceLabels: true` and the right to list and watch \
                 namespaces; or write `Same` or `All`",
            )
        } else if self.by_name.is_empty() {
            Some(
                "`Selector` needs the labels of namespaces, and there is no Namespace here, so it admits no route: write Namespaces \
                 down with their labels, or `Same` or `All`",
            )
        } else {
            None
        }
    }
}

impl<'a> Admits<'a> {
    /// What a listener of a Gateway in `own` says, and what is wrong with it: a field of the listener and words. A selector that is
    /// no selector, or whose labels nobody knows, admits nobody.
    pub(super) fn of(listener: &Listener, own: &'a str, labels: &'a Labels<'a>) -> (Self, Option<(String, String)>) {
        const AT: &str = "allowedRoutes.namespaces";
        let nobody = |path: String, words: String| (Self::Nobody, Some((path, words)));
        let namespaces = &listener.allowed_routes.namespaces;
        match namespaces.from {
            FromNamespaces::Same => return (Self::Same(own), None),
            FromNamespaces::All => return (Self::All, None),
            FromNamespaces::None => return (Self::Nobody, None),
            FromNamespaces::Selector => {}
        }
        let Some(written) = &namespaces.selector else {
            return nobody(
                format!("{AT}.selector"),
                "`from: Selector` needs it: without it no route is admitted; write `selector: {}` for every namespace"
                    .to_owned(),
            );
        };
        // A list would read as its fields in their order.
        if !written.is_object() {
            return nobody(
                format!("{AT}.selector"),
                "is not a selector, so that no route is admitted: write `matchLabels`, `matchExpressions`, or `{}` for every namespace"
                    .to_owned(),
            );
        }
        let selector = match read::<NamespaceSelector>(written.clone()) {
            Ok(selector) => selector,
            Err(error) => {
                let path = if error.path.is_empty() { String::new() } else { format!(".{}", error.path) };
                return nobody(
                    format!("{AT}.selector{path}"),
                    format!("{} (until it is a selector, no route is admitted)", error.problem),
                );
            }
        };
        if let Some((path, words)) = selector.problem() {
            return nobody(
                format!("{AT}.selector.{path}"),
                format!("{words} (until it is a selector, no route is admitted)"),
            );
        }
        if selector.cost() > MAX_COST {
            return nobody(
                format!("{AT}.selector"),
                format!("more than {MAX_COST} labels and values, so that no route is admitted"),
            );
        }
        match labels.lack() {
            Some(words) => nobody(format!("{AT}.from"), words.to_owned()),
            None => (Self::Selected(selector, labels), None),
        }
    }

    /// Whether routes of `namespace` are admitted. One that nobody has told of has no labels that could be known.
    pub(super) fn admits(&self, namespace: &str) -> bool {
        match self {
            Self::Same(own) => *own == namespace,
            Self::All => true,
            Self::Nobody => false,
            Self::Selected(selector, labels) => labels.by_name.get(namespace).is_some_and(|it| selector.selects(it)),
        }
    }
}
