//! What was found: how bad it is, what was seen, and the cure.

use std::fmt;

use serde::{Serialize, Serializer};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, and is likely to surprise or to stop working.
    Warning,
    /// Requests are refused that should pass, or could pass that should be refused.
    Problem,
    /// Could not be looked at.
    Unknown,
}

impl Level {
    /// Its word.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
            Self::Unknown => "unknown",
        }
    }
}

macro_rules! checks {
    ($($(#[$doc:meta])* $name:ident => $label:literal,)*) => {
        /// What was looked at: a closed set, whose names scripts and docs/troubleshooting.md may rely on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Check {
            $($(#[$doc])* $name,)*
        }

        impl Check {
            /// All of them.
            pub const ALL: [Self; [$(Self::$name),*].len()] = [$(Self::$name),*];

            /// Its name.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }
        }
    };
}

checks! {
    /// The CustomResourceDefinitions of this version.
    Definitions => "definitions",
    /// The controller's Deployment.
    Controller => "controller",
    /// The Lease by which one controller writes.
    Lease => "lease",
    /// What an enrolled namespace must have.
    Namespaces => "namespaces",
    /// Who trusts whom by sharing the store.
    Trust => "trust",
    /// The sidecar in the pods.
    Sidecars => "sidecars",
    /// The webhooks and their certificate.
    Webhooks => "webhooks",
    /// What became of the policies.
    Policies => "policies",
    /// The key sets that services fetch.
    KeySets => "key-sets",
    /// The extension provider in Istio's mesh configuration.
    IstioProvider => "istio-provider",
    /// AuthorizationPolicies that ask a provider.
    IstioPolicies => "istio-policies",
    /// Policies that ambient passes over.
    IstioAmbient => "istio-ambient",
    /// The EnvoyFilter that takes our headers off and reads responses.
    IstioFilter => "istio-filter",
    /// Whether Istio verifies our JWTs with the right keys.
    IstioAuthentication => "istio-authentication",
    /// What Envoy Gateway itself allows.
    EnvoyGateway => "envoy-gateway",
    /// SecurityPolicies that ask cloakroom.
    EnvoyGatewayCheck => "envoy-gateway-check",
    /// EnvoyExtensionPolicies that show it responses.
    EnvoyGatewayResponses => "envoy-gateway-responses",
    /// Whether forged headers are taken off before anything else.
    EnvoyGatewayHeaders => "envoy-gateway-headers",
    /// Routes with the filter `ExternalAuth`.
    RouteFilters => "route-filters",
    /// The request without a credential.
    ProbeCheck => "probe-check",
    /// The requests with forged headers.
    ProbeForged => "probe-forged",
    /// The request with a token.
    ProbeSession => "probe-session",
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.label())
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: Check,
    /// How bad it is.
    pub level: Level,
    /// The object, as `Kind namespace/name`, or the address.
    pub about: String,
    /// What was seen.
    pub seen: String,
    /// What to do, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(check: Check, about: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, about: about.into(), seen: seen.into(), cure: None }
    }

    /// See [`Level::Warning`].
    pub fn warning(check: Check, about: impl Into<String>, seen: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { check, level: Level::Warning, about: about.into(), seen: seen.into(), cure: Some(cure.into()) }
    }

    /// See [`Level::Problem`].
    pub fn problem(check: Check, about: impl Into<String>, seen: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { check, level: Level::Problem, about: about.into(), seen: seen.into(), cure: Some(cure.into()) }
    }

    /// See [`Level::Unknown`].
    pub fn unknown(check: Check, about: impl Into<String>, seen: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { check, level: Level::Unknown, about: about.into(), seen: seen.into(), cure: Some(cure.into()) }
    }
}

/// The exit status when nothing bad was found and something could not be looked at.
pub const UNKNOWN: u8 = 2;

/// All findings of a look.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Them, in the order in which they were looked for.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many there are of a level.
    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|it| it.level == level).count()
    }

    /// The exit status: 0 when all is well, 1 when there is a problem or a warning, 2 when there is neither and something could
    /// not be looked at.
    pub fn status(&self) -> u8 {
        if self.count(Level::Problem) + self.count(Level::Warning) > 0 {
            1
        } else if self.count(Level::Unknown) > 0 {
            UNKNOWN
        } else {
            0
        }
    }
}
