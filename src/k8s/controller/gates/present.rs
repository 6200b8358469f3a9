//! What is there: Secrets of the install, and what was brought to namespaces.

use std::collections::BTreeMap;

use kube::api::DynamicObject;

use super::super::collection::Collection;
use super::super::watching::Seen;
use super::NAME;
use super::wanted::{Kind, is_ours};
use crate::authz::policy::ObjectName;

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A Secret of the install, by its name.
    Install(String),
    /// What was brought, in one namespace or in all.
    Brought(Kind, String),
}

/// The objects of every place that is watched.
#[derive(Debug)]
pub(super) struct Present {
    /// The install's own namespace.
    install: String,
    objects: BTreeMap<Place, Collection<DynamicObject>>,
}

impl Present {
    pub(super) fn of(install: &str) -> Self {
        Self { install: install.to_owned(), objects: BTreeMap::new() }
    }

    /// It is watched from now on, and nothing has been seen of it.
    pub(super) fn awaits(&mut self, place: Place) {
        self.objects.insert(place, Collection::default());
    }

    pub(super) fn take(&mut self, (place, seen): (Place, Seen<DynamicObject>)) {
        self.objects.entry(place).or_default().take(seen, |it| it);
    }

    /// What we have just written.
    pub(super) fn put(&mut self, place: Place, object: &DynamicObject) {
        self.objects.entry(place).or_default().put(object, |it| it);
    }

    /// What we have just deleted.
    pub(super) fn forget(&mut self, place: Place, name: &ObjectName) {
        self.objects.entry(place).or_default().forget(name);
    }

    /// A Secret of the install; `None` while it is not known whether it is there.
    pub(super) fn of_install(&self, name: &str) -> Option<Option<&DynamicObject>> {
        let secrets = self.objects.get(&Place::Install(name.to_owned()))?;
        secrets.is_whole().then(|| secrets.get(&(self.install.clone(), name.to_owned())))
    }

    /// Whether all that was brought is known.
    pub(super) fn is_whole(&self) -> bool {
        self.objects.iter().all(|(place, known)| !matches!(place, Place::Brought(..)) || known.is_whole())
    }

    /// What was brought to one namespace, and where it is watched.
    pub(super) fn brought(&self, kind: Kind, namespace: &str) -> (Place, Option<&DynamicObject>) {
        let own = Place::Brought(kind, namespace.to_owned());
        let place = if self.objects.contains_key(&own) { own } else { Place::Brought(kind, String::new()) };
        let present = self.objects.get(&place).and_then(|it| it.get(&(namespace.to_owned(), NAME.to_owned())));
        (place, present)
    }

    /// All that was brought by us, in every namespace.
    pub(super) fn ours(&self) -> impl Iterator<Item = (Kind, &Place, &ObjectName, &DynamicObject)> {
        let brought = self.objects.iter().filter_map(|(place, known)| match place {
            Place::Brought(kind, _) => Some((*kind, place, known)),
            Place::Install(_) => None,
        });
        let all = brought.flat_map(|(kind, place, known)| known.iter().map(move |(name, it)| (kind, place, name, it)));
        all.filter(|(kind, _, _, it)| is_ours(*kind, it))
    }
}
