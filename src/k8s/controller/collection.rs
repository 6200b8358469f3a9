//! The objects of one kind as they are now, gathered from what was seen of them.

use std::collections::BTreeMap;

use kube::{Resource, ResourceExt as _};

use super::watching::Seen;
use crate::authz::policy::ObjectName;

/// Objects by namespace and name. A list that is not whole yet stands aside, so that there is never a moment without the
/// objects that were there before it.
#[derive(Debug)]
pub(super) struct Collection<T> {
    objects: BTreeMap<ObjectName, T>,
    listing: Option<BTreeMap<ObjectName, T>>,
    is_whole: bool,
}

impl<T> Default for Collection<T> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), listing: None, is_whole: false }
    }
}

impl<T> Collection<T> {
    /// Takes up what was seen, each object as `read` reads it. Answers whether there is something new to act on.
    pub(super) fn take<K: Resource>(&mut self, seen: Seen<K>, read: impl FnOnce(K) -> T) -> bool {
        match seen {
            Seen::Begun => {
                self.listing = Some(BTreeMap::new());
                false
            }
            Seen::Listed(object) => {
                let name = name_of(&object);
                self.listing.get_or_insert_default().insert(name, read(object));
                false
            }
            Seen::Whole => {
                self.objects = self.listing.take().unwrap_or_default();
                self.is_whole = true;
                true
            }
            Seen::Changed(object) => {
                let name = name_of(&object);
                self.objects.insert(name, read(object));
                true
            }
            Seen::Gone(object) => self.objects.remove(&name_of(&object)).is_some(),
        }
    }

    /// Puts an object in the place of what is known of it, since we have just written it.
    pub(super) fn put<K: Resource + Clone>(&mut self, object: &K, read: impl FnOnce(K) -> T) {
        self.objects.insert(name_of(object), read(object.clone()));
    }

    /// Takes out what we have just deleted.
    pub(super) fn forget(&mut self, name: &ObjectName) {
        self.objects.remove(name);
    }

    /// Whether all objects have been seen once.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ObjectName, &T)> {
        self.objects.iter()
    }

    pub(super) fn get(&self, name: &ObjectName) -> Option<&T> {
        self.objects.get(name)
    }
}

fn name_of(object: &impl Resource) -> ObjectName {
    (object.namespace().unwrap_or_default(), object.name_any())
}
