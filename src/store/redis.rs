//! Sessions in Redis or Valkey, shared by many gates.
//!
//! **What is kept** is in `keys.rs`. A record and what belongs to it lie in one slot and are changed by one script; a subject's
//! epoch and index lie in another. So a change takes several steps, in an order in which a stop between two of them, or the
//! loss of either half, can end a session and never keep one alive:
//!
//! - A session is in its subject's index, and has the subject's epoch, before its record is there.
//! - A record counts only while its subject's epoch **is there and is the one in the record**. Epochs are random numbers, not
//!   counted ones, so that one which was lost cannot come again.
//! - A log-out everywhere replaces the epoch, whatever the index has or has lost. A revocation replaces the record.
//!
//! **Changes** of a record are compared and swapped byte for byte: this process makes the new record by the same pure step
//! that the other stores use, and tries again when another was faster.
//!
//! **Who is told**: every gate reads over a connection that the server tells of changes (`node.rs`), of records and epochs.
//!
//! Redis forgets by itself: every key has a time to live that ends after the last session it speaks of.

mod address;
mod asking;
mod call;
mod cluster;
mod config;
mod dial;
mod fleet;
mod keys;
mod node;
mod scripts;
mod sentinel;
mod slot;
pub mod stats;
mod times;
mod trouble;
pub mod users;

use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use futures_util::future::try_join_all;
use redis::Value;

pub use self::address::Address;
use self::asking::{bytes, ids_of, number};
use self::call::Call;
pub use self::call::Wait;
pub use self::config::{RedisConfig, Servers};
pub use self::dial::{Access, Tls};
use self::fleet::Fleet;
use self::node::Line;
pub use self::sentinel::Sentinel;
use self::stats::RedisStats;
use self::times::{LONGEST, decimal, left, text};
pub use self::trouble::Trouble;
use super::change::{self, Step};
use super::record::{self, Stored};
use super::{Changed, Follower, Loaded, Page, SecretChange, StoreError};
use crate::authz::session::{Realm, Session, SessionId, Timestamp};

/// How often a change is tried when others change the same record.
const TRIES: usize = 32;
/// How many records are read at once for a page.
const AT_ONCE: usize = 64;

/// A store in Redis. Dropping it gives the connections up.
#[derive(Debug)]
pub struct RedisStore {
    fleet: Arc<Fleet>,
}

/// A record as it lies in the store.
struct Read {
    bytes: Vec<u8>,
    stored: Stored,
}

impl RedisStore {
    /// Begins to connect, in tasks of its own: a server that is away now is waited for, and calls fail meanwhile. Must be called
    /// within a runtime.
    pub fn open(config: RedisConfig, stats: RedisStats) -> Self {
        Self { fleet: Fleet::start(config, stats) }
    }

    /// See [`super::Store::follow`].
    pub(super) fn follow(&self, follower: Follower) {
        self.fleet.follow(follower);
    }

    /// See [`super::Store::is_open`].
    pub(super) fn is_open(&self) -> bool {
        self.fleet.is_reachable()
    }

    /// See [`super::Store::close`].
    pub(super) async fn close(&self) {
        self.fleet.close().await;
    }

    /// See [`super::Store::load`]. Told of changes of what was found from now on.
    pub(super) async fn load(&self, realm: &Realm, sid: SessionId) -> Result<Loaded, StoreError> {
        self.load_over(Line::Reads, realm, sid).await
    }

    async fn load_over(&self, line: Line, realm: &Realm, sid: SessionId) -> Result<Loaded, StoreError> {
        let Some(read) = self.read(line, realm, sid).await? else { return Ok(Loaded::Absent) };
        let Stored::Session(session) = read.stored else { return Ok(Loaded::Revoked) };
        match self.is_current(line, &session).await? {
            true => Ok(Loaded::Session(session)),
            false => Ok(Loaded::Revoked),
        }
    }

    /// What stands under the session's key.
    async fn read(&self, line: Line, realm: &Realm, sid: SessionId) -> Result<Option<Read>, StoreError> {
        let (session, seen) = (keys::session(realm, sid), keys::seen(realm, sid));
        let [record, seen] = match self.ask(line, &Call::Record { session: &session, seen: &seen }).await {
            Ok(both) => both,
            // Their slot is on its way to another server, and one may be here and one there.
            Err(StoreError::Redis(trouble)) if trouble.is_redirection() => {
                let [record] = self.ask(line, &Call::Get(&session)).await?;
                let [seen] = self.ask(line, &Call::Get(&seen)).await?;
                [record, seen]
            }
            Err(error) => return Err(error),
        };
        let Some(bytes) = bytes(record, "GET")? else { return Ok(None) };
        let seen = number(seen)?;
        Ok(Some(Read { stored: decode(realm, sid, &bytes, seen)?, bytes }))
    }

    /// Whether the subject's epoch is still that of the session.
    async fn is_current(&self, line: Line, session: &Session) -> Result<bool, StoreError> {
        let [now] = self.ask(line, &Call::Get(&keys::epoch(&session.realm, &session.subject))).await?;
        Ok(number(now)?.is_some_and(|now| now.cast_unsigned() == session.epoch))
    }

    /// See [`super::Store::create`].
    pub(super) async fn create(&self, session: Session) -> Result<Changed, StoreError> {
        // Before anything is written: a record that is too large leaves no trace.
        record::encode(&Session { epoch: u64::MAX, ..session.clone() })?;
        let (realm, sid) = (&session.realm, session.id);
        let left = left(session.absolute_end);
        self.index_provider(&session).await?;
        let epoch = self.join(&session, left).await?;
        let session = Session { epoch, ..session.clone() };
        let bytes = record::encode(&session)?;
        let seen = if session.last_seen == session.created { String::new() } else { text(session.last_seen) };
        let keys = [keys::session(realm, sid), keys::seen(realm, sid)];
        let there = self.change(&scripts::PUT, &keys, &[&bytes, left.to_string().as_bytes(), seen.as_bytes()]).await?;
        let there = match there {
            Value::Array(there) => there,
            _ => return Err(Trouble::Odd("PUT").into()),
        };
        let mut there = there.into_iter();
        let Some(bytes) = there.next() else { return Ok(Changed::Done(Box::new(session))) };
        let bytes = asking::bytes(bytes, "PUT")?.ok_or(Trouble::Odd("PUT"))?;
        let seen = there.next().map_or(Ok(None), number)?;
        let stored = match decode(realm, sid, &bytes, seen)? {
            Stored::Session(stored) if self.is_current(Line::Writes, &stored).await? => stored,
            Stored::Session(_) | Stored::Tombstone { .. } => {
                self.unlist(&session, None).await;
                return Ok(Changed::Gone(Loaded::Revoked));
            }
        };
        self.unlist(&session, Some(&stored)).await;
        Ok(if change::is_same_creation(&stored, &session)? { Changed::Done(stored) } else { Changed::Conflict(stored) })
    }

    /// Puts the session into its subject's index; answers the subject's epoch.
    async fn join(&self, session: &Session, left: i64) -> Result<u64, StoreError> {
        let keys = [keys::epoch(&session.realm, &session.subject), keys::of_subject(&session.realm, &session.subject)];
        let (epoch, end) = (new_epoch()?.to_string(), text(session.absolute_end));
        let arguments = [epoch.as_bytes(), session.id.as_bytes(), end.as_bytes(), &decimal(left)];
        let epoch = number(self.change(&scripts::JOIN, &keys, &arguments).await?)?;
        Ok(epoch.ok_or(Trouble::Odd("JOIN"))?.cast_unsigned())
    }

    async fn index_provider(&self, session: &Session) -> Result<(), StoreError> {
        let Some(key) = keys::of_providers_session(&session.realm, session.provider.as_ref()) else { return Ok(()) };
        let (end, left) = (text(session.absolute_end), left(session.absolute_end));
        let arguments = [session.id.as_bytes(), end.as_bytes(), &decimal(left)];
        self.change(&scripts::LIST, &[key], &arguments).await.map(drop)
    }

    /// Takes a session out of the indexes, but for those that `stays` is in. What stays in them by a failure here is passed
    /// over by who reads them.
    async fn unlist(&self, session: &Session, stays: Option<&Session>) {
        let kept = stays.map(indexes).unwrap_or_default();
        for index in indexes(session).iter().filter(|index| !kept.contains(index)) {
            let _: Result<[Value; 1], _> =
                self.ask(Line::Writes, &Call::Remove { index, member: session.id.as_bytes() }).await;
        }
    }

    /// See [`super::Store::update`].
    pub(super) async fn update(&self, expected: u64, session: Session) -> Result<Changed, StoreError> {
        let realm = session.realm.clone();
        self.swap(&realm, session.id, |stored| change::update(stored, expected, session.clone())).await
    }

    /// See [`super::Store::rotate`].
    pub(super) async fn rotate(
        &self,
        realm: &Realm,
        sid: SessionId,
        change: &SecretChange,
    ) -> Result<Changed, StoreError> {
        self.swap(realm, sid, |stored| change::rotate(stored, change)).await
    }

    /// Replaces the record by what `step` makes of it.
    async fn swap(&self, realm: &Realm, sid: SessionId, step: impl Fn(Session) -> Step) -> Result<Changed, StoreError> {
        let key = [keys::session(realm, sid)];
        for _ in 0..TRIES {
            let Some(read) = self.read(Line::Writes, realm, sid).await? else {
                return Ok(Changed::Gone(Loaded::Absent));
            };
            let Stored::Session(stored) = read.stored else { return Ok(Changed::Gone(Loaded::Revoked)) };
            if !self.is_current(Line::Writes, &stored).await? {
                return Ok(Changed::Gone(Loaded::Revoked));
            }
            let session = match step((*stored).clone()) {
                Step::Conflict => return Ok(Changed::Conflict(stored)),
                Step::Write(session) => session,
            };
            let bytes = record::encode(&session)?;
            let moved = stored.provider != session.provider;
            if moved {
                // Before the record says so, or a log-out by the provider could miss it.
                self.index_provider(&session).await?;
            }
            if number(self.change(&scripts::SWAP, &key, &[&read.bytes, &bytes]).await?)? == Some(1) {
                if moved && let Some(index) = keys::of_providers_session(realm, stored.provider.as_ref()) {
                    let call = Call::Remove { index: &index, member: sid.as_bytes() };
                    let _: Result<[Value; 1], _> = self.ask(Line::Writes, &call).await;
                }
                return Ok(Changed::Done(session));
            }
        }
        Err(Trouble::Contended.into())
    }

    /// See [`super::Store::touch`].
    pub(super) async fn touch(&self, realm: &Realm, sid: SessionId, seen: Timestamp) -> Result<(), StoreError> {
        let Some(read) = self.read(Line::Writes, realm, sid).await? else { return Ok(()) };
        let Stored::Session(stored) = read.stored else { return Ok(()) };
        let keys = [keys::session(realm, sid), keys::seen(realm, sid)];
        let (seen, created) = (text(seen), text(stored.created));
        let leeway = i64::try_from(self.fleet.config.clock_leeway.as_millis()).unwrap_or(LONGEST).min(LONGEST);
        let arguments = [seen.as_bytes(), created.as_bytes(), &decimal(left(stored.absolute_end)), &decimal(leeway)];
        // A use that a failover forgets ends a session early: no replica is waited for.
        let [_] = self.ask_script(&scripts::TOUCH, &keys, &arguments, None).await?;
        Ok(())
    }

    /// See [`super::Store::revoke`].
    pub(super) async fn revoke(&self, realm: &Realm, sid: SessionId) -> Result<bool, StoreError> {
        let Some(read) = self.read(Line::Writes, realm, sid).await? else { return Ok(false) };
        let Stored::Session(stored) = read.stored else {
            // Whoever wrote the tombstone may not have heard from enough replicas; this caller must.
            return self.confirm(realm, sid).await.map(|()| false);
        };
        let tombstone = record::encode_tombstone(realm, sid, stored.absolute_end);
        let buried = number(self.change(&scripts::BURY, &[keys::session(realm, sid)], &[&tombstone]).await?)?;
        self.unlist(&stored, None).await;
        // The subject's server may be away, which is no reason to leave the session alive.
        let current = buried == Some(1) && self.is_current(Line::Writes, &stored).await.unwrap_or(true);
        Ok(current)
    }

    /// Writes the tombstone that is there once more, so that the replicas asked for confirm it.
    async fn confirm(&self, realm: &Realm, sid: SessionId) -> Result<(), StoreError> {
        if self.fleet.config.wait.is_none() {
            return Ok(());
        }
        let Some(read) = self.read(Line::Writes, realm, sid).await? else { return Ok(()) };
        self.change(&scripts::SWAP, &[keys::session(realm, sid)], &[&read.bytes, &read.bytes]).await.map(drop)
    }

    /// See [`super::Store::revoke_subject`].
    pub(super) async fn revoke_subject(&self, realm: &Realm, subject: &str) -> Result<Vec<SessionId>, StoreError> {
        let keys = [keys::epoch(realm, subject), keys::of_subject(realm, subject)];
        let epoch = new_epoch()?.to_string();
        let ids = self.change(&scripts::LOG_OUT, &keys, &[epoch.as_bytes()]).await?;
        ids_of(ids)
    }

    /// See [`super::Store::list`]. Reads 16 bytes for each of the subject's sessions, however short the page.
    pub(super) async fn list(
        &self,
        realm: &Realm,
        subject: &str,
        limit: usize,
        after: Option<SessionId>,
    ) -> Result<Page, StoreError> {
        let index = keys::of_subject(realm, subject);
        let [ids] = self.ask(Line::Writes, &Call::Members(&index)).await?;
        let mut ids = ids_of(ids)?;
        ids.retain(|sid| after.is_none_or(|after| *sid > after));
        let mut page = Page { sessions: Vec::new(), next: None };
        for some in ids.chunks(AT_ONCE.min(limit.saturating_add(1))) {
            let loads = some.iter().map(|sid| self.load_over(Line::Writes, realm, *sid));
            for loaded in try_join_all(loads).await? {
                match loaded {
                    Loaded::Session(session) if session.subject == subject => page.sessions.push(*session),
                    Loaded::Session(_) | Loaded::Revoked | Loaded::Absent => {}
                }
            }
            if page.sessions.len() > limit {
                page.sessions.truncate(limit);
                page.next = page.sessions.last().map(|session| session.id);
                break;
            }
        }
        Ok(page)
    }

    /// See [`super::Store::by_provider`].
    pub(super) async fn by_provider(&self, realm: &Realm, iss: &str, sid: &str) -> Result<Vec<SessionId>, StoreError> {
        let index = keys::of_provider(realm, iss, sid);
        let [ids] = self.ask(Line::Writes, &Call::Members(&index)).await?;
        let mut found = Vec::new();
        for some in ids_of(ids)?.chunks(AT_ONCE) {
            let loads = some.iter().map(|id| self.load_over(Line::Writes, realm, *id));
            for loaded in try_join_all(loads).await? {
                if let Loaded::Session(session) = loaded
                    && session.provider.as_ref().is_some_and(|it| it.iss == iss && it.sid.as_deref() == Some(sid))
                {
                    found.push(session.id);
                }
            }
        }
        Ok(found)
    }

    /// Puts bytes under a key behind the store's back.
    #[cfg(test)]
    pub(super) async fn plant(&self, realm: &Realm, sid: SessionId, bytes: Vec<u8>) {
        static PLANT: scripts::Script = scripts::Script::new("return redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')");
        self.change(&PLANT, &[keys::session(realm, sid)], &[&bytes]).await.unwrap();
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.fleet.stop();
    }
}

/// The indexes that a session is in.
fn indexes(session: &Session) -> Vec<String> {
    let provider = keys::of_providers_session(&session.realm, session.provider.as_ref());
    provider.into_iter().chain([keys::of_subject(&session.realm, &session.subject)]).collect()
}

fn decode(realm: &Realm, sid: SessionId, bytes: &[u8], seen: Option<i64>) -> Result<Stored, StoreError> {
    let mut stored = record::decode(realm, sid, bytes)?;
    if let Stored::Session(session) = &mut stored
        && let Some(seen) = seen
    {
        session.last_seen = Timestamp::from_millis(seen);
    }
    Ok(stored)
}

/// A subject's next epoch: 63 random bits, so that it is a number for everybody who reads it.
fn new_epoch() -> Result<i64, StoreError> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| StoreError::NoRandom)?;
    Ok(i64::from_be_bytes(bytes) & i64::MAX)
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Late(within) => Self::Timeout(within),
            Trouble::Closed => Self::Closed,
            other => Self::Redis(other),
        }
    }
}
