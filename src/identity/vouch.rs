//! From the claims of a JWT or an answer to whom a provider vouches for, and the JWTs that were verified before.

use std::collections::HashSet;
use std::mem::size_of;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::{Map, Value};

use super::jwks::{KeySources, Newer, PublishedKeys};
use super::jwt::{self, JwtRefusal};
use crate::api::exchange::ExchangeClaims;
use crate::authz::credential::ForeignCredential;
use crate::authz::identity::Identity;
use crate::authz::policy::exchange::KeySet;
use crate::authz::policy::provider::api_keys::CredentialDigest;
use crate::authz::policy::provider::{IdentityProvider, JwtIssuer, ProviderFingerprint, ProviderRef};
use crate::authz::reason::DenyReason;
use crate::authz::response::NewIdentity;
use crate::authz::session::Timestamp;
use crate::authz::verdict::Lookup;

/// What the verified JWTs of all providers may take, in bytes (P32).
const MAX_BYTES: u64 = 8 << 20;
/// What the number of entries is guessed from; a wrong guess costs only table growth.
const TYPICAL_BYTES: u64 = 1_024;
/// What a slot of the cache, the `Arc`s and the allocator take beside the values themselves.
const OVERHEAD: usize = 256;

/// The longest subject and `acr`, in bytes; the longest scope, role or method; how many of each.
const MAX_NAME: usize = 255;
const MAX_TERM: usize = 128;
const MAX_TERMS: usize = 128;

/// For which credential something was found out, and with what (P5).
pub(super) type Key = (ProviderFingerprint, CredentialDigest);

/// JWTs that were verified, so that a client which comes again costs no second verification. Refusals are not kept.
pub(super) struct Vouchers(Cache<Key, Verified, ByWeight>);

/// What a verified JWT says, for as long as the keys are the ones that it was verified with.
#[derive(Clone)]
struct Verified {
    identity: Arc<Identity>,
    /// Of keys that are fetched.
    fetched: Option<(Arc<PublishedKeys>, Arc<KeySet>)>,
}

impl Verified {
    fn holds(&self) -> bool {
        self.fetched.as_ref().is_none_or(|(source, keys)| source.keys().is_some_and(|now| Arc::ptr_eq(&now, keys)))
    }
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<Key, Verified> for ByWeight {
    fn weight(&self, _: &Key, verified: &Verified) -> u64 {
        weight(&verified.identity)
    }
}

/// An honest estimate of what an identity takes in a cache, in bytes.
pub(super) fn weight(identity: &Identity) -> u64 {
    let texts = |texts: &[String]| texts.iter().map(|text| text.capacity() + size_of::<String>()).sum::<usize>();
    let values = identity.subject.capacity()
        + identity.acr.as_ref().map_or(0, String::capacity)
        + texts(&identity.amr)
        + texts(&identity.scopes)
        + texts(&identity.roles)
        + identity.claims.as_json().len();
    (OVERHEAD + size_of::<Identity>() + size_of::<Verified>() + values) as u64
}

impl Default for Vouchers {
    fn default() -> Self {
        let items = usize::try_from(MAX_BYTES / TYPICAL_BYTES).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(items, MAX_BYTES, ByWeight))
    }
}

impl Vouchers {
    /// Forgets what was verified for all other providers.
    pub(super) fn retain(&self, named: &HashSet<ProviderFingerprint>) {
        self.0.retain(|(provider, _), _| named.contains(provider));
    }

    /// Whom a JWT belongs to.
    pub(super) async fn by_jwt(
        &self,
        sources: &KeySources,
        credential: &ForeignCredential,
        provider: &Arc<IdentityProvider>,
        issuer: &JwtIssuer,
        now: Timestamp,
    ) -> Lookup {
        let key = (provider.fingerprint, *credential.digest());
        if let Some(verified) = self.0.get(&key).filter(Verified::holds) {
            return Lookup::Vouched(verified.identity);
        }
        let Some(source) = sources.of(provider, issuer) else {
            let found = judge(&issuer.trusted.keys, credential, provider, issuer, now);
            return self.told(key, found, None);
        };
        let known = source.keys();
        if let Some(keys) = known.clone() {
            match judge(&keys, credential, provider, issuer, now) {
                // Perhaps it is of a key that the issuer has begun to use since.
                Err(JwtRefusal::UnknownKey) => {}
                found => return self.told(key, found, Some((source, keys))),
            }
        }
        match source.newer(known.as_ref()).await {
            Newer::Keys(keys) => {
                let found = judge(&keys, credential, provider, issuer, now);
                self.told(key, found, Some((source, keys)))
            }
            Newer::Same => Lookup::Refused(DenyReason::InvalidJwt),
            Newer::Unavailable => Lookup::Unavailable(DenyReason::ProviderUnavailable),
        }
    }

    fn told(
        &self,
        key: Key,
        found: Result<Identity, JwtRefusal>,
        fetched: Option<(Arc<PublishedKeys>, Arc<KeySet>)>,
    ) -> Lookup {
        match found {
            Ok(identity) => {
                let identity = Arc::new(identity);
                self.0.insert(key, Verified { identity: Arc::clone(&identity), fetched });
                Lookup::Vouched(identity)
            }
            Err(JwtRefusal::Expired) => Lookup::Refused(DenyReason::ExpiredCredential),
            Err(refusal) => {
                tracing::debug!(%refusal, "a provider's JWT is refused");
                Lookup::Refused(DenyReason::InvalidJwt)
            }
        }
    }
}

fn judge(
    keys: &KeySet,
    credential: &ForeignCredential,
    provider: &IdentityProvider,
    issuer: &JwtIssuer,
    now: Timestamp,
) -> Result<Identity, JwtRefusal> {
    let claims = jwt::verified_claims(&issuer.trusted, keys, credential.reveal(), now)?;
    let ends = jwt::check_times(&claims, &issuer.trusted.claims.auth_time, now)?;
    identity(&provider.name, &issuer.trusted.claims, &issuer.trusted.issuer, claims, ends, now)
}

/// Whom these claims are about, within the bounds that hold for sessions too. The credential ends at `ends`, with no leeway: a
/// session JWT never outlives what it stands for (P8).
pub(super) fn identity(
    provider: &ProviderRef,
    names: &ExchangeClaims,
    issuer: &str,
    claims: Map<String, Value>,
    ends: Option<Timestamp>,
    now: Timestamp,
) -> Result<Identity, JwtRefusal> {
    // A token that is bound to a key or a certificate of its client (RFC 7800, RFC 8705, RFC 9449) is none for whoever bears it.
    if claims.contains_key("cnf") {
        return Err(JwtRefusal::Type);
    }
    if ends.is_some_and(|ends| ends <= now) {
        return Err(JwtRefusal::Expired);
    }
    let NewIdentity { subject, auth_time, acr, amr, scopes, roles, claims, device: _, provider: _ } =
        jwt::identity(names, issuer, claims, now)?;
    let within = |text: &str, most: usize| (1..=most).contains(&text.len()) && !text.chars().any(char::is_control);
    if !within(&subject, MAX_NAME) {
        return Err(JwtRefusal::Claim("subject"));
    }
    if acr.as_ref().is_some_and(|acr| !within(acr, MAX_NAME)) {
        return Err(JwtRefusal::Claim("acr"));
    }
    for (terms, what) in [(&amr, "amr"), (&scopes, "scopes"), (&roles, "roles")] {
        if terms.len() > MAX_TERMS || !terms.iter().all(|term| within(term, MAX_TERM)) {
            return Err(JwtRefusal::Claim(what));
        }
    }
    Ok(Identity {
        provider: provider.clone(),
        subject,
        // As long ago as can be is what a claim that is not there is read as; here nothing has to be told of it.
        auth_time: auth_time.filter(|proved| proved.as_millis() > 0),
        acr,
        amr,
        scopes,
        roles,
        claims,
        ends,
    })
}
