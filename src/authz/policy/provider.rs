//! Identity providers, checked and compiled: where credentials that are not ours are judged, and what one must have.
//!
//! A policy finds the providers of its own namespace and no others (P27). One that is not good keeps its last good form, as a
//! policy does (P26); what lies in Secrets is always what lies there now, so that a key that was taken away counts no more.
//!
//! Of one that is not in force it is known where requests carry its credentials, if its object says so or if it was in force
//! before (`missing`): they are refused beside others, and no service sees them (P7, P13). Where that is not known, any header and
//! any cookie may be one, and so nothing passes the rules that name it (P2).

pub mod api_keys;
mod compile;
mod missing;
mod places;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use self::api_keys::ApiKeys;
pub(super) use self::compile::{NamespaceProviders, Providers};
use super::exchange::TrustedIssuer;
use crate::api::exchange::ExchangeClaims;
use crate::api::identity_provider as api;
use crate::api::secret::SecretValue;
use crate::authz::credential::Carrier;

/// An identity provider's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProviderName {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// An identity provider's name, as identities, denials and records have it.
pub type ProviderRef = Arc<ProviderName>;

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An identity provider that is in force.
#[derive(Debug)]
pub struct IdentityProvider {
    /// Its name.
    pub name: ProviderRef,
    /// Where requests carry its credentials; never empty.
    pub places: Arc<[Carrier]>,
    /// How they are judged.
    pub kind: ProviderKind,
    /// Stands for all that it is made of, secrets included: what was found out with one is not used with another (P5).
    pub fingerprint: ProviderFingerprint,
    /// What it was compiled from.
    pub(super) source: Arc<api::IdentityProvider>,
}

impl IdentityProvider {
    /// Which object of its name it is, if that is known.
    pub fn uid(&self) -> Option<&str> {
        self.source.metadata.uid.as_deref()
    }
}

/// See [`IdentityProvider::fingerprint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProviderFingerprint(pub [u8; 32]);

/// How credentials are judged.
#[derive(Debug)]
pub enum ProviderKind {
    /// JWTs, by the issuer's keys.
    Jwt(Box<JwtIssuer>),
    /// Opaque tokens, by asking the server.
    Introspection(Box<Introspection>),
    /// Keys that are known here.
    ApiKeys(ApiKeys),
}

impl ProviderKind {
    /// The kind's name, as in the object, metrics and `explain`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Jwt(_) => "jwt",
            Self::Introspection(_) => "introspection",
            Self::ApiKeys(_) => "apiKeys",
        }
    }
}

/// An issuer whose JWTs count.
#[derive(Debug)]
pub struct JwtIssuer {
    /// All that a JWT must have. Its own keys are those of an inline set, else there are none.
    pub trusted: TrustedIssuer,
    /// Where the keys are.
    pub keys: KeySource,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// In the object.
    Inline,
    /// Published at this URL.
    Uri(Box<str>),
    /// Published where this issuer's discovery document says.
    Discovery(Box<str>),
}

/// An authorization server that is asked about each token.
#[derive(Debug)]
pub struct Introspection {
    /// Its endpoint's URL.
    pub endpoint: Box<str>,
    /// Who we are there.
    pub client_id: Box<str>,
    /// Our secret there; `None` while the Secret is not there.
    pub client_secret: Option<SecretValue>,
    /// The answer's `aud` names one of these; never empty.
    pub audiences: Box<[String]>,
    /// The only `iss` that an answer may have.
    pub issuer: Option<Box<str>>,
    /// How long an answer is believed at most.
    pub max_cache: Duration,
    /// How long the server may take.
    pub timeout: Duration,
    /// Which members mean what.
    pub claims: ExchangeClaims,
}

/// A provider that a rule names.
#[derive(Clone, Debug)]
pub(crate) enum RuleProvider {
    /// It is there.
    Known(Arc<IdentityProvider>),
    /// It is not, or never had a good form.
    Missing {
        /// The field that names it.
        at: Box<str>,
        name: Box<str>,
        /// Where requests carry its credentials, if anybody can say.
        places: Option<Arc<[Carrier]>>,
    },
}

impl RuleProvider {
    pub(crate) fn known(&self) -> Option<&Arc<IdentityProvider>> {
        match self {
            Self::Known(provider) => Some(provider),
            Self::Missing { .. } => None,
        }
    }

    /// Where requests carry its credentials, as far as that is known.
    pub(crate) fn places(&self) -> &[Carrier] {
        match self {
            Self::Known(provider) => &provider.places,
            Self::Missing { places, .. } => places.as_deref().unwrap_or_default(),
        }
    }

    /// Whether nobody can say where requests carry its credentials.
    pub(crate) fn is_anywhere(&self) -> bool {
        matches!(self, Self::Missing { places: None, .. })
    }

    /// Whether `providers` are still those that it was found among.
    pub(super) fn is_current(&self, providers: NamespaceProviders<'_>) -> bool {
        match self {
            Self::Known(known) => providers.get(&known.name.name).is_some_and(|now| Arc::ptr_eq(now, known)),
            Self::Missing { name, places, .. } => {
                providers.get(name).is_none() && providers.places_of_missing(name) == places.as_ref()
            }
        }
    }
}
