//! The kinds of objects that decide.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The label, with the value `true`, of Secrets that IdentityProviders may read: no other Secret is asked for.
pub(super) const SECRETS: &str = "cloakroom.dev/provider-secret";

/// A kind that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Kind {
    AuthPolicy,
    IdentityProvider,
    #[serde(rename = "HTTPRoute")]
    HttpRoute,
    #[serde(rename = "GRPCRoute")]
    GrpcRoute,
    Gateway,
    ReferenceGrant,
    /// Only where `policies.kubernetes.namespaceLabels` says so.
    Namespace,
    /// Only where `policies.kubernetes.secrets` says so.
    Secret,
}

impl Kind {
    /// Those that are always watched.
    pub(super) const ALL: [Self; 6] = [
        Self::AuthPolicy,
        Self::IdentityProvider,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::Gateway,
        Self::ReferenceGrant,
    ];

    /// As in `kind`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::AuthPolicy => "AuthPolicy",
            Self::IdentityProvider => "IdentityProvider",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::Gateway => "Gateway",
            Self::ReferenceGrant => "ReferenceGrant",
            Self::Namespace => "Namespace",
            Self::Secret => "Secret",
        }
    }

    pub(super) const fn group(self) -> &'static str {
        match self {
            Self::AuthPolicy | Self::IdentityProvider => "cloakroom.dev",
            Self::Namespace | Self::Secret => "",
            _ => crate::api::gateway::GROUP,
        }
    }

    /// The versions in which it may be served, the best first.
    pub(super) const fn versions(self) -> &'static [&'static str] {
        match self {
            Self::AuthPolicy | Self::IdentityProvider => &["v1alpha1"],
            Self::HttpRoute | Self::GrpcRoute | Self::Gateway | Self::Namespace | Self::Secret => &["v1"],
            Self::ReferenceGrant => &["v1", "v1beta1"],
        }
    }

    /// As in paths and in RBAC.
    pub(super) const fn plural(self) -> &'static str {
        match self {
            Self::AuthPolicy => "authpolicies",
            Self::IdentityProvider => "identityproviders",
            Self::HttpRoute => "httproutes",
            Self::GrpcRoute => "grpcroutes",
            Self::Gateway => "gateways",
            Self::ReferenceGrant => "referencegrants",
            Self::Namespace => "namespaces",
            Self::Secret => "secrets",
        }
    }

    /// Which of its objects count, by their labels, where `policies.kubernetes.selector` is this.
    pub(super) fn selector(self, given: Option<&String>) -> Option<String> {
        match self {
            Self::AuthPolicy | Self::IdentityProvider => given.cloned(),
            Self::Secret => Some(format!("{SECRETS}=true")),
            _ => None,
        }
    }

    /// Whether its objects go into the snapshot: none that holds a secret may (P31).
    pub(super) const fn is_kept(self) -> bool {
        match self {
            Self::AuthPolicy
            | Self::IdentityProvider
            | Self::HttpRoute
            | Self::GrpcRoute
            | Self::Gateway
            | Self::ReferenceGrant
            | Self::Namespace => true,
            Self::Secret => false,
        }
    }

    /// Whether there can be policies where the server does not know it: without Gateway API there are no routes, and
    /// without our own resources nothing has been installed yet.
    pub(super) const fn is_optional(self) -> bool {
        !matches!(self, Self::AuthPolicy)
    }

    /// The path of its objects.
    pub(super) fn path(self, version: &str, namespace: Option<&str>) -> String {
        let namespace = namespace.map(|it| format!("/namespaces/{it}")).unwrap_or_default();
        match self.group() {
            "" => format!("/api/{version}{namespace}/{}", self.plural()),
            group => format!("/apis/{group}/{version}{namespace}/{}", self.plural()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A kind, in a namespace or in all of them: what one list and one watch are about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Source {
    pub(super) kind: Kind,
    /// `None` for every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<String>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} in namespace {namespace}", self.kind.plural()),
            None => write!(f, "{} in all namespaces", self.kind.plural()),
        }
    }
}
