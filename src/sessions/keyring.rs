//! The signing keys, and the session JWTs made with them (DESIGN 4).

pub mod algorithm;
pub mod bundle;
pub mod ceremony;
mod claims;
pub mod folder;
mod key;
pub mod namespaces;
pub mod timeline;
mod verify;
mod watch;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use self::algorithm::SigningAlgorithm;
use self::bundle::KeyBundle;
use self::claims::Life;
use self::folder::KeyRingError;
use self::key::SigningKey;
use self::namespaces::{Keys, Loaded};
use self::timeline::Jwks;
use crate::authz::identity::Facts;
use crate::authz::policy::{MintSpec, SessionJwtRule};
use crate::authz::session::{Session, SessionId, Timestamp};
use crate::authz::verdict::Permit;

/// The `typ` of every session JWT (RFC 8725 §3.11): it is never taken for a JWT of another kind.
pub const TYP: &str = "session+jwt";

/// No session JWT lives longer (P8).
pub const MAX_LIFETIME: Duration = Duration::from_secs(60);

/// What a key ring needs to know (the configuration's `jwt`).
#[derive(Clone, Debug)]
pub struct KeyRingConfig {
    /// The folder that the keys are in, or those of each namespace.
    pub dir: PathBuf,
    /// The base of every `iss`: an `http` or `https` URL without query, fragment or trailing slash.
    pub issuer: String,
    /// The algorithm that at least one key in the folder must have at the start.
    pub algorithm: SigningAlgorithm,
    /// How long a JWT lives: whole seconds, 1 s to [`MAX_LIFETIME`].
    pub lifetime: Duration,
    /// The largest JWT that is ever sent, in bytes.
    pub max_bytes: usize,
}

impl KeyRingConfig {
    /// `iss` of the JWTs for services in `namespace`.
    pub fn issuer_of(&self, namespace: &str) -> String {
        format!("{}/ns/{namespace}", self.issuer)
    }

    /// The namespace that [`Self::issuer_of`] names.
    fn issuer_namespace<'a>(&self, issuer: &'a str) -> Option<&'a str> {
        issuer.strip_prefix(self.issuer.as_str())?.strip_prefix("/ns/")
    }

    fn check(&self) -> Result<(), KeyRingError> {
        let refuse = |problem: String| Err(KeyRingError::Config(problem));
        let uri = self.issuer.parse::<http::Uri>().ok();
        let absolute = uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
        if !absolute || self.issuer.ends_with('/') || self.issuer.contains(['?', '#', '"', '\\']) {
            return refuse(format!(
                "jwt.issuer: `{}` is not an http or https URL without query, fragment and trailing slash",
                self.issuer
            ));
        }
        if self.lifetime.is_zero() || self.lifetime > MAX_LIFETIME || self.lifetime.subsec_nanos() != 0 {
            return refuse(format!(
                "jwt.lifetime: {:?} is not a whole number of seconds from 1s to 60s",
                self.lifetime
            ));
        }
        Ok(())
    }
}

/// How long a [`KeyId`] is: SHA-256 in base64url.
const KID_LEN: usize = 43;

/// The RFC 7638 thumbprint of a key (`kid`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(pub Arc<str>);

/// A session JWT, signed. `Debug` does not show it.
#[derive(Clone)]
pub struct Minted {
    /// The compact serialisation.
    pub jwt: Bytes,
    /// The key that signed it.
    pub key: KeyId,
    /// Until when it is handed out again: half of its life.
    pub fresh_until: Timestamp,
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Minted(redacted, {} bytes, key {}, {:?})", self.jwt.len(), self.key.0, self.fresh_until)
    }
}

/// Why no session JWT was made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// No key is in its signing time.
    #[error("no key to sign with")]
    NoKey,
    /// The session, or the credential, ends within this second, so that no JWT could live and not outlive it.
    #[error("the session is ending")]
    SessionEnding,
    /// The JWT would be over `jwt.maxBytes`.
    #[error("the session JWT would be {0} bytes, the most is {1}")]
    TooLarge(usize, usize),
    /// The cryptographic library refused.
    #[error("signing failed")]
    Signing(#[source] aws_lc_rs::error::Unspecified),
}

/// The keys of this process, swapped whole when they change: one ring for every namespace, or a ring for each, so that no
/// key signs for another namespace than its own.
#[derive(Debug)]
pub struct KeyRing {
    config: KeyRingConfig,
    keys: ArcSwap<Keys>,
}

impl KeyRing {
    /// Reads the folder, whole or not at all: there is no built-in, empty or improvised key (P10). Where each namespace has a
    /// folder of its own, one that cannot be used leaves its namespace without a key, and is told of.
    pub fn open(config: KeyRingConfig) -> Result<Self, KeyRingError> {
        config.check()?;
        let Loaded { keys, faults } = namespaces::load(&config, None)?;
        for error in faults {
            tracing::error!(%error, "a namespace has no key: its session JWTs cannot be signed");
        }
        Ok(Self { config, keys: ArcSwap::from_pointee(keys) })
    }

    /// A ring without keys, for those who are given them by [`Self::publish`].
    pub fn without_keys(config: KeyRingConfig) -> Result<Self, KeyRingError> {
        config.check()?;
        Ok(Self { config, keys: ArcSwap::from_pointee(Keys::Each(BTreeMap::new())) })
    }

    /// Takes these keys, by namespace, in the place of all that it has.
    pub fn publish<'a>(&self, bundles: impl Iterator<Item = (&'a str, &'a KeyBundle)>) {
        let rings = bundles.map(|(namespace, bundle)| (namespace.into(), Arc::clone(bundle.timeline()))).collect();
        self.keys.store(Arc::new(Keys::Each(rings)));
    }

    /// Reads the folder again and answers whether its keys are others now. On an error the keys stay as they were; where each
    /// namespace has its own, those of the others are taken up all the same.
    pub fn reload(&self) -> Result<bool, KeyRingError> {
        let Loaded { keys, faults } = namespaces::load(&self.config, Some(&**self.keys()))?;
        let changed = !self.keys().is(&keys);
        if changed {
            self.keys.store(Arc::new(keys));
        }
        faults.into_iter().next().map_or(Ok(changed), Err)
    }

    /// The key that signs for `namespace` at `now`: a cached JWT of another one is not handed out again.
    pub fn signing_key(&self, namespace: &str, now: Timestamp) -> Option<KeyId> {
        self.keys().of(namespace)?.signing(now).map(|key| key.id().clone())
    }

    /// Whether there is a namespace for which a key signs at `now`.
    pub fn can_sign(&self, now: Timestamp) -> bool {
        self.keys().all().any(|ring| ring.signing(now).is_some())
    }

    /// Whether it signs at `now`, or no namespace is to have keys yet (the flat form says so): then nothing is missing.
    pub fn is_ready(&self, now: Timestamp) -> bool {
        let is_for_nobody = matches!(&**self.keys(), Keys::Each(rings) if rings.is_empty());
        is_for_nobody || self.can_sign(now)
    }

    /// Signs a session JWT for this permit. No permit, no signature.
    pub fn mint(&self, permit: &Permit, now: Timestamp) -> Result<Minted, MintError> {
        self.sign(&permit.facts(), permit.mint(), now)
    }

    /// Whether [`Self::mint`] would sign now, found out without a signature, for those who explain.
    pub fn check(&self, permit: &Permit, now: Timestamp) -> Result<(), MintError> {
        let (facts, spec) = (permit.facts(), permit.mint());
        let keys = self.keys();
        let key = keys.of(&spec.namespace).and_then(|ring| ring.signing(now)).ok_or(MintError::NoKey)?;
        let life = self.life(&facts, now)?;
        let payload = claims::payload(&facts, spec, &self.config.issuer_of(&spec.namespace), [0; 16], life);
        self.fits(compact_len(key, payload.len()))
    }

    /// How large the session's JWT would be at most for this spec, without signing; for writes that would make it too large.
    /// Where each namespace has keys of its own it is told by `jwt.algorithm`: one namespace's keys are nothing to the others.
    pub fn size_of(&self, session: &Session, spec: &MintSpec) -> usize {
        // Dates have ten digits until the year 2286, whatever they are.
        let life = Life { issued: 9_999_999_999, expires: 9_999_999_999 };
        let payload = claims::payload(&session.facts(), spec, &self.config.issuer_of(&spec.namespace), [0; 16], life);
        match &**self.keys() {
            Keys::Shared(ring) => {
                let sizes = ring.keys().iter().map(|(key, _)| compact_len(key, payload.len()));
                sizes.max().unwrap_or(usize::MAX)
            }
            Keys::Each(rings) if rings.is_empty() => usize::MAX,
            Keys::Each(_) => {
                let algorithm = self.config.algorithm;
                let header = key::header(algorithm, &"k".repeat(KID_LEN)).len();
                compact_len_of(header, payload.len(), key::longest_signature(algorithm))
            }
        }
    }

    /// The largest JWT that is ever sent, in bytes.
    pub fn max_bytes(&self) -> usize {
        self.config.max_bytes
    }

    /// Verifies a session JWT that a service passed on; answers its `sid`. `None` when anything about it is wrong. There is
    /// no leeway: the times are our own.
    pub fn verify(&self, jwt: &[u8], rule: &SessionJwtRule, now: Timestamp) -> Option<SessionId> {
        self.verified(jwt, rule, now)
    }

    /// The public keys that services verify with at `now`; `None` while there is none, and where each namespace has its own.
    pub fn jwks(&self, now: Timestamp) -> Option<Jwks> {
        match &**self.keys() {
            Keys::Shared(ring) => ring.jwks(now),
            Keys::Each(_) => None,
        }
    }

    /// The public keys of `namespace` at `now`; `None` while it has none.
    pub fn jwks_of(&self, namespace: &str, now: Timestamp) -> Option<Jwks> {
        self.keys().of(namespace)?.jwks(now)
    }

    /// Whether each namespace has keys of its own.
    pub fn is_by_namespace(&self) -> bool {
        matches!(**self.keys(), Keys::Each(_))
    }

    /// The settings that the ring was opened with.
    pub fn config(&self) -> &KeyRingConfig {
        &self.config
    }

    /// [`Self::mint`] without its proof, for tests.
    #[cfg(test)]
    pub(crate) fn mint_for(&self, session: &Session, spec: &MintSpec, now: Timestamp) -> Result<Minted, MintError> {
        self.sign(&session.facts(), spec, now)
    }

    fn sign(&self, facts: &Facts<'_>, spec: &MintSpec, now: Timestamp) -> Result<Minted, MintError> {
        let keys = self.keys();
        let key = keys.of(&spec.namespace).and_then(|ring| ring.signing(now)).ok_or(MintError::NoKey)?;
        let life = self.life(facts, now)?;
        let jti = claims::unique().map_err(MintError::Signing)?;
        let payload = claims::payload(facts, spec, &self.config.issuer_of(&spec.namespace), jti, life);
        let size = compact_len(key, payload.len());
        self.fits(size)?;

        let mut jwt = String::with_capacity(size);
        jwt.push_str(key.header());
        URL_SAFE_NO_PAD.encode_string(&payload, &mut jwt);
        let signature = key.sign(jwt.as_bytes()).map_err(MintError::Signing)?;
        jwt.push('.');
        URL_SAFE_NO_PAD.encode_string(&signature, &mut jwt);
        // The estimate is exact; yet what is sent is what is bounded.
        self.fits(jwt.len())?;

        let half = Duration::from_millis((life.expires - life.issued).unsigned_abs() * 500);
        let fresh_until = Timestamp::from_millis(life.issued.saturating_mul(1000)).plus(half);
        Ok(Minted { jwt: jwt.into(), key: key.id().clone(), fresh_until })
    }

    /// Both times are rounded down: a JWT neither begins in the future nor outlives its session, or the credential it stands for.
    fn life(&self, facts: &Facts<'_>, now: Timestamp) -> Result<Life, MintError> {
        let issued = now.as_secs();
        let end = now.plus(self.config.lifetime).min(facts.ends);
        let expires = end.as_secs();
        if expires > issued { Ok(Life { issued, expires }) } else { Err(MintError::SessionEnding) }
    }

    fn fits(&self, size: usize) -> Result<(), MintError> {
        if size > self.config.max_bytes { Err(MintError::TooLarge(size, self.config.max_bytes)) } else { Ok(()) }
    }

    fn keys(&self) -> Guard<Arc<Keys>> {
        self.keys.load()
    }
}

/// The length of a compact serialisation (RFC 7515 §3.1) with a payload of `payload` bytes.
fn compact_len(key: &SigningKey, payload: usize) -> usize {
    compact_len_of(key.header().len(), payload, key.signature_len())
}

/// The same, with a header of so many characters and a signature of so many bytes.
fn compact_len_of(header: usize, payload: usize, signature: usize) -> usize {
    let unpadded = |bytes: usize| (bytes * 4).div_ceil(3);
    header + unpadded(payload) + 1 + unpadded(signature)
}
