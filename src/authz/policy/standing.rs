//! Where each policy judges requests, read off the index.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::bind::{Bound, Target};
use super::form::Form;
use super::{PolicyIndex, PolicyName};

/// What comes to which policies.
#[derive(Debug, Default)]
pub(super) struct Standings<'a> {
    /// The forms that judge something, by address (the index keeps them alive), each with what it hangs on.
    judging: HashSet<(usize, &'a Target)>,
    /// Every route that a served listener admits, `HTTPRoute shop/shop`, and the policies that judge what comes to it.
    routes: HashMap<&'a str, BTreeSet<&'a PolicyName>>,
}

impl<'a> Standings<'a> {
    pub(super) fn of(index: &'a PolicyIndex) -> Self {
        let mut standings = Self::default();
        for bound in index.hosts.values().chain(index.pod.values()).flat_map(|chain| chain.all()) {
            standings.judges(bound);
        }
        for entry in index.named.entries() {
            let judges = standings.routes.entry(&*entry.route).or_default();
            judges.extend(entry.chain.all().map(|bound| &bound.form.name));
            for bound in entry.chain.all() {
                standings.judges(bound);
            }
        }
        standings
    }

    fn judges(&mut self, bound: &'a Bound) {
        self.judging.insert((std::ptr::from_ref(&*bound.form).addr(), &bound.place.target));
    }

    /// Whether `form` judges any request at `target`.
    pub(super) fn does_judge(&self, form: &Form, target: &Target) -> bool {
        self.judging.contains(&(std::ptr::from_ref(form).addr(), target))
    }

    /// Who judges what comes to a route; `None` when nothing does, since no served listener admits it.
    pub(super) fn judges_of(&self, route: &str) -> Option<&BTreeSet<&'a PolicyName>> {
        self.routes.get(route)
    }
}
