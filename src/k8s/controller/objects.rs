//! The objects that decide about requests, watched, and compiled as the gates compile them.

use std::collections::HashMap;
use std::sync::Arc;

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::watcher::Config;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::collection::Collection;
use super::watching::{self, Seen};
use crate::api::auth_policy::{AuthPolicy, Salvage};
use crate::api::read::read;
use crate::authz::policy::{
    Install, ObjectName, Origin, PolicyIndex, PolicyName, PolicyObject, PolicyObjects, PolicyProblem, ProblemKind,
    Sourced, Unreadable,
};

/// A kind that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    AuthPolicy,
    HttpRoute,
    GrpcRoute,
    Gateway,
    ReferenceGrant,
}

impl Kind {
    const ALL: [Self; 5] = [Self::AuthPolicy, Self::HttpRoute, Self::GrpcRoute, Self::Gateway, Self::ReferenceGrant];

    pub(super) fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = match self {
            Self::AuthPolicy => ("cloakroom.dev", "v1alpha1", "AuthPolicy", "authpolicies"),
            Self::HttpRoute => (crate::api::gateway::GROUP, "v1", "HTTPRoute", "httproutes"),
            Self::GrpcRoute => (crate::api::gateway::GROUP, "v1", "GRPCRoute", "grpcroutes"),
            Self::Gateway => (crate::api::gateway::GROUP, "v1", "Gateway", "gateways"),
            Self::ReferenceGrant => (crate::api::gateway::GROUP, "v1beta1", "ReferenceGrant", "referencegrants"),
        };
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: format!("{group}/{version}"),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        }
    }
}

/// What the API server knows of a policy, and no gate looks at.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) uid: String,
    pub(super) generation: Option<i64>,
    pub(super) version: String,
    pub(super) status: Value,
}

/// A policy.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) object: Sourced<PolicyObject>,
    pub(super) record: Record,
}

/// Everything of one kind, each as it reads.
type Read<T> = Collection<Result<Sourced<T>, PolicyProblem>>;

/// Every object as it is now.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) policies: Collection<Policy>,
    http_routes: Read<crate::api::gateway::HttpRoute>,
    grpc_routes: Read<crate::api::gateway::GrpcRoute>,
    gateways: Read<crate::api::gateway::Gateway>,
    reference_grants: Read<crate::api::gateway::ReferenceGrant>,
    /// Which policies were compiled last: one that was deleted and made again has no past.
    compiled: HashMap<PolicyName, String>,
}

/// What a compilation made.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) objects: PolicyObjects,
    pub(super) index: PolicyIndex,
    pub(super) problems: Vec<PolicyProblem>,
}

/// Something that was seen of a kind.
pub(super) type Change = (Kind, Seen<DynamicObject>);

/// Watches every kind, in `namespace` or in all. The tasks end with the set.
pub(super) fn watch(client: &Client, namespace: Option<&str>) -> (mpsc::Receiver<Change>, JoinSet<()>) {
    let (changed, changes) = mpsc::channel(256);
    let mut tasks = JoinSet::new();
    for kind in Kind::ALL {
        let resource = kind.resource();
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let (seen, mut follow) = mpsc::channel(1);
        let changed = changed.clone();
        let what = match kind {
            Kind::AuthPolicy => "authpolicies",
            Kind::HttpRoute => "httproutes",
            Kind::GrpcRoute => "grpcroutes",
            Kind::Gateway => "gateways",
            Kind::ReferenceGrant => "referencegrants",
        };
        tasks.spawn(watching::follow(what, api, Config::default(), seen));
        tasks.spawn(async move {
            while let Some(seen) = follow.recv().await {
                if changed.send((kind, seen)).await.is_err() {
                    return;
                }
            }
        });
    }
    (changes, tasks)
}

impl Objects {
    /// Takes up what was seen. Answers whether there is something new to compile.
    pub(super) fn take(&mut self, (kind, seen): Change) -> bool {
        match kind {
            Kind::AuthPolicy => self.policies.take(seen, policy),
            Kind::HttpRoute => self.http_routes.take(seen, |object| other(kind, object)),
            Kind::GrpcRoute => self.grpc_routes.take(seen, |object| other(kind, object)),
            Kind::Gateway => self.gateways.take(seen, |object| other(kind, object)),
            Kind::ReferenceGrant => self.reference_grants.take(seen, |object| other(kind, object)),
        }
    }

    /// Whether every kind has been seen whole: before that, what is missing may only not have been told yet.
    pub(super) fn is_whole(&self) -> bool {
        self.policies.is_whole()
            && self.http_routes.is_whole()
            && self.grpc_routes.is_whole()
            && self.gateways.is_whole()
            && self.reference_grants.is_whole()
    }

    /// Compiles the set as it is now, by the very function that the gates use.
    pub(super) fn compile(&mut self, install: &Install, previous: Option<&PolicyIndex>) -> Compiled {
        let mut problems = Vec::new();
        let mut objects = PolicyObjects {
            policies: self.policies.iter().map(|(_, policy)| policy.object.clone()).collect(),
            http_routes: readable(&self.http_routes, &mut problems),
            grpc_routes: readable(&self.grpc_routes, &mut problems),
            gateways: readable(&self.gateways, &mut problems),
            reference_grants: readable(&self.reference_grants, &mut problems),
        };
        let before = std::mem::take(&mut self.compiled);
        self.compiled =
            self.policies.iter().map(|(_, it)| (it.object.object.name.clone(), it.record.uid.clone())).collect();
        let is_another = |policy: &Sourced<PolicyObject>| {
            let name = &policy.object.name;
            before.get(name).is_some_and(|uid| self.compiled.get(name) != Some(uid))
        };
        let without;
        let previous = if objects.policies.iter().any(is_another) {
            let all = objects.policies.clone();
            objects.policies.retain(|policy| !is_another(policy));
            without = PolicyIndex::compile(&objects, install, previous).0;
            objects.policies = all;
            Some(&without)
        } else {
            previous
        };
        let (index, found) = PolicyIndex::compile(&objects, install, previous);
        problems.extend(found);
        Compiled { objects, index, problems }
    }
}

fn readable<T: Clone>(read: &Read<T>, problems: &mut Vec<PolicyProblem>) -> Vec<Sourced<T>> {
    let keep = |it: &Result<Sourced<T>, PolicyProblem>| match it {
        Ok(object) => Some(object.clone()),
        Err(problem) => {
            problems.push(problem.clone());
            None
        }
    };
    read.iter().map(|(_, it)| it).filter_map(keep).collect()
}

fn origin() -> Origin {
    Origin("cluster".into())
}

fn policy(mut object: DynamicObject) -> Policy {
    let meta = &mut object.metadata;
    meta.managed_fields = None;
    let record = Record {
        uid: meta.uid.clone().unwrap_or_default(),
        generation: meta.generation,
        version: meta.resource_version.clone().unwrap_or_default(),
        status: object.data.get("status").cloned().unwrap_or_default(),
    };
    if let Some(data) = object.data.as_object_mut() {
        data.remove("status");
    }
    let name = PolicyName {
        namespace: meta.namespace.as_deref().unwrap_or_default().into(),
        name: meta.name.as_deref().unwrap_or_default().into(),
    };
    let created = meta.creation_timestamp.as_ref().map(|time| time.0.to_string());
    let value = value_of(Kind::AuthPolicy, object);
    let salvage = Salvage::from_value(&value).unwrap_or_default();
    let body = read::<AuthPolicy>(value).map(Arc::new).map_err(|error| Unreadable { error, salvage });
    Policy { object: Sourced { origin: origin(), object: PolicyObject { name, created, body } }, record }
}

fn other<T: DeserializeOwned>(kind: Kind, object: DynamicObject) -> Result<Sourced<T>, PolicyProblem> {
    let name: ObjectName =
        (object.metadata.namespace.clone().unwrap_or_default(), object.metadata.name.clone().unwrap_or_default());
    match read::<T>(value_of(kind, object)) {
        Ok(object) => Ok(Sourced { origin: origin(), object }),
        Err(error) => Err(PolicyProblem {
            origin: origin(),
            object: format!("{} {}/{}", kind.resource().kind, name.0, name.1),
            path: error.path,
            kind: ProblemKind::Invalid,
            words: error.problem,
        }),
    }
}

fn value_of(kind: Kind, mut object: DynamicObject) -> Value {
    // Lists leave it out.
    object.types.get_or_insert_with(|| {
        let resource = kind.resource();
        kube::api::TypeMeta { api_version: resource.api_version, kind: resource.kind }
    });
    serde_json::to_value(object).unwrap_or_default()
}
