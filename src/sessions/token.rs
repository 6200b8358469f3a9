//! Making access tokens, and telling ours from invented ones without a look-up; and the keys that handles are sealed with.
//!
//! A token is `sid` ‖ `secret` ‖ `tag`. The tag is HMAC-SHA-256 over realm, sid and secret under a key of the install, cut to
//! 8 bytes: it keeps invented tokens away from the store (P32) and a token of one realm out of every other. It is no proof of
//! a session: the 160 bits of the secret are (P12).

use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, LessSafeKey, UnboundKey};
use aws_lc_rs::{constant_time, digest, hkdf, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quick_cache::sync::Cache;
use zeroize::Zeroizing;

use super::secret_file::{self, CURE, EXPOSED, Refused};
use crate::authz::credential::AccessToken;
use crate::authz::session::{Realm, SecretDigest, SessionId};

/// The most keys that a file may hold: an invented token costs one HMAC for each.
const MAX_KEYS: usize = 8;
/// More than a full file ever needs.
const MAX_FILE_BYTES: u64 = 4096;
/// The length of a key in bytes.
const KEY_BYTES: usize = 32;
/// What the keys of handles are derived for; a namespace follows.
const HANDLE_INFO: &[u8] = b"cloakroom.handle";
/// For how many namespaces derived keys are kept. Beyond it they are derived again.
const MAX_NAMESPACES: usize = 256;

/// The operating system's random source failed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the operating system's random source failed")]
pub struct RandomFailed;

/// Why a token key file cannot be used. No message shows a byte of a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("token key file {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read or change it.
    #[error(
        "token key file {}: others may read or change it (mode {mode:04o}); {CURE}", path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Its text is not a list of keys.
    #[error("token key file {}: {problem}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        problem: KeyTextError,
    },
}

/// Why a text is not a list of token keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// There is no key.
    #[error("it holds no key; `cloakroom keys generate` makes one")]
    Empty,
    /// A line is not a key.
    #[error("line {0} is not 32 bytes in unpadded base64url (43 characters)")]
    Line(usize),
    /// There are too many.
    #[error("it holds more than 8 keys")]
    TooMany,
}

/// The keys that tag tokens and seal handles: the first tags and seals, all verify and open. No `Debug` of a key.
pub struct TokenKeys {
    /// Never empty.
    keys: Vec<TokenKey>,
    /// What the keys of handles are derived from, where that is another secret: `keys` are every namespace's, and whoever has
    /// them must not make handles for another (P22, P27).
    handles: Option<Vec<TokenKey>>,
    /// The keys of handles by namespace, in the order of their file.
    handle_keys: Cache<String, Arc<[LessSafeKey]>>,
}

/// One line of the file, ready for what it is used for.
struct TokenKey {
    tags: hmac::Key,
    /// What is derived from it (RFC 5869); that and the tags tell nothing of each other.
    derives: hkdf::Prk,
}

impl TokenKey {
    fn new(bytes: &[u8; KEY_BYTES]) -> Self {
        let derives = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(bytes);
        Self { tags: hmac::Key::new(hmac::HMAC_SHA256, bytes), derives }
    }

    fn handle_key(&self, namespace: &str) -> LessSafeKey {
        let info = [HANDLE_INFO, namespace.as_bytes()];
        let key = self.derives.expand(&info, &AES_256_GCM_SIV).expect("32 bytes are no more than HKDF gives");
        LessSafeKey::new(UnboundKey::from(key))
    }
}

impl TokenKeys {
    /// Reads a key file: one key of 32 bytes in unpadded base64url a line.
    ///
    /// # Errors
    /// When the file is missing, may be read by every user or changed by any but its owner, or is not a list of keys.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let read = |source| KeyFileError::Read { path: path.to_owned(), source };
        let mut file = secret_file::open(path, EXPOSED).map_err(|refused| match refused {
            Refused::Io(source) => read(source),
            Refused::Exposed(mode) => KeyFileError::Open { path: path.to_owned(), mode },
        })?;
        let mut text = Zeroizing::new(String::new());
        file.by_ref().take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(read)?;
        Self::parse(&text).map_err(|problem| KeyFileError::Text { path: path.to_owned(), problem })
    }

    /// Reads the text of a key file.
    ///
    /// # Errors
    /// When it is not a list of 1 to 8 keys.
    pub fn parse(text: &str) -> Result<Self, KeyTextError> {
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let mut bytes = Zeroizing::new([0; KEY_BYTES]);
            let decoded = URL_SAFE_NO_PAD.decode_slice(line, bytes.as_mut());
            if decoded != Ok(KEY_BYTES) {
                return Err(KeyTextError::Line(index + 1));
            }
            keys.push(TokenKey::new(&bytes));
        }
        match keys.len() {
            0 => Err(KeyTextError::Empty),
            1..=MAX_KEYS => Ok(Self { keys, handles: None, handle_keys: Cache::new(MAX_NAMESPACES) }),
            _ => Err(KeyTextError::TooMany),
        }
    }

    /// These keys, with handles under those of another file alone.
    #[must_use]
    pub fn with_handles_under(self, others: Self) -> Self {
        Self { handles: Some(others.keys), handle_keys: Cache::new(MAX_NAMESPACES), ..self }
    }

    /// A new line for a key file, without its line feed.
    ///
    /// # Errors
    /// When the random source fails.
    pub fn generate_line() -> Result<Zeroizing<String>, RandomFailed> {
        let key = random::<KEY_BYTES>()?;
        Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(key.as_ref())))
    }

    /// A token for `sid` with a new secret, and the digest of that secret for the store.
    ///
    /// # Errors
    /// When the random source fails.
    pub fn mint(&self, realm: &Realm, sid: SessionId) -> Result<(AccessToken, SecretDigest), RandomFailed> {
        let secret = random::<20>()?;
        let digest = secret_digest(&secret);
        let first = self.keys.first().expect("`parse` makes no empty list");
        let tag = tag(&first.tags, realm, sid, &secret);
        Ok((AccessToken::from_parts(sid, secret, tag), digest))
    }

    /// Whether the token's tag is ours, for this realm. In time that does not depend on where a wrong tag differs.
    pub fn verify(&self, realm: &Realm, token: &AccessToken) -> bool {
        self.keys.iter().any(|key| {
            let right = tag(&key.tags, realm, token.sid(), token.secret());
            constant_time::verify_slices_are_equal(&right, token.tag()).is_ok()
        })
    }

    /// The keys for the handles of a namespace (DESIGN 6): the first seals, all open. Derived once and kept.
    pub(super) fn handle_keys(&self, namespace: &str) -> Arc<[LessSafeKey]> {
        if let Some(keys) = self.handle_keys.get(namespace) {
            return keys;
        }
        let from = self.handles.as_ref().unwrap_or(&self.keys);
        let keys: Arc<[_]> = from.iter().map(|key| key.handle_key(namespace)).collect();
        self.handle_keys.insert(namespace.to_owned(), Arc::clone(&keys));
        keys
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKeys({} redacted)", self.keys.len())
    }
}

/// A new session id.
///
/// # Errors
/// When the random source fails.
pub fn new_session_id() -> Result<SessionId, RandomFailed> {
    Ok(SessionId::from_bytes(*random::<16>()?))
}

/// SHA-256 of a secret.
pub fn secret_digest(secret: &[u8; 20]) -> SecretDigest {
    SecretDigest::from_bytes(sha256(secret))
}

/// SHA-256 of the whole presented credential, secret and tag: what a cache entry keeps of a token it has proved.
pub(super) fn presented_digest(token: &AccessToken) -> SecretDigest {
    let mut presented = Zeroizing::new([0; 28]);
    presented[..20].copy_from_slice(token.secret());
    presented[20..].copy_from_slice(token.tag());
    SecretDigest::from_bytes(sha256(presented.as_ref()))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

pub(super) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, RandomFailed> {
    let mut bytes = Zeroizing::new([0; N]);
    rand::fill(bytes.as_mut()).map_err(|_| RandomFailed)?;
    Ok(bytes)
}

fn tag(key: &hmac::Key, realm: &Realm, sid: SessionId, secret: &[u8; 20]) -> [u8; 8] {
    let name = realm.as_str().as_bytes();
    // The length goes first, so that no realm's name can run into the sid behind it. A realm has at most 63 bytes.
    let length = u8::try_from(name.len()).expect("a realm is a DNS label");
    let mut context = hmac::Context::with_key(key);
    context.update(&[length]);
    context.update(name);
    context.update(sid.as_bytes());
    context.update(secret);
    let whole = context.sign();
    let mut cut = [0; 8];
    cut.copy_from_slice(&whole.as_ref()[..8]);
    cut
}

#[cfg(test)]
mod tests;
