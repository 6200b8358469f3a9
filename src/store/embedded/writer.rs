//! The one thread that writes.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::{Database, Durability, ReadableDatabase as _};
use tokio::sync::oneshot;

use super::file::Source;
use super::tables::{Snapshot, Tables, Trouble};
use super::{EmbeddedStore, Shared, State};
use crate::store::StoreError;

/// How long a touch may be answered before it is on the disk.
pub(super) const RELAXED: Duration = Duration::from_secs(1);
/// How long a failed file is left alone.
const RETRY: Duration = Duration::from_secs(1);
/// How many writes share one transaction.
const AT_ONCE: usize = 512;

type Answer = Box<dyn FnOnce() + Send>;
type Change = Box<dyn FnOnce(&mut Tables<'_>) -> Result<Answer, Box<Failed>> + Send>;

/// The file failed. The caller's answer is kept until that is known to readers, and then dropped.
pub(super) struct Failed {
    error: redb::Error,
    unanswered: Vec<Answer>,
    /// Changes that were not begun.
    unmade: Vec<(Durable, Change)>,
}

impl From<redb::Error> for Failed {
    fn from(error: redb::Error) -> Self {
        Self { error, unanswered: Vec::new(), unmade: Vec::new() }
    }
}

/// When a change must be on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durable {
    /// Before it is answered.
    Now,
    /// Within [`RELAXED`].
    Soon,
}

/// What the thread is asked to do.
pub(super) enum Job {
    /// Make this change. A change that is dropped was not made, or nobody knows.
    Write(Durable, Change),
    /// A reader met an error: see whether the file still answers.
    Look,
    /// Write out and end.
    Close(oneshot::Sender<Result<(), StoreError>>),
}

impl Job {
    /// A change, and where its answer arrives once it is committed.
    pub(super) fn write<T: Send + 'static>(
        durable: Durable,
        change: impl FnOnce(&mut Tables<'_>) -> Result<T, Trouble> + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T, StoreError>>) {
        let (reply, answer) = oneshot::channel();
        let run: Change = Box::new(move |tables| {
            let result = match change(tables) {
                Ok(value) => Ok(value),
                Err(Trouble::Record(error)) => Err(error),
                Err(Trouble::File(error)) => {
                    let unanswered: Answer = Box::new(move || drop(reply));
                    return Err(Box::new(Failed { unanswered: vec![unanswered], ..error.into() }));
                }
            };
            // A caller that went away loses its answer, not its change.
            Ok(Box::new(move || drop(reply.send(result))))
        });
        (Self::Write(durable, run), answer)
    }
}

/// Starts the thread.
pub(super) fn spawn(
    source: Source,
    database: Database,
    shared: Arc<Shared>,
) -> io::Result<(SyncSender<Job>, JoinHandle<()>)> {
    let (queue, jobs) = mpsc::sync_channel(EmbeddedStore::QUEUE);
    let writer = Writer { source, database: Some(database), shared, jobs, unsynced: None, retry_at: Instant::now() };
    let thread = std::thread::Builder::new().name("session-store".to_owned()).spawn(move || writer.run())?;
    Ok((queue, thread))
}

struct Writer {
    source: Source,
    /// `None` after it failed.
    database: Option<Database>,
    shared: Arc<Shared>,
    jobs: Receiver<Job>,
    /// When the first touch was committed that is not on the disk.
    unsynced: Option<Instant>,
    retry_at: Instant,
}

/// However the thread ends, a panic included, the store is closed from then on: revocations could not be written any more,
/// so nothing is read either.
impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.state.store(Arc::new(State::Closed));
    }
}

impl Writer {
    fn run(mut self) {
        let mut close = None;
        let mut batch = Vec::new();
        while close.is_none() {
            let mut next = match self.wait() {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.reopen();
            let mut looked = false;
            while let Some(job) = next.take() {
                match job {
                    Job::Write(durable, change) => batch.push((durable, change)),
                    Job::Look => looked = true,
                    Job::Close(reply) => close = Some(reply),
                }
                if batch.len() < AT_ONCE && close.is_none() {
                    next = self.jobs.try_recv().ok();
                }
            }
            let overdue = self.unsynced.is_some_and(|since| since.elapsed() >= RELAXED);
            if !batch.is_empty() || overdue || looked {
                let _ = self.commit(&mut batch, overdue);
            }
        }
        // The queue's senders are gone, or it was closed: what waits behind a close is dropped, and so refused.
        let done = if self.unsynced.is_some() { self.commit(&mut batch, true) } else { Ok(()) };
        self.shared.state.store(Arc::new(State::Closed));
        let done =
            done.and_then(|()| self.database.take().map_or(Ok(()), |it| it.close().map_err(|e| Arc::new(e.into()))));
        if let Some(reply) = close {
            let _ = reply.send(done.map_err(StoreError::Embedded));
        }
    }

    /// The next job, or the moment at which there is something to do without one.
    fn wait(&self) -> Result<Job, RecvTimeoutError> {
        let until = match (self.unsynced, &self.database) {
            (_, None) => self.retry_at,
            (Some(since), _) => since + RELAXED,
            (None, _) => return self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        self.jobs.recv_timeout(until.saturating_duration_since(Instant::now()))
    }

    /// Makes the changes in one transaction and answers them. On an error none is made, their answers are dropped, and the
    /// file counts as failed: redb wants it closed after any error of the disk.
    fn commit(&mut self, batch: &mut Vec<(Durable, Change)>, sync: bool) -> Result<(), Arc<redb::Error>> {
        let changes = std::mem::take(batch);
        let now = sync || changes.is_empty() || changes.iter().any(|(durable, _)| *durable == Durable::Now);
        let Some(database) = &self.database else {
            return Err(self.shared.failure.load_full().unwrap_or_else(|| Arc::new(redb::Error::DatabaseClosed)));
        };
        match transact(database, changes, now) {
            Ok((snapshot, answers)) => {
                self.unsynced = if now { None } else { self.unsynced.or_else(|| Some(Instant::now())) };
                // Published first: whoever has an answer also reads what it says.
                self.shared.state.store(Arc::new(State::Open(snapshot)));
                answers.into_iter().for_each(|answer| answer());
                Ok(())
            }
            Err(failed) => {
                let Failed { error, unanswered, unmade } = *failed;
                let error = self.fail(error);
                drop((unanswered, unmade));
                Err(error)
            }
        }
    }

    fn fail(&mut self, error: redb::Error) -> Arc<redb::Error> {
        let error = Arc::new(error);
        self.shared.failure.store(Some(Arc::clone(&error)));
        self.shared.state.store(Arc::new(State::Failed(Arc::clone(&error))));
        tracing::error!(error = %error, path = %self.source.path.display(), "the session store's file failed");
        self.database = None;
        self.unsynced = None;
        self.retry_at = Instant::now() + RETRY;
        error
    }

    /// Opens a failed file again, when that is due. The file must be there still: a new one would have lost the revocations.
    fn reopen(&mut self) {
        if self.database.is_some() || Instant::now() < self.retry_at {
            return;
        }
        match self.source.open() {
            Ok((database, snapshot)) => {
                self.database = Some(database);
                self.shared.state.store(Arc::new(State::Open(snapshot)));
                tracing::info!(path = %self.source.path.display(), "the session store's file answers again");
            }
            Err(error) => {
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::warn!(error, "the session store's file cannot be opened again yet");
                self.retry_at = Instant::now() + RETRY;
            }
        }
    }
}

fn transact(
    database: &Database,
    changes: Vec<(Durable, Change)>,
    now: bool,
) -> Result<(Box<Snapshot>, Vec<Answer>), Box<Failed>> {
    let mut answers = Vec::with_capacity(changes.len());
    let mut changes = changes.into_iter();
    let mut run = || -> Result<Box<Snapshot>, Box<Failed>> {
        let failed = |error: redb::Error| Box::new(Failed::from(error));
        let mut write = database.begin_write().map_err(|error| failed(error.into()))?;
        // One `fsync` a commit. redb can make it two, against someone who chooses the order in which pages reach the disk:
        // whoever can do that owns the disk, and has the file anyway.
        let durability = if now { Durability::Immediate } else { Durability::None };
        write.set_durability(durability).map_err(|error| failed(error.into()))?;
        let mut tables = Tables::of(&write).map_err(|error| failed(error.into()))?;
        for (_, change) in &mut changes {
            answers.push(change(&mut tables)?);
        }
        drop(tables);
        write.commit().map_err(|error| failed(error.into()))?;
        let read = database.begin_read().map_err(|error| failed(error.into()))?;
        Snapshot::of(&read).map(Box::new).map_err(failed)
    };
    match run() {
        Ok(snapshot) => Ok((snapshot, answers)),
        Err(mut failed) => {
            failed.unanswered.append(&mut answers);
            failed.unmade = changes.collect();
            Err(failed)
        }
    }
}
