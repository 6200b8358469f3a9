//! Sessions in one durable file (redb), for one process.
//!
//! **Writes** go through one thread. It takes whatever waits, makes all of it in one transaction, and answers each caller
//! only after that transaction is on the disk (P20): a hundred log-ins at once cost one `fsync`. Touches alone are answered
//! before they are on the disk, and get there within one second.
//!
//! **Reads** run where they are asked, on a snapshot that the writer publishes after each commit and before it answers. A
//! load is three descents in trees whose pages are in memory, some microseconds: a hop to another thread would cost more
//! than the load, and a page that must come from the disk is one `pread`.
//!
//! **A failed file** (disk full, an I/O error) is told to every caller whose write was not committed, and nothing is
//! answered from it any more, reads neither. The writer tries to open it again, at most once a second.

mod file;
mod tables;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::oneshot;

pub use self::file::OpenError;
use self::file::Source;
use self::tables::{Snapshot, Tables, Trouble};
use self::writer::{Durable, Job};
use super::change;
use super::{Changed, Loaded, Page, SecretChange, StoreError};
use crate::authz::session::{Realm, Session, SessionId, Timestamp};

/// How long a caller waits for a write. It may still be made after that: every write can be repeated.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How many records one transaction of a sweep takes, so that other writes come in between.
const SWEEP_AT_ONCE: usize = 1_000;

/// A store in one file. Dropping it writes out what was answered and frees the file.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    /// `None` only while it is being dropped.
    queue: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    answer_within: Duration,
}

/// What readers and the writer's thread share.
struct Shared {
    state: ArcSwap<State>,
    /// Why the file failed last: what a caller hears whose write was in hand at that moment.
    failure: ArcSwapOption<redb::Error>,
}

enum State {
    Open(Box<Snapshot>),
    Failed(Arc<redb::Error>),
    Closed,
}

impl Shared {
    /// Why a write that was taken on was never answered.
    fn why(&self) -> StoreError {
        match (&**self.state.load(), self.failure.load_full()) {
            (State::Closed, _) | (_, None) => StoreError::Closed,
            (_, Some(error)) => StoreError::Embedded(error),
        }
    }
}

impl EmbeddedStore {
    /// Whether the file can be read and written, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        matches!(&**self.shared.state.load(), State::Open(_))
    }

    /// How many writes may wait; one more is [`StoreError::Busy`] (P32).
    pub const QUEUE: usize = 4_096;
    /// The most memory that is used for pages of the file, in bytes.
    pub const CACHE_BYTES: usize = 8 * 1024 * 1024;

    /// Opens the store in the file at `path`, or makes it there (mode 0600), and repairs it when its last process was killed.
    ///
    /// # Errors
    /// Each names the path, the cause and what to do about it.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_source(Source::new(path))
    }

    fn open_source(source: Source) -> Result<Self, OpenError> {
        let (database, snapshot) = source.open_or_create()?;
        let shared =
            Arc::new(Shared { state: ArcSwap::from_pointee(State::Open(snapshot)), failure: ArcSwapOption::empty() });
        let path = source.path.clone();
        let (queue, thread) = writer::spawn(source, database, Arc::clone(&shared))
            .map_err(|source| OpenError::Thread { path, source })?;
        Ok(Self { shared, queue: Some(queue), thread: Some(thread), answer_within: ANSWER_WITHIN })
    }

    /// See [`super::Store::load`].
    pub(super) fn load(&self, realm: &Realm, sid: SessionId) -> Result<Loaded, StoreError> {
        self.read(|snapshot| snapshot.load(realm, sid))
    }

    /// See [`super::Store::list`].
    pub(super) fn list(
        &self,
        realm: &Realm,
        subject: &str,
        limit: usize,
        after: Option<SessionId>,
    ) -> Result<Page, StoreError> {
        self.read(|snapshot| snapshot.list(realm, subject, limit, after))
    }

    /// See [`super::Store::by_provider`].
    pub(super) fn by_provider(&self, realm: &Realm, iss: &str, sid: &str) -> Result<Vec<SessionId>, StoreError> {
        self.read(|snapshot| snapshot.by_provider(realm, iss, sid))
    }

    /// See [`super::Store::create`].
    pub(super) async fn create(&self, session: Session) -> Result<Changed, StoreError> {
        self.write(Durable::Now, move |tables| tables.create(session)).await
    }

    /// See [`super::Store::update`].
    pub(super) async fn update(&self, expected: u64, session: Session) -> Result<Changed, StoreError> {
        let (realm, sid) = (session.realm.clone(), session.id);
        self.write(Durable::Now, move |tables| {
            tables.change(&realm, sid, |stored| change::update(stored, expected, session))
        })
        .await
    }

    /// See [`super::Store::rotate`].
    pub(super) async fn rotate(
        &self,
        realm: &Realm,
        sid: SessionId,
        change: SecretChange,
    ) -> Result<Changed, StoreError> {
        let realm = realm.clone();
        self.write(Durable::Now, move |tables| tables.change(&realm, sid, |stored| change::rotate(stored, &change)))
            .await
    }

    /// See [`super::Store::touch`].
    pub(super) async fn touch(&self, realm: &Realm, sid: SessionId, seen: Timestamp) -> Result<(), StoreError> {
        let realm = realm.clone();
        self.write(Durable::Soon, move |tables| tables.touch(&realm, sid, seen)).await
    }

    /// See [`super::Store::revoke`].
    pub(super) async fn revoke(&self, realm: &Realm, sid: SessionId) -> Result<bool, StoreError> {
        let realm = realm.clone();
        self.write(Durable::Now, move |tables| tables.revoke(&realm, sid)).await
    }

    /// See [`super::Store::revoke_subject`].
    pub(super) async fn revoke_subject(&self, realm: &Realm, subject: &str) -> Result<Vec<SessionId>, StoreError> {
        let (realm, subject) = (realm.clone(), subject.to_owned());
        self.write(Durable::Now, move |tables| tables.revoke_subject(&realm, &subject)).await
    }

    /// See [`super::Store::sweep`].
    pub(super) async fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        let mut forgotten = 0;
        loop {
            let count = self.write(Durable::Now, move |tables| tables.sweep(now, SWEEP_AT_ONCE)).await?;
            forgotten += count;
            if count < SWEEP_AT_ONCE {
                return Ok(forgotten);
            }
        }
    }

    /// See [`super::Store::close`].
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let (reply, closed) = oneshot::channel();
        let queue = self.queue()?.clone();
        // The one send that waits for room, so it does that where waiting is allowed.
        let sent = tokio::task::spawn_blocking(move || queue.send(Job::Close(reply))).await;
        match sent {
            Ok(Ok(())) => closed.await.unwrap_or_else(|_| Err(self.shared.why())),
            // The writer has ended: closed before, or it failed and said so.
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }

    /// Puts bytes under a key behind the store's back.
    #[cfg(test)]
    pub(super) async fn plant(&self, realm: &Realm, sid: SessionId, bytes: Vec<u8>) {
        let realm = realm.clone();
        self.write(Durable::Now, move |tables| tables.plant(&realm, sid, &bytes)).await.unwrap();
    }

    fn queue(&self) -> Result<&SyncSender<Job>, StoreError> {
        self.queue.as_ref().ok_or(StoreError::Closed)
    }

    fn read<T>(&self, run: impl FnOnce(&Snapshot) -> Result<T, Trouble>) -> Result<T, StoreError> {
        let state = self.shared.state.load();
        let snapshot = match &**state {
            State::Open(snapshot) => snapshot,
            State::Failed(error) => return Err(StoreError::Embedded(Arc::clone(error))),
            State::Closed => return Err(StoreError::Closed),
        };
        run(snapshot).map_err(|trouble| match trouble {
            Trouble::Record(error) => error,
            Trouble::File(error) => {
                // redb answers nothing more after one I/O error: the writer looks, and opens the file again. When its
                // queue is full it has writes in hand and meets the error itself.
                let _ = self.queue().map(|queue| queue.try_send(Job::Look));
                StoreError::Embedded(Arc::new(error))
            }
        })
    }

    /// Has the writer's thread run `change`; the answer is that of a committed transaction.
    async fn write<T: Send + 'static>(
        &self,
        durable: Durable,
        change: impl FnOnce(&mut Tables<'_>) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, answer) = Job::write(durable, change);
        self.queue()?.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Closed,
        })?;
        match tokio::time::timeout(self.answer_within, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(self.shared.why()),
            Err(_) => Err(StoreError::Timeout(self.answer_within)),
        }
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        // The thread ends when nobody can send any more. It is waited for, so that the file is free afterwards.
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
