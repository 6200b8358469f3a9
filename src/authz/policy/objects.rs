//! All objects that decide about requests, as they were found: what an index is compiled from.

use std::fmt;
use std::sync::Arc;

use super::PolicyName;
use super::provider::ProviderName;
use crate::api::auth_policy::{AuthPolicy, Salvage};
use crate::api::gateway::{Gateway, GrpcRoute, HttpRoute, ReferenceGrant};
use crate::api::identity_provider::IdentityProvider;
use crate::api::namespace::Namespace;
use crate::api::read::ReadError;
use crate::api::secret::Secret;

/// Where an object was written, for people: `policies/shop.yaml:12`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(pub Arc<str>);

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An object and where it was written.
#[derive(Clone, Debug)]
pub struct Sourced<T> {
    /// Where.
    pub origin: Origin,
    /// The object.
    pub object: T,
}

/// An AuthPolicy, readable or not.
#[derive(Clone, Debug)]
pub struct PolicyObject {
    /// Its name.
    pub name: PolicyName,
    /// Which object of this name it is, if that is known: another one has no past (P26).
    pub uid: Option<String>,
    /// When it was created (RFC 3339), if that is known; decides conflicts.
    pub created: Option<String>,
    /// The object, or why it does not read.
    pub body: Result<Arc<AuthPolicy>, Unreadable>,
}

/// A policy whose spec does not read.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// Why.
    pub error: ReadError,
    /// What it was meant to judge, and so what is closed.
    pub salvage: Salvage,
}

/// An IdentityProvider, readable or not.
#[derive(Clone, Debug)]
pub struct ProviderObject {
    /// Its name.
    pub name: ProviderName,
    /// Which object of this name it is, if that is known: another one has no past (P26).
    pub uid: Option<String>,
    /// The object, or why it does not read.
    pub body: Result<Arc<IdentityProvider>, ReadError>,
}

/// The set that an index is compiled from. No order is expected. What is the same value as before costs a compilation nothing: so
/// policies and routes are shared.
#[derive(Clone, Debug, Default)]
pub struct PolicyObjects {
    /// AuthPolicies.
    pub policies: Vec<Sourced<PolicyObject>>,
    /// HTTPRoutes.
    pub http_routes: Vec<Sourced<Arc<HttpRoute>>>,
    /// GRPCRoutes.
    pub grpc_routes: Vec<Sourced<Arc<GrpcRoute>>>,
    /// Gateways.
    pub gateways: Vec<Sourced<Gateway>>,
    /// ReferenceGrants.
    pub reference_grants: Vec<Sourced<ReferenceGrant>>,
    /// IdentityProviders.
    pub identity_providers: Vec<Sourced<ProviderObject>>,
    /// Namespaces, for listeners that admit routes by their labels.
    pub namespaces: Vec<Sourced<Arc<Namespace>>>,
    /// Whether nobody tells of Namespaces: then no such listener admits anything.
    pub namespaces_unknown: bool,
    /// Secrets: those that providers may name.
    pub secrets: Vec<Sourced<Arc<Secret>>>,
    /// Whether there may be Secrets that nobody has told of: then a provider that needs some is one that is not there, and what it
    /// would have to judge is 503 and not 401.
    pub secrets_unknown: bool,
}
