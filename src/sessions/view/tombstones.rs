//! The sessions that this process has refused for good: remembered for 10 minutes at least, whatever the store says (P19).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::authz::session::{Realm, SessionId, Timestamp};

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sessions) enum Ended {
    /// It was revoked, or its subject's sessions were.
    Revoked,
    /// Its absolute end has passed.
    Expired,
    /// It lay unused for too long.
    Idle,
}

/// How long an end is remembered at least.
const KEEP: Duration = Duration::from_secs(600);
/// How many one generation holds; two are kept, some 16 MiB when both are full.
const GENERATION: usize = 1 << 17;

/// Two generations of ends: the young one takes new ends for 10 minutes or until it is full, then becomes the old one, and
/// the old one is dropped. So the newest ends are never the ones that are forgotten. When more than 131,072 sessions end
/// within 10 minutes the oldest ends are forgotten early, counted, and from then on known from the store's own tombstones
/// only, which it keeps until each session's absolute end.
#[derive(Debug)]
pub(super) struct Tombstones {
    generations: Mutex<Generations>,
    capacity: usize,
}

#[derive(Debug)]
struct Generations {
    young: HashMap<(SessionId, Realm), Ended>,
    old: HashMap<(SessionId, Realm), Ended>,
    /// When the young one was begun.
    begun: Timestamp,
}

impl Tombstones {
    pub(super) fn new() -> Self {
        Self::with_capacity(GENERATION)
    }

    fn with_capacity(capacity: usize) -> Self {
        let begun = Timestamp::from_millis(0);
        Self { generations: Mutex::new(Generations { young: HashMap::new(), old: HashMap::new(), begun }), capacity }
    }

    /// Remembers an end; answers how many others were forgotten before their time for it.
    pub(super) fn put(&self, realm: &Realm, sid: SessionId, ended: Ended, now: Timestamp) -> usize {
        let mut generations = self.lock();
        let aged = now.since(generations.begun) >= KEEP;
        let full = generations.young.len() >= self.capacity;
        let mut forgotten = 0;
        if aged || full {
            // An old generation turned 10 minutes ago or more is due anyway; one turned since is forgotten early.
            if !aged {
                forgotten = generations.old.len();
            }
            generations.old = std::mem::take(&mut generations.young);
            generations.begun = now;
        }
        generations.young.insert((sid, realm.clone()), ended);
        forgotten
    }

    /// How the session ended, if this process has refused it.
    pub(super) fn get(&self, realm: &Realm, sid: SessionId) -> Option<Ended> {
        let key = (sid, realm.clone());
        let generations = self.lock();
        generations.young.get(&key).or_else(|| generations.old.get(&key)).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        // No code that can panic runs under the lock between two changes that belong together.
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sid(n: u8) -> SessionId {
        SessionId::from_bytes([n; 16])
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + secs * 1000)
    }

    #[test]
    fn p19_an_end_is_remembered_for_ten_minutes_at_least() {
        let shop = Realm::parse("shop").expect("a realm");
        let tombstones = Tombstones::new();
        tombstones.put(&shop, sid(1), Ended::Revoked, at(0));
        for secs in [1, 300, 599] {
            tombstones.put(&shop, sid(2), Ended::Idle, at(secs));
            assert_eq!(tombstones.get(&shop, sid(1)), Some(Ended::Revoked), "after {secs} s");
        }
        tombstones.put(&shop, sid(3), Ended::Expired, at(600));
        assert_eq!(tombstones.get(&shop, sid(1)), Some(Ended::Revoked), "the old generation still counts");
        tombstones.put(&shop, sid(3), Ended::Expired, at(1200));
        assert_eq!(tombstones.get(&shop, sid(1)), None, "after 20 minutes memory is given back");
        assert_eq!(tombstones.get(&Realm::parse("bank").expect("a realm"), sid(3)), None, "another realm's");
    }

    #[test]
    fn p32_tombstones_are_bounded_and_the_newest_stay() {
        let shop = Realm::parse("shop").expect("a realm");
        let tombstones = Tombstones::with_capacity(4);
        let mut forgotten = 0;
        for n in 0..=100 {
            forgotten += tombstones.put(&shop, sid(n), Ended::Revoked, at(0));
            for newest in n.saturating_sub(3)..=n {
                assert!(tombstones.get(&shop, sid(newest)).is_some(), "{newest} of {n}");
            }
        }
        let kept = (0..=100).filter(|n| tombstones.get(&shop, sid(*n)).is_some()).count();
        assert!(kept <= 8);
        assert_eq!(forgotten, 101 - kept, "each one forgotten early is counted");
    }
}
