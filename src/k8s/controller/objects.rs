//! The objects that decide about requests, followed as the gates follow them, and compiled as the gates compile them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::authz::policy::{Install, PolicyIndex, PolicyObjects, PolicyProblem};
use crate::k8s::ask::Asking;
use crate::k8s::follow::{Door, Follower, Word};
use crate::k8s::kind::Kind;
use crate::k8s::known::{Arrived, Known, Name};
use crate::k8s::metrics::ClusterMetrics;
use crate::k8s::version::ResourceVersion;
use crate::k8s::{ClusterSettings, Connection, Found, watch};

/// Words that wait to be heard. Who has more to say waits, and so does the API server.
const WAITING: usize = 256;

/// What the API server knows of a policy, and no gate looks at.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) uid: String,
    pub(super) generation: Option<i64>,
    pub(super) version: Option<ResourceVersion>,
    pub(super) status: Value,
}

/// Every object as it is now.
#[derive(Debug)]
pub(super) struct Objects {
    known: Known,
    records: BTreeMap<Name, Record>,
    /// What is wrong with a source, by its number.
    troubles: BTreeMap<usize, String>,
}

/// What a compilation made.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) objects: PolicyObjects,
    pub(super) index: PolicyIndex,
    pub(super) problems: Vec<PolicyProblem>,
}

/// Followers of every kind, and what they say. They end with it.
pub(super) struct Following {
    pub(super) words: mpsc::Receiver<(usize, Word)>,
    _followers: JoinSet<()>,
}

impl Objects {
    /// Nothing yet, and those who tell of all.
    pub(super) fn follow(
        connection: &Connection,
        settings: &ClusterSettings,
        metrics: &ClusterMetrics,
    ) -> (Self, Following) {
        let sources = watch::sources(settings);
        let known = Known::nothing(&sources);
        let (words, told) = mpsc::channel(WAITING);
        let door = Arc::new(Door::default());
        let mut followers = JoinSet::new();
        for (part, source) in sources.into_iter().enumerate() {
            let follower = Follower {
                asking: Asking::new(connection.client.clone(), source, settings.selector.as_ref()),
                part,
                seen: None,
                words: words.clone(),
                door: Arc::clone(&door),
                metrics: metrics.clone(),
                streams: true,
                is_whole: false,
                is_troubled: false,
                answered: None,
            };
            followers.spawn(async move {
                follower.follow().await;
            });
        }
        let objects = Self { known, records: BTreeMap::new(), troubles: BTreeMap::new() };
        (objects, Following { words: told, _followers: followers })
    }

    /// Takes up what was told. Answers whether there is something new to compile or to tell.
    pub(super) fn take(&mut self, (part, word): (usize, Word)) -> bool {
        let source = self.known.source(part);
        let is_policy = source.kind == Kind::AuthPolicy;
        match word {
            Word::Whole { version, objects } => {
                if is_policy {
                    let namespace = source.namespace.clone();
                    self.records.retain(|name, _| namespace.as_ref().is_some_and(|it| *it != name.0));
                    objects.iter().for_each(|arrived| self.note(arrived));
                }
                self.troubles.remove(&part);
                self.known.replace(part, version, objects);
                true
            }
            Word::Changed(arrived) => {
                if is_policy {
                    self.note(&arrived);
                }
                self.known.apply(part, arrived)
            }
            Word::Gone(arrived) => {
                let is_gone = self.known.remove(part, &arrived);
                if is_policy && is_gone {
                    self.records.remove(&arrived.name);
                }
                is_gone
            }
            Word::Unknown if source.kind.is_optional() => self.known.without(part),
            Word::Unknown => {
                self.trouble(part, "the API server does not know this kind: apply the files of crds/; it is awaited");
                false
            }
            Word::Trouble(words) => {
                self.trouble(part, &words);
                false
            }
            Word::Well => {
                if self.troubles.remove(&part).is_some() {
                    tracing::info!(source = %self.known.source(part), "the API server is followed again");
                }
                false
            }
        }
    }

    fn trouble(&mut self, part: usize, words: &str) {
        if self.troubles.insert(part, words.to_owned()).is_none() {
            let source = self.known.source(part);
            tracing::warn!(%source, error = words, "the API server cannot be followed; what was told last stands");
        }
    }

    fn note(&mut self, arrived: &Arrived) {
        let text = |field: &str| arrived.meta(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let record = Record {
            uid: text("uid"),
            generation: arrived.meta("generation").and_then(Value::as_i64),
            version: arrived.version.clone(),
            status: arrived.status.clone(),
        };
        let is_older = |known: &Record| {
            let versions = known.version.as_ref().zip(record.version.as_ref());
            versions.is_some_and(|(known, arrived)| arrived.is_older_than(known))
        };
        // What we wrote ourselves is known before it is told.
        if !self.records.get(&arrived.name).is_some_and(is_older) {
            self.records.insert(arrived.name.clone(), record);
        }
    }

    /// Whether every kind has been told whole: before that, what is missing may only not have been told yet.
    pub(super) fn is_whole(&self) -> bool {
        // As for gates, Namespaces that cannot be read hold nothing back.
        self.known.awaited().all(|(part, source)| source.kind == Kind::Namespace && self.troubles.contains_key(&part))
    }

    /// What is awaited, and why, in words.
    pub(super) fn awaited(&self) -> Option<String> {
        let words = self.known.awaited().map(|(part, source)| match self.troubles.get(&part) {
            Some(words) => format!("{source}: {words}"),
            None => format!("{source}: not listed yet"),
        });
        let words: Vec<String> = words.collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// The record of a policy.
    pub(super) fn record(&mut self, name: &Name) -> Option<&mut Record> {
        self.records.get_mut(name)
    }

    /// Compiles the set as it is now, by the very function that the gates use.
    pub(super) fn compile(&self, install: &Install, previous: Option<&PolicyIndex>) -> Compiled {
        let Found { objects, notes } = self.known.found();
        let (index, mut problems) = PolicyIndex::compile(&objects, install, previous);
        problems.extend(notes);
        Compiled { objects, index, problems }
    }
}
