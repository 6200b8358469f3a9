//! What was complained of last, so that a fault that lasts is told of once.

use std::collections::HashMap;
use std::hash::Hash;

/// The last complaint about each thing: the uid of the object that it was about, and the problem.
#[derive(Debug)]
pub(super) struct Complaints<K>(HashMap<K, (Option<String>, String)>);

impl<K> Default for Complaints<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Complaints<K> {
    /// Whether this is to be told: what was told last about it was something else, or about another object of its name.
    pub(super) fn is_new(&mut self, about: K, uid: Option<&str>, problem: &str) -> bool {
        let complaint = (uid.map(str::to_owned), problem.to_owned());
        self.0.insert(about, complaint.clone()) != Some(complaint)
    }

    /// Nothing is wrong with it now: whatever is next is told.
    pub(super) fn forget(&mut self, about: &K) {
        self.0.remove(about);
    }

    /// Something is wrong with these alone.
    pub(super) fn keep(&mut self, is_wrong: impl Fn(&K) -> bool) {
        self.0.retain(|about, _| is_wrong(about));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_once() {
        let mut complaints = Complaints::default();
        for (about, uid, problem, want) in [
            ("keys", Some("1"), "broken", true),
            ("keys", Some("1"), "broken", false),
            ("certificate", None, "broken", true), // another thing
            ("keys", Some("1"), "foreign", true),
            ("keys", Some("1"), "broken", true), // only what was told last counts
            ("keys", Some("2"), "broken", true), // another object of that name
            ("keys", Some("2"), "broken", false),
        ] {
            assert_eq!(complaints.is_new(about, uid, problem), want, "{about} {uid:?} {problem}");
        }
        complaints.forget(&"keys");
        assert!(complaints.is_new("keys", Some("2"), "broken"), "it was well in between");
        complaints.keep(|about| *about == "keys");
        assert!(!complaints.is_new("keys", Some("2"), "broken"), "nothing else is wrong");
        assert!(complaints.is_new("certificate", None, "broken"), "it was well in between");
    }
}
