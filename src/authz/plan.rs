//! The two pure halves of a decision, around the one look-up: [`plan`] finds the rule and the credential, [`settle`] judges
//! what was found behind it.

use super::attributes::RequestAttributes;
use super::credential::{AccessToken, PresentedJwt};
use super::policy::{PolicyIndex, SessionJwtRule};
use super::session::{Realm, Timestamp};
use super::verdict::{Decision, Lookup};

/// What to do next.
#[derive(Debug)]
pub enum Plan {
    /// Nothing has to be looked up.
    Settled(Box<Decision>),
    /// The decision hangs on a session.
    Lookup(Box<Pending>),
}

/// A decision that waits for its session.
#[derive(Debug)]
pub struct Pending {
    // private: rule, wanted, realm, take_off, carrier, audit …
    wanted: Wanted,
    realm: Realm,
}

/// What has to be found.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// The session of this token.
    Token(AccessToken),
    /// The session of this JWT, verified with the keys of the namespaces and for the audiences that the rule names.
    SessionJwt(PresentedJwt, SessionJwtRule),
}

impl Pending {
    /// What has to be found.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// In which realm.
    pub fn realm(&self) -> &Realm {
        &self.realm
    }
}

/// Finds the rule that judges the request and the credential it asks for.
pub fn plan(index: &PolicyIndex, request: &RequestAttributes) -> Plan {
    let _ = (index, request);
    todo!()
}

/// Judges what was found.
pub fn settle(pending: Pending, found: &Lookup, now: Timestamp) -> Decision {
    let _ = (pending, found, now);
    todo!()
}
