//! What is asked of the API server about one kind, and why it is not answered.

use std::error::Error as _;
use std::time::Duration;

use futures_util::Stream;
use kube::Client;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Request;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use super::backoff::random_fraction;
use super::kind::Source;
use super::known::Arrived;
use super::metrics::ClusterMetrics;
use super::version::ResourceVersion;

/// How long an answer may take to begin, and a page of a list to come.
const ANSWER: Duration = Duration::from_secs(30);
/// Objects a page: each page is read in one go.
const PAGE: u32 = 250;
/// How long the server keeps a watch, in seconds; each a little longer or shorter, so that not all end at once.
const LIFE: (u32, u32) = (230, 60);

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
    pub(super) fn of(error: &kube::Error) -> Self {
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
pub(super) fn chain(error: &kube::Error) -> String {
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

/// What is asked for.
#[derive(Clone)]
pub(super) struct Asking {
    client: Client,
    pub(super) source: Source,
    selector: Option<String>,
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

    pub(super) fn arrived(&self, value: Value) -> Option<Arrived> {
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

    /// What happens to its objects after `from`. Without a version the watch begins with all of them, and not with an older
    /// state of them either.
    pub(super) async fn watch(
        &self,
        from: Option<&ResourceVersion>,
    ) -> Result<impl Stream<Item = Result<WatchEvent<Value>, kube::Error>> + use<>, Trouble> {
        let parameters = WatchParams {
            label_selector: self.selector.clone(),
            field_selector: None,
            timeout: Some(life()),
            bookmarks: true,
            send_initial_events: from.is_none(),
        };
        let request = self.request().watch(&parameters, from.map_or("", ResourceVersion::as_str));
        let request = request.map_err(|error| Trouble::Refused(error.to_string()))?;
        let events = timeout(ANSWER, self.client.request_events::<Value>(request)).await;
        events.map_err(|_| late())?.map_err(|error| Trouble::of(&error))
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
