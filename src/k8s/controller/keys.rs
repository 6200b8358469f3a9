//! The signing keys of each enrolled namespace, kept in a Secret there as `cloakroom keys` keeps them in a folder.
//!
//! A Secret is made when there is none, and replaced whole over the very version that was read, so that whatever interrupts
//! the controller leaves a ring that is whole. One that is not ours is never written to.

mod config;
mod held;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, ObjectMeta, PartialObjectMeta};
use kube::runtime::watcher::Config;
use kube::{Client, Error};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use self::config::{Enrolled, KeysConfig};
use self::held::Held;
use super::collection::Collection;
use super::complaints::Complaints;
use super::lease::Leadership;
use super::metrics::{ControllerMetrics, Written};
use super::news::News;
use super::ours;
use super::together::Together;
use super::watching::{self, Seen};
use super::{ControllerState, PACE, as_us};
use crate::authz::policy::ObjectName;
use crate::authz::session::Timestamp;
use crate::sessions::clock::Clock;
use crate::sessions::keyring::KeyRing;
use crate::sessions::keyring::bundle::KeyBundle;

/// The name of the Secret in each namespace.
pub(super) const SECRET: &str = "cloakroom-keys";
/// The label by which a namespace is enrolled, with the value `true`.
const ENROLLED: &str = "cloakroom.dev/enrolled";
/// How often it is looked whether a key is due, at least.
const LOOK: Duration = Duration::from_secs(30);

enum Change {
    /// In this namespace, or in any where it is empty.
    Secret(String, Seen<Secret>),
    Namespace(Seen<PartialObjectMeta<Namespace>>),
    Together(Seen<Secret>),
}

/// What it takes to keep the keys.
pub(super) struct Keeper {
    pub(super) client: Client,
    pub(super) config: KeysConfig,
    /// The one namespace that is watched.
    pub(super) watch: Option<String>,
    /// The install's.
    pub(super) namespace: String,
    /// Who else is to know which namespaces are enrolled.
    pub(super) told: watch::Sender<Option<BTreeSet<String>>>,
    pub(super) leadership: Leadership,
    pub(super) news: News,
    pub(super) ring: Arc<KeyRing>,
    pub(super) clock: Arc<Clock>,
    pub(super) state: ControllerState,
    pub(super) metrics: ControllerMetrics,
}

/// Keeps the keys.
pub(super) struct Keeping {
    with: Keeper,
    /// By the namespace that is watched; the empty name stands for all of them.
    secrets: BTreeMap<String, Collection<Held>>,
    labelled: Collection<()>,
    /// The keys of all in one Secret, if they are to be.
    together: Option<Together>,
    /// By namespace; each is of the reason alone.
    complaints: Complaints<String>,
}

impl Keeping {
    pub(super) fn of(with: Keeper) -> Self {
        let together = with.config.together.map(|_| Together::new(&with.namespace));
        Self {
            with,
            secrets: BTreeMap::new(),
            labelled: Collection::default(),
            together,
            complaints: Complaints::default(),
        }
    }

    pub(super) async fn run(mut self) {
        let (changed, mut changes) = mpsc::channel(64);
        let _watches = self.follow(&changed);
        // Where no namespace is to have keys there is nothing to wait for.
        if self.with.config.enrolled == Enrolled::These(BTreeSet::new()) {
            self.publish(&BTreeSet::new());
        }
        loop {
            let mut is_new = false;
            let rest = self.rest();
            tokio::select! {
                change = changes.recv() => {
                    let Some(change) = change else { return };
                    is_new |= self.take(change);
                    while let Ok(change) = changes.try_recv() {
                        is_new |= self.take(change);
                    }
                }
                () = self.with.leadership.changed() => {}
                () = tokio::time::sleep(rest) => {}
            }
            self.tell();
            let Some(enrolled) = self.enrolled().filter(|_| self.secrets.values().all(Collection::is_whole)) else {
                continue;
            };
            if is_new {
                self.publish(&enrolled);
            }
            if self.with.leadership.until().is_some() {
                for namespace in &enrolled {
                    if self.keep(namespace).await {
                        self.publish(&enrolled);
                        tokio::time::sleep(PACE).await;
                    }
                }
                self.put_together(&enrolled).await;
            }
        }
    }

    /// For how long there is nothing to do unless something changes.
    fn rest(&self) -> Duration {
        self.together.as_ref().and_then(Together::waits).map_or(LOOK, |it| it.min(LOOK))
    }

    /// Begins to watch. The tasks end with the set.
    fn follow(&mut self, changed: &mpsc::Sender<Change>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for scope in self.with.config.enrolled.scopes(self.with.watch.as_deref()) {
            let secrets: Api<Secret> = match scope.as_str() {
                "" => Api::all(self.with.client.clone()),
                namespace => Api::namespaced(self.with.client.clone(), namespace),
            };
            self.secrets.insert(scope.clone(), Collection::default());
            let secrets = (secrets, watching::named(SECRET));
            watching::pass_on(&mut tasks, "secrets", secrets, changed, move |seen| Change::Secret(scope.clone(), seen));
        }
        if let Some(together) = &self.together {
            let secrets = Api::namespaced(self.with.client.clone(), &together.name.0);
            let secrets = (secrets, watching::named(&together.name.1));
            watching::pass_on(&mut tasks, "secrets", secrets, changed, Change::Together);
        }
        if self.with.config.enrolled == Enrolled::ByLabel {
            let labelled = Config::default().labels(&format!("{ENROLLED}=true"));
            let namespaces = (Api::all(self.with.client.clone()), labelled);
            watching::pass_on(&mut tasks, "namespaces", namespaces, changed, Change::Namespace);
        }
        tasks
    }

    fn take(&mut self, change: Change) -> bool {
        let together = self.with.config.together;
        match change {
            Change::Secret(scope, seen) => {
                self.secrets.entry(scope).or_default().take(seen, |secret| Held::of(secret, together))
            }
            Change::Namespace(seen) => self.labelled.take(seen, |_| ()),
            Change::Together(seen) => self.together.as_mut().is_some_and(|it| it.take(seen)),
        }
    }

    /// The namespaces that are to have keys; `None` while that is not known.
    fn enrolled(&self) -> Option<BTreeSet<String>> {
        match &self.with.config.enrolled {
            Enrolled::These(namespaces) => Some(namespaces.clone()),
            // The name of an object without a namespace.
            Enrolled::ByLabel => {
                self.labelled.is_whole().then(|| self.labelled.iter().map(|((_, name), ())| name.clone()).collect())
            }
        }
    }

    fn tell(&self) {
        let enrolled = self.enrolled();
        self.with.told.send_if_modified(|told| {
            let is_new = *told != enrolled;
            *told = enrolled;
            is_new
        });
    }

    /// The keys of these namespaces, by namespace: those that are kept, and whether they may lie together.
    fn bundles(&self, enrolled: &BTreeSet<String>) -> BTreeMap<&str, (&KeyBundle, bool)> {
        let held = self.secrets.values().flat_map(Collection::iter);
        held.filter_map(|((namespace, _), held)| {
            let bundle = held.keys.as_ref().ok().filter(|_| enrolled.contains(namespace))?;
            Some((namespace.as_str(), (bundle, held.apart.is_none())))
        })
        .collect()
    }

    /// Has the public keys of these namespaces served.
    fn publish(&mut self, enrolled: &BTreeSet<String>) {
        if let Some(together) = &mut self.together {
            together.is_stale = true;
        }
        let bundles = self.bundles(enrolled);
        self.with.metrics.namespaces(bundles.len(), enrolled.len().saturating_sub(bundles.len()));
        self.with.ring.publish(bundles.into_iter().map(|(namespace, (bundle, _))| (namespace, bundle)));
        self.with.state.set(|state| state.keys = true);
    }

    /// Makes the keys of `namespace`, or keeps them up. Answers whether something was written.
    async fn keep(&mut self, namespace: &str) -> bool {
        let now = self.with.clock.now();
        let name: ObjectName = (namespace.to_owned(), SECRET.to_owned());
        let held = self.secrets.values().find_map(|secrets| secrets.get(&name));
        let fault = held.and_then(|it| it.keys.as_ref().err().or(it.apart.as_ref()));
        let fault = fault.map(|fault| (held.and_then(|it| it.uid.clone()), fault.clone()));
        let written = match held {
            None => self.make(namespace, now).await,
            Some(Held { keys: Ok(bundle), version, .. }) => {
                self.keep_up(namespace, bundle, version.as_deref(), now).await
            }
            Some(Held { keys: Err(_), .. }) => Ok(None),
        };
        match fault {
            None => self.complaints.forget(&name.0),
            Some((uid, fault)) => {
                if self.complaints.is_new(namespace.to_owned(), uid.as_deref(), fault.reason) {
                    tracing::error!(%namespace, secret = SECRET, reason = fault.reason, problem = %fault.words, "a gate lacks keys");
                    self.with.news.object("Secret", &name, uid.as_deref(), fault.reason, &fault.words).await;
                }
            }
        }
        match written {
            Ok(Some(secret)) => {
                let scope = if self.secrets.contains_key(namespace) { namespace } else { "" };
                let together = self.with.config.together;
                self.secrets.entry(scope.to_owned()).or_default().put(&secret, |it| Held::of(it, together));
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(%namespace, secret = SECRET, %error, "keys could not be written; tried again");
                false
            }
        }
    }

    /// Keeps the one Secret true to the keys of all.
    async fn put_together(&mut self, enrolled: &BTreeSet<String>) {
        let Some(mut together) = self.together.take_if(|it| it.is_stale && it.is_whole() && it.waits().is_none())
        else {
            return;
        };
        let bundles = self.bundles(enrolled).into_iter();
        let bundles = bundles.filter_map(|(namespace, (bundle, is_fit))| is_fit.then_some((namespace, bundle)));
        match together.next(&bundles.collect()) {
            Ok(None) => together.is_stale = false,
            Ok(Some(secret)) => {
                let api: Api<Secret> = Api::namespaced(self.with.client.clone(), &together.name.0);
                let written = match secret.metadata.resource_version {
                    None => self.written(api.create(&as_us(), &secret)).await,
                    Some(_) => self.written(api.replace(&together.name.1, &as_us(), &secret)).await,
                };
                match written {
                    Ok(Some(secret)) => {
                        tracing::info!(secret = %together.name.1, "wrote the keys of all namespaces");
                        together.put(&secret);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(secret = %together.name.1, %error, "keys could not be written; tried again");
                    }
                }
            }
            Err(()) => {}
        }
        if let Some((uid, fault)) = together.complaint() {
            let secret = format!("{}/{}", together.name.0, together.name.1);
            tracing::error!(%secret, reason = fault.reason, problem = %fault.words, "a gate lacks keys");
            self.with.news.object("Secret", &together.name, uid.as_deref(), fault.reason, &fault.words).await;
        }
        self.together = Some(together);
    }

    async fn make(&self, namespace: &str, now: Timestamp) -> anyhow::Result<Option<Secret>> {
        let bundle = KeyBundle::generate(self.with.config.algorithm, now)?;
        let api: Api<Secret> = Api::namespaced(self.with.client.clone(), namespace);
        let secret = secret_of(&bundle, ObjectMeta { name: Some(SECRET.to_owned()), ..ObjectMeta::default() });
        let made = self.written(api.create(&as_us(), &secret)).await?;
        if made.is_some() {
            tracing::info!(%namespace, secret = SECRET, "made the signing keys of a namespace");
        }
        Ok(made)
    }

    async fn keep_up(
        &self,
        namespace: &str,
        bundle: &KeyBundle,
        version: Option<&str>,
        now: Timestamp,
    ) -> anyhow::Result<Option<Secret>> {
        let (schedule, algorithm) = (self.with.config.schedule, self.with.config.algorithm);
        if bundle.due(schedule, algorithm) > now {
            return Ok(None);
        }
        let Some(next) = bundle.kept_up(schedule, algorithm, now)? else {
            return Ok(None);
        };
        let api: Api<Secret> = Api::namespaced(self.with.client.clone(), namespace);
        // Labels and annotations that others added stay: they are those of the version that this one is to follow.
        let Some(present) = self.with.leadership.write(api.get_opt(SECRET)).await.transpose()?.flatten() else {
            return Ok(None);
        };
        if present.metadata.resource_version.as_deref() != version {
            return Ok(None);
        }
        let secret = secret_of(&next, ObjectMeta { managed_fields: None, ..present.metadata });
        let kept = self.written(api.replace(SECRET, &as_us(), &secret)).await?;
        if kept.is_some() {
            tracing::info!(%namespace, secret = SECRET, "the signing keys of a namespace have moved on");
        }
        Ok(kept)
    }

    /// The Secret as it is after a write; `None` when the write was not ours to make after all.
    async fn written(&self, write: impl Future<Output = Result<Secret, Error>>) -> anyhow::Result<Option<Secret>> {
        let metrics = &self.with.metrics;
        match self.with.leadership.write(write).await {
            Some(Ok(secret)) => {
                metrics.keys(Written::Done);
                Ok(Some(secret))
            }
            // Somebody else was faster, and the watch is about to tell what they wrote.
            Some(Err(Error::Api(status))) if matches!(status.code, 404 | 409) => {
                metrics.keys(Written::Conflict);
                Ok(None)
            }
            Some(Err(error)) => {
                metrics.keys(Written::Failed);
                Err(error.into())
            }
            None => Ok(None),
        }
    }
}

fn secret_of(bundle: &KeyBundle, metadata: ObjectMeta) -> Secret {
    let metadata = ours::marked(metadata);
    let data: BTreeMap<String, ByteString> =
        bundle.files().map(|(name, content)| (name, ByteString(content.to_vec()))).collect();
    Secret { metadata, data: Some(data), type_: Some("Opaque".to_owned()), immutable: Some(false), string_data: None }
}
