//! The names of everything that is kept in Redis (docs/store.md has the layout with the reasons).
//!
//! | key | type | what |
//! |---|---|---|
//! | `ckr:<realm>:s:{<sid>}` | string | the record or the tombstone of a session |
//! | `ckr:<realm>:t:{<sid>}` | string | its `last_seen`, milliseconds since 1970; absent before the first use |
//! | `ckr:<realm>:e:{<subject>}` | string | the epoch of a subject |
//! | `ckr:<realm>:i:{<subject>}` | sorted set | the ids of its sessions, by their absolute end |
//! | `ckr:<realm>:p:{<provider>}` | sorted set | the ids of the sessions behind a provider's session, by their absolute end |
//! | `ckr:<realm>:probe:{<n>}` | nothing | read to prove that a server answers for its slots |
//!
//! What stands in braces chooses the slot in a cluster, so `s` and `t`, and `e` and `i`, lie on one server each. `<sid>` is in
//! base64url, `<subject>` the subject in base64url, `<provider>` the SHA-256 of the provider's `iss` and `sid`.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::authz::session::{Provider, Realm, SessionId};

/// The record or tombstone of a session.
pub(super) fn session(realm: &Realm, sid: SessionId) -> String {
    format!("ckr:{realm}:s:{{{sid}}}")
}

/// Its `last_seen`.
pub(super) fn seen(realm: &Realm, sid: SessionId) -> String {
    format!("ckr:{realm}:t:{{{sid}}}")
}

/// The epoch of a subject.
pub(super) fn epoch(realm: &Realm, subject: &str) -> String {
    format!("ckr:{realm}:e:{{{}}}", URL_SAFE_NO_PAD.encode(subject))
}

/// The ids of a subject's sessions.
pub(super) fn of_subject(realm: &Realm, subject: &str) -> String {
    format!("ckr:{realm}:i:{{{}}}", URL_SAFE_NO_PAD.encode(subject))
}

/// The ids of the sessions behind a provider's session.
pub(super) fn of_provider(realm: &Realm, iss: &str, sid: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    // The length first, so that no two pairs make the same bytes.
    context.update(&(iss.len() as u64).to_be_bytes());
    context.update(iss.as_bytes());
    context.update(sid.as_bytes());
    format!("ckr:{realm}:p:{{{}}}", URL_SAFE_NO_PAD.encode(context.finish()))
}

/// The index that a session with this provider is in.
pub(super) fn of_providers_session(realm: &Realm, provider: Option<&Provider>) -> Option<String> {
    let provider = provider?;
    Some(of_provider(realm, &provider.iss, provider.sid.as_deref()?))
}

/// A key that is never written.
pub(super) fn probe(realm: &Realm, number: u32) -> String {
    format!("ckr:{realm}:probe:{{{number}}}")
}

/// What a server says has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// The record of a session.
    Session(SessionId),
    /// The epoch of a subject.
    Subject(Realm, String),
}

/// Reads the name of a key; `None` for those whose changes concern no cached session.
pub(super) fn read(key: &[u8]) -> Option<Named> {
    let mut parts = std::str::from_utf8(key).ok()?.strip_prefix("ckr:")?.splitn(3, ':');
    let (realm, kind, tagged) = (parts.next()?, parts.next()?, parts.next()?);
    let tag = tagged.strip_prefix('{')?.strip_suffix('}')?;
    match kind {
        "s" => Some(Named::Session(SessionId::parse(tag)?)),
        "e" => {
            let subject = String::from_utf8(URL_SAFE_NO_PAD.decode(tag).ok()?).ok()?;
            Some(Named::Subject(Realm::parse(realm)?, subject))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let shop = Realm::parse("shop").unwrap();
        let sid = SessionId::from_bytes([7; 16]);
        assert_eq!(read(session(&shop, sid).as_bytes()), Some(Named::Session(sid)));
        for subject in ["ada", "}{", "a:b}", "\u{1f511}", ":"] {
            let want = Named::Subject(shop.clone(), subject.to_owned());
            assert_eq!(read(epoch(&shop, subject).as_bytes()), Some(want), "{subject}");
        }
        let others = [seen(&shop, sid), of_subject(&shop, "ada"), of_provider(&shop, "i", "s"), probe(&shop, 3)];
        for key in others.iter().map(String::as_str).chain(["", "ckr:", "ckr:shop:s:{", "ckr:shop:s:{x}", "other"]) {
            assert_eq!(read(key.as_bytes()), None, "{key}");
        }
        assert_eq!(read(b"ckr:shop:e:{\xff}"), None);
    }

    #[test]
    fn no_two_provider_sessions_share_a_name() {
        let shop = Realm::parse("shop").unwrap();
        assert_ne!(of_provider(&shop, "ab", "c"), of_provider(&shop, "a", "bc"));
    }
}
