//! Where requests carry the credentials of providers that are not in force.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::RuleProvider;
use super::places::places;
use crate::api::identity_provider as api;
use crate::authz::credential::Carrier;
use crate::authz::policy::install::Install;
use crate::authz::policy::objects::{ProviderObject, Sourced};
use crate::authz::policy::problem::Findings;

/// Those of one namespace, by name.
pub(super) type Places = HashMap<Arc<str>, Arc<[Carrier]>>;

/// By namespace.
#[derive(Debug, Default)]
pub(super) struct Missing(HashMap<Arc<str>, Places>);

impl Missing {
    fn add(&mut self, namespace: &Arc<str>, name: &Arc<str>, places: Arc<[Carrier]>) {
        self.0.entry(namespace.clone()).or_default().insert(name.clone(), places);
    }

    /// Notes where a provider that is not in force says that its credentials come.
    pub(super) fn lack(&mut self, provider: &ProviderObject, install: &Install) {
        if let Some(places) = provider.body.as_ref().ok().and_then(|object| said(object, install)) {
            self.add(&provider.name.namespace, &provider.name.name, places);
        }
    }

    /// Remembers the places of those that were there `before` and are not now. Of one that is `written`, its object speaks.
    pub(super) fn remember<'a>(
        &mut self,
        before: impl Iterator<Item = (&'a Arc<str>, &'a Arc<str>, &'a Arc<[Carrier]>)>,
        written: &[&Sourced<ProviderObject>],
    ) {
        let written = written.iter().map(|it| (&*it.object.name.namespace, &*it.object.name.name));
        let written: HashSet<(&str, &str)> = written.collect();
        for (namespace, name, places) in before {
            if !written.contains(&(&**namespace, &**name)) {
                self.add(namespace, name, places.clone());
            }
        }
    }

    pub(super) fn of(&self, namespace: &str) -> Option<&Places> {
        self.0.get(namespace)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &Arc<[Carrier]>)> {
        self.0.iter().flat_map(|(namespace, all)| all.iter().map(move |(name, places)| (namespace, name, places)))
    }

    /// Forgets those that no rule names: there are never more than rules have names (P32).
    pub(super) fn keep_named<'a>(&mut self, rules: impl Iterator<Item = (&'a Arc<str>, &'a RuleProvider)>) {
        if self.0.is_empty() {
            return;
        }
        let mut named: HashSet<(&str, &str)> = HashSet::new();
        for (namespace, provider) in rules {
            if let RuleProvider::Missing { name, .. } = provider {
                named.insert((namespace, name));
            }
        }
        self.0.retain(|namespace, all| {
            all.retain(|name, _| named.contains(&(&**namespace, &**name)));
            !all.is_empty()
        });
    }
}

/// The places that an object names which is not in force; `None` when it does not say so rightly either.
fn said(object: &api::IdentityProvider, install: &Install) -> Option<Arc<[Carrier]>> {
    let spec = &object.spec;
    let from = match (&spec.jwt, &spec.introspection, &spec.api_keys) {
        (Some(jwt), None, None) => &jwt.from,
        (None, Some(asked), None) => &asked.from,
        (None, None, Some(keys)) => &keys.from,
        _ => return None,
    };
    let mut findings = Findings::default();
    let places = places(from, "", install, &mut findings);
    findings.is_empty().then_some(places)
}
