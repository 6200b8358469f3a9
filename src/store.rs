//! Where sessions live: one contract, kept by every store (`store/contract.rs` is its test suite).
//!
//! A store is the truth. It answers for one record at a time, makes each change durable before it says so (P20), and never
//! brings a revoked session back (P19). It knows nothing of tokens, requests or rules.

pub mod embedded;
pub mod memory;
pub mod record;

use std::time::Duration;

use crate::authz::session::{PreviousSecret, Realm, SecretDigest, Session, SessionId, Timestamp};

/// A session store.
#[derive(Debug)]
pub enum Store {
    /// In this process's memory: for tests and trials; a restart ends every session.
    Memory(memory::MemoryStore),
    /// One durable file (redb), for one process.
    Embedded(embedded::EmbeddedStore),
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
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No answer in time.
    #[error("session store did not answer within {0:?}")]
    Timeout(Duration),
    /// The record is not what it should be: wrong version, key or realm.
    #[error("stored session does not decode: {0}")]
    Corrupt(#[from] record::DecodeError),
    /// The embedded store's file failed.
    #[error("embedded session store failed")]
    Embedded(#[source] Box<redb::Error>),
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
    /// Where the next page begins.
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
        let _ = (realm, sid);
        todo!()
    }

    /// Stores a new session with the subject's present epoch (the one in `session` is ignored) and answers the record.
    /// Creating the same id twice answers the first record when both are equal but for their epoch, else `Conflict`.
    pub async fn create(&self, session: Session) -> Result<Changed, StoreError> {
        let _ = session;
        todo!()
    }

    /// Replaces the record when its version is still `expected`, as version `expected + 1`. Secrets, `last_seen`, `created`,
    /// `absolute_end`, subject, realm and epoch stay those of the record in the store.
    pub async fn update(&self, expected: u64, session: Session) -> Result<Changed, StoreError> {
        let _ = (expected, session);
        todo!()
    }

    /// Replaces the secret; leaves the version alone.
    pub async fn rotate(&self, realm: &Realm, sid: SessionId, change: SecretChange) -> Result<Changed, StoreError> {
        let _ = (realm, sid, change);
        todo!()
    }

    /// Notes a use; never moves `last_seen` back, never brings a record into being.
    pub async fn touch(&self, realm: &Realm, sid: SessionId, seen: Timestamp) -> Result<(), StoreError> {
        let _ = (realm, sid, seen);
        todo!()
    }

    /// Ends one session, durably; leaves a tombstone until its absolute end. Idempotent; answers whether it was there.
    pub async fn revoke(&self, realm: &Realm, sid: SessionId) -> Result<bool, StoreError> {
        let _ = (realm, sid);
        todo!()
    }

    /// Ends every session of a subject, durably, by moving its epoch on. Answers the ids that were live.
    pub async fn revoke_subject(&self, realm: &Realm, subject: &str) -> Result<Vec<SessionId>, StoreError> {
        let _ = (realm, subject);
        todo!()
    }

    /// A page of a subject's sessions, beginning after `after`.
    pub async fn list(
        &self,
        realm: &Realm,
        subject: &str,
        limit: usize,
        after: Option<SessionId>,
    ) -> Result<Page, StoreError> {
        let _ = (realm, subject, limit, after);
        todo!()
    }

    /// Forgets records and tombstones whose absolute end lies before `now`; answers how many.
    pub async fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        let _ = now;
        todo!()
    }
}
