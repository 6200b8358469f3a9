//! The `Authorization` field (RFC 9110 §11.6.2, RFC 6750 §2.1).

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::AccessToken;
use crate::authz::attributes::headers::NAME_BYTES;

/// What is in an `Authorization` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Authorization<'a> {
    /// Credentials of another scheme, or nothing.
    Foreign,
    /// What stands after `Bearer`.
    Bearer(&'a [u8]),
    /// More than one credential.
    Ambiguous,
}

/// Reads the field. Several lines have to be joined by commas first, as the proxy does.
pub(super) fn read(field: &[u8]) -> Authorization<'_> {
    let field = field.trim_ascii();
    let (scheme, rest) = scheme(field);
    if scheme.eq_ignore_ascii_case(b"bearer") {
        let token = &rest[rest.iter().take_while(|&&it| it == b' ').count()..];
        return if token.contains(&b',') { Authorization::Ambiguous } else { Authorization::Bearer(token) };
    }
    if has_second(field) { Authorization::Ambiguous } else { Authorization::Foreign }
}

/// Whether the field must not reach the service: a token of ours, a session JWT, or anything beside which one may hide.
pub(super) fn is_ours(field: &[u8]) -> bool {
    match read(field) {
        Authorization::Ambiguous => true,
        Authorization::Bearer(token) if is_session_jwt(token) => true,
        Authorization::Bearer(_) | Authorization::Foreign => holds_token(field),
    }
}

/// Whether the field holds a bearer's credential, of whomever.
pub(super) fn is_bearer(field: &[u8]) -> bool {
    matches!(read(field), Authorization::Bearer(_))
}

/// Whether something that begins like a token of ours stands in it, and not inside other text.
fn holds_token(field: &[u8]) -> bool {
    let prefix = AccessToken::PREFIX.as_bytes();
    let is_inside = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.' | b'~' | b'+' | b'/');
    field
        .windows(prefix.len())
        .enumerate()
        .any(|(at, it)| it == prefix && at.checked_sub(1).is_none_or(|at| !is_inside(field[at])))
}

/// The scheme, and the rest from the first byte that is not part of one.
fn scheme(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|&it| !NAME_BYTES[usize::from(it)]).unwrap_or(text.len()))
}

/// Whether more credentials follow after a comma. Parameters of the first (`Digest a="b", c=d`) are none; `Bearer` always is,
/// even in quotes, which not every server reads.
fn has_second(field: &[u8]) -> bool {
    let mut quoted = false;
    field.split(|&it| it == b',').enumerate().any(|(index, part)| {
        let was_quoted = quoted;
        quoted ^= part.iter().filter(|&&it| it == b'"').count() % 2 == 1;
        let (name, rest) = scheme(part.trim_ascii());
        let is_parameter = was_quoted || rest.trim_ascii_start().first() == Some(&b'=');
        index > 0 && (name.eq_ignore_ascii_case(b"bearer") || !is_parameter)
    })
}

/// Whether this JWT calls itself a session JWT (RFC 7515 §4.1.9: `application/` may be left out). Nothing else is believed of it
/// here, not even that it is one.
pub(super) fn is_session_jwt(token: &[u8]) -> bool {
    /// More than any header of ours.
    const MAX_HEADER: usize = 2048;
    #[derive(Deserialize)]
    struct Header<'a> {
        #[serde(borrow)]
        typ: Cow<'a, str>,
    }
    let mut parts = token.split(|&it| it == b'.');
    let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    if header.len() > MAX_HEADER {
        return false;
    }
    let Ok(header) = URL_SAFE_NO_PAD.decode(header) else {
        return false;
    };
    serde_json::from_slice::<Header<'_>>(&header).is_ok_and(|header| {
        let typ = header.typ.get(.."application/".len()).filter(|it| it.eq_ignore_ascii_case("application/"));
        header.typ[typ.map_or(0, str::len)..].eq_ignore_ascii_case("session+jwt")
    })
}
