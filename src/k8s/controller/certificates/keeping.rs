//! Writes what is to be written, while we lead; and gives the webhook its certificate, whether we lead or not.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use kube::runtime::watcher::Config;
use kube::{Client, Error, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::plan::{self, Found, Held, Registration, Write};
use super::registrations::{Registered, Registrations};
use super::{AUTHORITY, CertificatesConfig, WEBHOOK, objects, terms};
use crate::authz::policy::ObjectName;
use crate::k8s::controller::collection::Collection;
use crate::k8s::controller::complaints::Complaints;
use crate::k8s::controller::lease::Leadership;
use crate::k8s::controller::metrics::{ControllerMetrics, Written};
use crate::k8s::controller::news::News;
use crate::k8s::controller::ours::Fault;
use crate::k8s::controller::watching::{self, Seen};
use crate::k8s::controller::{ControllerState, FIELD_MANAGER, PACE, as_us};
use crate::sessions::clock::Clock;
use crate::tls::Tls;

/// How often it is looked whether a certificate is due, at least.
const LOOK: Duration = Duration::from_secs(30);
/// An authority, and what hangs on it, and what hangs on that: more rounds at once are none that anybody needs.
const ROUNDS: usize = 8;

/// What it takes to keep the certificates.
pub(in crate::k8s::controller) struct Keeper {
    pub(in crate::k8s::controller) client: Client,
    pub(in crate::k8s::controller) config: CertificatesConfig,
    /// The install's.
    pub(in crate::k8s::controller) namespace: String,
    pub(in crate::k8s::controller) leadership: Leadership,
    pub(in crate::k8s::controller) news: News,
    pub(in crate::k8s::controller) clock: Arc<Clock>,
    pub(in crate::k8s::controller) state: ControllerState,
    pub(in crate::k8s::controller) metrics: ControllerMetrics,
    /// What the webhook shows, if it is ours to make.
    pub(in crate::k8s::controller) webhook: Option<Arc<Tls>>,
}

enum Change {
    Secret(ObjectName, Seen<Secret>),
    ConfigMap(ObjectName, Seen<ConfigMap>),
    Validating(Seen<ValidatingWebhookConfiguration>),
    Mutating(Seen<MutatingWebhookConfiguration>),
}

/// Keeps the certificates.
pub(in crate::k8s::controller) struct Keeping {
    with: Keeper,
    /// Each is watched by its name: RBAC grants no other.
    secrets: BTreeMap<ObjectName, Collection<Secret>>,
    maps: BTreeMap<ObjectName, Collection<ConfigMap>>,
    registrations: Registrations,
    /// About objects that are left alone, by kind and name.
    complaints: Complaints<(&'static str, ObjectName)>,
    /// About objects that could not be written.
    failures: Complaints<String>,
    /// The version of the certificate that the webhook shows.
    shows: Option<String>,
}

impl Keeping {
    pub(in crate::k8s::controller) fn of(with: Keeper) -> Self {
        let config = &with.config;
        let leaves = config.leaves(&with.namespace);
        let names = leaves.into_iter().map(|(name, _)| name).chain([(with.namespace.clone(), AUTHORITY.to_owned())]);
        Self {
            secrets: names.map(|name| (name, Collection::default())).collect(),
            maps: config.bundles().map(|name| (name, Collection::default())).collect(),
            registrations: Registrations::of(config.webhook.as_ref()),
            complaints: Complaints::default(),
            failures: Complaints::default(),
            shows: None,
            with,
        }
    }

    pub(in crate::k8s::controller) async fn run(mut self) {
        let (changed, mut changes) = mpsc::channel(64);
        let _watches = self.follow(&changed);
        drop(changed);
        loop {
            tokio::select! {
                change = changes.recv() => {
                    let Some(change) = change else { return };
                    self.take(change);
                    while let Ok(change) = changes.try_recv() {
                        self.take(change);
                    }
                }
                () = self.with.leadership.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            self.show();
            self.tell_terms();
            if !self.is_whole() || self.with.leadership.until().is_none() {
                continue;
            }
            for _ in 0..ROUNDS {
                match self.round().await {
                    Ok(true) => self.show(),
                    Ok(false) => break,
                    Err(error) => {
                        tracing::warn!(%error, "the certificates could not be kept; tried again");
                        break;
                    }
                }
            }
        }
    }

    /// Begins to watch. The tasks end with the set.
    fn follow(&self, changed: &mpsc::Sender<Change>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let client = &self.with.client;
        for name in self.secrets.keys() {
            let (one, told) = (one(client, name), name.clone());
            watching::pass_on(&mut tasks, "secrets", one, changed, move |seen| Change::Secret(told.clone(), seen));
        }
        for name in self.maps.keys() {
            let (one, told) = (one(client, name), name.clone());
            watching::pass_on(&mut tasks, "configmaps", one, changed, move |seen| {
                Change::ConfigMap(told.clone(), seen)
            });
        }
        let webhook = self.with.config.webhook.as_ref();
        if let Some(name) = webhook.and_then(|it| it.validating.as_deref()) {
            let one = (Api::all(client.clone()), watching::named(name));
            watching::pass_on(&mut tasks, "validatingwebhookconfigurations", one, changed, Change::Validating);
        }
        if let Some(name) = webhook.and_then(|it| it.mutating.as_deref()) {
            let one = (Api::all(client.clone()), watching::named(name));
            watching::pass_on(&mut tasks, "mutatingwebhookconfigurations", one, changed, Change::Mutating);
        }
        tasks
    }

    fn take(&mut self, change: Change) {
        match change {
            Change::Secret(name, seen) => self.secrets.entry(name).or_default().take(seen, |it| it),
            Change::ConfigMap(name, seen) => self.maps.entry(name).or_default().take(seen, |it| it),
            Change::Validating(seen) => self.registrations.validating.get_or_insert_default().take(seen, |it| it),
            Change::Mutating(seen) => self.registrations.mutating.get_or_insert_default().take(seen, |it| it),
        };
    }

    fn is_whole(&self) -> bool {
        self.secrets.values().all(Collection::is_whole)
            && self.maps.values().all(Collection::is_whole)
            && self.registrations.is_whole()
    }

    fn secret(&self, name: &ObjectName) -> Option<&Secret> {
        self.secrets.get(name)?.get(name)
    }

    /// Has the webhook show its certificate, if there is another now.
    fn show(&mut self) {
        let Some(tls) = &self.with.webhook else { return };
        let name = (self.with.namespace.clone(), WEBHOOK.to_owned());
        let place = format!("Secret {}/{WEBHOOK}", name.0);
        let problem = match self.secret(&name).map(|secret| (secret, objects::shown(secret))) {
            None => Some(format!("{place} is not there yet: the controller that holds the Lease makes it")),
            Some((_, Err(fault))) => Some(format!("{place}: {}", fault.words)),
            Some((secret, Ok(_))) if self.shows.is_some() && self.shows == secret.metadata.resource_version => return,
            Some((secret, Ok(_))) => {
                let file = |name: &str| objects::text(secret, name).unwrap_or_default().as_bytes();
                match tls.give(&place, file("tls.crt"), file("tls.key")) {
                    Ok(()) => {
                        let version = secret.metadata.resource_version.clone();
                        self.shows = version;
                        tracing::info!(secret = %place, "the webhook shows this certificate");
                        None
                    }
                    Err(error) => Some(format!("{:#}", anyhow::Error::from(error))),
                }
            }
        };
        // What it has shown once it goes on to show.
        let is_there = tls.is_there();
        self.with.state.set(|state| (state.webhook, state.awaited_webhook) = (is_there, problem.filter(|_| !is_there)));
    }

    /// Has the metrics say how long each certificate is good, as this replica sees it, whether we lead or not.
    fn tell_terms(&self) {
        for name in self.secrets.keys() {
            let term = self.secret(name).and_then(|secret| terms::of(name, secret, self.with.config.life));
            self.with.metrics.certificate(name, term);
        }
    }

    /// Writes what is to be written now. Answers whether something was.
    async fn round(&mut self) -> anyhow::Result<bool> {
        let (found, faults) = self.found();
        self.complain(faults).await;
        let writes = plan::next(&self.with.config, &self.with.namespace, &found, self.with.clock.now())?;
        let mut is_written = false;
        for write in writes {
            is_written |= self.write(write).await;
            tokio::time::sleep(PACE).await;
        }
        Ok(is_written)
    }

    /// What is there, and what is wrong with what is left alone.
    fn found(&self) -> (Found, Vec<Foreign>) {
        let (mut found, mut faults) = (Found::default(), Vec::new());
        let mut held = |kind, name: &ObjectName, metadata: &ObjectMeta, fault: Fault| {
            faults.push(Foreign { kind, name: name.clone(), uid: metadata.uid.clone(), fault });
        };
        for (name, secret) in self.secrets.values().flat_map(Collection::iter) {
            if name.1 == AUTHORITY {
                found.authority = Some(match objects::authority(secret) {
                    Ok(authority) => Held::Ours(authority),
                    Err(fault) => {
                        held("Secret", name, &secret.metadata, fault);
                        Held::NotOurs
                    }
                });
                continue;
            }
            let shown =
                objects::changeable(objects::shown(secret), secret.immutable).map(Held::Ours).unwrap_or_else(|fault| {
                    held("Secret", name, &secret.metadata, fault);
                    Held::NotOurs
                });
            found.leaves.insert(name.clone(), shown);
        }
        for (name, map) in self.maps.values().flat_map(Collection::iter) {
            let bundle =
                objects::changeable(objects::bundle(map), map.immutable).map(Held::Ours).unwrap_or_else(|fault| {
                    held("ConfigMap", name, &map.metadata, fault);
                    Held::NotOurs
                });
            found.bundles.insert(name.clone(), bundle);
        }
        for registration in self.registered() {
            let told: Vec<String> = registration.webhooks.into_iter().map(|(_, bundle)| bundle).collect();
            found.registered.insert(registration.name, told);
        }
        (found, faults)
    }

    /// The registrations, with those of their webhooks that call our Service.
    fn registered(&self) -> Vec<Registered> {
        let Some(webhook) = &self.with.config.webhook else { return Vec::new() };
        self.registrations.calling((&self.with.namespace, &webhook.service))
    }

    /// Tells of each fault once.
    async fn complain(&mut self, faults: Vec<Foreign>) {
        self.complaints.keep(|(kind, name)| faults.iter().any(|it| it.kind == *kind && it.name == *name));
        for Foreign { kind, name, uid, fault } in faults {
            if !self.complaints.is_new((kind, name.clone()), uid.as_deref(), &fault.words) {
                continue;
            }
            let place = format!("{}/{}", name.0, name.1);
            tracing::error!(object = %format!("{kind} {place}"), reason = fault.reason, problem = %fault.words, "no certificate is kept here");
            self.with.news.object(kind, &name, uid.as_deref(), fault.reason, &fault.words).await;
        }
    }

    /// Answers whether it was written.
    async fn write(&mut self, write: Write) -> bool {
        match write {
            Write::Authority(authority) => {
                let name = (self.with.namespace.clone(), AUTHORITY.to_owned());
                let metadata = objects::metadata(&name, self.secret(&name).map(|it| &it.metadata));
                self.put_secret("the authority", &name, objects::of_authority(&authority, metadata)).await
            }
            Write::Leaf(name, leaf, bundle) => {
                let metadata = objects::metadata(&name, self.secret(&name).map(|it| &it.metadata));
                self.put_secret("a certificate", &name, objects::of_leaf(&leaf, &bundle, metadata)).await
            }
            Write::Bundle(name, bundle) => {
                let present = self.maps.get(&name).and_then(|it| it.get(&name)).map(|it| &it.metadata);
                let map = objects::of_bundle(&bundle, objects::metadata(&name, present));
                let written = self.put("whom to trust", &name, &map).await;
                let is_written = written.is_some();
                if let Some(map) = written {
                    self.maps.entry(name).or_default().put(&map, |it| it);
                }
                is_written
            }
            Write::Registration(registration, bundle) => self.register(&registration, &bundle).await,
        }
    }

    async fn put_secret(&mut self, what: &str, name: &ObjectName, secret: Secret) -> bool {
        let written = self.put(what, name, &secret).await;
        let is_written = written.is_some();
        if let Some(secret) = written {
            self.secrets.entry(name.clone()).or_default().put(&secret, |it| it);
        }
        is_written
    }

    /// Makes an object that has no version, or replaces the one of that version.
    async fn put<K>(&mut self, what: &str, name: &ObjectName, object: &K) -> Option<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
    {
        let api: Api<K> = Api::namespaced(self.with.client.clone(), &name.0);
        let place = format!("{} {}/{}", K::kind(&()), name.0, name.1);
        let params = as_us();
        let written = match object.resource_version() {
            None => self.with.leadership.write(api.create(&params, object)).await,
            Some(_) => self.with.leadership.write(api.replace(&name.1, &params, object)).await,
        };
        self.count(what, &place, written)
    }

    async fn register(&mut self, registration: &Registration, bundle: &str) -> bool {
        let Some(registered) = self.registered().into_iter().find(|it| it.name == *registration) else {
            return false;
        };
        let webhooks = registered.webhooks.into_iter().map(|(name, _)| name);
        let patch = Patch::Strategic(objects::trust(bundle, webhooks, registered.version.as_deref()));
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let (client, what) = (self.with.client.clone(), "whom to trust");
        match registration {
            Registration::Validating(name) => {
                let api = Api::<ValidatingWebhookConfiguration>::all(client);
                let written = self.with.leadership.write(api.patch(name, &params, &patch)).await;
                let written = self.count(what, &format!("ValidatingWebhookConfiguration {name}"), written);
                written.map(|it| self.registrations.validating.get_or_insert_default().put(&it, |it| it)).is_some()
            }
            Registration::Mutating(name) => {
                let api = Api::<MutatingWebhookConfiguration>::all(client);
                let written = self.with.leadership.write(api.patch(name, &params, &patch)).await;
                let written = self.count(what, &format!("MutatingWebhookConfiguration {name}"), written);
                written.map(|it| self.registrations.mutating.get_or_insert_default().put(&it, |it| it)).is_some()
            }
        }
    }

    /// The object as it is after a write; `None` when the write was not made, or not ours to make after all.
    fn count<K>(&mut self, what: &str, place: &str, written: Option<Result<K, Error>>) -> Option<K> {
        let metrics = &self.with.metrics;
        match written? {
            Ok(object) => {
                metrics.certificates(Written::Done);
                self.failures.forget(&place.to_owned());
                tracing::info!(object = %place, "{what} was written");
                Some(object)
            }
            // Somebody else was faster, and the watch is about to tell what they wrote.
            Err(Error::Api(status)) if status.code == 409 => {
                metrics.certificates(Written::Conflict);
                None
            }
            Err(error) => {
                metrics.certificates(Written::Failed);
                // A lasting fault is one line.
                let words = error.to_string();
                if self.failures.is_new(place.to_owned(), None, &words) {
                    tracing::warn!(object = %place, error = words, "{what} could not be written; tried again");
                }
                None
            }
        }
    }
}

/// An object that is left alone, and why.
struct Foreign {
    kind: &'static str,
    name: ObjectName,
    uid: Option<String>,
    fault: Fault,
}

/// The one object of this name.
fn one<K>(client: &Client, (namespace, name): &ObjectName) -> (Api<K>, Config)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    (Api::namespaced(client.clone(), namespace), watching::named(name))
}
