//! Whether what is cached can still be believed: a lease on the link over which a store tells of changes (P18).

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use crate::authz::session::Timestamp;

/// The link to a store.
#[derive(Debug)]
pub struct Link(Kind);

#[derive(Debug)]
enum Kind {
    /// The store is in this process and every change of it passes through here.
    Local,
    Remote {
        /// The last proof that changes would have reached us, in milliseconds; the smallest number when there was none.
        proved: AtomicI64,
        /// Whether the store tells of changes at all.
        told: AtomicBool,
    },
}

/// How long anything is believed that was loaded from a store which does not tell of changes.
const UNTOLD_TTL: Duration = Duration::from_millis(500);

impl Link {
    /// The link to a store of this process: always live.
    pub fn local() -> Self {
        Self(Kind::Local)
    }

    /// The link to a store elsewhere, not proved yet.
    pub fn remote() -> Self {
        Self(Kind::Remote { proved: AtomicI64::new(i64::MIN), told: AtomicBool::new(true) })
    }

    /// Everything that the store had to tell up to `at` has arrived. Earlier than an earlier proof, it says nothing.
    pub fn proved(&self, at: Timestamp) {
        match &self.0 {
            Kind::Local => {}
            Kind::Remote { proved, .. } => {
                proved.fetch_max(at.as_millis(), Ordering::AcqRel);
            }
        }
    }

    /// The last proof.
    #[cfg(test)]
    pub(in crate::sessions) fn last_proof(&self) -> Timestamp {
        match &self.0 {
            Kind::Local => Timestamp::from_millis(i64::MAX),
            Kind::Remote { proved, .. } => Timestamp::from_millis(proved.load(Ordering::Acquire)),
        }
    }

    /// Whether the store tells of changes from now on.
    pub(in crate::sessions) fn set_told(&self, now_told: bool) {
        if let Kind::Remote { told, .. } = &self.0 {
            told.store(now_told, Ordering::Release);
        }
    }

    /// How long what was loaded is believed, `hard` at most.
    pub(super) fn ttl(&self, hard: Duration) -> Duration {
        match &self.0 {
            Kind::Remote { told, .. } if !told.load(Ordering::Acquire) => hard.min(UNTOLD_TTL),
            _ => hard,
        }
    }

    /// Whether what was loaded may be taken as true at `now`.
    pub(super) fn covers(&self, now: Timestamp, max_staleness: Duration) -> bool {
        match &self.0 {
            Kind::Local => true,
            Kind::Remote { proved, .. } => {
                // A load is no proof: it may come from a server that others have replaced.
                let proved = Timestamp::from_millis(proved.load(Ordering::Acquire));
                now.since(proved) <= max_staleness
            }
        }
    }
}
