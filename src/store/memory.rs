//! Sessions in this process's memory.
//!
//! Memory grows with the sessions that were created and whose absolute end has not passed (a revoked one still takes some
//! 100 bytes), and stops at [`MemoryStore::MAX_SESSIONS`]: a creation beyond it is refused (P32). Records are kept in their
//! encoding, so that this store reads what the durable ones read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard};

use super::change::{self, Step};
use super::record::{self, Stored};
use super::{Changed, Loaded, Page, SecretChange, StoreError};
use crate::authz::session::{Realm, Session, SessionId, Timestamp};

type Key = (Realm, SessionId);
type SubjectKey = (Realm, String);
type ProviderKey = (Realm, String, String);

/// Sessions in maps behind one lock. No operation waits while it holds it.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Box<Mutex<Tables>>,
}

#[derive(Default)]
struct Tables {
    records: HashMap<Key, Box<[u8]>>,
    seen: HashMap<Key, Timestamp>,
    by_subject: BTreeMap<SubjectKey, BTreeMap<SessionId, Indexed>>,
    by_provider: BTreeMap<ProviderKey, BTreeSet<SessionId>>,
    by_end: BTreeSet<(Timestamp, Key)>,
    epochs: HashMap<SubjectKey, Epoch>,
    last_epoch: u64,
}

/// What the index by subject says of a session.
#[derive(Clone, Copy)]
struct Indexed {
    epoch: u64,
    ends: Timestamp,
}

/// A subject's epoch: sessions with a smaller one are revoked.
#[derive(Clone, Copy)]
struct Epoch {
    value: u64,
    /// When the last session that it revoked would have ended; forgotten after it.
    until: Timestamp,
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables").field("records", &self.records.len()).finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// The most sessions and tombstones that are kept at once.
    pub const MAX_SESSIONS: usize = 1 << 20;

    /// A panic under the lock may have left the tables half changed: the store is then closed, not trusted.
    fn tables(&self) -> Result<MutexGuard<'_, Tables>, StoreError> {
        self.tables.lock().map_err(|_| StoreError::Closed)
    }

    /// See [`super::Store::load`].
    pub(super) fn load(&self, realm: &Realm, sid: SessionId) -> Result<Loaded, StoreError> {
        self.tables()?.load(&(realm.clone(), sid))
    }

    /// See [`super::Store::create`].
    pub(super) fn create(&self, session: Session) -> Result<Changed, StoreError> {
        let mut tables = self.tables()?;
        let key = (session.realm.clone(), session.id);
        match tables.load(&key)? {
            Loaded::Session(stored) if change::is_same_creation(&stored, &session)? => Ok(Changed::Done(stored)),
            Loaded::Session(stored) => Ok(Changed::Conflict(stored)),
            Loaded::Revoked => Ok(Changed::Gone(Loaded::Revoked)),
            Loaded::Absent if tables.records.len() >= Self::MAX_SESSIONS => Err(StoreError::Full(Self::MAX_SESSIONS)),
            Loaded::Absent => {
                let subject = (session.realm.clone(), session.subject.clone());
                let session = Session { epoch: tables.epoch(&subject), ..session };
                let bytes = record::encode(&session)?;
                let indexed = Indexed { epoch: session.epoch, ends: session.absolute_end };
                tables.by_subject.entry(subject).or_default().insert(session.id, indexed);
                tables.by_end.insert((session.absolute_end, key.clone()));
                tables.index_provider(&session);
                tables.seen.insert(key.clone(), session.last_seen);
                tables.records.insert(key, bytes.into());
                Ok(Changed::Done(Box::new(session)))
            }
        }
    }

    /// See [`super::Store::update`].
    pub(super) fn update(&self, expected: u64, session: Session) -> Result<Changed, StoreError> {
        let key = (session.realm.clone(), session.id);
        self.change(key, |stored| change::update(stored, expected, session))
    }

    /// See [`super::Store::rotate`].
    pub(super) fn rotate(&self, realm: &Realm, sid: SessionId, change: &SecretChange) -> Result<Changed, StoreError> {
        self.change((realm.clone(), sid), |stored| change::rotate(stored, change))
    }

    fn change(&self, key: Key, step: impl FnOnce(Session) -> Step) -> Result<Changed, StoreError> {
        let mut tables = self.tables()?;
        let stored = match tables.load(&key)? {
            Loaded::Session(stored) => stored,
            gone => return Ok(Changed::Gone(gone)),
        };
        match step((*stored).clone()) {
            Step::Conflict => Ok(Changed::Conflict(stored)),
            Step::Write(session) => {
                let bytes = record::encode(&session)?;
                tables.unindex_provider(&stored);
                tables.index_provider(&session);
                tables.records.insert(key, bytes.into());
                Ok(Changed::Done(session))
            }
        }
    }

    /// See [`super::Store::touch`].
    pub(super) fn touch(&self, realm: &Realm, sid: SessionId, seen: Timestamp) -> Result<(), StoreError> {
        let mut tables = self.tables()?;
        let key = (realm.clone(), sid);
        if let Loaded::Session(stored) = tables.load(&key)?
            && stored.last_seen < seen
        {
            tables.seen.insert(key, seen);
        }
        Ok(())
    }

    /// See [`super::Store::revoke`].
    pub(super) fn revoke(&self, realm: &Realm, sid: SessionId) -> Result<bool, StoreError> {
        let mut tables = self.tables()?;
        let key = (realm.clone(), sid);
        let Loaded::Session(session) = tables.load(&key)? else { return Ok(false) };
        tables.unindex(&session);
        tables.seen.remove(&key);
        tables.records.insert(key, record::encode_tombstone(realm, sid, session.absolute_end).into());
        Ok(true)
    }

    /// See [`super::Store::revoke_subject`].
    pub(super) fn revoke_subject(&self, realm: &Realm, subject: &str) -> Result<Vec<SessionId>, StoreError> {
        let mut tables = self.tables()?;
        let subject = (realm.clone(), subject.to_owned());
        let epoch = tables.epoch(&subject);
        let Some(indexed) = tables.by_subject.get(&subject) else { return Ok(Vec::new()) };
        let live = indexed.iter().filter(|(_, session)| session.epoch >= epoch).map(|(sid, _)| *sid).collect();
        if let Some(until) = indexed.values().map(|session| session.ends).max() {
            tables.last_epoch += 1;
            let value = tables.last_epoch;
            tables.epochs.insert(subject, Epoch { value, until });
        }
        Ok(live)
    }

    /// See [`super::Store::list`].
    pub(super) fn list(
        &self,
        realm: &Realm,
        subject: &str,
        limit: usize,
        after: Option<SessionId>,
    ) -> Result<Page, StoreError> {
        let tables = self.tables()?;
        let subject = (realm.clone(), subject.to_owned());
        let epoch = tables.epoch(&subject);
        let mut page = Page { sessions: Vec::new(), next: None };
        let Some(indexed) = tables.by_subject.get(&subject) else { return Ok(page) };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (sid, _) in indexed.range((from, Bound::Unbounded)).filter(|(_, session)| session.epoch >= epoch) {
            if page.sessions.len() == limit {
                page.next = page.sessions.last().map(|session: &Session| session.id);
                break;
            }
            if let Loaded::Session(session) = tables.load(&(realm.clone(), *sid))? {
                page.sessions.push(*session);
            }
        }
        Ok(page)
    }

    /// See [`super::Store::by_provider`].
    pub(super) fn by_provider(&self, realm: &Realm, iss: &str, sid: &str) -> Result<Vec<SessionId>, StoreError> {
        let tables = self.tables()?;
        let found = tables.by_provider.get(&(realm.clone(), iss.to_owned(), sid.to_owned()));
        Ok(found.map(|ids| ids.iter().copied().collect()).unwrap_or_default())
    }

    /// See [`super::Store::sweep`].
    pub(super) fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        let mut tables = self.tables()?;
        let mut forgotten = 0;
        while tables.by_end.first().is_some_and(|(ends, _)| *ends < now) {
            let Some((_, key)) = tables.by_end.pop_first() else { break };
            // A record that does not decode is over all the same: its end is known from the index.
            if let Some(bytes) = tables.records.remove(&key)
                && let Ok(Stored::Session(session)) = record::decode(&key.0, key.1, &bytes)
            {
                tables.unindex(&session);
            }
            tables.seen.remove(&key);
            forgotten += 1;
        }
        // Only after the sessions: an epoch goes when nothing is left that it revokes.
        tables.epochs.retain(|_, epoch| epoch.until >= now);
        Ok(forgotten)
    }

    /// Puts bytes under a key behind the store's back.
    #[cfg(test)]
    pub(crate) fn plant(&self, realm: &Realm, sid: SessionId, bytes: Vec<u8>) {
        self.tables().unwrap().records.insert((realm.clone(), sid), bytes.into());
    }
}

impl Tables {
    fn load(&self, key: &Key) -> Result<Loaded, StoreError> {
        let Some(bytes) = self.records.get(key) else { return Ok(Loaded::Absent) };
        let Stored::Session(mut session) = record::decode(&key.0, key.1, bytes)? else { return Ok(Loaded::Revoked) };
        if session.epoch < self.epoch(&(key.0.clone(), session.subject.clone())) {
            return Ok(Loaded::Revoked);
        }
        session.last_seen = self.seen.get(key).copied().unwrap_or(session.created);
        Ok(Loaded::Session(session))
    }

    fn epoch(&self, subject: &SubjectKey) -> u64 {
        self.epochs.get(subject).map_or(0, |epoch| epoch.value)
    }

    fn index_provider(&mut self, session: &Session) {
        if let Some(key) = provider_key(session) {
            self.by_provider.entry(key).or_default().insert(session.id);
        }
    }

    fn unindex_provider(&mut self, session: &Session) {
        let Some(key) = provider_key(session) else { return };
        if let Some(ids) = self.by_provider.get_mut(&key) {
            ids.remove(&session.id);
            if ids.is_empty() {
                self.by_provider.remove(&key);
            }
        }
    }

    fn unindex(&mut self, session: &Session) {
        self.unindex_provider(session);
        let key = (session.realm.clone(), session.subject.clone());
        if let Some(ids) = self.by_subject.get_mut(&key) {
            ids.remove(&session.id);
            if ids.is_empty() {
                self.by_subject.remove(&key);
            }
        }
    }
}

fn provider_key(session: &Session) -> Option<ProviderKey> {
    let provider = session.provider.as_ref()?;
    Some((session.realm.clone(), provider.iss.clone(), provider.sid.clone()?))
}
