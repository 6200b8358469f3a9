//! The credentials a request carries, found without looking at what they are worth.

mod authorization;
mod carriers;
mod cookie;
mod foreign;
mod token;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroizing;

pub use self::carriers::{CarrierError, Carriers};
pub use self::foreign::ForeignCredential;
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

/// A credential found in a request.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A token of our form.
    Token(AccessToken),
    /// A JWT that calls itself a session JWT.
    SessionJwt(PresentedJwt),
    /// Something that an identity provider may know.
    Foreign(ForeignCredential),
    /// Something in one of our places that is none of these; never evaluated, always bad.
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

/// What is left of `Cookie`. `Debug` shows no byte of it: other cookies are other applications' sessions.
#[derive(Clone, PartialEq, Eq)]
pub enum CookieRest {
    /// Nothing: remove the field.
    Nothing,
    /// Replace the field by this.
    Others(Bytes),
}

impl fmt::Debug for CookieRest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Others(_) => "Others(redacted)",
        })
    }
}
