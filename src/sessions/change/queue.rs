//! The turns of changes: one queue for each session that is being changed, and one task that empties it.
//!
//! What bounds it (P32): 256 changes wait for one session and 2,048 in all; one more is `Contended`. The surfaces bound the
//! size of each. A queue lives as long as its task, and the task as long as something waits.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::Asked;
use crate::authz::session::{Realm, Session, SessionId};
use crate::sessions::keyring::KeyRing;
use crate::sessions::view::View;
use crate::sessions::{SessionError, in_time, load};
use crate::store::{Changed, Store, StoreError};

/// How many changes of one session wait at most.
const MAX_OF_ONE: usize = 256;
/// How many changes wait at most, of all sessions.
const MAX_WAITING: usize = 2_048;
/// How many changes become one. Merging one of the largest costs up to 3 ms; between two of them, others have their turn.
const AT_ONCE: usize = 32;
/// How long after it was asked for a change is still tried. A call of the store that has begun by then is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause after the first conflict with another process is up to this long; it doubles with each, up to [`MAX_PAUSE_MS`].
const MIN_PAUSE_MS: u64 = 4;
const MAX_PAUSE_MS: u64 = 64;

type Key = (SessionId, Realm);
type Answer = Result<Made, SessionError>;

/// What became of a change.
#[derive(Clone, Debug)]
pub(in crate::sessions) struct Made {
    /// The session after it, and after those that were made with it.
    pub(in crate::sessions) session: Arc<Session>,
    /// Whether it changed anything.
    pub(in crate::sessions) changed: bool,
}

/// A change in its queue.
struct Waiting {
    asked: Asked,
    until: Instant,
    answer: oneshot::Sender<Answer>,
}

/// The changes of all sessions that have not been answered, and what it takes to make them.
pub(in crate::sessions) struct Changes {
    store: Arc<Store>,
    view: Arc<View>,
    keyring: Arc<KeyRing>,
    tasks: TaskTracker,
    queues: Mutex<Queues>,
}

#[derive(Default)]
struct Queues {
    /// A session has a queue, be it empty, while its task runs.
    of: HashMap<Key, VecDeque<Waiting>>,
    /// How many changes are in them.
    waiting: usize,
}

impl Changes {
    pub(in crate::sessions) fn new(
        store: Arc<Store>,
        view: Arc<View>,
        keyring: Arc<KeyRing>,
        tasks: TaskTracker,
    ) -> Self {
        Self { store, view, keyring, tasks, queues: Mutex::default() }
    }

    /// Makes a change in its turn.
    pub(in crate::sessions) async fn make(self: &Arc<Self>, realm: &Realm, sid: SessionId, asked: Asked) -> Answer {
        let (answer, answered) = oneshot::channel();
        let key = (sid, realm.clone());
        if self.enqueue(&key, Waiting { asked, until: Instant::now() + PATIENCE, answer })? {
            self.tasks.spawn(Turn { changes: Arc::clone(self), key, over: false }.run());
        }
        // Dropped unanswered only by a runtime that shuts down, or a panic in the task.
        answered.await.unwrap_or(Err(SessionError::Store(StoreError::Closed)))
    }

    /// Puts a change into its queue; answers whether that is a new one.
    fn enqueue(&self, key: &Key, waiting: Waiting) -> Result<bool, SessionError> {
        let queues = &mut *self.queues();
        if queues.waiting >= MAX_WAITING {
            return Err(SessionError::Contended);
        }
        let is_new = match queues.of.entry(key.clone()) {
            Entry::Occupied(queue) if queue.get().len() >= MAX_OF_ONE => return Err(SessionError::Contended),
            Entry::Occupied(mut queue) => {
                queue.get_mut().push_back(waiting);
                false
            }
            Entry::Vacant(place) => {
                place.insert(VecDeque::from([waiting]));
                true
            }
        };
        queues.waiting += 1;
        Ok(is_new)
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        // No code that can panic runs under the lock between two changes that belong together.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("waiting", &self.queues().waiting).finish_non_exhaustive()
    }
}

/// The right to empty one session's queue.
struct Turn {
    changes: Arc<Changes>,
    key: Key,
    /// The queue was empty and is gone.
    over: bool,
}

impl Turn {
    async fn run(mut self) {
        while let Some(batch) = self.next() {
            self.make(batch).await;
        }
    }

    /// The changes that are made as one: the first that waits, and those behind it that are for any version.
    fn next(&mut self) -> Option<Vec<Waiting>> {
        let queues = &mut *self.changes.queues();
        let queue = queues.of.get_mut(&self.key)?;
        let mut batch = Vec::new();
        while batch.len() < AT_ONCE
            && let Some(waiting) = queue.pop_front_if(|next| batch.is_empty() || next.asked.if_version.is_none())
        {
            batch.push(waiting);
        }
        queues.waiting -= batch.len();
        if batch.is_empty() {
            queues.of.remove(&self.key);
            self.over = true;
            return None;
        }
        Some(batch)
    }

    /// Makes what can be made of the changes, as one, and answers each.
    async fn make(&self, mut batch: Vec<Waiting>) {
        let (Changes { store, view, keyring, .. }, (sid, realm)) = (&*self.changes, &self.key);
        for conflicts in 0.. {
            let now = Instant::now();
            for late in batch.extract_if(.., |waiting| now >= waiting.until) {
                late.answer(Err(SessionError::Contended));
            }
            if batch.is_empty() {
                return;
            }
            let current = match load(store, view, realm, *sid).await {
                Ok(session) => session,
                Err(error) => return refuse(batch, &error),
            };
            let version = current.version;
            let (wanted, verdicts) = merged(&current, &batch, keyring).await;
            let Some(wanted) = wanted else { return answer(batch, verdicts, current) };
            let changed = in_time(store.update(version, wanted)).await;
            view.changed(*sid);
            match changed {
                Ok(Changed::Done(session)) => return answer(batch, verdicts, *session),
                Ok(Changed::Gone(_)) => return refuse(batch, &SessionError::NotFound),
                // The refusals were of a session that has perhaps not come to be.
                Err(error) => return refuse(batch, &error.into()),
                Ok(Changed::Conflict(_)) => sleep(pause(conflicts)).await,
            }
        }
    }
}

/// However the task ends, a panic included, its queue does not outlive it: what waits there is told so, and the next change
/// begins anew.
impl Drop for Turn {
    fn drop(&mut self) {
        if !self.over {
            let queues = &mut *self.changes.queues();
            queues.waiting -= queues.of.remove(&self.key).map_or(0, |queue| queue.len());
        }
    }
}

impl Waiting {
    fn answer(self, answer: Answer) {
        // A caller that went away loses its answer, not its change.
        drop(self.answer.send(answer));
    }
}

/// The session with all changes that can be made of it, if there are any; and for each whether it changes something, or why it
/// is not made.
async fn merged(
    current: &Session,
    batch: &[Waiting],
    keyring: &KeyRing,
) -> (Option<Session>, Vec<Result<bool, SessionError>>) {
    let mut wanted = None;
    let mut verdicts = Vec::with_capacity(batch.len());
    for waiting in batch {
        verdicts.push(match waiting.asked.applied(wanted.as_ref().unwrap_or(current), keyring) {
            Ok(next) => {
                let changes = next.is_some();
                wanted = next.or(wanted);
                Ok(changes)
            }
            Err(error) => Err(error),
        });
        // The checks of requests run on the same thread.
        yield_now().await;
    }
    (wanted, verdicts)
}

fn answer(batch: Vec<Waiting>, verdicts: Vec<Result<bool, SessionError>>, session: Session) {
    let session = Arc::new(session);
    for (waiting, verdict) in batch.into_iter().zip(verdicts) {
        waiting.answer(verdict.map(|changed| Made { session: Arc::clone(&session), changed }));
    }
}

fn refuse(batch: Vec<Waiting>, error: &SessionError) {
    for waiting in batch {
        waiting.answer(Err(error.clone()));
    }
}

/// How long to wait after so many conflicts: at random, so that two processes do not meet again and again.
fn pause(conflicts: u32) -> Duration {
    let longest = MIN_PAUSE_MS.checked_shl(conflicts).map_or(MAX_PAUSE_MS, |ms| ms.min(MAX_PAUSE_MS)) * 1_000;
    let mut bytes = [0; 4];
    // Without a random number the pause is no shorter than it may be.
    let random = rand::fill(&mut bytes).map_or(u32::MAX, |()| u32::from_be_bytes(bytes));
    Duration::from_micros(longest * u64::from(random) / u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::to_raw_value;

    use super::*;
    use crate::sessions::SessionChange;
    use crate::sessions::fixtures::House;

    #[tokio::test]
    async fn a_change_whose_time_is_over_is_told_so_and_not_made() {
        let house = House::new();
        let key = (house.create("ada").await.session.id, house.realm.clone());
        let changes = &house.sessions.changes;
        let wait = |name: &str, until| {
            let (answer, answered) = oneshot::channel();
            let change = SessionChange {
                claims: Some(to_raw_value(&json!({ name: true })).unwrap()),
                ..SessionChange::default()
            };
            let asked = Asked { change, if_version: None, now: house.start };
            let is_new = changes.enqueue(&key, Waiting { asked, until, answer }).unwrap();
            (is_new, answered)
        };
        let (first, late) = wait("late", Instant::now());
        let (second, early) = wait("early", Instant::now() + PATIENCE);
        assert_eq!((first, second), (true, false), "one queue, one task");
        Turn { changes: Arc::clone(changes), key, over: false }.run().await;
        assert!(matches!(late.await.unwrap(), Err(SessionError::Contended)));
        let made = early.await.unwrap().unwrap();
        assert_eq!((made.session.claims.as_json(), made.session.version), (r#"{"early":true}"#, 2));
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn a_pause_is_short(conflicts in any::<u32>()) {
                prop_assert!(pause(conflicts) <= Duration::from_millis(MAX_PAUSE_MS));
            }
        }
    }
}
