//! The look-up of a session that may have to be loaded.

use std::sync::Arc;

use tokio::time::{Instant, timeout, timeout_at};

use super::entry::{Entry, Shelf};
use super::flights::{Boarded, Landed, Seq, Ticket};
use super::stripes::Mark;
use super::{Absent, Ended, Found, View};
use crate::authz::reason::DenyReason;
use crate::authz::session::{Realm, SessionId, Timestamp};
use crate::store::{Loaded, StoreError};

/// How often a look-up begins again because its session's stripe moved meanwhile.
const MAX_TRIES: usize = 8;

impl View {
    /// What is known of the session, by a load begun at `earliest` or later: cached, or loaded once for all who ask.
    pub(in crate::sessions) async fn find(
        self: &Arc<Self>,
        realm: &Realm,
        sid: SessionId,
        earliest: Seq,
        now: Timestamp,
    ) -> Found {
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

    /// Loads a session and lands the flight. Runs to its end in a task of its own, within [`super::MAX_WAIT`].
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

    /// What lies beside the session already.
    fn shelf(&self, realm: &Realm, sid: SessionId) -> Arc<Shelf> {
        let kept = self.live.peek(&sid).filter(|kept| kept.session().realm == *realm);
        kept.map_or_else(|| Arc::new(Shelf::new()), |kept| Arc::clone(&kept.shelf))
    }

    fn has(&self, realm: &Realm, sid: SessionId) -> bool {
        self.live.peek(&sid).is_some_and(|kept| kept.session().realm == *realm)
    }
}
