//! One kind of object, followed: what is there, and every change.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Error, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How long to wait after the first failure, and at most.
const WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// What was seen.
#[derive(Debug)]
pub(super) enum Seen<K> {
    /// The whole list begins anew.
    Begun,
    /// One of the whole list.
    Listed(K),
    /// The list is whole: what it did not name is gone.
    Whole,
    /// New or changed.
    Changed(K),
    /// Gone.
    Gone(K),
}

/// Follows the objects of `api`. A kind that the server does not know has no objects. Ends when nobody listens.
async fn follow<K>(what: &'static str, api: Api<K>, config: Config, told: mpsc::Sender<Seen<K>>)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = std::pin::pin!(watcher(api, config));
    let mut wait = WAITS.0;
    let mut complaint = None;
    while let Some(event) = events.next().await {
        let seen = match event {
            // A list that begins has not succeeded yet.
            Ok(Event::Init) => vec![Seen::Begun],
            Ok(event) => {
                (wait, complaint) = (WAITS.0, None);
                vec![of_event(event)]
            }
            Err(error) => {
                let is_unknown =
                    matches!(&error, watcher::Error::InitialListFailed(Error::Api(status)) if status.code == 404);
                let words = format!("{:#}", anyhow::Error::from(error));
                if complaint.as_ref() != Some(&words) {
                    tracing::warn!(%what, error = %words, "cannot be watched; what was seen last stands, and it is tried again");
                    complaint = Some(words);
                }
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(WAITS.1);
                if is_unknown { vec![Seen::Begun, Seen::Whole] } else { Vec::new() }
            }
        };
        for seen in seen {
            if told.send(seen).await.is_err() {
                return;
            }
        }
    }
}

/// [`follow`] in tasks of a set, with which they end; each word as `wrap` makes it.
pub(super) fn pass_on<K, T>(
    tasks: &mut JoinSet<()>,
    what: &'static str,
    (api, config): (Api<K>, Config),
    told: &mpsc::Sender<T>,
    wrap: impl Fn(Seen<K>) -> T + Send + 'static,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    T: Send + 'static,
{
    let (seen, mut words) = mpsc::channel(1);
    tasks.spawn(follow(what, api, config, seen));
    let told = told.clone();
    tasks.spawn(async move {
        while let Some(seen) = words.recv().await {
            if told.send(wrap(seen)).await.is_err() {
                return;
            }
        }
    });
}

/// The one of this name: RBAC grants no other.
pub(super) fn named(name: &str) -> Config {
    Config::default().fields(&format!("metadata.name={name}"))
}

fn of_event<K>(event: Event<K>) -> Seen<K> {
    match event {
        Event::Init => Seen::Begun,
        Event::InitApply(object) => Seen::Listed(object),
        Event::InitDone => Seen::Whole,
        Event::Apply(object) => Seen::Changed(object),
        Event::Delete(object) => Seen::Gone(object),
    }
}
