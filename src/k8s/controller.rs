//! `cloakroom controller`: tells in `status` what became of each policy, keeps the signing keys of each namespace and what
//! sidecars need there, and the install's certificates.
//!
//! Every replica watches, compiles and serves key sets. Only the holder of the Lease writes. What it compiles is what the
//! gates compile, by the same function from the same objects; no gate waits for it or asks it anything.

pub mod certificates;
mod collection;
mod complaints;
mod gates;
mod keys;
mod lease;
pub mod metrics;
mod news;
mod objects;
mod ours;
mod statuses;
mod together;
mod watching;

use std::sync::Arc;
use std::time::Duration;

use kube::api::PostParams;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::certificates::CertificatesConfig;
pub use self::gates::{
    Check, FileCheck, FileInSecret, GatesConfig, Lead, OnceMade, Passwords, SidecarsConfig, StoreUsers,
};
pub use self::keys::{Enrolled, KeysConfig};
pub use self::lease::LeaseConfig;
use self::lease::{Election, Leadership};
use self::metrics::{ControllerMetrics, Written};
use self::news::News;
use self::objects::{Compiled, Objects, Record};
use self::statuses::{Change, Entries};
use crate::authz::policy::conditions::Told;
use crate::authz::policy::{Install, ObjectName};
use crate::k8s::{ClusterSettings, Connection};
use crate::sessions::clock::Clock;
use crate::sessions::keyring::KeyRing;
use crate::tls::Tls;

/// Changes that come within this time are compiled together.
const GATHER: Duration = Duration::from_millis(50);
/// How long one write waits for the next, so that 10,000 policies that change at once do not load the API server more than
/// anybody else's client may.
const PACE: Duration = Duration::from_millis(20);
/// After so long with newer objects at hand, what is left to write is told from those.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long writes that are on their way are waited for at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Who writes, as `managedFields` tell it.
const FIELD_MANAGER: &str = "cloakroom-controller";

fn as_us() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// What a controller needs to know.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// What it follows.
    pub cluster: ClusterSettings,
    /// Who it is: no other process has the same.
    pub identity: String,
    /// How it is elected.
    pub lease: LeaseConfig,
    /// Whose keys it keeps.
    pub keys: KeysConfig,
    /// The certificates that it keeps, if any.
    pub certificates: Option<CertificatesConfig>,
    /// What the webhook shows, where that is one of these certificates.
    pub webhook: Option<Arc<Tls>>,
    /// What it brings to gates.
    pub gates: GatesConfig,
}

/// What others see of a controller.
#[derive(Clone, Debug, Default)]
pub struct ControllerState(Arc<tokio::sync::watch::Sender<State>>);

/// See [`ControllerState`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    policies: bool,
    /// What of the policies is awaited, and why.
    awaited: Option<String>,
    keys: bool,
    webhook: bool,
    /// Why the webhook has no certificate.
    awaited_webhook: Option<String>,
}

impl ControllerState {
    /// Whether every policy, and all that they hang on, has been seen and compiled.
    pub fn has_policies(&self) -> bool {
        self.0.borrow().policies
    }

    /// What is awaited before that, and why.
    pub fn awaited(&self) -> Option<String> {
        self.0.borrow().awaited.clone()
    }

    /// Whether every namespace's keys have been seen.
    pub fn has_keys(&self) -> bool {
        self.0.borrow().keys
    }

    /// Whether the webhook has a certificate to show.
    pub fn has_webhook(&self) -> bool {
        self.0.borrow().webhook
    }

    /// Why it has none.
    pub fn awaited_webhook(&self) -> Option<String> {
        self.0.borrow().awaited_webhook.clone()
    }

    /// Waits for a change of any.
    pub async fn changed(&self) {
        let mut states = self.0.subscribe();
        let known = states.borrow_and_update().clone();
        let _ = states.wait_for(|state| *state != known).await;
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        self.0.send_if_modified(|state| {
            let before = state.clone();
            change(state);
            *state != before
        });
    }
}

/// A controller that has not begun.
pub struct Controller {
    connection: Connection,
    config: ControllerConfig,
    install: Install,
    ring: Arc<KeyRing>,
    clock: Arc<Clock>,
    state: ControllerState,
    metrics: ControllerMetrics,
}

impl Controller {
    /// A controller that publishes the keys that it finds in `ring`.
    pub fn new(
        connection: Connection,
        config: ControllerConfig,
        install: Install,
        ring: Arc<KeyRing>,
        clock: Arc<Clock>,
        metrics: ControllerMetrics,
    ) -> Self {
        Self { connection, config, install, ring, clock, state: ControllerState::default(), metrics }
    }

    /// What it has seen so far.
    pub fn state(&self) -> ControllerState {
        self.state.clone()
    }

    /// Watches and writes until `stop`, then gives the Lease back.
    ///
    /// # Errors
    /// When a part of it ended by itself.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { connection, config, install, ring, clock, state, metrics } = self;
        let client = connection.client.clone();
        let (election, leadership) = Election::new(client.clone(), config.lease.clone(), metrics.clone());
        let news = News::new(client.clone(), &config.identity);
        let released = CancellationToken::new();
        let election = tokio::spawn(election.run(released.clone()));
        let telling = TaskTracker::new();
        let mut writers = JoinSet::new();
        let teller = Teller {
            connection,
            cluster: config.cluster.clone(),
            leadership: leadership.clone(),
            news: news.clone(),
            telling: telling.clone(),
            install,
            state: state.clone(),
            metrics: metrics.clone(),
        };
        writers.spawn(teller.run());
        let namespace = config.lease.namespace;
        if let Some(certificates) = config.certificates {
            let keeper = certificates::Keeper {
                client: client.clone(),
                config: certificates,
                namespace: namespace.clone(),
                leadership: leadership.clone(),
                news: news.clone(),
                clock: Arc::clone(&clock),
                state: state.clone(),
                metrics: metrics.clone(),
                webhook: config.webhook,
            };
            writers.spawn(certificates::Keeping::of(keeper).run());
        }
        let (told, enrolled) = tokio::sync::watch::channel(None);
        if config.gates.sidecars.is_some() || !config.gates.once.is_empty() {
            let means = gates::Means {
                client: client.clone(),
                config: config.gates,
                install: namespace.clone(),
                scopes: config.keys.enrolled.scopes(config.cluster.namespace.as_deref()),
                enrolled,
                leadership: leadership.clone(),
                news: news.clone(),
                metrics: metrics.clone(),
            };
            writers.spawn(gates::Gates::of(means).run());
        }
        let keeper = keys::Keeper {
            client,
            config: config.keys,
            watch: config.cluster.namespace,
            namespace,
            told,
            leadership,
            news,
            ring,
            clock,
            state,
            metrics,
        };
        writers.spawn(keys::Keeping::of(keeper).run());
        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            Some(ended) = writers.join_next() => Err(match ended {
                Ok(()) => anyhow::anyhow!("a part of the controller ended by itself"),
                Err(error) => anyhow::Error::new(error).context("a part of the controller panicked"),
            }),
        };
        // Nobody else may begin before the last write has ended.
        writers.shutdown().await;
        telling.close();
        let _ = tokio::time::timeout(LAST_WORDS, telling.wait()).await;
        released.cancel();
        election.await?;
        ended
    }
}

/// Tells in their status what became of the policies.
struct Teller {
    connection: Connection,
    cluster: ClusterSettings,
    leadership: Leadership,
    news: News,
    /// Writes on their way.
    telling: TaskTracker,
    install: Install,
    state: ControllerState,
    metrics: ControllerMetrics,
}

impl Teller {
    async fn run(mut self) {
        let (mut objects, mut following) = Objects::follow(&self.connection, &self.cluster, &self.metrics.cluster);
        let words = &mut following.words;
        let mut compiled: Option<Compiled> = None;
        let mut is_told = false;
        let mut is_stale = false;
        loop {
            tokio::select! {
                word = words.recv() => {
                    let Some(word) = word else { return };
                    is_stale |= objects.take(word);
                    tokio::time::sleep(GATHER).await;
                    while let Ok(word) = words.try_recv() {
                        is_stale |= objects.take(word);
                    }
                }
                // Also each time that the Lease is held on to, and so what could not be written is tried again.
                () = self.leadership.changed() => {}
            }
            if !objects.is_whole() {
                self.state.set(|state| state.awaited = objects.awaited());
                continue;
            }
            if std::mem::take(&mut is_stale) {
                let fresh = objects.compile(&self.install, compiled.as_ref().map(|it| &it.index));
                compiled = Some(fresh);
                is_told = false;
                self.state.set(|state| (state.policies, state.awaited) = (true, None));
            }
            if let Some(compiled) = &compiled
                && !is_told
                && self.leadership.until().is_some()
            {
                is_told = self.tell(&mut objects, compiled, || !words.is_empty()).await;
            }
        }
    }

    /// Writes a status, and then the Event of it. Both or neither, also when this process is about to end meanwhile.
    async fn write(&self, name: &ObjectName, record: &Record, change: Change) -> Option<Result<Record, kube::Error>> {
        let (leadership, client, news) = (self.leadership.clone(), self.connection.client.clone(), self.news.clone());
        let (name, record) = (name.clone(), record.clone());
        let job = self.telling.spawn(async move {
            let written = leadership.write(statuses::write(&client, &name, &record, &change)).await;
            if let (Some(Ok(record)), Some(turn)) = (&written, &change.turn) {
                news.policy(&name, record, turn).await;
            }
            written
        });
        job.await.unwrap_or_default()
    }

    /// Writes what is not said yet. Answers whether all of it is said now.
    async fn tell(&self, objects: &mut Objects, compiled: &Compiled, has_news: impl Fn() -> bool) -> bool {
        let told = Told::new(&compiled.objects, &compiled.index, &compiled.problems);
        let (mut is_whole, began) = (true, Instant::now());
        let (mut accepted, mut refused) = (0, 0);
        for policy in &compiled.objects.policies {
            let name: ObjectName = (policy.object.name.namespace.to_string(), policy.object.name.name.to_string());
            let Some(record) = objects.record(&name) else { continue };
            let entries = Entries::of(&record.status);
            let say = told.policy(&policy.object, record.generation, &entries.ours, &now());
            *(if statuses::refusal(&say).is_none() { &mut accepted } else { &mut refused }) += 1;
            let Some(change) = entries.change(say) else { continue };
            if has_news() && began.elapsed() > PATIENCE {
                return false;
            }
            match self.write(&name, record, change).await {
                Some(Ok(written)) => {
                    self.metrics.status(Written::Done);
                    *record = written;
                }
                // It has changed or gone, and the watch is about to say so.
                Some(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
                    self.metrics.status(Written::Conflict);
                }
                Some(Err(error)) => {
                    is_whole = false;
                    self.metrics.status(Written::Failed);
                    tracing::warn!(policy = %format!("{}/{}", name.0, name.1), %error, "a status could not be written; tried again");
                }
                // Another controller's turn: it tells it all.
                None => return false,
            }
            tokio::time::sleep(PACE).await;
        }
        self.metrics.policies(accepted, refused);
        is_whole
    }
}

/// Now, as conditions write it.
fn now() -> String {
    let now = k8s_openapi::jiff::Timestamp::now();
    k8s_openapi::jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}
