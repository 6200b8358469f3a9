//! Reading a session JWT that a service passed on (DESIGN 4): ours, byte for byte, or nothing.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::namespaces::Keys;
use super::timeline::Timeline;
use super::{KeyRing, MAX_LIFETIME};
use crate::authz::policy::SessionJwtRule;
use crate::authz::session::{SessionId, Timestamp};

/// What decides. The signature has been checked, so the rest is what we wrote; a member given twice is refused all the same.
#[derive(Deserialize)]
struct Presented<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow)]
    aud: Cow<'a, str>,
    #[serde(borrow)]
    sid: Cow<'a, str>,
    iat: i64,
    nbf: i64,
    exp: i64,
}

impl KeyRing {
    pub(super) fn verified(&self, jwt: &[u8], rule: &SessionJwtRule, now: Timestamp) -> Option<SessionId> {
        // Before anything is read: no JWT of ours is larger.
        if jwt.len() > self.max_bytes() {
            return None;
        }
        let keys = self.keys();
        // Whose key it is, where each namespace has its own: it speaks for no other.
        let (signer, payload) = match &**keys {
            Keys::Shared(ring) => (None, signed_payload(ring, jwt, now)?),
            Keys::Each(rings) => rule.namespaces.iter().find_map(|namespace| {
                let payload = signed_payload(rings.get(namespace.as_str())?, jwt, now)?;
                Some((Some(namespace.as_str()), payload))
            })?,
        };
        let claims: Presented<'_> = serde_json::from_slice(&payload).ok()?;

        let issued_here = self.config().issuer_namespace(&claims.iss).is_some_and(|namespace| {
            signer.is_none_or(|signer| signer == namespace) && rule.namespaces.iter().any(|it| it == namespace)
        });
        let meant_for_us = rule.audiences.iter().any(|audience| *audience == claims.aud);
        let now = now.as_secs();
        let alive = claims.iat <= now && claims.nbf <= now && now < claims.exp;
        let short = claims.exp.checked_sub(claims.iat)? <= i64::try_from(MAX_LIFETIME.as_secs()).ok()?;
        if issued_here && meant_for_us && alive && short { SessionId::parse(&claims.sid) } else { None }
    }
}

/// The payload, when a key that is published at `now` has signed it.
///
/// The header is compared, not parsed: a key's header is always the same bytes, so this is `typ`, `alg` and `kid` in one, and
/// no other algorithm, `crit`, `jwk`, `jku` or `x5u` has a meaning here (RFC 8725 §3.1, §3.5, §3.10, §3.11).
fn signed_payload(timeline: &Timeline, jwt: &[u8], now: Timestamp) -> Option<Vec<u8>> {
    let signature_dot = jwt.iter().rposition(|byte| *byte == b'.')?;
    let (message, signature) = (&jwt[..signature_dot], &jwt[signature_dot + 1..]);
    let (key, payload) =
        timeline.public(now).find_map(|key| Some((key, message.strip_prefix(key.header().as_bytes())?)))?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    if !key.verifies(message, &signature) {
        return None;
    }
    URL_SAFE_NO_PAD.decode(payload).ok()
}
