//! What sidecars need in their namespaces beside keys: the file that they read, the secrets that they share, the right to watch
//! policies. And the Secrets of the install that are made once.
//!
//! Objects are made when they are missing, put right when they differ, and taken away when their namespace is no longer
//! enrolled. One of these names that is not ours is never written to.

mod config;
mod present;
mod store_users;
mod wanted;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, DeleteParams, DynamicObject, Preconditions};
use kube::{Client, Error, ResourceExt as _};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

pub use self::config::{Check, FileCheck, FileInSecret, GatesConfig, OnceMade, SidecarsConfig};
use self::present::{Place, Present};
pub use self::store_users::{Lead, Passwords, StoreUsers};
use self::wanted::{Kind, Sources, is_ours};
use super::complaints::Complaints;
use super::lease::Leadership;
use super::metrics::{ControllerMetrics, Written};
use super::news::News;
use super::watching::{self, Seen};
use super::{PACE, as_us};
use crate::authz::policy::ObjectName;

/// The name of what each namespace gets.
const NAME: &str = "cloakroom-gate";
/// How often the file is looked at, and what could not be written is tried again.
const LOOK: Duration = Duration::from_secs(5);

/// The reasons of complaints; those of objects are the reasons of Events too.
const FILE: &str = "ConfigFile";
const FAILED: &str = "WriteFailed";
const NOT_OURS: &str = "NotOurs";
const MISSING: &str = "SourceMissing";
const INCOMPLETE: &str = "Incomplete";

/// What it takes to bring it.
pub(super) struct Means {
    pub(super) client: Client,
    pub(super) config: GatesConfig,
    /// The install's own namespace.
    pub(super) install: String,
    /// Where to look for what was brought: namespaces, or the empty name for all.
    pub(super) scopes: Vec<String>,
    /// The namespaces that are enrolled; `None` while that is not known.
    pub(super) enrolled: watch::Receiver<Option<BTreeSet<String>>>,
    pub(super) leadership: Leadership,
    pub(super) news: News,
    pub(super) metrics: ControllerMetrics,
}

/// Brings what gates need.
pub(super) struct Gates {
    with: Means,
    present: Present,
    /// The last good text of the sidecars' file.
    text: Option<String>,
    /// By what they are about and by the reason.
    complaints: Complaints<(String, &'static str)>,
}

impl Gates {
    pub(super) fn of(with: Means) -> Self {
        Self { present: Present::of(&with.install), text: None, complaints: Complaints::default(), with }
    }

    pub(super) async fn run(mut self) {
        let (changed, mut changes) = mpsc::channel(64);
        let mut tasks = self.follow(&changed);
        let (passwords, known) = watch::channel(None);
        if self.with_users() {
            tasks.spawn(self.with.config.store_users.clone().tell(known, self.with.leadership.clone()));
        }
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(change) = changes.recv() => {
                    self.present.take(change);
                    while let Ok(change) = changes.try_recv() {
                        self.present.take(change);
                    }
                }
                () = self.with.leadership.changed() => {}
                () = next(&mut self.with.enrolled) => {}
                _ = look.tick() => self.read_file().await,
            }
            if self.with.leadership.until().is_some() {
                self.make_once().await;
                self.bring().await;
                self.take_away().await;
                self.tell_users(&passwords);
            } else {
                // What is known now is old when we lead again.
                passwords.send_if_modified(|told| told.take().is_some());
            }
        }
    }

    fn with_users(&self) -> bool {
        self.with.config.sidecars.as_ref().is_some_and(|it| it.users)
    }

    /// Publishes whose Secrets are there, and so who may come to the store.
    fn tell_users(&self, told: &watch::Sender<Option<Arc<Passwords>>>) {
        let Some(enrolled) = self.enrolled().filter(|_| self.with_users()) else { return };
        let of = |namespace: String| {
            let (_, present) = self.present.brought(Kind::Secret, &namespace);
            let password = wanted::password(present.filter(|it| is_ours(Kind::Secret, it))?, &namespace)?;
            Some((namespace, password))
        };
        let namespaces = enrolled.into_iter().filter_map(of).collect();
        let (name, key) = OnceMade::Store.place();
        let is_ours = self.with.config.once.contains(&OnceMade::Store);
        let own = self.present.of_install(name).flatten().filter(|_| is_ours).and_then(|it| wanted::text(it, key));
        let passwords = Passwords { own, namespaces };
        told.send_if_modified(|told| {
            let is_new = told.as_deref() != Some(&passwords);
            if is_new {
                *told = Some(Arc::new(passwords));
            }
            is_new
        });
    }

    /// Begins to watch. The tasks end with the set.
    fn follow(&mut self, changed: &mpsc::Sender<(Place, Seen<DynamicObject>)>) -> JoinSet<()> {
        let config = &self.with.config;
        let mut names: BTreeSet<String> = config.once.iter().map(|it| it.place().0.to_owned()).collect();
        let mut places = Vec::new();
        if let Some(sidecars) = &config.sidecars {
            names.insert(OnceMade::Token.place().0.to_owned());
            let copied = [&sidecars.password, &sidecars.sentinel_password, &sidecars.ca];
            names.extend(copied.into_iter().flatten().map(|it| it.secret.clone()));
            for scope in &self.with.scopes {
                places.extend(Kind::ALL.map(|kind| Place::Brought(kind, scope.clone())));
            }
        }
        places.extend(names.into_iter().map(Place::Install));
        let mut tasks = JoinSet::new();
        for place in places {
            self.present.awaits(place.clone());
            let (api, kind, name) = match &place {
                Place::Install(name) => (self.api(Kind::Secret, &self.with.install), Kind::Secret, name.as_str()),
                Place::Brought(kind, scope) => (self.api(*kind, scope), *kind, NAME),
            };
            let watched = (api, watching::named(name));
            watching::pass_on(&mut tasks, kind.plural(), watched, changed, move |seen| (place.clone(), seen));
        }
        tasks
    }

    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        match namespace {
            "" => Api::all_with(self.with.client.clone(), &kind.resource()),
            namespace => Api::namespaced_with(self.with.client.clone(), namespace, &kind.resource()),
        }
    }

    /// Takes up the sidecars' file, as far as it is good.
    async fn read_file(&mut self) {
        let Some(sidecars) = &self.with.config.sidecars else { return };
        let about = sidecars.config_file.display().to_string();
        let read = tokio::fs::read_to_string(&sidecars.config_file).await.map_err(|error| error.to_string());
        // Any namespace does: one is as good as another.
        let read = read.and_then(|text| (self.with.config.check.0)(&text).map(|()| text));
        match read {
            Ok(text) => {
                self.complaints.forget(&(about.clone(), FILE));
                if self.text.as_ref() != Some(&text) {
                    tracing::info!(file = %about, "the file of the sidecars is taken up");
                    self.text = Some(text);
                }
            }
            Err(problem) if self.complaints.is_new((about.clone(), FILE), None, &problem) => {
                tracing::error!(file = %about, %problem, "the file of the sidecars is no good; the last good one stays");
            }
            Err(_) => {}
        }
    }

    /// Makes the Secrets of the install that are missing.
    async fn make_once(&mut self) {
        for once in self.with.config.once.clone() {
            let (name, key) = once.place();
            let Some(present) = self.present.of_install(name) else { continue };
            if let Some(present) = present {
                let (is_whole, uid) = (wanted::file(present, key).is_some(), present.uid());
                if !is_whole {
                    let words = format!(
                        "has no `{key}`, and what is there is never changed: delete it, and it is made anew, or add the key"
                    );
                    self.complain(Kind::Secret, &(self.with.install.clone(), name.to_owned()), uid, INCOMPLETE, &words)
                        .await;
                }
                continue;
            }
            let Some(secret) = wanted::once(&self.with.install, name, key) else { continue };
            let place = Place::Install(name.to_owned());
            let api = self.api(Kind::Secret, &self.with.install);
            if self.write(place, &secret, api.create(&as_us(), &secret)).await {
                tracing::info!(namespace = %self.with.install, secret = name, "made a Secret of the install");
            }
        }
    }

    /// Makes what enrolled namespaces lack, and puts right what differs.
    async fn bring(&mut self) {
        let Some(enrolled) = self.enrolled() else { return };
        let sources = self.sources().await;
        let users = self.with_users();
        for namespace in &enrolled {
            for kind in Kind::ALL {
                let (place, present) = self.present.brought(kind, namespace);
                let wanted = match kind {
                    Kind::RoleBinding => Some(wanted::role_binding(namespace)),
                    Kind::ConfigMap => self.text.as_deref().map(|text| wanted::config_map(text, namespace)),
                    Kind::Secret => {
                        sources.as_ref().and_then(|it| wanted::secret(it, present, users.then_some(namespace)))
                    }
                };
                let Some(wanted) = wanted else { continue };
                let present = present.cloned();
                self.set(kind, namespace, place, present, wanted).await;
            }
        }
    }

    /// The namespaces that are to have it; `None` while that, or what they have, is not known.
    fn enrolled(&self) -> Option<BTreeSet<String>> {
        self.with.config.sidecars.as_ref()?;
        let mut enrolled = self.with.enrolled.borrow().clone().filter(|_| self.present.is_whole())?;
        // A gate in the install's own namespace is the chart's to make.
        enrolled.remove(&self.with.install);
        Some(enrolled)
    }

    /// What every gate shares, if all of it is there.
    async fn sources(&mut self) -> Option<Sources> {
        let sidecars = self.with.config.sidecars.clone()?;
        let (name, key) = OnceMade::Token.place();
        let token = FileInSecret { secret: name.to_owned(), key: key.to_owned() };
        let mut files = Sources::default();
        for (source, file) in [
            (Some(token), "token.key"),
            (sidecars.password, "store.password"),
            (sidecars.sentinel_password, "sentinel.password"),
            (sidecars.ca, "store-ca.crt"),
        ] {
            let Some(FileInSecret { secret, key }) = source else { continue };
            let present = self.present.of_install(&secret)?;
            let (content, uid) = (present.and_then(|it| wanted::file(it, &key)), present.and_then(|it| it.uid()));
            let name = (self.with.install.clone(), secret);
            let Some(content) = content else {
                let words = format!("has no `{key}`, which sidecars need: their pods wait until it is there");
                self.complain(Kind::Secret, &name, uid, MISSING, &words).await;
                return None;
            };
            self.complaints.forget(&(about(Kind::Secret, &name), MISSING));
            files.insert(file, content);
        }
        Some(files)
    }

    /// Has `present` become as `wanted`.
    async fn set(&mut self, kind: Kind, namespace: &str, place: Place, present: Option<DynamicObject>, wanted: Value) {
        let name = (namespace.to_owned(), NAME.to_owned());
        let api = self.api(kind, namespace);
        let Some(present) = present else {
            let object = wanted::object(kind, namespace, NAME, wanted);
            if self.write(place, &object, api.create(&as_us(), &object)).await {
                tracing::info!(%namespace, kind = kind.name(), name = NAME, "made what sidecars need");
            }
            return;
        };
        if !is_ours(kind, &present) {
            let words = wanted::not_ours(kind);
            return self.complain(kind, &name, present.uid(), NOT_OURS, &words).await;
        }
        self.complaints.forget(&(about(kind, &name), NOT_OURS));
        if wanted::is_same(&present, &wanted) {
            return;
        }
        if kind == Kind::RoleBinding && present.data["roleRef"] != wanted["roleRef"] {
            // It cannot be changed, only made anew: the next look does.
            return self.delete(kind, &name, place, &present).await;
        }
        let object = wanted::changed(present, wanted);
        if self.write(place, &object, api.replace(NAME, &as_us(), &object)).await {
            tracing::info!(%namespace, kind = kind.name(), name = NAME, "put right what sidecars need");
        }
    }

    /// Takes away what was brought to namespaces that are no longer enrolled.
    async fn take_away(&mut self) {
        let Some(enrolled) = self.enrolled() else { return };
        let left = self
            .present
            .ours()
            .filter(|(_, _, (namespace, _), _)| !enrolled.contains(namespace) && *namespace != self.with.install);
        let left = left.map(|(kind, place, name, object)| (kind, place.clone(), name.clone(), object.clone()));
        for (kind, place, name, object) in left.collect::<Vec<_>>() {
            self.delete(kind, &name, place, &object).await;
        }
    }

    async fn delete(&mut self, kind: Kind, name: &ObjectName, place: Place, object: &DynamicObject) {
        let api = self.api(kind, &name.0);
        // This very one: what others have put in its place is theirs.
        let this = Preconditions { uid: object.uid(), resource_version: object.resource_version() };
        let parameters = DeleteParams { preconditions: Some(this), ..DeleteParams::default() };
        let Some(deleted) = self.with.leadership.write(api.delete(&name.1, &parameters)).await else { return };
        match deleted {
            Ok(_) => {
                self.with.metrics.gates(Written::Done);
                self.present.forget(place, name);
                tracing::info!(namespace = %name.0, kind = kind.name(), name = %name.1, "took away what sidecars needed");
            }
            Err(Error::Api(status)) if matches!(status.code, 404 | 409) => {
                self.with.metrics.gates(Written::Conflict);
            }
            Err(error) => self.failed(&about(kind, name), &error),
        }
        tokio::time::sleep(PACE).await;
    }

    /// Answers whether it was written.
    async fn write(
        &mut self,
        place: Place,
        object: &DynamicObject,
        write: impl Future<Output = Result<DynamicObject, Error>>,
    ) -> bool {
        let Some(written) = self.with.leadership.write(write).await else { return false };
        let kind = object.types.as_ref().map(|it| it.kind.clone()).unwrap_or_default();
        let about = format!("{kind} {}/{}", object.namespace().unwrap_or_default(), object.name_any());
        let is_done = match written {
            Ok(object) => {
                self.with.metrics.gates(Written::Done);
                self.complaints.forget(&(about, FAILED));
                self.present.put(place, &object);
                true
            }
            // Somebody else was faster, and the watch is about to tell what they wrote.
            Err(Error::Api(status)) if matches!(status.code, 404 | 409) => {
                self.with.metrics.gates(Written::Conflict);
                false
            }
            Err(error) => {
                self.failed(&about, &error);
                false
            }
        };
        tokio::time::sleep(PACE).await;
        is_done
    }

    fn failed(&mut self, about: &str, error: &Error) {
        self.with.metrics.gates(Written::Failed);
        let problem = error.to_string();
        if self.complaints.is_new((about.to_owned(), FAILED), None, &problem) {
            tracing::warn!(object = about, error = %problem, "what sidecars need could not be written; tried again");
        }
    }

    /// Says once that an object needs a person.
    async fn complain(
        &mut self,
        kind: Kind,
        name: &ObjectName,
        uid: Option<String>,
        reason: &'static str,
        words: &str,
    ) {
        let about = about(kind, name);
        if self.complaints.is_new((about.clone(), reason), uid.as_deref(), words) {
            tracing::error!(object = %about, reason, problem = words, "what sidecars need is not all there");
            self.with.news.object(kind.name(), name, uid.as_deref(), reason, words).await;
        }
    }
}

fn about(kind: Kind, (namespace, name): &ObjectName) -> String {
    format!("{} {namespace}/{name}", kind.name())
}

/// Waits for another set of namespaces.
async fn next(enrolled: &mut watch::Receiver<Option<BTreeSet<String>>>) {
    if enrolled.changed().await.is_err() {
        // The keys are kept no more, and the controller is about to end.
        std::future::pending::<()>().await;
    }
}
