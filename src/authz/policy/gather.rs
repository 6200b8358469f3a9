//! From a value to one of the objects that decide about requests: the same reading for files and for an API server.

use std::sync::Arc;

use serde_json::Value;

use super::PolicyName;
use super::objects::{Origin, PolicyObject, PolicyObjects, ProviderObject, Sourced, Unreadable};
use super::provider::ProviderName;
use crate::api::auth_policy::{API_VERSION, AuthPolicy, Salvage};
use crate::api::gateway::{GROUP, Gateway, GrpcRoute, HttpRoute, ReferenceGrant};
use crate::api::identity_provider::IdentityProvider;
use crate::api::meta::ObjectMeta;
use crate::api::namespace::Namespace;
use crate::api::read::{ReadError, listed, nearest, read};
use crate::api::route_status::RouteStatus;
use crate::api::secret::Secret;

const OURS: &str = "cloakroom.dev";
const KINDS: [&str; 8] =
    ["AuthPolicy", "IdentityProvider", "HTTPRoute", "GRPCRoute", "Gateway", "ReferenceGrant", "Namespace", "Secret"];

/// What every object begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHeader {
    /// `cloakroom.dev/v1alpha1`.
    pub api_version: String,
    /// `AuthPolicy`.
    pub kind: String,
    /// Its name and namespace, each of the right form.
    pub metadata: ObjectMeta,
}

/// An object that decides about requests.
#[derive(Clone, Debug)]
pub enum PolicyInput {
    /// An AuthPolicy, readable or not.
    Policy(PolicyObject),
    /// An HTTPRoute.
    HttpRoute(Arc<HttpRoute>),
    /// A GRPCRoute.
    GrpcRoute(Arc<GrpcRoute>),
    /// A Gateway.
    Gateway(Gateway),
    /// A ReferenceGrant.
    ReferenceGrant(ReferenceGrant),
    /// A Namespace, with its labels.
    Namespace(Arc<Namespace>),
    /// An IdentityProvider, readable or not.
    Provider(ProviderObject),
    /// A Secret, with what providers need of it.
    Secret(Arc<Secret>),
}

/// Why a value is none of these objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// A field does not read, and what the object was meant for cannot be told.
    Field(ReadError),
    /// Its kind has no place here: what would be right.
    Kind(String),
}

impl ObjectHeader {
    /// Reads it.
    ///
    /// # Errors
    /// The field that is missing or wrong.
    pub fn of(value: &Value) -> Result<Self, ReadError> {
        let text = |field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
        let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
            let problem = "an object needs `apiVersion` and `kind`, both texts".to_owned();
            return Err(ReadError { path: String::new(), problem });
        };
        let metadata = value.get("metadata").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let metadata: ObjectMeta = read(metadata).map_err(|ReadError { path, problem }| {
            let path = if path.is_empty() { "metadata".to_owned() } else { format!("metadata.{path}") };
            ReadError { path, problem }
        })?;
        match metadata.problem() {
            Some((field, problem)) => Err(ReadError { path: field.to_owned(), problem }),
            None => Ok(Self { api_version, kind, metadata }),
        }
    }

    /// The object's name.
    pub fn name(&self) -> PolicyName {
        let ObjectMeta { namespace, name, .. } = &self.metadata;
        PolicyName { namespace: namespace.as_str().into(), name: name.as_str().into() }
    }
}

impl PolicyInput {
    /// Which object of its name it is, if that is known.
    pub fn uid(&self) -> Option<&str> {
        let uid = match self {
            Self::Policy(object) => &object.uid,
            Self::HttpRoute(object) => &object.metadata.uid,
            Self::GrpcRoute(object) => &object.metadata.uid,
            Self::Gateway(object) => &object.metadata.uid,
            Self::ReferenceGrant(object) => &object.metadata.uid,
            Self::Namespace(object) => &object.metadata.uid,
            Self::Provider(object) => &object.uid,
            Self::Secret(object) => &object.metadata.uid,
        };
        uid.as_deref()
    }

    /// Reads the object that `header` begins.
    ///
    /// # Errors
    /// Why it is none. A policy whose spec does not read is a bad policy, if one can tell what it was meant to judge.
    pub fn read(header: &ObjectHeader, value: Value) -> Result<Self, Unusable> {
        let group = header.api_version.split_once('/').map_or("", |(group, _)| group);
        match (group, header.kind.as_str()) {
            (OURS, "AuthPolicy") => policy(header, value).map(Self::Policy),
            (GROUP, "HTTPRoute") => read(value).map(|it| Self::HttpRoute(Arc::new(it))).map_err(Unusable::Field),
            (GROUP, "GRPCRoute") => read(value).map(|it| Self::GrpcRoute(Arc::new(it))).map_err(Unusable::Field),
            (GROUP, "Gateway") => read(value).map(Self::Gateway).map_err(Unusable::Field),
            (GROUP, "ReferenceGrant") => read(value).map(Self::ReferenceGrant).map_err(Unusable::Field),
            (OURS, "IdentityProvider") => {
                let PolicyName { namespace, name } = header.name();
                let body = read::<IdentityProvider>(value).map(Arc::new);
                let uid = header.metadata.uid.clone();
                Ok(Self::Provider(ProviderObject { name: ProviderName { namespace, name }, uid, body }))
            }
            ("", "Namespace") if header.metadata.namespace != "default" => Err(Unusable::Field(ReadError {
                path: "metadata.namespace".to_owned(),
                problem: "a Namespace is in none: leave it out".to_owned(),
            })),
            ("", "Namespace") => read(value).map(|it| Self::Namespace(Arc::new(it))).map_err(Unusable::Field),
            ("", "Secret") => read(value).map(|it| Self::Secret(Arc::new(it))).map_err(Unusable::Field),
            (_, kind) if KINDS.contains(&kind) => {
                let right = match kind {
                    "AuthPolicy" | "IdentityProvider" => API_VERSION,
                    "Namespace" | "Secret" => "v1",
                    _ => "gateway.networking.k8s.io/v1",
                };
                Err(Unusable::Kind(format!("{kind} is of `{right}`, not of `{}`", header.api_version)))
            }
            (_, kind) => Err(Unusable::Kind(match nearest(kind, KINDS) {
                Some(near) => format!("unknown kind `{kind}`: did you mean `{near}`?"),
                None => format!("unknown kind `{kind}`: this folder is for {}", listed(&KINDS)),
            })),
        }
    }

    /// Whether both are one route with the same told of it.
    pub fn is_same_route(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::HttpRoute(one), Self::HttpRoute(two)) => one == two,
            (Self::GrpcRoute(one), Self::GrpcRoute(two)) => one == two,
            _ => false,
        }
    }

    /// The same, and where it is a route, one of which nothing is told.
    #[must_use]
    pub fn untold(mut self) -> Self {
        match &mut self {
            Self::HttpRoute(route) => Arc::make_mut(route).status = RouteStatus::default(),
            Self::GrpcRoute(route) => Arc::make_mut(route).status = RouteStatus::default(),
            _ => {}
        }
        self
    }
}

fn policy(header: &ObjectHeader, value: Value) -> Result<PolicyObject, Unusable> {
    let salvage = Salvage::from_value(&value);
    let body = match (read::<AuthPolicy>(value), salvage) {
        (Ok(policy), _) => Ok(Arc::new(policy)),
        (Err(error), Some(salvage)) => Err(Unreadable { error, salvage }),
        (Err(error), None) => return Err(Unusable::Field(error)),
    };
    let ObjectMeta { uid, creation_timestamp: created, .. } = header.metadata.clone();
    Ok(PolicyObject { name: header.name(), uid, created, body })
}

impl PolicyObjects {
    /// Adds an object to the set.
    pub fn add(&mut self, origin: Origin, object: PolicyInput) {
        match object {
            PolicyInput::Policy(object) => self.policies.push(Sourced { origin, object }),
            PolicyInput::HttpRoute(object) => self.http_routes.push(Sourced { origin, object }),
            PolicyInput::GrpcRoute(object) => self.grpc_routes.push(Sourced { origin, object }),
            PolicyInput::Gateway(object) => self.gateways.push(Sourced { origin, object }),
            PolicyInput::ReferenceGrant(object) => self.reference_grants.push(Sourced { origin, object }),
            PolicyInput::Namespace(object) => self.namespaces.push(Sourced { origin, object }),
            PolicyInput::Provider(object) => self.identity_providers.push(Sourced { origin, object }),
            PolicyInput::Secret(object) => self.secrets.push(Sourced { origin, object }),
        }
    }
}
