//! Gather, compile, publish, keep: what the followers tell becomes one set, and that one index and one snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::ask::{Asking, Trouble};
use super::follow::{Door, Follower, Word};
use super::kind::{Kind, Source};
use super::known::Known;
use super::metrics::ClusterMetrics;
use super::snapshot::{Scope, SnapshotFile};
use super::{ClusterSettings, Connection, Found};
use crate::authz::policy::Install;
use crate::policies::Publisher;

/// How long nothing may be told before what was told is put in force. An object changes whole: the wait is for those that
/// change together.
const QUIET: Duration = Duration::from_millis(20);
/// How long the telling may go on before what was told is put in force anyway.
const PATIENCE: Duration = Duration::from_millis(200);
/// How much longer than the writing of a snapshot the pause after it is: a large one is not written all the time.
const SPACING: u32 = 20;
/// Words that wait to be heard. Who has more to say waits, and so does the API server.
const WAITING: usize = 256;
/// Words that are taken up at once.
const BATCH: usize = 16_384;

/// The policies of a cluster, kept up to date by [`ClusterPolicies::watch`].
pub struct ClusterPolicies {
    connection: Connection,
    selector: Option<String>,
    sources: Vec<Source>,
    state: State,
}

impl std::fmt::Debug for ClusterPolicies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterPolicies").field("sources", &self.sources).finish_non_exhaustive()
    }
}

/// What is known, and what became of it.
struct State {
    known: Known,
    publisher: Publisher,
    metrics: ClusterMetrics,
    snapshot: Option<SnapshotFile>,
    /// What is wrong with a source, by its number.
    troubles: BTreeMap<usize, String>,
    /// Sources whose kind the server does not know.
    absent: BTreeSet<usize>,
    /// Something is known that is not in force.
    is_changed: bool,
    /// Something is in force that is not in the snapshot.
    is_unsaved: bool,
    /// When the next snapshot may be written.
    next_save: Instant,
}

/// What is listed and watched.
pub(super) fn sources(settings: &ClusterSettings) -> Vec<Source> {
    let secrets = settings.secrets.then_some(Kind::Secret);
    let kinds = |namespace: Option<String>| {
        let kinds = Kind::ALL.into_iter().chain(secrets);
        kinds.map(|kind| Source { kind, namespace: namespace.clone() }).collect::<Vec<_>>()
    };
    let of_cluster = settings.namespace_labels.then_some(Source { kind: Kind::Namespace, namespace: None });
    settings.namespaces().into_iter().flat_map(kinds).chain(of_cluster).collect()
}

impl ClusterPolicies {
    /// Puts the snapshot in force, if there is a good one. The API server is not called.
    pub fn open(connection: Connection, settings: &ClusterSettings, install: Install, metrics: ClusterMetrics) -> Self {
        let sources = sources(settings);
        let scope =
            Scope { server: connection.server.clone(), selector: settings.selector.clone(), sources: sources.clone() };
        let snapshot = settings.snapshot.clone().map(|path| SnapshotFile { path, scope });
        let mut state = State {
            known: Known::nothing(&sources),
            publisher: Publisher::new(install),
            metrics,
            snapshot,
            troubles: BTreeMap::new(),
            absent: BTreeSet::new(),
            is_changed: false,
            is_unsaved: false,
            next_save: Instant::now(),
        };
        state.take_up_snapshot();
        state.note_troubles();
        Self { connection, selector: settings.selector.clone(), sources, state }
    }

    /// What is in force.
    pub fn publisher(&self) -> &Publisher {
        &self.state.publisher
    }

    /// Publishes every change of the cluster's objects until `stop`.
    pub async fn watch(self, stop: CancellationToken) {
        let Self { connection, selector, sources, mut state } = self;
        let (words, mut told) = mpsc::channel(WAITING);
        let door = Arc::new(Door::default());
        let mut followers = JoinSet::new();
        for (part, source) in sources.into_iter().enumerate() {
            let follower = Follower {
                asking: Asking::new(connection.client.clone(), source, selector.as_ref()),
                part,
                seen: state.known.version(part),
                words: words.clone(),
                door: Arc::clone(&door),
                metrics: state.metrics.clone(),
                streams: true,
                is_whole: false,
                is_troubled: false,
                answered: None,
            };
            followers.spawn(follower.follow());
        }
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = followers.join_next() => {
                    tracing::error!(?ended, "a watch of policies ended, and the process with it");
                    return;
                }
                () = tokio::time::sleep(state.until_save()), if state.is_unsaved => {}
                Some(word) = told.recv() => batch.push(word),
            }
            if !batch.is_empty() {
                settled(&mut told, &mut batch).await;
            }
            // Off the threads that answer checks.
            let worked = tokio::task::spawn_blocking(move || {
                state.work(batch);
                state
            });
            state = match worked.await {
                Ok(state) => state,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "the watch of policies ended, and the process with it");
                    return;
                }
            };
        }
        // What is in force is in the snapshot, whenever the last one was written.
        let saved = tokio::task::spawn_blocking(move || {
            if state.is_unsaved {
                state.save();
            }
        });
        let _ = saved.await;
    }
}

/// Adds what is told until the telling pauses.
async fn settled(told: &mut mpsc::Receiver<(usize, Word)>, batch: &mut Vec<(usize, Word)>) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while batch.len() < BATCH {
        let quiet = (tokio::time::Instant::now() + QUIET).min(end);
        match tokio::time::timeout_at(quiet, told.recv()).await {
            Ok(Some(word)) => batch.push(word),
            Ok(None) | Err(_) => return,
        }
    }
}

impl State {
    fn until_save(&self) -> Duration {
        self.next_save.saturating_duration_since(Instant::now())
    }

    /// Takes up what was told, and puts it in force if it is a whole.
    fn work(&mut self, batch: Vec<(usize, Word)>) {
        let has_news = !batch.is_empty();
        for (part, word) in batch {
            self.take_up(part, word);
        }
        // One kind of today beside another of last week is no set that anybody wrote.
        // Secrets hold nothing back: providers that need one that is not known answer 503.
        // Nor do Namespaces that cannot be read: listeners that select by their labels admit nothing.
        let is_whole = self.known.awaited().all(|(part, source)| match source.kind {
            Kind::Secret => true,
            Kind::Namespace => self.troubles.contains_key(&part),
            _ => false,
        });
        if self.is_changed && is_whole {
            let Found { mut objects, notes } = self.known.found();
            objects.secrets_unknown = !self.known.knows_secrets();
            self.publisher.publish(&objects, notes);
            self.is_changed = false;
            self.is_unsaved = self.snapshot.is_some();
        }
        if has_news {
            self.note_troubles();
        }
        if self.is_unsaved && self.until_save().is_zero() {
            self.save();
        }
    }

    fn take_up(&mut self, part: usize, word: Word) {
        match word {
            Word::Whole { version, objects } => {
                self.recover(part);
                self.known.replace(part, version, objects);
                self.is_changed = true;
            }
            Word::Changed(object) => self.is_changed |= self.known.apply(part, object),
            Word::Gone(object) => self.is_changed |= self.known.remove(part, &object),
            Word::Unknown => self.take_up_unknown(part),
            Word::Trouble(words) => {
                if !self.troubles.contains_key(&part) {
                    let source = self.known.source(part);
                    tracing::warn!(%source, error = words, "the API server cannot be followed; the last policies stay in force");
                }
                self.troubles.insert(part, words);
            }
            Word::Well => self.recover(part),
        }
    }

    fn take_up_unknown(&mut self, part: usize) {
        let source = self.known.source(part).clone();
        let is_awaited = !source.kind.is_optional();
        let words = match (is_awaited, self.known.has_objects(part)) {
            (true, _) => "the API server does not know this kind: apply the files of crds/; it is awaited",
            (false, true) => "the API server does not know this kind any more; its objects stay as they were",
            (false, false) => "the API server does not know this kind; it is awaited, and there are none until then",
        };
        if self.absent.insert(part) {
            tracing::warn!(%source, words, "a kind of policy objects is not there");
        }
        self.troubles.remove(&part);
        if is_awaited || self.known.has_objects(part) {
            self.troubles.insert(part, words.to_owned());
        }
        if !is_awaited {
            self.is_changed |= self.known.without(part);
        }
    }

    fn recover(&mut self, part: usize) {
        self.absent.remove(&part);
        if self.troubles.remove(&part).is_some() {
            tracing::info!(source = %self.known.source(part), "the API server is followed again");
        }
    }

    /// Says what is wrong with the sources, and what is awaited.
    fn note_troubles(&self) {
        let mut errors: BTreeMap<usize, String> = BTreeMap::new();
        for (part, source) in self.known.awaited() {
            errors.insert(part, format!("{source}: not listed yet"));
        }
        for (part, words) in &self.troubles {
            errors.insert(*part, format!("{}: {words}", self.known.source(*part)));
        }
        self.publisher.note_errors(errors.into_values().collect());
    }

    fn take_up_snapshot(&mut self) {
        let Some(file) = &self.snapshot else { return };
        let path = file.path.display();
        let snapshot = match file.load() {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => {
                tracing::info!(%path, "no snapshot of the policies yet; the API server is awaited");
                return;
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(%path, error, "the snapshot of the policies is not used; the API server is awaited, and until then every request is refused with 503");
                return;
            }
        };
        let made = snapshot.made;
        let good = self.known.take_up(snapshot.parts);
        let Found { mut objects, notes } = self.known.found();
        objects.secrets_unknown = !self.known.knows_secrets();
        self.publisher.publish_after(Some(&good), &objects, notes);
        tracing::warn!(%path, made, "policies taken from the snapshot until the API server has been heard");
    }

    fn save(&mut self) {
        let Some(file) = &self.snapshot else { return };
        let began = Instant::now();
        let kept = self.known.keep(&self.publisher.index().load());
        match kept.map_err(std::io::Error::from).and_then(|kept| file.save(kept)) {
            Ok(()) => {}
            Err(error) => {
                self.metrics.snapshot_failures.inc();
                let error = &error as &dyn std::error::Error;
                tracing::error!(path = %file.path.display(), error, "the snapshot of the policies cannot be written; tried again with the next change");
            }
        }
        self.next_save = Instant::now() + began.elapsed() * SPACING;
        self.is_unsaved = false;
    }
}

/// Reads every object once.
pub(super) async fn read(connection: &Connection, settings: &ClusterSettings) -> anyhow::Result<Found> {
    let sources = sources(settings);
    let metrics = ClusterMetrics::new()?;
    let mut known = Known::nothing(&sources);
    for (part, source) in sources.iter().enumerate() {
        let mut asking = Asking::new(connection.client.clone(), source.clone(), settings.selector.as_ref());
        loop {
            match asking.list(&metrics).await {
                Ok((version, objects)) => known.replace(part, version, objects),
                Err(Trouble::Unknown) if asking.next_version() => continue,
                Err(Trouble::Unknown) if source.kind.is_optional() => {
                    known.without(part);
                }
                Err(Trouble::Unknown) => {
                    bail!("the API server does not know {}: apply the files of crds/", source.kind)
                }
                // Who may not see them learns what a gate makes of it that may not either.
                Err(Trouble::Refused(_)) if source.kind == Kind::Namespace => {}
                Err(Trouble::Refused(words)) => {
                    let right = format!("{}.{}", source.kind.plural(), source.kind.group());
                    bail!("{source} cannot be listed: {words}; list and watch on {right} are needed")
                }
                Err(Trouble::Away(words) | Trouble::NoStreaming(words) | Trouble::Older(words)) => {
                    return Err(anyhow!(words)).with_context(|| {
                        format!("{source} cannot be listed: is {} the API server, and does it run?", connection.server)
                    });
                }
                Err(Trouble::Forgotten) => bail!("{source} changed faster than it could be listed: try again"),
            }
            break;
        }
    }
    Ok(known.found())
}
