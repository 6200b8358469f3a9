//! Where sessions live: one contract, kept by every store (`store/contract.rs` is its test suite).
//!
//! A store is the truth. It answers for one record at a time, makes each change durable before it says so (P20), and never
//! brings a revoked session back (P19). It knows nothing of tokens, requests or rules.

mod change;
pub mod embedded;
pub mod memory;
pub mod record;
pub mod redis;

#[cfg(test)]
mod contract;
#[cfg(test)]
mod fixtures;

use std::sync::Arc;
use std::time::Duration;

use crate::authz::session::{PreviousSecret, Realm, SecretDigest, Session, SessionId, Timestamp};

/// A session store.
#[derive(Debug)]
pub enum Store {
    /// In this process's memory: for tests and trials; a restart ends every session.
    Memory(memory::MemoryStore),
    /// One durable file (redb), for one process.
    Embedded(embedded::EmbeddedStore),
    /// Redis or Valkey, shared by many processes.
    Redis(redis::RedisStore),
}

/// What a store tells unasked to those who keep what they loaded from it.
#[derive(Clone, Copy, Debug)]
pub enum Notice<'a> {
    /// The record of a session has changed.
    Session(SessionId),
    /// The epoch of a subject has moved on: all sessions of it may have ended.
    Subject(&'a Realm, &'a str),
    /// Anything may have changed. From now on changes are told only if `told`.
    Everything {
        /// Whether changes will be told.
        told: bool,
    },
    /// Every change that was made before `asked` and is told at all has been told.
    Proved {
        /// When the store was asked, by the follower's clock.
        asked: Timestamp,
    },
}

/// Who keeps what was loaded, and wants to be told of changes.
pub struct Follower {
    /// Hears each notice. It must not wait.
    pub tell: Box<dyn Fn(Notice<'_>) + Send + Sync>,
    /// What time it is.
    pub now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

/// What a store knows of a session id.
#[derive(Clone, Debug)]
pub enum Loaded {
    /// A record. The store does not judge its times.
    Session(Box<Session>),
    /// It was revoked, or its subject's epoch has moved on.
    Revoked,
    /// No record, or one whose absolute end has passed and which was swept away.
    Absent,
}

/// Why a store could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// No answer in time. The change may still be made; every change can be repeated.
    #[error("session store did not answer within {0:?}")]
    Timeout(Duration),
    /// The record is not what it should be: damaged, or of another version, key or realm.
    #[error("stored session does not decode")]
    Corrupt(#[from] record::DecodeError),
    /// The record would be larger than a store takes.
    #[error(transparent)]
    TooLarge(#[from] record::TooLarge),
    /// The memory store holds as many sessions as it may.
    #[error("session store is full: it holds {0} sessions")]
    Full(usize),
    /// More writes are waiting than the embedded store queues.
    #[error("session store has too many writes waiting")]
    Busy,
    /// The embedded store's file failed. Nothing is answered from it until it could be opened again.
    #[error("embedded session store failed")]
    Embedded(#[source] Arc<redb::Error>),
    /// Redis could not be asked, or did not do what it was asked. A change may still have been made; every change can be
    /// repeated.
    #[error("session store failed")]
    Redis(#[source] redis::Trouble),
    /// The system gave no random number.
    #[error("the system has no random numbers to give")]
    NoRandom,
    /// The store is shutting down.
    #[error("session store is closed")]
    Closed,
}

/// What became of a conditional change.
#[derive(Clone, Debug)]
pub enum Changed {
    /// Made, durably; the record as it is now.
    Done(Box<Session>),
    /// Not made: the record is no longer as expected. As it is now.
    Conflict(Box<Session>),
    /// Not made: revoked or absent.
    Gone(Loaded),
}

/// One page of a subject's sessions, oldest id first.
#[derive(Clone, Debug)]
pub struct Page {
    /// The records, live or expired but never revoked.
    pub sessions: Vec<Session>,
    /// The `after` of the next page; `None` when this was the last.
    pub next: Option<SessionId>,
}

/// Replaces the secret when the record's present secret is still `from`.
#[derive(Clone, Copy, Debug)]
pub struct SecretChange {
    /// The present secret as the caller knows it.
    pub from: SecretDigest,
    /// The present secret afterwards (the same when only the overlap's end is written).
    pub to: SecretDigest,
    /// The previous secret afterwards.
    pub previous: Option<PreviousSecret>,
    /// `rotated_at` afterwards.
    pub rotated_at: Timestamp,
}

impl Store {
    /// The record of `sid` in `realm`, with its `last_seen`.
    pub async fn load(&self, realm: &Realm, sid: SessionId) -> Result<Loaded, StoreError> {
        match self {
            Self::Memory(store) => store.load(realm, sid),
            Self::Embedded(store) => store.load(realm, sid),
            Self::Redis(store) => store.load(realm, sid).await,
        }
    }

    /// Stores a new session with the subject's present epoch (the one in `session` is ignored) and answers the record.
    /// Creating the same id twice answers the record when both are equal but for epoch and `last_seen`, else `Conflict`; an
    /// id that was revoked is `Gone`.
    pub async fn create(&self, session: Session) -> Result<Changed, StoreError> {
        match self {
            Self::Memory(store) => store.create(session),
            Self::Embedded(store) => store.create(session).await,
            Self::Redis(store) => store.create(session).await,
        }
    }

    /// Replaces the record when its version is still `expected`, as version `expected + 1`. Secrets, `last_seen`, `created`,
    /// `absolute_end`, subject, realm and epoch stay those of the record in the store.
    pub async fn update(&self, expected: u64, session: Session) -> Result<Changed, StoreError> {
        match self {
            Self::Memory(store) => store.update(expected, session),
            Self::Embedded(store) => store.update(expected, session).await,
            Self::Redis(store) => store.update(expected, session).await,
        }
    }

    /// Replaces the secret; leaves the version alone. The end of a previous secret's overlap, once written, never moves
    /// out; a change that leaves it open where the record has an end is a `Conflict`.
    pub async fn rotate(&self, realm: &Realm, sid: SessionId, change: SecretChange) -> Result<Changed, StoreError> {
        match self {
            Self::Memory(store) => store.rotate(realm, sid, &change),
            Self::Embedded(store) => store.rotate(realm, sid, change).await,
            Self::Redis(store) => store.rotate(realm, sid, &change).await,
        }
    }

    /// Notes a use; never moves `last_seen` back, never brings a record into being. A crash may lose the touches of the
    /// last second: it ends a session early, never late.
    pub async fn touch(&self, realm: &Realm, sid: SessionId, seen: Timestamp) -> Result<(), StoreError> {
        match self {
            Self::Memory(store) => store.touch(realm, sid, seen),
            Self::Embedded(store) => store.touch(realm, sid, seen).await,
            Self::Redis(store) => store.touch(realm, sid, seen).await,
        }
    }

    /// Ends one session, durably; leaves a tombstone until its absolute end. Idempotent; answers whether it was there.
    pub async fn revoke(&self, realm: &Realm, sid: SessionId) -> Result<bool, StoreError> {
        match self {
            Self::Memory(store) => store.revoke(realm, sid),
            Self::Embedded(store) => store.revoke(realm, sid).await,
            Self::Redis(store) => store.revoke(realm, sid).await,
        }
    }

    /// Ends every session of a subject, durably, by moving its epoch on. Answers the ids that were not revoked before.
    pub async fn revoke_subject(&self, realm: &Realm, subject: &str) -> Result<Vec<SessionId>, StoreError> {
        match self {
            Self::Memory(store) => store.revoke_subject(realm, subject),
            Self::Embedded(store) => store.revoke_subject(realm, subject).await,
            Self::Redis(store) => store.revoke_subject(realm, subject).await,
        }
    }

    /// A page of a subject's sessions, beginning after `after`; at most `limit`, which is taken as at least 1.
    pub async fn list(
        &self,
        realm: &Realm,
        subject: &str,
        limit: usize,
        after: Option<SessionId>,
    ) -> Result<Page, StoreError> {
        let limit = limit.max(1);
        match self {
            Self::Memory(store) => store.list(realm, subject, limit, after),
            Self::Embedded(store) => store.list(realm, subject, limit, after),
            Self::Redis(store) => store.list(realm, subject, limit, after).await,
        }
    }

    /// The sessions behind which an identity provider's own session `sid` stands; revoked ones may be among them.
    pub async fn by_provider(&self, realm: &Realm, iss: &str, sid: &str) -> Result<Vec<SessionId>, StoreError> {
        match self {
            Self::Memory(store) => store.by_provider(realm, iss, sid),
            Self::Embedded(store) => store.by_provider(realm, iss, sid),
            Self::Redis(store) => store.by_provider(realm, iss, sid).await,
        }
    }

    /// Forgets records and tombstones whose absolute end lies before `now`; answers how many.
    pub async fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        match self {
            Self::Memory(store) => store.sweep(now),
            Self::Embedded(store) => store.sweep(now).await,
            // It forgets by itself.
            Self::Redis(_) => Ok(0),
        }
    }

    /// Whether it answers now: for readiness. A file that failed is opened again by itself, and so is a
    /// connection.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Embedded(store) => store.is_open(),
            Self::Redis(store) => store.is_open(),
        }
    }

    /// Tells `follower` of changes from now on, first that everything may have changed. Only a store elsewhere has anything to
    /// tell: one in this process is changed by nobody else. The first follower stays.
    pub fn follow(&self, follower: Follower) {
        match self {
            Self::Memory(_) | Self::Embedded(_) => {}
            Self::Redis(store) => store.follow(follower),
        }
    }

    /// Makes what was answered durable, touches too, and ends; whatever is asked afterwards is `Closed`.
    pub async fn close(&self) -> Result<(), StoreError> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Embedded(store) => store.close().await,
            Self::Redis(store) => {
                store.close().await;
                Ok(())
            }
        }
    }
}
