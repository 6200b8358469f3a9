//! The handle: what a request leaves for its response, sealed (DESIGN 6).
//!
//! It travels through the proxy as dynamic metadata, and any replica may open it. Its text is the route's namespace, a dot, and
//! base64url without padding of
//!
//! ```text
//! version (1) | nonce (12) | sealed | tag (16)
//! ```
//!
//! sealed by AES-256-GCM-SIV (RFC 8452) under a key of the namespace; version and namespace are authenticated with it. GCM-SIV
//! because the nonces are random, on many replicas, under a key that lives for months: a nonce that came twice would tell no
//! more than that two handles are equal. What is sealed:
//!
//! ```text
//! expires (8, ms) | fingerprint (8) | flags (1) | [sid (16)] | policy's namespace | policy | rule | realm | [cookie] | [subject]
//! ```
//!
//! where a text is its length in one byte and its bytes.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Sessions;
use super::token::random;
use crate::api::meta::is_label;
use crate::authz::policy::{Fingerprint, PolicyName, RuleName};
use crate::authz::response::{CommandRefusal, ResponseScope};
use crate::authz::session::{Realm, SessionId, Timestamp};

/// How long a handle opens: longer than any route lets its service take, and no longer, since whoever reads the proxy's
/// metadata can use it again.
const LIFE: Duration = Duration::from_secs(15 * 60);
/// The longest handle that is made or read, in bytes. Names within their bounds come to a third of it.
const MAX_BYTES: usize = 2 * 1024;
const VERSION: u8 = 1;
const TAG_BYTES: usize = 16;
/// Before what is sealed.
const HEAD_BYTES: usize = 1 + NONCE_LEN;
/// The longest namespace: a DNS label.
const MAX_NAMESPACE: usize = 63;

const HAS_SESSION: u8 = 1;
const HAS_COOKIE: u8 = 1 << 1;
const IS_DEAD: u8 = 1 << 2;
const EXCHANGES: u8 = 1 << 3;
const HAS_SUBJECT: u8 = 1 << 4;

impl Sessions {
    /// Seals a scope for the response of its request. It opens for 15 minutes, on each replica that has the same token keys.
    /// `None` when the random source fails, or a name in it is longer than names can be: the request is refused then.
    pub fn seal(&self, scope: &ResponseScope, now: Timestamp) -> Option<Box<str>> {
        if !is_label(&scope.namespace) {
            return None;
        }
        let keys = self.token_keys.handle_keys(&scope.namespace);
        seal(keys.first()?, scope, now.plus(LIFE))
    }

    /// Opens a handle.
    ///
    /// # Errors
    /// `ExpiredHandle` when it is ours and its time is over; `InvalidHandle` for all else, also a handle of a later release.
    pub fn open(&self, handle: &str, now: Timestamp) -> Result<ResponseScope, CommandRefusal> {
        let (expires, scope) = self.opened(handle).ok_or(CommandRefusal::InvalidHandle)?;
        if now < expires { Ok(scope) } else { Err(CommandRefusal::ExpiredHandle) }
    }

    fn opened(&self, handle: &str) -> Option<(Timestamp, ResponseScope)> {
        let (namespace, text) = handle.split_once('.').filter(|_| handle.len() <= MAX_BYTES)?;
        if !is_label(namespace) {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (head, sealed) = bytes.split_at_checked(HEAD_BYTES)?;
        let (version, nonce) = head.split_first()?;
        let (sealed, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG_BYTES)?)?;
        if *version != VERSION {
            return None;
        }
        let mut plain = vec![0; sealed.len()];
        let opens = |key: &LessSafeKey| {
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            key.open_separate_gather(nonce, bound_to(namespace), sealed, tag, &mut plain).ok()
        };
        self.token_keys.handle_keys(namespace).iter().find_map(opens)?;
        read(&plain, namespace)
    }
}

fn seal(key: &LessSafeKey, scope: &ResponseScope, expires: Timestamp) -> Option<Box<str>> {
    let nonce = random::<NONCE_LEN>().ok()?;
    let mut bytes = Vec::with_capacity(256);
    bytes.push(VERSION);
    bytes.extend_from_slice(nonce.as_ref());
    write(&mut bytes, scope, expires)?;
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let tag = key.seal_in_place_separate_tag(nonce, bound_to(&scope.namespace), &mut bytes[HEAD_BYTES..]).ok()?;
    bytes.extend_from_slice(tag.as_ref());
    let length = scope.namespace.len() + 1 + (bytes.len() * 4).div_ceil(3);
    if length > MAX_BYTES {
        return None;
    }
    let mut text = String::with_capacity(length);
    text.push_str(&scope.namespace);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(&bytes, &mut text);
    Some(text.into_boxed_str())
}

/// What is authenticated beside what is sealed: the version, then the namespace up to the end.
fn bound_to(namespace: &str) -> Aad<Bound> {
    let mut bytes = [0; 1 + MAX_NAMESPACE];
    bytes[0] = VERSION;
    let length = 1 + namespace.len();
    bytes[1..length].copy_from_slice(namespace.as_bytes());
    Aad::from(Bound { bytes, length })
}

struct Bound {
    bytes: [u8; 1 + MAX_NAMESPACE],
    length: usize,
}

impl AsRef<[u8]> for Bound {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn write(out: &mut Vec<u8>, scope: &ResponseScope, expires: Timestamp) -> Option<()> {
    // All names, so that a scope with a field more does not compile until it is thought of here.
    let ResponseScope { rule, namespace: _, realm, fingerprint, session, cookie, dead, subject, exchanges } = scope;
    out.extend_from_slice(&expires.as_millis().to_be_bytes());
    out.extend_from_slice(&fingerprint.0);
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let has = flag(session.is_some(), HAS_SESSION) | flag(cookie.is_some(), HAS_COOKIE);
    let has = has | flag(subject.is_some(), HAS_SUBJECT);
    out.push(has | flag(*dead, IS_DEAD) | flag(*exchanges, EXCHANGES));
    if let Some(sid) = session {
        out.extend_from_slice(sid.as_bytes());
    }
    let names = [&*rule.policy.namespace, &rule.policy.name, &rule.rule, realm.as_str()];
    for text in names.into_iter().chain(cookie.as_deref()).chain(subject.as_deref()) {
        out.push(u8::try_from(text.len()).ok()?);
        out.extend_from_slice(text.as_bytes());
    }
    Some(())
}

/// Reads what was sealed. Our own key has vouched for it; it is read whole or refused all the same.
fn read(plain: &[u8], namespace: &str) -> Option<(Timestamp, ResponseScope)> {
    let mut rest = plain;
    let expires = i64::from_be_bytes(take(&mut rest)?);
    let fingerprint = Fingerprint(take(&mut rest)?);
    let [flags] = take(&mut rest)?;
    if flags & !(HAS_SESSION | HAS_COOKIE | IS_DEAD | EXCHANGES | HAS_SUBJECT) != 0 {
        return None;
    }
    let session = if flags & HAS_SESSION == 0 { None } else { Some(SessionId::from_bytes(take(&mut rest)?)) };
    let policy = PolicyName { namespace: text(&mut rest)?.into(), name: text(&mut rest)?.into() };
    let rule = Arc::new(RuleName { policy, rule: text(&mut rest)?.into() });
    let realm = Realm::parse(text(&mut rest)?)?;
    let cookie = if flags & HAS_COOKIE == 0 { None } else { Some(text(&mut rest)?.into()) };
    let subject = if flags & HAS_SUBJECT == 0 { None } else { Some(text(&mut rest)?.into()) };
    let (dead, exchanges) = (flags & IS_DEAD != 0, flags & EXCHANGES != 0);
    let scope = ResponseScope {
        rule,
        namespace: namespace.into(),
        realm,
        fingerprint,
        session,
        cookie,
        dead,
        subject,
        exchanges,
    };
    rest.is_empty().then_some((Timestamp::from_millis(expires), scope))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*bytes)
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let [length] = take(rest)?;
    let (bytes, behind) = rest.split_at_checked(length.into())?;
    *rest = behind;
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
