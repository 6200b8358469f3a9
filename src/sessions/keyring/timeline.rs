//! A ring of keys over time: which one signs, which ones are published. Pure: the moment comes in as an argument.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use jsonwebtoken::jwk::JwkSet;

use super::algorithm::SigningAlgorithm;
use super::key::SigningKey;
use crate::authz::session::Timestamp;

/// How long a key stays published after it stopped signing: the longest life of a JWT (P8) and the minute of clock skew that
/// verifiers commonly grant (Envoy's `jwt_authn` by default).
pub const OVERLAP: Duration = Duration::from_secs(120);

/// The times of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyTimes {
    /// In the key set from here on.
    pub published: Timestamp,
    /// Signs from here on.
    pub signing: Timestamp,
    /// Stops signing here; `None` for the newest key.
    pub retired: Option<Timestamp>,
}

/// What a key does at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Not in the key set yet.
    Waiting,
    /// In the key set, not signing yet.
    Published,
    /// Signing.
    Signing,
    /// Signs no more; still in the key set for the JWTs it signed.
    Retired,
    /// Out of the key set: the next rotation deletes it.
    Gone,
}

impl KeyTimes {
    /// What the key does at `now`.
    pub fn state(&self, now: Timestamp) -> KeyState {
        if self.gone().is_some_and(|gone| gone <= now) {
            KeyState::Gone
        } else if self.retired.is_some_and(|retired| retired <= now) {
            KeyState::Retired
        } else if self.signing <= now {
            KeyState::Signing
        } else if self.published <= now {
            KeyState::Published
        } else {
            KeyState::Waiting
        }
    }

    /// When it leaves the key set.
    pub fn gone(&self) -> Option<Timestamp> {
        self.retired.map(|retired| retired.plus(OVERLAP))
    }

    /// Whether it is in the key set at `now`.
    pub fn is_public(&self, now: Timestamp) -> bool {
        matches!(self.state(now), KeyState::Published | KeyState::Signing | KeyState::Retired)
    }
}

impl KeyState {
    /// The word for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Published => "published",
            Self::Signing => "signing",
            Self::Retired => "retired",
            Self::Gone => "gone",
        }
    }
}

/// The public key set at one moment, ready to be sent.
#[derive(Clone, Debug)]
pub struct Jwks {
    /// The JWK Set (RFC 7517 §5).
    pub body: Bytes,
    /// A strong entity tag with its quotes (RFC 9110 §8.8.3).
    pub etag: Arc<str>,
    /// The algorithms of its keys, each once.
    pub algorithms: Arc<[SigningAlgorithm]>,
}

/// Keys with their times, oldest first, whose signing times follow each other without gap or overlap.
#[derive(Debug)]
pub(super) struct Timeline {
    keys: Vec<(SigningKey, KeyTimes)>,
    /// The key set from each moment on at which it changes.
    phases: Vec<(Timestamp, Option<Jwks>)>,
}

impl Timeline {
    /// The timeline of keys whose times are in order: see [`check`].
    pub(super) fn new(keys: Vec<(SigningKey, KeyTimes)>) -> Self {
        let mut moments: Vec<Timestamp> =
            keys.iter().flat_map(|(_, times)| std::iter::once(times.published).chain(times.gone())).collect();
        moments.sort_unstable();
        moments.dedup();
        let phases = moments.into_iter().map(|from| (from, published(&keys, from))).collect();
        Self { keys, phases }
    }

    /// The key that signs at `now`.
    pub(super) fn signing(&self, now: Timestamp) -> Option<&SigningKey> {
        self.keys.iter().find(|(_, times)| times.state(now) == KeyState::Signing).map(|(key, _)| key)
    }

    /// The key set at `now`; `None` while no key is published.
    pub(super) fn jwks(&self, now: Timestamp) -> Option<Jwks> {
        let past = self.phases.partition_point(|(from, _)| *from <= now);
        self.phases.get(past.checked_sub(1)?).and_then(|(_, jwks)| jwks.clone())
    }

    /// The keys that are in the key set at `now`.
    pub(super) fn public(&self, now: Timestamp) -> impl Iterator<Item = &SigningKey> {
        self.keys.iter().filter(move |(_, times)| times.is_public(now)).map(|(key, _)| key)
    }

    /// Every key, oldest first.
    pub(super) fn keys(&self) -> &[(SigningKey, KeyTimes)] {
        &self.keys
    }

    /// Whether both are the same keys at the same times. A `kid` is a hash of its key, so equal ids are equal keys.
    pub(super) fn is(&self, other: &Self) -> bool {
        let facts = |it: &Self| -> Vec<_> {
            it.keys.iter().map(|(key, times)| (key.id().clone(), key.algorithm(), *times)).collect()
        };
        facts(self) == facts(other)
    }
}

/// Whether these times, oldest first, make a timeline: one key signs at each moment from the first on. Else the index of the
/// key that breaks it, and why.
pub(super) fn check(times: &[KeyTimes]) -> Result<(), (usize, &'static str)> {
    for (at, key) in times.iter().enumerate() {
        if key.published > key.signing {
            return Err((at, "`published` is later than `signing`: services must know a key before it signs"));
        }
        match (key.retired, times.get(at + 1)) {
            (None, None) => {}
            (Some(_), None) => {
                return Err((at, "the newest key has a `retired` time, after which none would sign: take it off"));
            }
            (None, Some(_)) => return Err((at, "only the newest key may be without a `retired` time")),
            (Some(retired), Some(next)) => {
                if retired != next.signing {
                    return Err((at, "`retired` must be the moment at which the next key's `signing` begins"));
                }
                if retired <= key.signing {
                    return Err((at, "`retired` must be later than `signing`, and the keys listed oldest first"));
                }
            }
        }
    }
    Ok(())
}

fn published(keys: &[(SigningKey, KeyTimes)], at: Timestamp) -> Option<Jwks> {
    let public: Vec<&SigningKey> = keys.iter().filter(|(_, times)| times.is_public(at)).map(|(key, _)| key).collect();
    if public.is_empty() {
        return None;
    }
    let set = JwkSet { keys: public.iter().map(|key| key.jwk().clone()).collect() };
    let body = serde_json::to_vec(&set).expect("a key set is strings all the way down");
    let hash = digest::digest(&digest::SHA256, &body);
    let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16])).into();
    let mut algorithms: Vec<_> = public.iter().map(|key| key.algorithm()).collect();
    algorithms.sort_unstable();
    algorithms.dedup();
    Some(Jwks { body: body.into(), etag, algorithms: algorithms.into() })
}
