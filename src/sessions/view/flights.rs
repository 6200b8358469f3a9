//! Loads in flight: one for each session at a time, in a task of its own, so that a waiter who goes away takes nobody's
//! answer with him.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::Found;
use super::entry::Entry;
use super::stripes::Mark;
use crate::authz::reason::DenyReason;
use crate::authz::session::{Realm, SessionId};

/// The place of a load in the order in which they began: a load with a greater one began later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sessions) struct Seq(u64);

impl Seq {
    /// Any load will do.
    pub(in crate::sessions) const ANY: Self = Self(0);
}

/// What a load brought.
#[derive(Clone, Debug)]
pub(super) enum Landed {
    /// A record.
    Found(Arc<Entry>),
    /// A tombstone.
    Revoked,
    /// Nothing.
    Absent,
    /// No answer.
    Failed(DenyReason),
}

/// A load in flight.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) seq: Seq,
    pub(super) mark: Mark,
    landed: watch::Receiver<Option<Landed>>,
}

/// What a caller who needs a load has got.
pub(super) enum Boarded {
    /// Somebody else's.
    Joined(Flight),
    /// Its own: it has to make the load, and put the result where the ticket says.
    Begun(Flight, Ticket),
    /// None is needed any more: one landed since the caller looked.
    Landed(Found),
    /// None: too many are in flight.
    Full,
}

/// All loads in flight.
#[derive(Debug)]
pub(super) struct Flights {
    by_session: Mutex<HashMap<(SessionId, Realm), Flight>>,
    begun: AtomicU64,
    /// Loads in flight, those that nobody can join any more included.
    flying: AtomicUsize,
    /// Callers who wait for one.
    waiting: AtomicUsize,
    most_flying: usize,
    most_waiting: usize,
}

/// The duty to land a flight. Dropped without a result (the load panicked), every waiter is told so.
pub(super) struct Ticket {
    flights: Arc<Flights>,
    key: (SessionId, Realm),
    seq: Seq,
    landed: watch::Sender<Option<Landed>>,
}

/// A place among the waiters.
pub(super) struct Waiting<'a>(&'a AtomicUsize);

impl Flights {
    pub(super) fn new(most_flying: usize, most_waiting: usize) -> Self {
        Self {
            by_session: Mutex::default(),
            begun: AtomicU64::new(0),
            flying: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            most_flying,
            most_waiting,
        }
    }

    /// Every load begun from now on has this place or a later one.
    pub(super) fn next(&self) -> Seq {
        Seq(self.begun.load(Ordering::SeqCst))
    }

    /// A load of the session that began at `earliest` or later and since its last change: one in flight whose mark still
    /// `stands`, or a new one. `mark` is taken before the call. `known` is asked once more, while none can land, before a new one begins: whoever
    /// looked before the last one landed would make a second load for nothing.
    pub(super) fn board(
        self: &Arc<Self>,
        realm: &Realm,
        sid: SessionId,
        earliest: Seq,
        mark: Mark,
        stands: impl FnOnce(Mark) -> bool,
        known: impl FnOnce() -> Option<Found>,
    ) -> Boarded {
        let key = (sid, realm.clone());
        let mut by_session = self.lock();
        if let Some(flight) = by_session.get(&key)
            && flight.seq >= earliest
            && stands(flight.mark)
        {
            return Boarded::Joined(flight.clone());
        }
        if let Some(found) = known() {
            return Boarded::Landed(found);
        }
        if !take(&self.flying, self.most_flying) {
            return Boarded::Full;
        }
        let seq = Seq(self.begun.fetch_add(1, Ordering::SeqCst));
        let (sender, landed) = watch::channel(None);
        let flight = Flight { seq, mark, landed };
        by_session.insert(key.clone(), flight.clone());
        Boarded::Begun(flight, Ticket { flights: Arc::clone(self), key, seq, landed: sender })
    }

    /// A place among the waiters; `None` when there is none.
    pub(super) fn wait(&self) -> Option<Waiting<'_>> {
        take(&self.waiting, self.most_waiting).then(|| Waiting(&self.waiting))
    }

    /// Runs `change` while no load lands: what several landings and changes do to one cache slot is done one at a time.
    pub(super) fn in_turn<T>(&self, change: impl FnOnce() -> T) -> T {
        let _turn = self.lock();
        change()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(SessionId, Realm), Flight>> {
        self.by_session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// What the load brings, once it has.
    pub(super) async fn landed(mut self) -> Landed {
        match self.landed.wait_for(Option::is_some).await {
            Ok(landed) => landed.clone().unwrap_or(Landed::Failed(DenyReason::Internal)),
            // The task ended without a word: it panicked, or the runtime is going down.
            Err(_) => Landed::Failed(DenyReason::Internal),
        }
    }
}

impl Ticket {
    pub(super) fn seq(&self) -> Seq {
        self.seq
    }

    /// Tells everybody who waits.
    pub(super) fn land(self, landed: Landed) {
        self.landed.send_replace(Some(landed));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut by_session = self.flights.lock();
        // A later flight may have taken the place.
        if by_session.get(&self.key).is_some_and(|flight| flight.seq == self.seq) {
            by_session.remove(&self.key);
        }
        self.flights.flying.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn take(count: &AtomicUsize, most: usize) -> bool {
    count.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |count| (count < most).then_some(count + 1)).is_ok()
}
