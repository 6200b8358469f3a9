//! Generations: how a change wins over every load that was begun before it (P17, P19).

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::authz::session::{Realm, Session, SessionId};

/// How many stripes there are (128 KiB). A change also makes the other sessions of its stripe load again, one in 16,384; a
/// power of two.
const STRIPES: usize = 1 << 14;

/// How many changes there had been when a load began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark(u64);

/// The stripe of a subject.
#[derive(Clone, Copy, Debug)]
pub(super) struct SubjectStripe(u16);

/// Changes are numbered, and each stripe keeps the number of its last one. An entry answers only while neither the stripe of
/// its session nor that of its subject has a later one than there was when the entry's load began.
///
/// One mark serves both, so it can be taken before a load has told whose the session is.
#[derive(Debug)]
pub(super) struct Stripes {
    changes: AtomicU64,
    /// The last change of everything at once.
    all: AtomicU64,
    stripes: Box<[AtomicU64]>,
    subjects: RandomState,
}

impl Stripes {
    pub(super) fn new() -> Self {
        let stripes = (0..STRIPES).map(|_| AtomicU64::new(0)).collect();
        Self { changes: AtomicU64::new(0), all: AtomicU64::new(0), stripes, subjects: RandomState::new() }
    }

    /// Where the changes stand. Taken before a load begins, and compared before its result is used.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.changes.load(Ordering::SeqCst))
    }

    /// Whether nothing of this session has changed since `mark`.
    pub(super) fn stands(&self, sid: SessionId, mark: Mark) -> bool {
        self.of_session(sid).load(Ordering::SeqCst) <= mark.0 && self.all.load(Ordering::SeqCst) <= mark.0
    }

    /// Whether nothing of all the subject's sessions has changed since `mark`.
    pub(super) fn subject_stands(&self, subject: SubjectStripe, mark: Mark) -> bool {
        self.stripes[usize::from(subject.0)].load(Ordering::SeqCst) <= mark.0
    }

    /// The stripe of the session's subject. It costs a hash, so an entry keeps it.
    pub(super) fn subject_of(&self, session: &Session) -> SubjectStripe {
        self.subject(&session.realm, &session.subject)
    }

    /// `sid` has changed in the store: whatever was loaded before now does not count any more.
    pub(super) fn advance(&self, sid: SessionId) {
        self.change(self.of_session(sid));
    }

    /// All sessions of a subject may have changed.
    pub(super) fn advance_subject(&self, realm: &Realm, subject: &str) {
        self.change(&self.stripes[usize::from(self.subject(realm, subject).0)]);
    }

    /// Anything may have changed.
    pub(super) fn advance_all(&self) {
        self.change(&self.all);
    }

    /// A load that takes its mark between the two steps begins after the change and has seen it.
    fn change(&self, stripe: &AtomicU64) {
        let number = self.changes.fetch_add(1, Ordering::SeqCst) + 1;
        stripe.fetch_max(number, Ordering::SeqCst);
    }

    fn of_session(&self, sid: SessionId) -> &AtomicU64 {
        // Ids are random, so any of their bits spread well.
        let bytes = sid.as_bytes();
        let index = usize::from(u16::from_be_bytes([bytes[14], bytes[15]])) % STRIPES;
        &self.stripes[index]
    }

    /// Keyed: whoever chooses subjects must not choose which sessions load again with theirs.
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below 2^14")]
    fn subject(&self, realm: &Realm, subject: &str) -> SubjectStripe {
        SubjectStripe((self.subjects.hash_one((realm, subject)) % STRIPES as u64) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sid(n: u8) -> SessionId {
        SessionId::from_bytes([n; 16])
    }

    #[test]
    fn p17_each_kind_of_change_voids_what_it_concerns_and_no_more() {
        let stripes = Stripes::new();
        let shop = Realm::parse("shop").expect("a realm");
        let (ada, bob) = (stripes.subject(&shop, "ada"), stripes.subject(&shop, "bob"));
        let before = stripes.mark();
        stripes.advance(sid(1));
        assert!(!stripes.stands(sid(1), before) && stripes.stands(sid(2), before));
        assert!(stripes.stands(sid(1), stripes.mark()), "a load begun now has seen it");

        let before = stripes.mark();
        stripes.advance_subject(&shop, "ada");
        assert!(!stripes.subject_stands(ada, before));
        assert!(stripes.subject_stands(bob, before) || ada.0 == bob.0);
        assert!(stripes.subject_stands(ada, stripes.mark()));

        let before = stripes.mark();
        stripes.advance_all();
        for n in 0..=255 {
            assert!(!stripes.stands(sid(n), before) && stripes.stands(sid(n), stripes.mark()));
        }
    }
}
