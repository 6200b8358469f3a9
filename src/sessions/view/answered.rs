//! The ends that this process has answered, to be said again to a store that may have lost them.
//!
//! A failover loses what its new master had not received yet, and a session that was ended a moment before would live again for
//! every gate but those that refused it. So whoever answered an end says it once more after each connection anew (DESIGN 3), until
//! the store has taken it: a new master may have too few replicas at first, and refuse.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::View;
use crate::authz::session::{Realm, SessionId, Timestamp};
use crate::sessions::clock::Clock;
use crate::store::StoreError;

/// How long an end is kept.
const KEEP: Duration = Duration::from_secs(600);
/// How many are kept at most (under 1 MiB); of more, the newest.
const MOST: usize = 1 << 14;

/// How many ends are said again at once, and how long that may take.
const AGAIN_AT_ONCE: usize = 16;
const AGAIN_WITHIN: Duration = Duration::from_secs(5);
/// The pause before those that the store did not take are said once more.
const AGAIN_PAUSE: Duration = Duration::from_millis(500);

/// An end, and the moment at which it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    at: Timestamp,
    pub(super) sid: SessionId,
    pub(super) realm: Realm,
}

impl Answer {
    /// Whether it is still to be said again at `now`.
    pub(super) fn is_recent(&self, now: Timestamp) -> bool {
        now.since(self.at) <= KEEP
    }
}

/// Ends, oldest first.
#[derive(Debug, Default)]
pub(super) struct Answered(Mutex<VecDeque<Answer>>);

impl Answered {
    /// Notes an end.
    pub(super) fn note(&self, realm: &Realm, sid: SessionId, now: Timestamp) {
        let mut ends = self.lock();
        if ends.len() == MOST {
            ends.pop_front();
        }
        ends.push_back(Answer { at: now, sid, realm: realm.clone() });
    }

    /// Those of the last 10 minutes.
    pub(super) fn recent(&self, now: Timestamp) -> Vec<Answer> {
        let mut ends = self.lock();
        while ends.front().is_some_and(|end| !end.is_recent(now)) {
            ends.pop_front();
        }
        ends.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Answer>> {
        // Nothing that can panic runs between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    /// Ends once more, in the store, what this process has answered as ended: the store may have lost it. What fails is tried
    /// again: a master that has just taken over may refuse changes until a replica has joined it.
    pub(super) fn say_again(self: &Arc<Self>, clock: &Arc<Clock>) {
        self.say_all.store(true, Ordering::Release);
        if self.answered.recent(clock.now()).is_empty() || self.saying_again.swap(true, Ordering::AcqRel) {
            return;
        }
        let (view, clock) = (Arc::clone(self), Arc::clone(clock));
        self.tasks.spawn(async move {
            let mut left = Vec::new();
            let mut failed = 0;
            while !view.tasks.is_closed() {
                if view.say_all.swap(false, Ordering::AcqRel) {
                    left = view.answered.recent(clock.now());
                }
                left = view.say_each(left).await;
                left.retain(|end| end.is_recent(clock.now()));
                if !left.is_empty() {
                    if failed != left.len() {
                        failed = left.len();
                        tracing::warn!(
                            ends = failed,
                            "the store did not take ends that were said again; tried until it does"
                        );
                    }
                    sleep(AGAIN_PAUSE).await;
                    continue;
                }
                view.saying_again.store(false, Ordering::Release);
                // A connection that was made between the two is not forgotten.
                if !view.say_all.load(Ordering::Acquire) || view.saying_again.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
        });
    }

    /// Says each of these ends to the store; answers those that it did not take.
    async fn say_each(&self, ends: Vec<Answer>) -> Vec<Answer> {
        let mut left = Vec::new();
        for some in ends.chunks(AGAIN_AT_ONCE) {
            let said = join_all(
                some.iter()
                    .map(|end| async move { timeout(AGAIN_WITHIN, self.store.revoke(&end.realm, end.sid)).await }),
            );
            for (end, said) in some.iter().zip(said.await) {
                match said {
                    Ok(Ok(_)) => {}
                    // Whatever lies there is no session, and stays so however often it is said.
                    Ok(Err(error @ StoreError::Corrupt(_))) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(sid = %end.sid, error, "an end cannot be said again");
                    }
                    Ok(Err(_)) | Err(_) => left.push(end.clone()),
                }
            }
        }
        left
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
        assert_eq!(answered.recent(at(601)), [Answer { at: at(300), sid: sid(1), realm: shop.clone() }]);
        (0..MOST + 5).for_each(|n| answered.note(&shop, sid(n), at(700)));
        let kept = answered.recent(at(700));
        assert_eq!((kept.len(), kept.last().map(|end| end.sid)), (MOST, Some(sid(MOST + 4))));
    }
}
