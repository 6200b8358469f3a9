//! One kind followed: listed whole, then watched from there on, for as long as the process lives.
//!
//! kube's own watcher does not say which version a list has, and without it nobody can tell an older one.

use std::error::Error as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use kube::Client;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Request;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};
use tokio::time::timeout;

use super::backoff::{Backoff, random_fraction};
use super::kind::Source;
use super::known::Arrived;
use super::metrics::ClusterMetrics;
use super::version::ResourceVersion;

/// How long an answer may take to begin, and a page of a list to come.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a watch may say nothing. The API server sends a bookmark about once a minute.
const SILENCE: Duration = Duration::from_secs(150);
/// How long the events that tell the whole may pause.
const WHOLE: Duration = Duration::from_secs(30);
/// How long the server keeps a watch, in seconds; each a little longer or shorter, so that not all end at once.
const LIFE: (u32, u32) = (230, 60);
/// Objects a page: each page is read in one go.
const PAGE: u32 = 250;
/// A watch that ends sooner after its beginning is taken for a failure.
const SHORT: Duration = Duration::from_secs(1);
/// The longest waits before the server is asked again: when it is away, when it refuses, when it does not know the kind.
const AWAY: Duration = Duration::from_secs(1);
const REFUSED: Duration = Duration::from_secs(5);
const UNKNOWN: Duration = Duration::from_secs(30);
/// How long to wait for another's turn.
const TURN: Duration = Duration::from_secs(5);
/// An annotation that ends the events of a watch that tell the whole.
const END_OF_WHOLE: &str = "k8s.io/initial-events-end";

/// What a follower has to say about its source.
#[derive(Debug)]
pub(super) enum Word {
    /// All of it.
    Whole { version: ResourceVersion, objects: Vec<Arrived> },
    /// A new object, or a new form of one.
    Changed(Arrived),
    /// An object is gone.
    Gone(Arrived),
    /// The server does not know the kind.
    Unknown,
    /// The server cannot be asked, and why.
    Trouble(String),
    /// The server answers again.
    Well,
}

/// Why a list or a watch ended.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server does not know the kind.
    Unknown,
    /// The server has forgotten the version from which the watch should go on.
    Forgotten,
    /// The server does not begin a watch with the whole.
    NoStreaming(String),
    /// The answer is older than what was seen.
    Older(String),
    /// The server says no.
    Refused(String),
    /// The server does not answer, or has no time.
    Away(String),
}

impl Trouble {
    fn of(error: &kube::Error) -> Self {
        let kube::Error::Api(status) = error else { return Self::Away(chain(error)) };
        let words = format!("{} ({})", status.message, status.code);
        match status.code {
            404 => Self::Unknown,
            410 => Self::Forgotten,
            400 | 422 => Self::NoStreaming(words),
            401 | 403 => Self::Refused(words),
            429 | 500.. => Self::Away(words),
            _ => Self::Refused(words),
        }
    }
}

/// An error with its causes.
fn chain(error: &kube::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = error.source();
    }
    words
}

/// When the API server is away, one follower asks whether it is back, and the others wait for that.
#[derive(Debug, Default)]
pub(super) struct Door {
    turn: Arc<Mutex<()>>,
    answers: AtomicU64,
}

/// Whose turn it is to ask; until it is dropped.
type Turn = Option<OwnedMutexGuard<()>>;

/// What is asked for.
#[derive(Clone)]
pub(super) struct Asking {
    pub(super) client: Client,
    pub(super) source: Source,
    pub(super) selector: Option<String>,
    /// Which of the kind's versions the server is asked for.
    version: usize,
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default)]
    items: Vec<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    resource_version: Option<String>,
    #[serde(rename = "continue")]
    next: Option<String>,
}

impl Asking {
    pub(super) fn new(client: Client, source: Source, selector: Option<&String>) -> Self {
        let selector = source.kind.selector(selector);
        Self { client, source, selector, version: 0 }
    }

    fn request(&self) -> Request {
        let Source { kind, namespace } = &self.source;
        Request::new(kind.path(self.api_version(), namespace.as_deref()))
    }

    fn api_version(&self) -> &'static str {
        self.source.kind.versions()[self.version]
    }

    /// Asks for another version of the kind from now on; whether there is one that was not asked for yet.
    pub(super) fn next_version(&mut self) -> bool {
        self.version = (self.version + 1) % self.source.kind.versions().len();
        self.version != 0
    }

    fn arrived(&self, value: Value) -> Option<Arrived> {
        Arrived::of(self.source.kind, self.api_version(), value)
    }

    /// All objects, as they are now: without a version, the server may not answer an older state (a consistent read).
    pub(super) async fn list(&self, metrics: &ClusterMetrics) -> Result<(ResourceVersion, Vec<Arrived>), Trouble> {
        match self.list_in_pages(Some(PAGE), metrics).await {
            // It took so long that the server forgot the first page.
            Err(Trouble::Forgotten) => self.list_in_pages(None, metrics).await,
            listed => listed,
        }
    }

    async fn list_in_pages(
        &self,
        limit: Option<u32>,
        metrics: &ClusterMetrics,
    ) -> Result<(ResourceVersion, Vec<Arrived>), Trouble> {
        let mut objects = Vec::new();
        let mut next = None;
        loop {
            let parameters = ListParams {
                label_selector: self.selector.clone(),
                limit,
                continue_token: next,
                ..ListParams::default()
            };
            let page = self.page(&parameters).await?;
            metrics.hear();
            objects.extend(page.items.into_iter().filter_map(|item| self.arrived(item)));
            next = page.metadata.next.filter(|next| !next.is_empty());
            if next.is_none() {
                let version = page.metadata.resource_version.as_deref().and_then(ResourceVersion::new);
                let version = version.ok_or_else(|| Trouble::Away("a list without resourceVersion".to_owned()))?;
                return Ok((version, objects));
            }
        }
    }

    async fn page(&self, parameters: &ListParams) -> Result<List, Trouble> {
        let request = self.request().list(parameters).map_err(|error| Trouble::Refused(error.to_string()))?;
        let text = timeout(ANSWER, self.client.request_text(request));
        let text = text.await.map_err(|_| late())?.map_err(|error| Trouble::of(&error))?;
        // Off the threads that answer checks.
        let read = tokio::task::spawn_blocking(move || serde_json::from_str::<List>(&text)).await;
        read.map_err(|error| Trouble::Away(error.to_string()))?
            .map_err(|error| Trouble::Away(format!("an answer that does not decode: {error}")))
    }
}

fn late() -> Trouble {
    Trouble::Away(format!("no answer within {ANSWER:?}"))
}

/// Follows one source.
pub(super) struct Follower {
    pub(super) asking: Asking,
    /// The number of the source.
    pub(super) part: usize,
    /// The newest version that was seen of it, ever.
    pub(super) seen: Option<ResourceVersion>,
    pub(super) words: mpsc::Sender<(usize, Word)>,
    pub(super) door: Arc<Door>,
    pub(super) metrics: ClusterMetrics,
    /// Whether the server begins watches with the whole.
    pub(super) streams: bool,
    /// Whether all of it has been told, so that a watch may go on from `seen`.
    pub(super) is_whole: bool,
    /// Whether the last word was of trouble.
    pub(super) is_troubled: bool,
    /// Since when the server has answered this time.
    pub(super) answered: Option<Instant>,
}

impl Follower {
    /// Follows it for ever; ends when nobody listens any more.
    pub(super) async fn follow(mut self) {
        let mut backoff = Backoff::to(AWAY);
        let mut turn: Turn = None;
        while !self.words.is_closed() {
            self.answered = None;
            let ended = self.attempt(&mut turn).await;
            turn = None;
            let was_followed = self.answered.is_some_and(|answered| answered.elapsed() >= SHORT);
            if was_followed {
                backoff = Backoff::to(AWAY);
            }
            match ended {
                Ok(()) if was_followed => {}
                Ok(()) => tokio::time::sleep(backoff.step()).await,
                Err(trouble) => {
                    self.metrics.restarts.inc();
                    turn = self.recover(trouble, &mut backoff).await;
                }
            }
        }
    }

    /// Waits as the trouble asks for.
    async fn recover(&mut self, trouble: Trouble, backoff: &mut Backoff) -> Turn {
        match trouble {
            Trouble::Unknown if self.asking.next_version() => {}
            Trouble::Unknown => {
                self.is_whole = false;
                self.is_troubled = true;
                self.say(Word::Unknown).await;
                let most = if self.asking.source.kind.is_optional() { UNKNOWN } else { REFUSED };
                self.sleep(backoff, most).await;
            }
            Trouble::Forgotten => {
                tracing::info!(source = %self.asking.source, "the API server has forgotten where the watch was; listing anew");
                self.is_whole = false;
                self.sleep(backoff, AWAY).await;
            }
            Trouble::NoStreaming(words) if self.streams => {
                tracing::debug!(source = %self.asking.source, words, "the API server begins no watch with the whole; listing");
                self.streams = false;
            }
            Trouble::NoStreaming(words) | Trouble::Refused(words) => {
                self.complain(words).await;
                self.sleep(backoff, REFUSED).await;
            }
            Trouble::Older(words) => {
                self.metrics.older_answers.inc();
                self.complain(words).await;
                self.sleep(backoff, AWAY).await;
            }
            Trouble::Away(words) => {
                self.complain(words).await;
                // It is there, and has broken off.
                if self.answered.is_some() {
                    self.sleep(backoff, AWAY).await;
                } else {
                    return self.wait_for_turn(backoff).await;
                }
            }
        }
        None
    }

    async fn sleep(&self, backoff: &mut Backoff, most: Duration) {
        backoff.extend_to(most);
        tokio::time::sleep(backoff.step()).await;
    }

    /// Waits until it is time to ask whether the server is back; at once, if another has found out meanwhile.
    async fn wait_for_turn(&self, backoff: &mut Backoff) -> Turn {
        let known = self.door.answers.load(Ordering::Acquire);
        let turn = timeout(TURN, Arc::clone(&self.door.turn).lock_owned()).await.ok();
        if self.door.answers.load(Ordering::Acquire) == known {
            backoff.extend_to(AWAY);
            tokio::time::sleep(backoff.step()).await;
        }
        turn
    }

    async fn complain(&mut self, words: String) {
        self.is_troubled = true;
        self.say(Word::Trouble(words)).await;
    }

    async fn say(&self, word: Word) {
        // Nobody listens: the process is ending.
        let _ = self.words.send((self.part, word)).await;
    }

    /// The server has answered.
    async fn heard(&mut self, turn: &mut Turn) {
        self.metrics.hear();
        self.answered.get_or_insert_with(Instant::now);
        if turn.take().is_some() || self.is_troubled {
            self.door.answers.fetch_add(1, Ordering::Release);
        }
        if std::mem::take(&mut self.is_troubled) {
            self.say(Word::Well).await;
        }
    }

    async fn attempt(&mut self, turn: &mut Turn) -> Result<(), Trouble> {
        if self.is_whole || self.streams {
            return self.watch(turn).await;
        }
        let (version, objects) = self.asking.list(&self.metrics).await?;
        self.heard(turn).await;
        self.whole(version, objects).await?;
        self.watch(turn).await
    }

    /// All has been told.
    async fn whole(&mut self, version: ResourceVersion, objects: Vec<Arrived>) -> Result<(), Trouble> {
        if let Some(seen) = self.seen.as_ref().filter(|seen| version.is_older_than(seen)) {
            let [version, seen] = [&version, seen].map(ResourceVersion::as_str);
            return Err(Trouble::Older(format!(
                "an answer of version {version}, older than {seen}, which was seen before; it is not used. If etcd was \
                 restored from a backup, remove the snapshot and start again"
            )));
        }
        self.seen = Some(version.clone());
        self.is_whole = true;
        self.say(Word::Whole { version, objects }).await;
        Ok(())
    }

    /// Watches until the watch ends. Where all has not been told, the watch begins with that.
    async fn watch(&mut self, turn: &mut Turn) -> Result<(), Trouble> {
        let from = self.seen.as_ref().filter(|_| self.is_whole);
        let parameters = WatchParams {
            label_selector: self.asking.selector.clone(),
            field_selector: None,
            timeout: Some(life()),
            bookmarks: true,
            send_initial_events: from.is_none(),
        };
        // Without a version, what the watch begins with may not be an older state either.
        let from = from.map_or("", ResourceVersion::as_str);
        let request = self.asking.request().watch(&parameters, from);
        let request = request.map_err(|error| Trouble::Refused(error.to_string()))?;
        let client = self.asking.client.clone();
        let events = timeout(ANSWER, client.request_events::<Value>(request));
        let events = events.await.map_err(|_| late())?.map_err(|error| Trouble::of(&error))?;
        if self.is_whole {
            self.heard(turn).await;
        }
        let mut events = pin!(events);
        let mut told = Vec::new();
        loop {
            let patience = if self.is_whole { SILENCE } else { WHOLE };
            let event = match timeout(patience, events.try_next()).await {
                Ok(event) => event.map_err(|error| Trouble::of(&error))?,
                Err(_) if self.is_whole => return Ok(()),
                Err(_) => return Err(Trouble::NoStreaming(format!("nothing within {WHOLE:?}"))),
            };
            let Some(event) = event else {
                let ended = "a watch that ended before it had told all".to_owned();
                return if self.is_whole { Ok(()) } else { Err(Trouble::NoStreaming(ended)) };
            };
            if let WatchEvent::Error(status) = event {
                return Err(match Trouble::of(&kube::Error::Api(status)) {
                    // Such as an etcd that is too old for it.
                    Trouble::Away(words) if !self.is_whole => Trouble::NoStreaming(words),
                    trouble => trouble,
                });
            }
            self.heard(turn).await;
            self.event(event, &mut told).await?;
        }
    }

    async fn event(&mut self, event: WatchEvent<Value>, told: &mut Vec<Arrived>) -> Result<(), Trouble> {
        match event {
            WatchEvent::Added(value) | WatchEvent::Modified(value) => {
                let Some(object) = self.asking.arrived(value) else { return Ok(()) };
                if !self.is_whole {
                    told.push(object);
                } else if self.is_news(object.version.as_ref()) {
                    self.say(Word::Changed(object)).await;
                }
            }
            WatchEvent::Deleted(value) => {
                let Some(object) = self.asking.arrived(value) else { return Ok(()) };
                if !self.is_whole {
                    told.retain(|it| it.name != object.name);
                } else if self.is_news(object.version.as_ref()) {
                    self.say(Word::Gone(object)).await;
                }
            }
            WatchEvent::Bookmark(bookmark) => {
                let version = ResourceVersion::new(&bookmark.metadata.resource_version);
                if self.is_whole {
                    self.is_news(version.as_ref());
                } else if bookmark.metadata.annotations.contains_key(END_OF_WHOLE) {
                    let version = version.ok_or_else(|| Trouble::Away("a watch without versions".to_owned()))?;
                    self.whole(version, std::mem::take(told)).await?;
                }
            }
            WatchEvent::Error(status) => return Err(Trouble::of(&kube::Error::Api(status))),
        }
        Ok(())
    }

    /// Whether this is newer than all that was seen; then it is seen now. A watch says nothing twice, and nothing old.
    fn is_news(&mut self, version: Option<&ResourceVersion>) -> bool {
        let Some(version) = version else { return false };
        match self.seen.as_ref().and_then(|seen| version.compare(seen)) {
            Some(std::cmp::Ordering::Less) => {
                self.metrics.older_answers.inc();
                false
            }
            Some(std::cmp::Ordering::Equal) => false,
            Some(std::cmp::Ordering::Greater) | None => {
                self.seen = Some(version.clone());
                true
            }
        }
    }
}

fn life() -> u32 {
    let (least, more) = LIFE;
    // At most 60.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a fraction of 60 is small and positive"
    )]
    let more = (f64::from(more) * random_fraction()) as u32;
    least + more
}
