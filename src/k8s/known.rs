//! Everything the API server has told, object by object, with what was good of it before.

mod disk;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};

pub(super) use self::disk::KeptPart;
use super::Found;
use super::kind::{Kind, Source};
use super::version::ResourceVersion;
use crate::api::auth_policy::Salvage;
use crate::api::gateway::{GrpcRoute, HttpRoute};
use crate::api::meta::is_another;
use crate::api::read::ReadError;
use crate::authz::policy::{
    ObjectHeader, Origin, PolicyInput, PolicyName, PolicyObject, PolicyProblem, ProblemKind, ProviderObject,
    Unreadable, Unusable,
};

/// Namespace and name.
pub(super) type Name = (String, String);

/// An object as the API server sent it. `Debug` shows nothing of what is in it: it may be a Secret.
#[derive(Clone)]
pub(super) struct Arrived {
    pub(super) name: Name,
    pub(super) version: Option<ResourceVersion>,
    /// What controllers say of it. Of routes alone it is kept, and of those in short.
    pub(super) status: Value,
    value: Value,
}

impl fmt::Debug for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrived").field("name", &self.name).field("version", &self.version).finish_non_exhaustive()
    }
}

impl Arrived {
    /// Takes its name and version; `None` for what is no object at all.
    pub(super) fn of(kind: Kind, api_version: &str, mut value: Value) -> Option<Self> {
        let object = value.as_object_mut()?;
        // Lists leave it out for some kinds.
        object.entry("apiVersion").or_insert_with(|| json!(format!("{}/{api_version}", kind.group())));
        object.entry("kind").or_insert_with(|| json!(kind.name()));
        // Nobody who judges reads them, but of routes, and they are longer than the rest.
        let status = object.remove("status").unwrap_or_default();
        if matches!(kind, Kind::HttpRoute | Kind::GrpcRoute) && !status.is_null() {
            object.insert("status".to_owned(), status.clone());
        }
        let metadata = object.get_mut("metadata")?.as_object_mut()?;
        metadata.remove("managedFields");
        let text = |field: &str| metadata.get(field).and_then(Value::as_str).unwrap_or_default();
        let name = (text("namespace").to_owned(), text("name").to_owned());
        let version = ResourceVersion::new(text("resourceVersion"));
        Some(Self { name, version, status, value })
    }

    /// A field of its `metadata`.
    pub(super) fn meta(&self, field: &str) -> Option<&Value> {
        self.value.get("metadata")?.get(field)
    }
}

/// An object that is known.
#[derive(Clone, Debug)]
struct Held {
    version: Option<ResourceVersion>,
    /// What counts: the newest form of a policy, be it bad, and the newest form of anything else that did read.
    object: Option<PolicyInput>,
    /// Whether that did read.
    is_good: bool,
    /// What is wrong with the newest form.
    trouble: Option<PolicyProblem>,
    /// The newest form, where it does not read.
    raw: Option<Value>,
}

/// What one list and its watch have told.
#[derive(Clone, Debug)]
struct Part {
    source: Source,
    /// Whether all of it has been told since the start.
    is_whole: bool,
    version: Option<ResourceVersion>,
    objects: BTreeMap<Name, Held>,
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct Known(Vec<Part>);

impl Known {
    /// Nothing, of these sources.
    pub(super) fn nothing(sources: &[Source]) -> Self {
        let part =
            |source: &Source| Part { source: source.clone(), is_whole: false, version: None, objects: BTreeMap::new() };
        Self(sources.iter().map(part).collect())
    }

    /// A source, by its number.
    pub(super) fn source(&self, part: usize) -> &Source {
        &self.0[part].source
    }

    /// Whether any object of a source is known.
    pub(super) fn has_objects(&self, part: usize) -> bool {
        !self.0[part].objects.is_empty()
    }

    /// The newest version that was seen of a source.
    pub(super) fn version(&self, part: usize) -> Option<ResourceVersion> {
        self.0[part].version.clone()
    }

    /// The sources that have not been told whole since the start.
    pub(super) fn awaited(&self) -> impl Iterator<Item = (usize, &Source)> {
        self.0.iter().enumerate().filter(|(_, part)| !part.is_whole).map(|(i, part)| (i, &part.source))
    }

    /// Puts a list in the place of what is known of a source.
    pub(super) fn replace(&mut self, part: usize, version: ResourceVersion, listed: Vec<Arrived>) {
        let part = &mut self.0[part];
        let mut before = std::mem::take(&mut part.objects);
        for arrived in listed {
            let held = before.remove(&arrived.name);
            match held {
                // No list says so; whoever answers it nevertheless changes nothing.
                Some(held) if is_newer(held.version.as_ref(), arrived.version.as_ref()) => {
                    part.objects.insert(arrived.name, held);
                }
                held => part.insert(arrived, held.as_ref()),
            }
        }
        part.version = Some(version);
        part.is_whole = true;
    }

    /// Takes it that there are no objects of a source, because the server does not know their kind. What is known stays: a
    /// kind that goes takes its objects with it, one by one, and a server that forgets it for a moment takes nothing.
    pub(super) fn without(&mut self, part: usize) -> bool {
        let part = &mut self.0[part];
        let was_whole = std::mem::replace(&mut part.is_whole, true);
        !was_whole
    }

    /// Adds an object or puts it in the place of its earlier form; whether that changed anything.
    pub(super) fn apply(&mut self, part: usize, arrived: Arrived) -> bool {
        let part = &mut self.0[part];
        let held = part.objects.get(&arrived.name);
        if held.is_some_and(|held| is_newer(held.version.as_ref(), arrived.version.as_ref())) {
            return false;
        }
        let held = held.cloned();
        part.see(arrived.version.as_ref());
        let name = arrived.name.clone();
        part.insert(arrived, held.as_ref());
        // Controllers write to the status of a route more often than to the route.
        let now = &part.objects[&name];
        !held.is_some_and(|held| held.trouble.is_none() && now.trouble.is_none() && same_route(&held, now))
    }

    /// Takes an object away; whether that changed anything.
    pub(super) fn remove(&mut self, part: usize, gone: &Arrived) -> bool {
        let part = &mut self.0[part];
        let held = part.objects.get(&gone.name);
        if held.is_none_or(|held| is_newer(held.version.as_ref(), gone.version.as_ref())) {
            return false;
        }
        part.see(gone.version.as_ref());
        part.objects.remove(&gone.name).is_some()
    }

    /// Whether the Namespaces have been told whole, now or before the last restart.
    fn knows_namespaces(&self) -> bool {
        let mut parts = self.0.iter().filter(|part| part.source.kind == Kind::Namespace);
        parts.any(|part| part.is_whole || part.version.is_some())
    }

    /// Whether the Secrets have been told that providers may read.
    pub(super) fn knows_secrets(&self) -> bool {
        let mut parts = self.0.iter().filter(|part| part.source.kind == Kind::Secret).peekable();
        parts.peek().is_some() && parts.all(|part| part.is_whole)
    }

    /// The set to compile.
    pub(super) fn found(&self) -> Found {
        let mut found = Found::default();
        found.objects.namespaces_unknown = !self.knows_namespaces();
        for held in self.0.iter().flat_map(|part| part.objects.values()) {
            found.notes.extend(held.trouble.clone());
            if let Some(object) = held.object.clone() {
                found.objects.add(origin(), object);
            }
        }
        found
    }
}

fn same_route(one: &Held, other: &Held) -> bool {
    one.object.as_ref().zip(other.object.as_ref()).is_some_and(|(one, other)| one.is_same_route(other))
}

fn is_newer(held: Option<&ResourceVersion>, arrived: Option<&ResourceVersion>) -> bool {
    held.zip(arrived).is_some_and(|(held, arrived)| held.is_newer_than(arrived))
}

/// Where all of it was written.
fn origin() -> Origin {
    Origin("cluster".into())
}

impl Part {
    fn see(&mut self, version: Option<&ResourceVersion>) {
        if let Some(version) = version
            && self.version.as_ref().is_none_or(|seen| !version.is_older_than(seen))
        {
            self.version = Some(version.clone());
        }
    }

    fn insert(&mut self, arrived: Arrived, before: Option<&Held>) {
        let uid = arrived.meta("uid").and_then(Value::as_str);
        // What was good of one that is gone is no form of the one that has its name now.
        let before = before.filter(|before| !is_another(before.object.as_ref().and_then(PolicyInput::uid), uid));
        let Arrived { name, version, value, .. } = arrived;
        let held = Held::read(self.source.kind, &name, version, value, before);
        self.objects.insert(name, held);
    }
}

impl Held {
    fn read(kind: Kind, name: &Name, version: Option<ResourceVersion>, value: Value, before: Option<&Self>) -> Self {
        let problem = |path: String, kind_of: ProblemKind, words: String| PolicyProblem {
            origin: origin(),
            object: format!("{kind} {}/{}", name.0, name.1),
            path,
            kind: kind_of,
            words,
        };
        let read = match ObjectHeader::of(&value) {
            Ok(header) => PolicyInput::read(&header, value.clone()),
            Err(error) => Err(Unusable::Field(error)),
        };
        let error = match read {
            // A policy that does not read is held with what it was meant to judge.
            Ok(object @ PolicyInput::Policy(PolicyObject { body: Err(_), .. })) => {
                return Self { version, object: Some(object), is_good: false, trouble: None, raw: Some(value) };
            }
            // Nor a provider: its last good form stays in the index too.
            Ok(object @ PolicyInput::Provider(ProviderObject { body: Err(_), .. })) => {
                return Self { version, object: Some(object), is_good: false, trouble: None, raw: Some(value) };
            }
            Ok(object) => return Self { version, object: Some(object), is_good: true, trouble: None, raw: None },
            Err(Unusable::Kind(problem)) => ReadError { path: "kind".to_owned(), problem },
            Err(Unusable::Field(error)) => error,
        };
        let ReadError { path, problem: words } = &error;
        let good = before.filter(|before| before.is_good).and_then(|before| before.object.clone());
        // What is told now is about the newest form.
        let good = good.map(PolicyInput::untold);
        if kind == Kind::AuthPolicy {
            // Its last good form stays in the index, which says what is wrong.
            let object = Some(unreadable(name, &value, error));
            return Self { version, object, is_good: false, trouble: None, raw: Some(value) };
        }
        let (object, effect) = match (kind, good) {
            (_, Some(good)) => (Some(good), "its last form that reads stays in force"),
            (Kind::HttpRoute | Kind::GrpcRoute, None) => {
                (closed_route(kind, &value), "until it does, all that it may be for is refused")
            }
            (_, None) => (None, "until it does, it counts for nothing"),
        };
        let is_good = before.is_some_and(|before| before.is_good);
        let words = format!("{words} (it does not read: {effect})");
        let trouble = Some(problem(path.clone(), ProblemKind::Invalid, words));
        Self { version, object, is_good, trouble, raw: kind.is_kept().then_some(value) }
    }
}

/// A policy of which only its name can be told.
fn unreadable(name: &Name, value: &Value, error: ReadError) -> PolicyInput {
    let text = |field: &str| value.pointer(field).and_then(Value::as_str).map(str::to_owned);
    let (uid, created) = (text("/metadata/uid"), text("/metadata/creationTimestamp"));
    let body = Err(Unreadable { error, salvage: Salvage::default() });
    PolicyInput::Policy(PolicyObject { name: policy_name(name), uid, created, body })
}

fn policy_name((namespace, name): &Name) -> PolicyName {
    PolicyName { namespace: namespace.as_str().into(), name: name.as_str().into() }
}

/// What can be told of a route that does not read and never did: its hosts and Gateways, and that any request there may be
/// its own. Left out, its requests would fall to looser rules.
fn closed_route(kind: Kind, value: &Value) -> Option<PolicyInput> {
    let readable = |field: &str, is_it: fn(&Value) -> bool| -> Value {
        let items = value.pointer(&format!("/spec/{field}")).and_then(Value::as_array);
        items.into_iter().flatten().filter(|item| is_it(item)).cloned().collect::<Vec<_>>().into()
    };
    let is_parent = |item: &Value| serde_json::from_value::<crate::api::gateway::ParentRef>(item.clone()).is_ok();
    // A match that cannot be told: no header is called so.
    let rule = json!({ "matches": [{ "headers": [{ "name": "host", "value": "?" }] }] });
    let metadata = value.get("metadata")?;
    let mut spec = Map::new();
    spec.insert("parentRefs".to_owned(), readable("parentRefs", is_parent));
    spec.insert("hostnames".to_owned(), readable("hostnames", Value::is_string));
    spec.insert("rules".to_owned(), json!([rule]));
    let route = json!({ "metadata": metadata, "spec": spec });
    match kind {
        Kind::HttpRoute => serde_json::from_value::<HttpRoute>(route).ok().map(|it| PolicyInput::HttpRoute(it.into())),
        _ => serde_json::from_value::<GrpcRoute>(route).ok().map(|it| PolicyInput::GrpcRoute(it.into())),
    }
}
