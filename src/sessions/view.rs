//! The cached view of the session store (DESIGN 3).
//!
//! Facts are cached, verdicts never. What bounds it (P32):
//!
//! | what | bound |
//! |---|---|
//! | cached sessions with their JWTs | `view.maxBytes` |
//! | "no such session" | 16,384, apart from the sessions: no flood of dead tokens pushes out a live session |
//! | tombstones | two generations of 131,072 |
//! | loads in flight | 1,024; one more answers `Overloaded` |
//! | requests that wait for a load | 8,192; one more answers `Overloaded` |
//! | one wait | 1 s, then `StoreUnavailable` |

mod answered;
mod entry;
mod flights;
mod link;
mod stripes;
mod tombstones;

#[cfg(test)]
pub(super) mod gate;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, UnitWeighter, Weighter};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;

pub use self::entry::Entry;
pub(super) use self::entry::Jwt;
pub(super) use self::flights::Seq;
pub use self::link::Link;
pub(super) use self::tombstones::Ended;

use self::answered::Answered;
use self::entry::Shelf;
use self::flights::{Boarded, Flights, Landed, Ticket};
use self::stripes::{Mark, Stripes};
use self::tombstones::Tombstones;
use super::SessionsConfig;
use super::clock::Clock;
use super::stats::SessionsStats;
use crate::authz::reason::DenyReason;
use crate::authz::session::{Realm, SessionId, Timestamp};
use crate::store::{Loaded, Notice, Store, StoreError};

/// How many "no such session" are kept.
const ABSENT: usize = 16_384;
/// How many loads are in flight at most.
const MAX_FLYING: usize = 1_024;
/// How many requests wait for a load at most.
const MAX_WAITING: usize = 8_192;
/// How long one request waits for the store, in all.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(1);
/// How often a look-up begins again because its session's stripe moved meanwhile.
const MAX_TRIES: usize = 8;
/// What the number of entries is guessed from; a wrong guess costs only table growth.
const TYPICAL_ENTRY_BYTES: u64 = 3_072;

/// What is known of a session.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// It is alive.
    Live(Arc<Entry>),
    /// It is over.
    Over(Ended),
    /// There is none.
    Absent,
    /// Nothing can be known now.
    Unavailable(DenyReason),
}

/// The sessions that this process has in memory, and the way to the others.
pub struct View {
    store: Arc<Store>,
    limits: Limits,
    link: Link,
    stripes: Stripes,
    live: Cache<SessionId, Arc<Entry>, ByWeight, DefaultHashBuilder, CountEvictions>,
    absent: Cache<(SessionId, Realm), Absent>,
    over: Tombstones,
    answered: Answered,
    /// Whether a task says answered ends again, and whether all of them are to be said.
    saying_again: AtomicBool,
    say_all: AtomicBool,
    flights: Arc<Flights>,
    tasks: TaskTracker,
    stats: Arc<SessionsStats>,
    #[cfg(test)]
    pub(super) gate: gate::Gate,
}

/// The view's own part of the configuration.
#[derive(Clone, Debug)]
struct Limits {
    max_staleness: Duration,
    negative: Duration,
    hard_ttl: Duration,
    wait: Duration,
}

/// "No such session", as one load found.
#[derive(Clone, Copy, Debug)]
struct Absent {
    mark: Mark,
    seq: Seq,
    loaded_at: Timestamp,
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<SessionId, Arc<Entry>> for ByWeight {
    fn weight(&self, _: &SessionId, entry: &Arc<Entry>) -> u64 {
        entry.weight()
    }
}

#[derive(Clone)]
struct CountEvictions(Arc<SessionsStats>);

impl Lifecycle<SessionId, Arc<Entry>> for CountEvictions {
    type RequestState = Vec<Arc<Entry>>;

    fn on_evict(&self, evicted: &mut Self::RequestState, _: SessionId, entry: Arc<Entry>) {
        self.0.evictions.inc();
        // Dropped after the shard's lock is given back.
        evicted.push(entry);
    }
}

impl View {
    /// An empty view of `store`.
    pub(super) fn new(
        config: &SessionsConfig,
        store: Arc<Store>,
        link: Link,
        tasks: TaskTracker,
        stats: Arc<SessionsStats>,
    ) -> Self {
        let entries = usize::try_from(config.view_bytes / TYPICAL_ENTRY_BYTES).unwrap_or(usize::MAX).max(64);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(entries)
            .weight_capacity(config.view_bytes)
            .build()
            .expect("both capacities are given");
        let live =
            Cache::with_options(options, ByWeight, DefaultHashBuilder::default(), CountEvictions(Arc::clone(&stats)));
        let absent = Cache::with(
            ABSENT,
            ABSENT as u64,
            UnitWeighter,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        );
        Self {
            store,
            limits: Limits {
                max_staleness: config.max_staleness,
                negative: config.negative.min(config.max_staleness),
                hard_ttl: config.hard_ttl,
                wait: MAX_WAIT,
            },
            link,
            stripes: Stripes::new(),
            live,
            absent,
            over: Tombstones::new(),
            answered: Answered::default(),
            saying_again: AtomicBool::new(false),
            say_all: AtomicBool::new(false),
            flights: Arc::new(Flights::new(MAX_FLYING, MAX_WAITING)),
            tasks,
            stats,
            #[cfg(test)]
            gate: gate::Gate::default(),
        }
    }

    /// The link that the store proves.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Does what the store's word calls for.
    pub(super) fn heed(self: &Arc<Self>, notice: Notice<'_>, clock: &Arc<Clock>) {
        match notice {
            Notice::Session(sid) => self.changed(sid),
            Notice::Subject(realm, subject) => self.changed_subject(realm, subject),
            Notice::Everything { told } => {
                self.link.set_told(told);
                self.changed_all();
                self.say_again(clock);
            }
            Notice::Proved { asked } => self.link.proved(asked),
        }
    }

    /// Any session may have changed in the store.
    fn changed_all(&self) {
        self.stripes.advance_all();
        self.stats.invalidations.inc();
    }

    /// `sid` has changed in the store: what was loaded before now does not count any more. The entry stays where it is, so
    /// that the next load finds the JWTs beside it.
    pub fn changed(&self, sid: SessionId) {
        self.stripes.advance(sid);
        self.stats.invalidations.inc();
    }

    /// All sessions of a subject may have changed in the store: its epoch has moved on.
    pub(super) fn changed_subject(&self, realm: &Realm, subject: &str) {
        self.stripes.advance_subject(realm, subject);
        self.stats.invalidations.inc();
    }

    /// `sid` has come into being. Nobody can have known of it before but by guessing.
    pub(super) fn created(&self, realm: &Realm, sid: SessionId) {
        let _ = self.absent.remove(&(sid, realm.clone()));
    }

    /// `sid` was ended, and that is about to be answered.
    pub(super) fn end(&self, realm: &Realm, sid: SessionId, ended: Ended, now: Timestamp) {
        self.answered.note(realm, sid, now);
        self.bury(realm, sid, ended, now);
        self.changed(sid);
    }

    /// All of a subject's sessions were ended, these among them, and that is about to be answered. One change for all of them:
    /// thousands would make most of the view load again.
    pub(super) async fn end_subject(&self, realm: &Realm, subject: &str, ended: &[SessionId], now: Timestamp) {
        self.changed_subject(realm, subject);
        for some in ended.chunks(256) {
            for sid in some {
                self.answered.note(realm, *sid, now);
                self.bury(realm, *sid, Ended::Revoked, now);
            }
            tokio::task::yield_now().await;
        }
    }

    /// `sid` is over for good, whatever the store says from now on. Its stripe stays: this is not a change but one found, and
    /// a flood of dead tokens must not make living sessions load again. What keeps older loads out is the tombstone.
    fn bury(&self, realm: &Realm, sid: SessionId, ended: Ended, now: Timestamp) {
        let forgotten = self.over.put(realm, sid, ended, now);
        self.stats.tombstones_forgotten.add(forgotten as u64);
        // In turn with `keep`, which looks for the tombstone and inserts in one turn.
        self.flights.in_turn(|| self.live.remove_if(&sid, |entry| entry.session().realm == *realm));
    }

    /// How the session ended, if this process has refused it within the last 10 minutes.
    pub(super) fn ended(&self, realm: &Realm, sid: SessionId) -> Option<Ended> {
        self.over.get(realm, sid)
    }

    /// Loads begun from now on.
    pub(super) fn next_load(&self) -> Seq {
        self.flights.next()
    }

    /// The cached session, if it still answers at `now`: the hot path, without waiting.
    pub(super) fn cached(&self, realm: &Realm, sid: SessionId, earliest: Seq, now: Timestamp) -> Option<Arc<Entry>> {
        let entry = self.live.get(&sid)?;
        let answers = entry.session().realm == *realm
            && self.stands(&entry)
            && entry.seq >= earliest
            && now < entry.session().ends()
            && self.believed(entry.loaded_at, now, self.limits.hard_ttl);
        answers.then_some(entry)
    }

    /// What is known of the session, by a load begun at `earliest` or later: cached, or loaded once for all who ask.
    pub(super) async fn find(self: &Arc<Self>, realm: &Realm, sid: SessionId, earliest: Seq, now: Timestamp) -> Found {
        if let Some(entry) = self.cached(realm, sid, earliest, now) {
            self.stats.hits.inc();
            return Found::Live(entry);
        }
        self.stats.misses.inc();
        let found = Box::pin(self.find_by_load(realm, sid, earliest, now)).await;
        match found {
            Found::Unavailable(DenyReason::Overloaded) => self.stats.overloads.inc(),
            Found::Unavailable(_) if self.has(realm, sid) => self.stats.stale_refusals.inc(),
            _ => {}
        }
        found
    }

    async fn find_by_load(self: &Arc<Self>, realm: &Realm, sid: SessionId, mut earliest: Seq, now: Timestamp) -> Found {
        let deadline = Instant::now() + self.limits.wait;
        for _ in 0..MAX_TRIES {
            // The mark first: a change that comes after it makes the load void.
            let mark = self.stripes.mark();
            if let Some(known) = self.known_without_load(realm, sid, earliest, now) {
                return known;
            }
            let Some(_place) = self.flights.wait() else {
                return Found::Unavailable(DenyReason::Overloaded);
            };
            let landed = || self.landed(realm, sid, earliest, now);
            let stands = |flying| self.stripes.stands(sid, flying);
            let flight = match self.flights.board(realm, sid, earliest, mark, stands, landed) {
                Boarded::Full => return Found::Unavailable(DenyReason::Overloaded),
                Boarded::Landed(found) => return found,
                Boarded::Joined(flight) => {
                    self.stats.joins.inc();
                    flight
                }
                Boarded::Begun(flight, ticket) => {
                    self.tasks.spawn(Arc::clone(self).load(realm.clone(), sid, mark, ticket, now));
                    flight
                }
            };
            let begun = flight.mark;
            let Ok(landed) = timeout_at(deadline, flight.landed()).await else {
                return Found::Unavailable(DenyReason::StoreUnavailable);
            };
            if let Landed::Failed(reason) = landed {
                return Found::Unavailable(reason);
            }
            // A change was answered after this load had begun: it may have seen the session as it was before.
            if !self.stripes.stands(sid, begun) {
                continue;
            }
            // Another load, that saw more, may have found the end meanwhile.
            if let Some(ended) = self.over.get(realm, sid) {
                return Found::Over(ended);
            }
            let entry = match landed {
                Landed::Found(entry) => entry,
                Landed::Revoked => return self.over_now(realm, sid, Ended::Revoked, now),
                Landed::Absent => return Found::Absent,
                Landed::Failed(reason) => return Found::Unavailable(reason),
            };
            // The same of all its subject's sessions; whose it is, only the load has told.
            if !self.stands(&entry) {
                earliest = self.flights.next();
                continue;
            }
            let session = entry.session();
            if now >= session.absolute_end {
                return self.over_now(realm, sid, Ended::Expired, now);
            }
            if now < session.ends() {
                return Found::Live(entry);
            }
            // Idle only by a load that began after the idle end: an earlier one may not have seen the last use.
            if entry.loaded_at >= session.ends() {
                return self.over_now(realm, sid, Ended::Idle, now);
            }
            earliest = self.flights.next();
        }
        Found::Unavailable(DenyReason::StoreUnavailable)
    }

    /// What needs no load: a tombstone, an absolute end that has passed, a fresh "no such session", or an entry that landed
    /// meanwhile.
    fn known_without_load(&self, realm: &Realm, sid: SessionId, earliest: Seq, now: Timestamp) -> Option<Found> {
        if let Some(ended) = self.over.get(realm, sid) {
            self.stats.negative_hits.inc();
            return Some(Found::Over(ended));
        }
        if let Some(found) = self.landed(realm, sid, earliest, now) {
            return Some(found);
        }
        // However old the entry is: nothing moves a session's absolute end (P21).
        let entry = self.live.peek(&sid).filter(|entry| entry.session().realm == *realm);
        entry.is_some_and(|entry| now >= entry.session().absolute_end).then(|| {
            self.stats.negative_hits.inc();
            self.over_now(realm, sid, Ended::Expired, now)
        })
    }

    /// What earlier loads brought, where it still answers.
    fn landed(&self, realm: &Realm, sid: SessionId, earliest: Seq, now: Timestamp) -> Option<Found> {
        if let Some(entry) = self.cached(realm, sid, earliest, now) {
            return Some(Found::Live(entry));
        }
        let absent = self.absent.get(&(sid, realm.clone()))?;
        let known = self.stripes.stands(sid, absent.mark)
            && absent.seq >= earliest
            && self.believed(absent.loaded_at, now, self.limits.negative);
        known.then(|| {
            self.stats.negative_hits.inc();
            Found::Absent
        })
    }

    fn over_now(&self, realm: &Realm, sid: SessionId, ended: Ended, now: Timestamp) -> Found {
        self.bury(realm, sid, ended, now);
        Found::Over(ended)
    }

    /// Loads a session and lands the flight. Runs to its end in a task of its own, within [`MAX_WAIT`].
    async fn load(self: Arc<Self>, realm: Realm, sid: SessionId, mark: Mark, ticket: Ticket, now: Timestamp) {
        self.stats.loads.inc();
        #[cfg(test)]
        self.gate.before_load().await;
        let loaded = match timeout(self.limits.wait, self.store.load(&realm, sid)).await {
            Ok(loaded) => loaded,
            Err(_) => Err(StoreError::Timeout(self.limits.wait)),
        };
        #[cfg(test)]
        let loaded = self.gate.after_load(loaded).await;
        let seq = ticket.seq();
        let landed = match loaded {
            Ok(Loaded::Session(session)) => {
                let shelf = self.shelf(&realm, sid);
                let subject = self.stripes.subject_of(&session);
                let entry = Arc::new(Entry::new(*session, subject, mark, seq, now, shelf));
                self.keep(sid, &entry, now);
                Landed::Found(entry)
            }
            Ok(Loaded::Revoked) => Landed::Revoked,
            Ok(Loaded::Absent) => {
                self.absent.insert((sid, realm), Absent { mark, seq, loaded_at: now });
                Landed::Absent
            }
            Err(error) => {
                self.stats.load_failures.inc();
                // One damaged record is news; a store that is away is one line for each request, and counted.
                if matches!(error, StoreError::Corrupt(_)) {
                    tracing::error!(%sid, error = &error as &dyn std::error::Error, "session not loaded");
                } else {
                    tracing::debug!(%sid, error = &error as &dyn std::error::Error, "session not loaded");
                }
                Landed::Failed(DenyReason::StoreUnavailable)
            }
        };
        ticket.land(landed);
    }

    /// Puts a loaded session into the cache, unless it is over or a later load was faster.
    fn keep(&self, sid: SessionId, entry: &Arc<Entry>, now: Timestamp) {
        if now >= entry.session().ends() {
            return;
        }
        self.flights.in_turn(|| {
            let buried = self.over.get(&entry.session().realm, sid).is_some();
            if !buried && self.live.peek(&sid).is_none_or(|kept| kept.seq <= entry.seq) {
                self.live.insert(sid, Arc::clone(entry));
            }
        });
    }

    /// Makes the cache see what has been added beside `entry`: more JWTs than were reserved for, or a later use.
    pub(super) fn refit(&self, entry: &Arc<Entry>) {
        let sid = entry.session().id;
        self.flights.in_turn(|| {
            if let Some(kept) = self.live.peek(&sid)
                && kept.seq == entry.seq
            {
                // `Err` gives it back because it was evicted or ended meanwhile: then there is nothing to do.
                let _ = self.live.replace(sid, Arc::new(kept.refitted()), true);
            }
        });
    }

    /// As [`Self::refit`], when more is kept beside the entry than its weight says.
    pub(super) fn reweigh(&self, entry: &Arc<Entry>) {
        if entry.outgrown() {
            self.refit(entry);
        }
    }

    /// What lies beside the session already.
    fn shelf(&self, realm: &Realm, sid: SessionId) -> Arc<Shelf> {
        let kept = self.live.peek(&sid).filter(|kept| kept.session().realm == *realm);
        kept.map_or_else(|| Arc::new(Shelf::new()), |kept| Arc::clone(&kept.shelf))
    }

    /// Whether nothing that the entry tells has changed since its load began.
    fn stands(&self, entry: &Entry) -> bool {
        self.stripes.stands(entry.session().id, entry.mark) && self.stripes.subject_stands(entry.subject, entry.mark)
    }

    fn believed(&self, loaded_at: Timestamp, now: Timestamp, ttl: Duration) -> bool {
        now.since(loaded_at) <= self.link.ttl(ttl) && self.link.covers(now, self.limits.max_staleness)
    }

    fn has(&self, realm: &Realm, sid: SessionId) -> bool {
        self.live.peek(&sid).is_some_and(|kept| kept.session().realm == *realm)
    }

    /// How many sessions are cached, and their weight in bytes.
    pub fn size(&self) -> (usize, u64) {
        (self.live.len(), self.live.weight())
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("limits", &self.limits).field("live", &self.live.len()).finish_non_exhaustive()
    }
}
