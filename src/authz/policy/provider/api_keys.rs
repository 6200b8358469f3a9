//! API keys in Secrets: known by their SHA-256 alone.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use super::ProviderRef;
use crate::api::meta::ObjectMeta;
use crate::api::secret::Secret;
use crate::authz::identity::Identity;
use crate::authz::session::Claims;

const MIN_KEY: usize = 16;
const MAX_KEY: usize = 512;
const MAX_TERMS: usize = 64;

/// SHA-256 of a credential. `Debug` shows nothing: a weak key could be guessed from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CredentialDigest([u8; 32]);

impl CredentialDigest {
    /// The digest of `credential`.
    pub fn of(credential: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, credential).as_ref());
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for CredentialDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialDigest(redacted)")
    }
}

/// The keys that count, each with whose it is.
#[derive(Debug, Default)]
pub struct ApiKeys {
    /// By the digest's first half. The whole of it is compared in constant time.
    keys: HashMap<[u8; 16], (CredentialDigest, Arc<Identity>)>,
}

impl ApiKeys {
    /// Whose key it is that has this digest.
    pub fn find(&self, presented: &CredentialDigest) -> Option<&Arc<Identity>> {
        let (known, identity) = self.keys.get(&half(presented))?;
        verify_slices_are_equal(&known.0, &presented.0).is_ok().then_some(identity)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys of those `secrets` that have all of `labels`. `wrong` is told what is wrong with which of them; such a key does not
    /// count.
    pub(super) fn of<'a>(
        provider: &ProviderRef,
        labels: &BTreeMap<String, String>,
        secrets: impl Iterator<Item = &'a Secret>,
        mut wrong: impl FnMut(&'a ObjectMeta, &'static str, String),
    ) -> Self {
        let has_all =
            |secret: &&Secret| labels.iter().all(|(name, value)| secret.metadata.labels.get(name) == Some(value));
        let mut found: HashMap<[u8; 16], Vec<Written<'a>>> = HashMap::new();
        for secret in secrets.filter(has_all) {
            match read(provider, secret) {
                Ok((key, identity)) => {
                    found.entry(half(&key)).or_default().push((&secret.metadata, key, Arc::new(identity)));
                }
                Err((field, words)) => wrong(&secret.metadata, field, words),
            }
        }
        let mut keys = HashMap::with_capacity(found.len());
        for (half, mut same) in found {
            match same.pop() {
                Some((_, key, identity)) if same.is_empty() => {
                    keys.insert(half, (key, identity));
                }
                // Whose it is cannot be told, so that it is nobody's.
                last => {
                    for (secret, _, _) in same.into_iter().chain(last) {
                        wrong(
                            secret,
                            "key",
                            "another Secret holds the same key: make each subject a key of their own".to_owned(),
                        );
                    }
                }
            }
        }
        Self { keys }
    }

    /// All that is in it, in an order of its own.
    pub(super) fn write_to(&self, mut write: impl FnMut(&[u8])) {
        let mut keys: Vec<_> = self.keys.values().collect();
        keys.sort_by_key(|(key, _)| key.0);
        for (key, identity) in keys {
            write(&key.0);
            write(identity.subject.as_bytes());
            for term in identity.scopes.iter().chain([&String::new()]).chain(&identity.roles) {
                write(&[0]);
                write(term.as_bytes());
            }
            write(&[0, 0]);
        }
    }
}

/// A key, where it is written, and whose it is.
type Written<'a> = (&'a ObjectMeta, CredentialDigest, Arc<Identity>);

fn half(digest: &CredentialDigest) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&digest.0[..16]);
    half
}

/// The key and whose it is; or the value that is wrong, and the words. They quote nothing (P31).
fn read(provider: &ProviderRef, secret: &Secret) -> Result<(CredentialDigest, Identity), (&'static str, String)> {
    let key = match (secret.get("key"), secret.get("sha256")) {
        (Some(key), None) => plain_key(key.reveal())?,
        (None, Some(hash)) => hashed_key(hash.reveal())?,
        _ => {
            return Err(("key", "exactly one of `key` and `sha256` is needed: the API key, or its SHA-256".to_owned()));
        }
    };
    let text = |name: &'static str| match secret.get(name).map(|value| std::str::from_utf8(value.reveal())) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text.trim())),
        Some(Err(_)) => Err((name, "is not UTF-8 text".to_owned())),
    };
    let subject = text("subject")?.filter(|subject| is_name(subject));
    let subject = subject.ok_or_else(|| {
        ("subject", "whose key it is: 1 to 255 bytes of text without control characters are needed".to_owned())
    })?;
    let terms = |name: &'static str| {
        let terms: Vec<String> = text(name)?.into_iter().flat_map(str::split_whitespace).map(str::to_owned).collect();
        if terms.len() > MAX_TERMS || terms.iter().any(|term| !is_name(term)) {
            return Err((name, format!("at most {MAX_TERMS} words of 1 to 255 bytes, with spaces between them")));
        }
        Ok(terms)
    };
    let identity = Identity {
        provider: provider.clone(),
        subject: subject.to_owned(),
        auth_time: None,
        acr: None,
        amr: Vec::new(),
        scopes: terms("scopes")?,
        roles: terms("roles")?,
        claims: Claims::empty(),
        ends: None,
    };
    Ok((key, identity))
}

/// Editors and `echo` leave a line end behind, which is no part of a key.
fn plain_key(bytes: &[u8]) -> Result<CredentialDigest, (&'static str, String)> {
    let key = bytes.trim_ascii();
    if (MIN_KEY..=MAX_KEY).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic) {
        return Ok(CredentialDigest::of(key));
    }
    let words = format!("{MIN_KEY} to {MAX_KEY} visible ASCII characters are needed: shorter keys can be guessed");
    Err(("key", words))
}

fn hashed_key(bytes: &[u8]) -> Result<CredentialDigest, (&'static str, String)> {
    let digits = bytes.trim_ascii();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut hash = [0; 32];
    let is_hash = digits.len() == 64
        && digits.chunks_exact(2).zip(&mut hash).all(|(pair, byte)| match (digit(pair[0]), digit(pair[1])) {
            (Some(high), Some(low)) => {
                *byte = high * 16 + low;
                true
            }
            _ => false,
        });
    if is_hash { Ok(CredentialDigest(hash)) } else { Err(("sha256", "64 hexadecimal digits are needed".to_owned())) }
}

fn is_name(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.chars().any(char::is_control)
}
