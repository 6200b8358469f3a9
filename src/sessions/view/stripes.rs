//! Generations: how a change wins over every load that was begun before it (P17, P19).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::authz::session::SessionId;

/// How many stripes there are (128 KiB). A change also makes the other sessions of its stripe load again, one in 16,384; a
/// power of two.
const STRIPES: usize = 1 << 14;

/// What a stripe stood at when a load began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u64);

/// One counter for all sessions that share some bits of their id. An entry answers only while its stripe stands where it
/// stood before the entry's load began.
#[derive(Debug)]
pub(super) struct Stripes(Box<[AtomicU64]>);

impl Stripes {
    pub(super) fn new() -> Self {
        Self((0..STRIPES).map(|_| AtomicU64::new(0)).collect())
    }

    /// Where the stripe of `sid` stands. Taken before a load begins, and again before its result is used.
    pub(super) fn mark(&self, sid: SessionId) -> Mark {
        Mark(self.of(sid).load(Ordering::Acquire))
    }

    /// Whether nothing of this stripe has changed since `mark`.
    pub(super) fn stands(&self, sid: SessionId, mark: Mark) -> bool {
        self.mark(sid) == mark
    }

    /// `sid` has changed in the store: whatever was loaded before now does not count any more.
    pub(super) fn advance(&self, sid: SessionId) {
        self.of(sid).fetch_add(1, Ordering::AcqRel);
    }

    /// Anything may have changed.
    pub(super) fn advance_all(&self) {
        for stripe in &self.0 {
            stripe.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn of(&self, sid: SessionId) -> &AtomicU64 {
        // Ids are random, so any of their bits spread well.
        let bytes = sid.as_bytes();
        let index = usize::from(u16::from_be_bytes([bytes[14], bytes[15]])) % STRIPES;
        &self.0[index]
    }
}
