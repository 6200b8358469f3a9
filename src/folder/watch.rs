//! Watch, read, publish: what is in force changes whole, and only for a newer set (P29).

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::listing::Listing;
use super::{FileError, FolderError, Found, read_listed};
use crate::authz::policy::Install;
use crate::policies::Publisher;

/// How long nothing may happen before a change is taken to be whole.
const QUIET: Duration = Duration::from_millis(50);
/// How long a change may go on before it is looked at anyway.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often the folder is looked at if it says nothing; links to other places are seen only so.
const POLL: Duration = Duration::from_secs(30);
/// How often it is asked whether the folder is still the same one; where the system cannot watch, all of it is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often files that change while they are read are read again.
const ATTEMPTS: usize = 5;

/// The policies of a folder, kept up to date by [`PolicyFolder::watch`].
#[derive(Debug)]
pub struct PolicyFolder {
    paths: Vec<PathBuf>,
    publisher: Publisher,
    /// What the published index was made of, or what failed to become one; `None` when not even that could be told.
    seen: Option<Listing>,
}

/// What became of a look at the folder.
enum Outcome {
    /// Nothing has changed.
    Same,
    /// Read.
    New(Found),
    /// Not readable.
    Unreadable(FolderError),
}

impl PolicyFolder {
    /// Reads the folder and publishes what is in it.
    ///
    /// # Errors
    /// Each file that does not read: at the start there is no set before it that could stay.
    pub fn open(dir: PathBuf, install: Install) -> Result<Self, FolderError> {
        let mut folder = Self { paths: vec![dir], publisher: Publisher::new(install), seen: None };
        let (listing, outcome) = look(&folder.paths, None);
        match outcome {
            Outcome::Unreadable(error) => Err(error),
            outcome => {
                folder.apply(listing, outcome);
                Ok(folder)
            }
        }
    }

    /// What is in force.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Publishes every change of the folder until `stop`. The folder's own word is the trigger, and it is looked at now and
    /// then in any case.
    pub async fn watch(mut self, stop: CancellationToken) {
        let changed = Arc::new(Notify::new());
        let mut watch = Watch::default();
        let mut looked = Instant::now();
        loop {
            let is_other = watch.follow(&self.paths, &changed);
            // What happened before the watch began is found by looking now.
            if is_other || !watch.is_live() || looked.elapsed() >= POLL {
                looked = Instant::now();
                self = match self.refresh().await {
                    Some(folder) => folder,
                    None => return,
                };
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(TICK) => {}
                () = changed.notified() => {
                    settled(&changed).await;
                    self = match self.refresh().await {
                        Some(folder) => folder,
                        None => return,
                    };
                }
            }
        }
    }

    /// Looks at the folder once, off the threads that answer checks.
    async fn refresh(mut self) -> Option<Self> {
        let looked = tokio::task::spawn_blocking(move || {
            let (listing, outcome) = look(&self.paths, self.seen.as_ref());
            self.apply(listing, outcome);
            self
        });
        match looked.await {
            Ok(folder) => Some(folder),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "policy folder watch ended, and the process with it"
                );
                None
            }
        }
    }

    fn apply(&mut self, listing: Option<Listing>, outcome: Outcome) {
        match outcome {
            Outcome::Same => return,
            Outcome::New(Found { objects }) => self.publisher.publish(&objects, Vec::new()),
            Outcome::Unreadable(FolderError(errors)) => {
                let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                if errors != self.publisher.status().load().errors {
                    for error in &errors {
                        tracing::error!(%error, "policy folder does not read; the last good policies stay in force");
                    }
                }
                self.publisher.note_errors(errors);
            }
        }
        self.seen = listing;
    }
}

/// Reads, unless everything is as `seen`. A set that changes while it is read is read again.
fn look(paths: &[PathBuf], seen: Option<&Listing>) -> (Option<Listing>, Outcome) {
    let unreadable = |error: FileError| (None, Outcome::Unreadable(FolderError(vec![error])));
    let mut listing = match Listing::of(paths) {
        Ok(listing) => listing,
        Err(error) => return unreadable(error),
    };
    if seen == Some(&listing) {
        return (None, Outcome::Same);
    }
    for _ in 0..ATTEMPTS {
        let read = read_listed(&listing);
        let after = match Listing::of(paths) {
            Ok(after) => after,
            Err(error) => return unreadable(error),
        };
        if after == listing {
            return (Some(listing), read.map_or_else(Outcome::Unreadable, Outcome::New));
        }
        listing = after;
    }
    let words = "changes faster than it can be read";
    unreadable(FileError::new(paths.first().map_or("".as_ref(), |path| path.as_path()), words))
}

/// The system's watch over the folder, renewed when another folder takes its place.
#[derive(Default)]
struct Watch {
    watcher: Option<RecommendedWatcher>,
    over: Vec<Option<(u64, u64)>>,
    has_warned: bool,
}

impl Watch {
    fn is_live(&self) -> bool {
        self.watcher.is_some()
    }

    /// Watches what is at `paths` now; whether that is another folder than before.
    fn follow(&mut self, paths: &[PathBuf], changed: &Arc<Notify>) -> bool {
        let identity = |path: &PathBuf| std::fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
        let now: Vec<_> = paths.iter().map(identity).collect();
        if now == self.over {
            return false;
        }
        self.watcher = match watcher(paths, changed.clone()) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                if !self.has_warned {
                    self.has_warned = true;
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "policy folder cannot be watched; it is looked at every second");
                }
                None
            }
        };
        self.over = now;
        true
    }
}

/// Tells `changed` of each change.
fn watcher(paths: &[PathBuf], changed: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let tell = move |event: notify::Result<notify::Event>| {
        // Reading the files opens them, which is told too.
        let is_reading = |kind| matches!(kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
        if !event.is_ok_and(|event| is_reading(event.kind)) {
            changed.notify_one();
        }
    };
    let mut watcher = notify::recommended_watcher(tell)?;
    for path in paths {
        watcher.watch(path, RecursiveMode::Recursive)?;
    }
    Ok(watcher)
}

/// Waits until the changes pause.
async fn settled(changed: &Notify) {
    let quiet = async { while tokio::time::timeout(QUIET, changed.notified()).await.is_ok() {} };
    // Whatever is still going on then is told again.
    let _ = tokio::time::timeout(PATIENCE, quiet).await;
}
