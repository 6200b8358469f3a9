//! Verifying a JWT that somebody else issued (P24, RFC 7519, RFC 8725): everything about it is checked, or it is refused.
//!
//! The signature is checked by the provider that signs our own (aws-lc-rs) with a key that was read when the policy was
//! compiled: which key and which algorithm that is, the policy says. A JWT's header only chooses among what the policy allows,
//! and its `jwk`, `jku`, `x5c` and `x5u` are never looked at.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::api::exchange::{ExchangeClaims, JwtAlgorithm};
use crate::authz::policy::exchange::{KeySet, TrustedIssuer, media_type};
use crate::authz::response::NewIdentity;
use crate::authz::session::{Claims, Provider, Timestamp};
use crate::authz::unique::UniqueObject;

/// The longest JWT that is looked at, in bytes.
pub const MAX_BYTES: usize = 16 * 1024;

/// How far the issuer's clock may be from ours.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// Why a JWT is refused. It holds nothing of the JWT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtRefusal {
    /// Over [`MAX_BYTES`].
    #[error("over {MAX_BYTES} bytes")]
    TooLarge,
    /// Not three parts of base64url, or not JSON objects in them, or a name in one of them twice.
    #[error("not a signed JWT")]
    Malformed,
    /// It wants something of its reader that we do not know (`crit`, RFC 7515 §4.1.11).
    #[error("its header has `crit`")]
    Critical,
    /// Signed by an algorithm that the policy does not name, if at all.
    #[error("its `alg` is none of the policy's")]
    Algorithm,
    /// Made for another purpose, as its `typ` or an `events` claim says.
    #[error("its `typ` is another, or it is a security event")]
    Type,
    /// None of the issuer's keys has its `kid` and fits its algorithm; or it has no `kid`, and not exactly one key fits.
    #[error("no key of the issuer fits its `kid` and `alg`")]
    UnknownKey,
    /// That key did not sign it.
    #[error("its signature is not that of the key")]
    Signature,
    /// Somebody else issued it.
    #[error("its `iss` is another")]
    Issuer,
    /// Meant for somebody else.
    #[error("its `aud` is none of the policy's")]
    Audience,
    /// It has ended.
    #[error("it has expired")]
    Expired,
    /// It, or the authentication that it tells of, is from the future.
    #[error("it is from the future")]
    NotYetValid,
    /// A claim that counts is missing or is of another type; this one.
    #[error("its claim for {0} is missing or is of another type")]
    Claim(&'static str),
}

/// Who `jwt` says it is, when `issuer` issued it for us and it counts at `now`. Whether the values are within the bounds of a
/// session is asked when one is made.
///
/// # Errors
/// The first check that it does not pass.
pub fn verify(issuer: &TrustedIssuer, jwt: &str, now: Timestamp) -> Result<NewIdentity, JwtRefusal> {
    let claims = verified_claims(issuer, &issuer.keys, jwt, now)?;
    identity(&issuer.claims, &issuer.issuer, claims, now)
}

/// The claims of a JWT that has all that it must have, signed by one of `keys`.
pub(super) fn verified_claims(
    issuer: &TrustedIssuer,
    keys: &KeySet,
    jwt: &str,
    now: Timestamp,
) -> Result<Map<String, Value>, JwtRefusal> {
    let claims = signed_claims(issuer, keys, jwt)?;
    check_issuer(&issuer.issuer, &claims)?;
    check_audience(&issuer.audiences, &claims)?;
    let ends = check_times(&claims, &issuer.claims.auth_time, now)?.ok_or(JwtRefusal::Claim("exp"))?;
    if ends.plus(LEEWAY) <= now {
        return Err(JwtRefusal::Expired);
    }
    // A log-out token or another security event (RFC 8417 §2.2) has issuer and audience of a log-in, and often no `typ`.
    if claims.contains_key("events") {
        return Err(JwtRefusal::Type);
    }
    Ok(claims)
}

/// The claims, when one of the issuer's keys has signed them.
fn signed_claims(issuer: &TrustedIssuer, keys: &KeySet, jwt: &str) -> Result<Map<String, Value>, JwtRefusal> {
    if jwt.len() > MAX_BYTES {
        return Err(JwtRefusal::TooLarge);
    }
    let (message, signature) = jwt.rsplit_once('.').ok_or(JwtRefusal::Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(JwtRefusal::Malformed)?;
    let header = object(header)?;
    // A payload with a dot in it is no base64url, so five parts (RFC 7516 §3.1) are refused here too.
    let payload = decode(payload)?;
    let signature = decode(signature)?;

    if header.contains_key("crit") {
        return Err(JwtRefusal::Critical);
    }
    let algorithm = header.get("alg").and_then(Value::as_str).and_then(JwtAlgorithm::from_name);
    let algorithm = algorithm.filter(|it| issuer.algorithms.contains(it)).ok_or(JwtRefusal::Algorithm)?;
    let typ = optional_text(&header, "typ").map_err(|()| JwtRefusal::Malformed)?.map(media_type);
    let right_type = match (&issuer.typ, typ.as_deref()) {
        (Some(wanted), typ) => typ == Some(wanted),
        (None, typ) => matches!(typ, None | Some("jwt")),
    };
    if !right_type {
        return Err(JwtRefusal::Type);
    }
    let kid = optional_text(&header, "kid").map_err(|()| JwtRefusal::Malformed)?;
    let key = keys.key(kid, algorithm).ok_or(JwtRefusal::UnknownKey)?;
    key.verify_sig(message.as_bytes(), &signature).map_err(|_| JwtRefusal::Signature)?;
    parse(&payload)
}

/// The bytes of one part. Padding and stray bits at the end are refused, so that one JWT has one spelling.
fn decode(part: &str) -> Result<Vec<u8>, JwtRefusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtRefusal::Malformed)
}

fn object(part: &str) -> Result<Map<String, Value>, JwtRefusal> {
    parse(&decode(part)?)
}

fn parse(json: &[u8]) -> Result<Map<String, Value>, JwtRefusal> {
    serde_json::from_slice::<UniqueObject>(json).map(|object| object.0).map_err(|_| JwtRefusal::Malformed)
}

pub(super) fn check_issuer(issuer: &str, claims: &Map<String, Value>) -> Result<(), JwtRefusal> {
    if claims.get("iss").and_then(Value::as_str) == Some(issuer) { Ok(()) } else { Err(JwtRefusal::Issuer) }
}

pub(super) fn check_audience(audiences: &[String], claims: &Map<String, Value>) -> Result<(), JwtRefusal> {
    let ours = |audience: &Value| audience.as_str().is_some_and(|it| audiences.iter().any(|ours| ours == it));
    let named = match claims.get("aud") {
        // RFC 7519 §4.1.3: one text, or a list of them.
        Some(Value::Array(audiences)) => audiences.iter().all(Value::is_string) && audiences.iter().any(ours),
        Some(audience) => ours(audience),
        None => false,
    };
    if named { Ok(()) } else { Err(JwtRefusal::Audience) }
}

/// When it ends, if it says so; nothing in it may be from the future.
pub(super) fn check_times(
    claims: &Map<String, Value>,
    auth_time: &str,
    now: Timestamp,
) -> Result<Option<Timestamp>, JwtRefusal> {
    let ends = moment(claims, "exp", "exp")?;
    for (name, what) in [("nbf", "nbf"), ("iat", "iat"), ("auth_time", "auth_time"), (auth_time, "authTime")] {
        if moment(claims, name, what)?.is_some_and(|moment| moment > now.plus(LEEWAY)) {
            return Err(JwtRefusal::NotYetValid);
        }
    }
    Ok(ends)
}

/// A `NumericDate` (RFC 7519 §2), which may have a fraction.
fn moment(claims: &Map<String, Value>, name: &str, what: &'static str) -> Result<Option<Timestamp>, JwtRefusal> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let whole = value.as_u64().map(Duration::from_secs);
    let since_epoch = whole.or_else(|| Duration::try_from_secs_f64(value.as_f64()?).ok());
    let millis = since_epoch.and_then(|it| i64::try_from(it.as_millis()).ok()).ok_or(JwtRefusal::Claim(what))?;
    Ok(Some(Timestamp::from_millis(millis)))
}

/// Whom these claims, of which `names` mean what, are about.
pub(super) fn identity(
    names: &ExchangeClaims,
    issuer: &str,
    mut claims: Map<String, Value>,
    now: Timestamp,
) -> Result<NewIdentity, JwtRefusal> {
    let text = |name: &str, what| match optional_text(&claims, name) {
        Ok(text) => Ok(text.map(str::to_owned)),
        Err(()) => Err(JwtRefusal::Claim(what)),
    };
    let subject = text(&names.subject, "subject")?.ok_or(JwtRefusal::Claim("subject"))?;
    let acr = text("acr", "acr")?;
    let sid = text("sid", "sid")?;
    // Not told, it is as long ago as can be: who holds a refresh token has proved nothing now.
    let auth_time = moment(&claims, &names.auth_time, "authTime")?.unwrap_or(Timestamp::from_millis(0));
    let amr = terms(&claims, "amr", "amr", OneText::Refused)?;
    let scopes = terms(&claims, &names.scopes, "scopes", OneText::Spaced)?;
    let roles = terms(&claims, &names.roles, "roles", OneText::One)?;
    let kept: Map<String, Value> = names.keep.iter().filter_map(|name| claims.remove_entry(name)).collect();
    Ok(NewIdentity {
        subject,
        // Within the leeway it may be ahead of us, and must not make the log-in younger than it can be (P23).
        auth_time: Some(auth_time.min(now)),
        acr,
        amr,
        scopes,
        roles,
        claims: Claims::from_object(&kept).ok_or(JwtRefusal::Claim("claims"))?,
        device: None,
        provider: Some(Provider { iss: issuer.to_owned(), sid }),
    })
}

/// What one text means where a list of them is expected.
enum OneText {
    Refused,
    /// Terms with spaces between them (RFC 8693 §4.2).
    Spaced,
    /// One term.
    One,
}

fn terms(
    claims: &Map<String, Value>,
    name: &str,
    what: &'static str,
    one_text: OneText,
) -> Result<Vec<String>, JwtRefusal> {
    let each = |term: &Value| term.as_str().map(str::to_owned);
    let terms = match (claims.get(name), one_text) {
        (None, _) => Some(Vec::new()),
        (Some(Value::Array(terms)), _) => terms.iter().map(each).collect(),
        (Some(Value::String(text)), OneText::Spaced) => {
            Some(text.split(' ').filter(|term| !term.is_empty()).map(str::to_owned).collect())
        }
        (Some(Value::String(text)), OneText::One) => Some(vec![text.clone()]),
        (Some(_), _) => None,
    };
    terms.ok_or(JwtRefusal::Claim(what))
}

pub(super) fn optional_text<'a>(object: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, ()> {
    object.get(name).map(|value| value.as_str().ok_or(())).transpose()
}

#[cfg(test)]
mod tests;
