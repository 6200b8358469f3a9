//! The credentials a request carries, found without looking at what they are worth.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::attributes::RequestAttributes;
use super::attributes::own_headers::OwnHeaders;
use super::reason::DenyReason;
use super::session::SessionId;

/// The opaque access token a client presents (RFC 6749 §1.4), taken apart: `ckr_` + base64url of `sid` ‖ `secret` ‖ `tag`.
/// `Debug` shows no byte of it; there is no `Display`. Whether the tag is right is for `sessions::token` to say.
#[derive(Clone)]
pub struct AccessToken {
    sid: SessionId,
    secret: Zeroizing<[u8; 20]>,
    tag: [u8; 8],
}

impl AccessToken {
    /// What every token begins with.
    pub const PREFIX: &'static str = "ckr_";
    /// The length of every token in bytes: the prefix and 44 bytes in base64url.
    pub const LEN: usize = 4 + 59;

    /// The token of these parts.
    pub fn from_parts(sid: SessionId, secret: Zeroizing<[u8; 20]>, tag: [u8; 8]) -> Self {
        Self { sid, secret, tag }
    }

    /// Reads a token's text; `None` for anything that is not one, a non-canonical spelling included.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let _ = text;
        todo!()
    }

    /// The text for the client: the only way a token leaves.
    pub fn reveal(&self) -> Zeroizing<String> {
        todo!()
    }

    /// The public half.
    pub fn sid(&self) -> SessionId {
        self.sid
    }

    /// The secret half.
    pub fn secret(&self) -> &[u8; 20] {
        &self.secret
    }

    /// The tag as presented.
    pub fn tag(&self) -> &[u8; 8] {
        &self.tag
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(redacted)")
    }
}

/// A session JWT passed on by a service (`Authorization: Bearer`, `typ: session+jwt`), not verified. `Debug` hides it.
#[derive(Clone)]
pub struct PresentedJwt(pub Bytes);

impl fmt::Debug for PresentedJwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentedJwt(redacted)")
    }
}

/// Where a token travels (RFC 6750 §2, RFC 6265): the places the install looks in, in no order, since two at once are refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// A cookie of this name.
    Cookie(Arc<str>),
    /// `Authorization: Bearer`.
    Bearer,
    /// A header of this name, in lower case.
    Header(Arc<str>),
}

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
    #[error("the carrier {0} is named twice")]
    Twice(Arc<str>),
    /// A cookie name that browsers or servers would read differently.
    #[error("{0:?} is not a cookie name (letters, digits and !#$&'*+-.^_`|~, not beginning with `$`)")]
    CookieName(Arc<str>),
    /// A header name that cannot be one, or has another meaning.
    #[error("{0:?} cannot carry a token: not a header name in lower case, or one with another meaning")]
    HeaderName(Arc<str>),
}

impl Carriers {
    /// Checks the places.
    ///
    /// # Errors
    /// The first that cannot be one.
    pub fn new(carriers: Vec<Carrier>) -> Result<Self, CarrierError> {
        Ok(Self(carriers))
    }

    /// The places, as configured.
    pub fn as_slice(&self) -> &[Carrier] {
        &self.0
    }

    /// What the request carries in them.
    ///
    /// # Errors
    /// [`DenyReason::AmbiguousCredential`] when it carries two credentials, or one that servers would find differently.
    pub fn present(&self, request: &RequestAttributes) -> Result<Presented, DenyReason> {
        let _ = request;
        todo!()
    }

    /// What must be taken off the request, whatever becomes of its credentials.
    pub fn take_off(&self, request: &RequestAttributes, own: &OwnHeaders) -> TakeOff {
        let _ = (request, own);
        todo!()
    }
}

/// A credential found in a request.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A token of our form.
    Token(AccessToken),
    /// A JWT that calls itself a session JWT.
    SessionJwt(PresentedJwt),
    /// Something in one of our places that is neither; never evaluated, always bad.
    Other,
}

/// What a request carries in our places.
#[derive(Clone, Debug)]
pub struct Presented {
    /// The one credential and the carrier it came in, if there is one.
    pub credential: Option<(Credential, Carrier)>,
}

/// What has to be taken off the request so that no credential of ours reaches the service (P7, P11).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakeOff {
    /// The `Cookie` field without our cookies, every other byte as sent; `None` leaves the field alone.
    pub cookie: Option<CookieRest>,
    /// Headers to remove, by the names they came with.
    pub headers: Vec<Bytes>,
}

/// What is left of `Cookie`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CookieRest {
    /// Nothing: remove the field.
    Nothing,
    /// Replace the field by this.
    Others(Bytes),
}
