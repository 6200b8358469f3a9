//! Whether what is cached can still be believed: a lease on the link over which a store tells of changes (P18).

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::authz::session::Timestamp;

/// The link to a store.
#[derive(Debug)]
pub struct Link(Kind);

#[derive(Debug)]
enum Kind {
    /// The store is in this process and every change of it passes through here.
    Local,
    /// The last proof that changes would have reached us, in milliseconds; the smallest number when there was none.
    Remote(AtomicI64),
}

impl Link {
    /// The link to a store of this process: always live.
    pub fn local() -> Self {
        Self(Kind::Local)
    }

    /// The link to a store elsewhere, not proved yet.
    pub fn remote() -> Self {
        Self(Kind::Remote(AtomicI64::new(i64::MIN)))
    }

    /// Everything that the store had to tell up to `at` has arrived. Earlier than an earlier proof, it says nothing.
    pub fn proved(&self, at: Timestamp) {
        match &self.0 {
            Kind::Local => {}
            Kind::Remote(last) => {
                last.fetch_max(at.as_millis(), Ordering::AcqRel);
            }
        }
    }

    /// Whether something that was true at `loaded_at` may be taken as true at `now`.
    pub(super) fn covers(&self, loaded_at: Timestamp, now: Timestamp, max_staleness: Duration) -> bool {
        match &self.0 {
            Kind::Local => true,
            Kind::Remote(last) => {
                let proved = Timestamp::from_millis(last.load(Ordering::Acquire)).max(loaded_at);
                now.since(proved) <= max_staleness
            }
        }
    }
}
