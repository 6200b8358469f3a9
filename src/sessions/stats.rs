//! What the sessions of this process have done, counted: plain numbers that the metrics surface reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub(super) fn inc(&self) {
        self.add(1);
    }
}

/// The counters of [`super::Sessions`].
#[derive(Debug, Default)]
pub struct SessionsStats {
    /// Look-ups answered by a cached session.
    pub hits: Counter,
    /// Look-ups that a cached session could not answer.
    pub misses: Counter,
    /// Misses answered by "no such session" or a tombstone, without the store.
    pub negative_hits: Counter,
    /// Tokens refused for their tag, without a look-up.
    pub invalid_tokens: Counter,
    /// Calls to the store for a session.
    pub loads: Counter,
    /// Calls among them that failed or came too late.
    pub load_failures: Counter,
    /// Misses that waited for a load somebody else had begun.
    pub joins: Counter,
    /// Well-tagged secrets that the cached record did not match, judged on a fresh load.
    pub doubts: Counter,
    /// Look-ups refused because the cached session was too old to be believed and no fresh one was to be had.
    pub stale_refusals: Counter,
    /// Look-ups refused because too many waited.
    pub overloads: Counter,
    /// Sessions pushed out of the view by others.
    pub evictions: Counter,
    /// Times that a cached session was declared out of date by a change.
    pub invalidations: Counter,
    /// Tombstones forgotten before their time, because there were too many.
    pub tombstones_forgotten: Counter,
    /// Session JWTs signed.
    pub mints: Counter,
    /// Session JWTs handed out again.
    pub reuses: Counter,
    /// Secrets replaced.
    pub rotations: Counter,
    /// Replacements that failed, were too slow, or were lost to another replica.
    pub rotation_failures: Counter,
    /// Uses written to the store.
    pub touches: Counter,
    /// Uses that could not be written.
    pub touch_failures: Counter,
}
