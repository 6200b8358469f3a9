//! What the values of a session may be. Out of bounds is an error that names the field and the cure; nothing is ever cut.

use std::time::Duration;

use super::SessionError;
use super::keyring::KeyRing;
use crate::authz::policy::{ForwardClaims, MintSpec};
use crate::authz::session::{Claims, Device, Provider, Session};

/// The longest subject, `acr`, provider `sid` and the like, in bytes.
const MAX_NAME: usize = 255;
/// The longest scope or role, in bytes.
const MAX_TERM: usize = 128;
/// How many scopes, and how many roles.
const MAX_TERMS: usize = 128;
/// How many authentication methods.
const MAX_AMR: usize = 16;
/// The longest `User-Agent` and provider issuer, in bytes.
const MAX_LONG: usize = 1024;
/// The longest page of a list.
const MAX_PAGE: usize = 1000;
/// The longest namespace of a service, and the longest audience for which a session's JWT is sure to fit, in bytes.
const LONGEST_NAMESPACE: usize = 63;
const LONGEST_AUDIENCE: usize = 127;
/// The shortest idle timeout and life.
const MIN_LIFE: Duration = Duration::from_secs(1);

/// Checks everything that a caller may set, whatever it was before.
pub(super) fn session(session: &Session) -> Result<(), SessionError> {
    subject(&session.subject)?;
    if let Some(acr) = &session.acr {
        text("acr", acr, MAX_NAME)?;
    }
    list("amr", &session.amr, MAX_AMR, |method| text("amr", method, MAX_TERM))?;
    list("scopes", &session.scopes, MAX_TERMS, scope)?;
    list("roles", &session.roles, MAX_TERMS, |role| text("roles", role, MAX_TERM))?;
    claims(&session.claims)?;
    session.device.as_ref().map_or(Ok(()), device)?;
    session.provider.as_ref().map_or(Ok(()), provider)
}

/// A subject: 1 to 255 bytes without control characters (OpenID Connect Core §2 says at most 255).
pub(super) fn subject(subject: &str) -> Result<(), SessionError> {
    text("subject", subject, MAX_NAME)
}

/// The idle timeout of a session that lives `life` in all.
pub(super) fn idle(idle: Duration, life: Duration) -> Result<(), SessionError> {
    within("idle", idle, life)
}

/// The life of a session, where the install allows `most`.
pub(super) fn absolute(absolute: Duration, most: Duration) -> Result<(), SessionError> {
    within("absolute", absolute, most)
}

/// The length of a page.
pub(super) fn page(limit: usize) -> Result<(), SessionError> {
    match limit {
        1..=MAX_PAGE => Ok(()),
        _ => Err(out("limit", format!("{limit} is not 1 to {MAX_PAGE}"))),
    }
}

/// Whether the session's JWT with all claims fits, for a service with a long name and audience.
pub(super) fn jwt(keyring: &KeyRing, session: &Session) -> Result<(), SessionError> {
    let spec = MintSpec {
        namespace: "n".repeat(LONGEST_NAMESPACE).into(),
        audience: "a".repeat(LONGEST_AUDIENCE).into(),
        claims: ForwardClaims::All,
    };
    let (size, most) = (keyring.size_of(session, &spec), keyring.max_bytes());
    match size {
        // What a ring without keys says.
        usize::MAX => Err(SessionError::Keys),
        size if size > most => Err(SessionError::JwtTooLarge(size, most)),
        _ => Ok(()),
    }
}

/// An error about `field`.
pub(super) fn out(field: &'static str, problem: String) -> SessionError {
    SessionError::OutOfBounds { field, problem }
}

fn within(field: &'static str, value: Duration, most: Duration) -> Result<(), SessionError> {
    if value < MIN_LIFE {
        return Err(out(field, format!("{value:?} is too short: at least {MIN_LIFE:?}")));
    }
    if value > most {
        return Err(out(field, format!("{value:?} is too long: at most {most:?}")));
    }
    Ok(())
}

fn list(
    field: &'static str,
    values: &[String],
    most: usize,
    check: impl Fn(&str) -> Result<(), SessionError>,
) -> Result<(), SessionError> {
    if values.len() > most {
        return Err(out(field, format!("{} values are too many: at most {most}", values.len())));
    }
    values.iter().try_for_each(|value| check(value))
}

fn text(field: &'static str, value: &str, most: usize) -> Result<(), SessionError> {
    if value.is_empty() {
        return Err(out(field, "must not be empty".to_owned()));
    }
    if value.len() > most {
        return Err(out(field, format!("{} bytes are too long: at most {most}", value.len())));
    }
    if value.chars().any(char::is_control) {
        return Err(out(field, "must have no control characters".to_owned()));
    }
    Ok(())
}

/// RFC 6749 §3.3: a scope is one or more of `%x21 / %x23-5B / %x5D-7E`.
fn scope(value: &str) -> Result<(), SessionError> {
    text("scopes", value, MAX_TERM)?;
    let allowed = |byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    if value.bytes().all(allowed) {
        return Ok(());
    }
    Err(out("scopes", "a scope has only visible ASCII, without space, `\"` and `\\` (RFC 6749 section 3.3)".to_owned()))
}

fn claims(claims: &Claims) -> Result<(), SessionError> {
    let json = claims.as_json();
    if json.len() > Claims::MAX_BYTES {
        return Err(out("claims", format!("{} bytes are too large: at most {}", json.len(), Claims::MAX_BYTES)));
    }
    // `Claims` can be deserialised from any JSON text.
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json)
        .map(|_| ())
        .map_err(|_| out("claims", "must be a JSON object".to_owned()))
}

fn device(device: &Device) -> Result<(), SessionError> {
    let maybe = |field, value: &Option<String>, most| value.as_ref().map_or(Ok(()), |value| text(field, value, most));
    maybe("device.label", &device.label, MAX_NAME)?;
    maybe("device.userAgent", &device.user_agent, MAX_LONG)?;
    maybe("device.address", &device.address, MAX_TERM)
}

fn provider(provider: &Provider) -> Result<(), SessionError> {
    text("provider.iss", &provider.iss, MAX_LONG)?;
    provider.sid.as_ref().map_or(Ok(()), |sid| text("provider.sid", sid, MAX_NAME))
}

#[cfg(test)]
mod tests;
