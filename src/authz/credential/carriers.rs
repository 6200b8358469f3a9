//! The places where a token may travel, and what a request has in them (P13).

use std::sync::Arc;

use bytes::Bytes;

use super::authorization::{self, Authorization};
use super::cookie::{self, Cookie};
use super::{AccessToken, Carrier, Credential, ForeignCredential, Presented, PresentedJwt, TakeOff};
use crate::authz::attributes::RequestAttributes;
use crate::authz::attributes::headers::{HeaderView, NAME_BYTES, same_name};
use crate::authz::attributes::own_headers::OwnHeaders;
use crate::authz::reason::DenyReason;

/// The places the install looks in, checked.
#[derive(Clone, Debug)]
pub struct Carriers(Vec<Carrier>);

/// What is wrong with the list of carriers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarrierError {
    /// None at all.
    #[error("no carrier: name at least one place for the token")]
    None,
    /// One twice.
    #[error("the carrier {0:?} is named twice")]
    Twice(Carrier),
    /// A cookie name that browsers or servers would read differently.
    #[error(
        "{0:?} is not a cookie name (RFC 6265: a token; not one that begins with `$` or has `%`, `\'` or `.` in it)"
    )]
    CookieName(Arc<str>),
    /// A header name that cannot be one, or has another meaning.
    #[error("{0:?} cannot carry a token: not a header name in lower case, or one with a meaning of its own")]
    HeaderName(Arc<str>),
}

/// Headers with a meaning of their own.
const TAKEN: [&str; 10] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "origin",
    "te",
    "transfer-encoding",
    "upgrade",
];

impl Carriers {
    /// Checks the places.
    ///
    /// # Errors
    /// The first that cannot be one.
    pub fn new(carriers: Vec<Carrier>) -> Result<Self, CarrierError> {
        let is_token = |name: &str| !name.is_empty() && name.bytes().all(|it| NAME_BYTES[usize::from(it)]);
        for (index, carrier) in carriers.iter().enumerate() {
            match carrier {
                Carrier::Cookie(name) if !is_token(name) || name.contains(['$', '%', '\'', '.']) => {
                    return Err(CarrierError::CookieName(name.clone()));
                }
                Carrier::Header(name)
                    if !is_token(name)
                        || name.bytes().any(|it| it.is_ascii_uppercase())
                        || TAKEN.iter().any(|it| same_name(it.as_bytes(), name.as_bytes())) =>
                {
                    return Err(CarrierError::HeaderName(name.clone()));
                }
                carrier if carriers[..index].contains(carrier) => return Err(CarrierError::Twice(carrier.clone())),
                Carrier::Cookie(_) | Carrier::Header(_) | Carrier::Bearer => {}
            }
        }
        if carriers.is_empty() { Err(CarrierError::None) } else { Ok(Self(carriers)) }
    }

    /// The places, as configured.
    pub fn as_slice(&self) -> &[Carrier] {
        &self.0
    }

    /// What the request carries in them. `Authorization` is always looked at, since a session JWT that a service passes on
    /// comes there. URLs are not. `others` are the places where the identity providers of the request's rules look.
    ///
    /// # Errors
    /// [`DenyReason::AmbiguousCredential`] when it carries two credentials, or one that servers would find differently.
    pub fn present(&self, request: &RequestAttributes<'_>, others: &[Carrier]) -> Result<Presented, DenyReason> {
        let mut found = Presented { credential: None };
        let mut add = |credential: Credential, carrier: &Carrier| match found.credential {
            None => {
                found.credential = Some((credential, carrier.clone()));
                Ok(())
            }
            Some(_) => Err(DenyReason::AmbiguousCredential),
        };
        let headers = &request.headers;
        if let Some(credential) = self.bearer(headers, others.contains(&Carrier::Bearer))? {
            add(credential, &Carrier::Bearer)?;
        }
        let cookies = headers.get("cookie");
        let held = |carrier: &Carrier| match carrier {
            Carrier::Bearer => Ok(None),
            Carrier::Cookie(name) => match cookie::find(cookies.as_deref().unwrap_or_default(), name.as_bytes()) {
                Cookie::Absent => Ok(None),
                Cookie::Value(value) => Ok(Some(value)),
                Cookie::Ambiguous => Err(DenyReason::AmbiguousCredential),
            },
            Carrier::Header(name) => header(headers, name),
        };
        for carrier in &self.0 {
            if let Some(value) = held(carrier)? {
                add(AccessToken::parse(value).map_or(Credential::Other, Credential::Token), carrier)?;
            }
        }
        for carrier in others {
            if let Some(value) = held(carrier)? {
                add(ForeignCredential::read(value).map_or(Credential::Other, Credential::Foreign), carrier)?;
            }
        }
        Ok(found)
    }

    /// The credential in `Authorization`. A foreign bearer is one only where tokens of ours may travel in its place, or a provider
    /// looks there.
    fn bearer(&self, headers: &HeaderView<'_>, is_read: bool) -> Result<Option<Credential>, DenyReason> {
        let Some(field) = headers.get("authorization") else {
            return Ok(None);
        };
        let token = match authorization::read(&field) {
            Authorization::Foreign => return Ok(None),
            Authorization::Ambiguous => return Err(DenyReason::AmbiguousCredential),
            Authorization::Bearer(token) => token,
        };
        if let Some(token) = AccessToken::parse(token) {
            return Ok(Some(Credential::Token(token)));
        }
        if authorization::is_session_jwt(token) {
            return Ok(Some(Credential::SessionJwt(PresentedJwt(Bytes::copy_from_slice(token)))));
        }
        if is_read && let Some(foreign) = ForeignCredential::read(token) {
            return Ok(Some(Credential::Foreign(foreign)));
        }
        Ok((is_read || self.0.contains(&Carrier::Bearer) || token.starts_with(AccessToken::PREFIX.as_bytes()))
            .then_some(Credential::Other))
    }

    /// What must be taken off the request, whatever becomes of its credentials: every cookie of our name, a token or session JWT
    /// in `Authorization`, the header carriers, and what only we may say, in every spelling; and whatever is in the places `others`,
    /// where identity providers of the request's rules look.
    pub fn take_off(&self, request: &RequestAttributes<'_>, own: &OwnHeaders, others: &[Carrier]) -> TakeOff {
        let reads_bearer = others.contains(&Carrier::Bearer);
        let mut off = TakeOff::default();
        for &(name, value) in request.headers.lines() {
            let is_ours = if name.eq_ignore_ascii_case(b"cookie") {
                false
            } else if name.eq_ignore_ascii_case(b"authorization") {
                authorization::is_ours(value)
                    || (reads_bearer && authorization::is_bearer(value))
                    || request.headers.values("authorization").nth(1).is_some()
            } else {
                own.owns(name)
                    || header_names(&self.0).chain(header_names(others)).any(|it| same_name(it.as_bytes(), name))
            };
            if is_ours && !off.headers.iter().any(|it| it == name) {
                off.headers.push(Bytes::copy_from_slice(name));
            }
        }
        off.cookie = cookie::without(request.headers.values("cookie"), self.cookie_names().chain(cookie_names(others)));
        off
    }

    /// The names of the cookies that carry tokens.
    pub fn cookie_names(&self) -> impl Iterator<Item = &str> + Clone {
        cookie_names(&self.0)
    }
}

fn cookie_names(carriers: &[Carrier]) -> impl Iterator<Item = &str> + Clone {
    carriers.iter().filter_map(|carrier| match carrier {
        Carrier::Cookie(name) => Some(&**name),
        Carrier::Bearer | Carrier::Header(_) => None,
    })
}

fn header_names(carriers: &[Carrier]) -> impl Iterator<Item = &str> {
    carriers.iter().filter_map(|carrier| match carrier {
        Carrier::Header(name) => Some(&**name),
        Carrier::Bearer | Carrier::Cookie(_) => None,
    })
}

/// What a header carrier holds: one value, under its own name.
fn header<'a>(headers: &HeaderView<'a>, carrier: &str) -> Result<Option<&'a [u8]>, DenyReason> {
    let mut lines = headers.lines().iter().filter(|(name, _)| same_name(name, carrier.as_bytes()));
    match (lines.next(), lines.next()) {
        (None, _) => Ok(None),
        (Some((name, value)), None) if name.eq_ignore_ascii_case(carrier.as_bytes()) && !value.contains(&b',') => {
            Ok(Some(value))
        }
        _ => Err(DenyReason::AmbiguousCredential),
    }
}

#[cfg(test)]
mod tests;
