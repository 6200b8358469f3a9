//! The signing keys, and the session JWTs made with them (DESIGN 4).

use std::sync::Arc;

use bytes::Bytes;

use crate::authz::policy::{MintSpec, SessionJwtRule};
use crate::authz::session::{Session, SessionId, Timestamp};
use crate::authz::verdict::Permit;

/// The RFC 7638 thumbprint of a key (`kid`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(pub Arc<str>);

/// A session JWT, signed. `Debug` must not show it.
#[derive(Clone)]
pub struct Minted {
    /// The compact serialisation.
    pub jwt: Bytes,
    /// The key that signed it.
    pub key: KeyId,
    /// Until when it is handed out again: half of its life.
    pub fresh_until: Timestamp,
}

/// Why no session JWT was made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// No key is in its signing time.
    #[error("no key to sign with")]
    NoKey,
    /// The JWT would be over `jwt.maxBytes`.
    #[error("the session JWT would be {0} bytes, the most is {1}")]
    TooLarge(usize, usize),
    /// The library refused.
    #[error("signing failed")]
    Signing(#[source] jsonwebtoken::errors::Error),
}

/// The keys of this process, swapped whole when their folder changes.
#[derive(Debug)]
pub struct KeyRing {}

impl KeyRing {
    /// The key that signs at `now`: a cached JWT of another one is not handed out again.
    pub fn signing_key(&self, now: Timestamp) -> Option<KeyId> {
        let _ = now;
        todo!()
    }

    /// Signs a session JWT for this permit. No permit, no signature.
    pub fn mint(&self, permit: &Permit, now: Timestamp) -> Result<Minted, MintError> {
        let _ = (permit, now);
        todo!()
    }

    /// How large the session's JWT would be at most for this spec, without signing; for writes that would make it too large.
    pub fn size_of(&self, session: &Session, spec: &MintSpec) -> usize {
        let _ = (session, spec);
        todo!()
    }

    /// The largest JWT that is ever sent, in bytes.
    pub fn max_bytes(&self) -> usize {
        todo!()
    }

    /// Verifies a session JWT that a service passed on; answers its `sid`. `None` when anything about it is wrong.
    pub fn verify(&self, jwt: &[u8], rule: &SessionJwtRule, now: Timestamp) -> Option<SessionId> {
        let _ = (jwt, rule, now);
        todo!()
    }
}
