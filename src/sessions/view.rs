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
mod lookup;
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
use tokio_util::task::TaskTracker;

pub use self::entry::Entry;
pub(super) use self::entry::Jwt;
pub(super) use self::flights::Seq;
pub use self::link::Link;
pub(super) use self::tombstones::Ended;

use self::answered::Answered;
use self::flights::Flights;
use self::stripes::{Mark, Stripes};
use self::tombstones::Tombstones;
use super::SessionsConfig;
use super::clock::Clock;
use super::stats::SessionsStats;
use crate::authz::reason::DenyReason;
use crate::authz::session::{Realm, SessionId, Timestamp};
use crate::store::{Notice, Store};

/// How many "no such session" are kept.
const ABSENT: usize = 16_384;
/// How many loads are in flight at most.
const MAX_FLYING: usize = 1_024;
/// How many requests wait for a load at most.
const MAX_WAITING: usize = 8_192;
/// How long one request waits for the store, in all.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(1);
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

    /// Whether nothing that the entry tells has changed since its load began.
    fn stands(&self, entry: &Entry) -> bool {
        self.stripes.stands(entry.session().id, entry.mark) && self.stripes.subject_stands(entry.subject, entry.mark)
    }

    fn believed(&self, loaded_at: Timestamp, now: Timestamp, ttl: Duration) -> bool {
        now.since(loaded_at) <= self.link.ttl(ttl) && self.link.covers(now, self.limits.max_staleness)
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
