//! A session as the decision sees it, and the values it is made of.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A moment: milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `millis` milliseconds after 1970-01-01T00:00:00Z.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down (a `NumericDate` of RFC 7519 §2).
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This moment and `by` later; stops at the end of time rather than wrapping.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this moment is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// The public half of an access token: the key of every cache and store entry. Written in base64url, unpadded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// The id made of these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads the 22 characters of base64url that `Display` writes; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        // `decode_slice` refuses non-canonical trailing bits, so one id has one spelling.
        (text.len() == 22 && URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) == Ok(16)).then_some(Self(bytes))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 22];
        let written = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text[..written]).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

impl Serialize for SessionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// SHA-256 of the secret half of a token: only ever compared, in constant time.
#[derive(Clone, Copy)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// The digest with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes, for the store's encoding only.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are the same, in time that does not depend on where they differ.
    pub fn matches(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(redacted)")
    }
}

/// Whose sessions count: a session of one realm is unknown in every other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Realm(Arc<str>);

impl Realm {
    /// A realm's name: a DNS label (RFC 1123), 1 to 63 of `a-z`, `0-9` and `-`, not at the ends.
    pub fn parse(name: &str) -> Option<Self> {
        let label = name.as_bytes();
        let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        let ends = label.first() != Some(&b'-') && label.last() != Some(&b'-');
        ((1..=63).contains(&label.len()) && label.iter().all(inner) && ends).then(|| Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The application's claims of a session: one JSON object, at most [`Claims::MAX_BYTES`], kept as text so that a cached
/// session costs what its text costs. `Debug` shows its length alone.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Claims(Box<RawValue>);

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Claims({} bytes)", self.as_json().len())
    }
}

impl Claims {
    /// The largest encoding of a session's claims (DESIGN 2), in bytes.
    pub const MAX_BYTES: usize = 16 * 1024;

    /// The claims of this object in their shortest JSON text. `None` when that is over [`Self::MAX_BYTES`].
    pub fn from_object(object: &serde_json::Map<String, serde_json::Value>) -> Option<Self> {
        let raw = serde_json::value::to_raw_value(object).ok()?;
        (raw.get().len() <= Self::MAX_BYTES).then_some(Self(raw))
    }

    /// `{}`.
    pub fn empty() -> Self {
        Self(RawValue::from_string("{}".to_owned()).expect("{} is JSON"))
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        self.0.get()
    }

    /// The object, parsed anew.
    pub fn to_object(&self) -> serde_json::Map<String, serde_json::Value> {
        // Only `from_object`, `empty` and the store's checked decode make one, so this is always an object.
        serde_json::from_str(self.as_json()).unwrap_or_default()
    }
}

impl PartialEq for Claims {
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
    }
}

/// What the session's owner signed in with, as told at creation; for people who look at their sessions, never for a decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Device {
    /// A name the owner knows it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its `User-Agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Its network address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// The identity provider's own session behind ours, found again by a back-channel log-out (OpenID Connect Back-Channel 1.0).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Provider {
    /// The provider's issuer.
    pub iss: String,
    /// The provider's session id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
}

/// The secret a rotation replaced.
#[derive(Clone, Copy, Debug)]
pub struct PreviousSecret {
    /// Its digest.
    pub digest: SecretDigest,
    /// When it stops counting; `None` until its successor has been presented once.
    pub ends: Option<Timestamp>,
}

/// One session: a record of the store (DESIGN 2).
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Where it counts.
    pub realm: Realm,
    /// Who it belongs to (`sub`).
    pub subject: String,
    /// The digest of the present secret.
    pub secret: SecretDigest,
    /// The secret before it, while that still counts.
    pub previous: Option<PreviousSecret>,
    /// When the present secret was made.
    pub rotated_at: Timestamp,
    /// When the session was made.
    pub created: Timestamp,
    /// When its owner last proved who they are (`auth_time`).
    pub auth_time: Timestamp,
    /// When it was last used, to within a tenth of `idle`. The store keeps it under a key of its own.
    pub last_seen: Timestamp,
    /// How long it may lie unused.
    pub idle: Duration,
    /// When it ends whatever happens.
    pub absolute_end: Timestamp,
    /// Grows by one with every change that services can see; touch and rotation leave it alone.
    pub version: u64,
    /// The subject's epoch when it was made: a log-out everywhere moves the subject's and so ends this.
    pub epoch: u64,
    /// Authentication context class (`acr`).
    pub acr: Option<String>,
    /// Authentication methods (`amr`, RFC 8176).
    pub amr: Vec<String>,
    /// Granted scopes (`scope`).
    pub scopes: Vec<String>,
    /// Roles.
    pub roles: Vec<String>,
    /// The application's claims.
    pub claims: Claims,
    /// The device it was made on.
    pub device: Option<Device>,
    /// The identity provider's session behind it.
    pub provider: Option<Provider>,
}

impl Session {
    /// When it ends if nobody uses it again, and in any case.
    pub fn ends(&self) -> Timestamp {
        self.last_seen.plus(self.idle).min(self.absolute_end)
    }

    /// Whether `digest` is that of a secret which counts at `now`: the present one, or the one before within its overlap.
    pub fn accepts(&self, digest: &SecretDigest, now: Timestamp) -> Option<SecretAge> {
        if self.secret.matches(digest) {
            return Some(SecretAge::Present);
        }
        self.previous
            .filter(|previous| previous.digest.matches(digest) && previous.ends.is_none_or(|ends| now < ends))
            .map(|_| SecretAge::Previous)
    }
}

/// Which of a session's secrets a request presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretAge {
    /// The present one.
    Present,
    /// The one before the last rotation.
    Previous,
}
