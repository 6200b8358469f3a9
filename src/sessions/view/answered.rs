//! The ends that this process has answered, to be said again to a store that may have lost them.
//!
//! A failover loses what its new master had not received yet, and a session that was ended a moment before would live again for
//! every gate but those that refused it. So whoever answered an end says it once more after each connection anew (DESIGN 3).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::authz::session::{Realm, SessionId, Timestamp};

/// How long an end is kept.
const KEEP: Duration = Duration::from_secs(600);
/// How many are kept at most (under 1 MiB); of more, the newest.
const MOST: usize = 1 << 14;

/// Ends with the moment at which each was answered, oldest first.
#[derive(Debug, Default)]
pub(super) struct Answered(Mutex<VecDeque<(Timestamp, SessionId, Realm)>>);

impl Answered {
    /// Notes an end.
    pub(super) fn note(&self, realm: &Realm, sid: SessionId, now: Timestamp) {
        let mut ends = self.lock();
        if ends.len() == MOST {
            ends.pop_front();
        }
        ends.push_back((now, sid, realm.clone()));
    }

    /// Those of the last 10 minutes.
    pub(super) fn recent(&self, now: Timestamp) -> Vec<(SessionId, Realm)> {
        let mut ends = self.lock();
        while ends.front().is_some_and(|(at, ..)| now.since(*at) > KEEP) {
            ends.pop_front();
        }
        ends.iter().map(|(_, sid, realm)| (*sid, realm.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Timestamp, SessionId, Realm)>> {
        // Nothing that can panic runs between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p32_the_newest_ends_of_ten_minutes_are_kept_and_no_more() {
        let shop = Realm::parse("shop").expect("a realm");
        let at = |secs: i64| Timestamp::from_millis(secs * 1_000);
        let sid = |n: usize| SessionId::from_bytes((n as u128).to_be_bytes());
        let answered = Answered::default();
        answered.note(&shop, sid(0), at(0));
        answered.note(&shop, sid(1), at(300));
        assert_eq!(answered.recent(at(600)).len(), 2);
        assert_eq!(answered.recent(at(601)), [(sid(1), shop.clone())]);
        (0..MOST + 5).for_each(|n| answered.note(&shop, sid(n), at(700)));
        let kept = answered.recent(at(700));
        assert_eq!((kept.len(), kept.last()), (MOST, Some(&(sid(MOST + 4), shop))));
    }
}
