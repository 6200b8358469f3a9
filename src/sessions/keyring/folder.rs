//! The folder that keys are kept in: `keyring.yaml` says which and when, `<kid>.pem` holds each (PKCS#8).
//!
//! It is read whole or not at all (P10). `keyring.yaml` is written last, by a rename, so it never names a file that is not
//! there yet; a reader that finds one gone looks whether `keyring.yaml` has moved on meanwhile.

use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::algorithm::SigningAlgorithm;
use super::key::{self, SigningKey};
use super::timeline::{self, KeyTimes, Timeline};
use crate::authz::session::Timestamp;
use crate::sessions::secret_file::{self, CURE, EXPOSED, Refused};

/// The name of the file that lists the keys.
pub const RING_FILE: &str = "keyring.yaml";

/// No key file and no list is larger than this, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// The most bits of an RSA key: one of 8,192 takes 20 ms and more for a signature, and a check has 200 ms.
pub(super) const MAX_RSA: usize = 4096;

/// Why a folder of keys cannot be used. Each message names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// There is none.
    #[error("{}: no key ring here; make one with `cloakroom keys generate --dir {}`", .0.display(), .0.display())]
    Missing(PathBuf),
    /// The file system refused.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// What was being done, as a verb: `read`.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others than its owner may do too much with a file.
    #[error("{}: its mode is {mode:04o}, so {who}; {cure}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Who may do what.
        who: &'static str,
        /// What to do.
        cure: &'static str,
    },
    /// `keyring.yaml` is not what it should be.
    #[error("{}: {problem}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        problem: String,
    },
    /// A key is not what `keyring.yaml` says, or its times do not fit the others'.
    #[error("{}: key {kid}: {problem}", path.display())]
    Key {
        /// The file that is wrong.
        path: PathBuf,
        /// The key.
        kid: String,
        /// What is wrong, and the cure.
        problem: String,
    },
    /// The keys are fine and the configuration asks for something else.
    #[error("{0}")]
    Config(String),
}

/// `keyring.yaml` as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RingFile {
    /// Oldest first.
    pub(super) keys: Vec<KeyEntry>,
}

/// One key of `keyring.yaml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyEntry {
    pub(super) kid: String,
    pub(super) algorithm: SigningAlgorithm,
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub(super) published: Timestamp,
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub(super) signing: Timestamp,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "write_some_time",
        deserialize_with = "read_some_time"
    )]
    pub(super) retired: Option<Timestamp>,
}

impl KeyEntry {
    pub(super) fn times(&self) -> KeyTimes {
        KeyTimes { published: self.published, signing: self.signing, retired: self.retired }
    }

    pub(super) fn file(&self) -> String {
        format!("{}.pem", self.kid)
    }
}

/// Reads the folder's keys.
pub(super) fn load(dir: &Path) -> Result<Timeline, KeyRingError> {
    Ok(read(dir)?.1)
}

/// Reads the folder's keys and their list.
pub(super) fn read(dir: &Path) -> Result<(RingFile, Timeline), KeyRingError> {
    read_as(dir, "")
}

/// [`read`], of files whose names begin with `prefix`.
pub(super) fn read_as(dir: &Path, prefix: &str) -> Result<(RingFile, Timeline), KeyRingError> {
    let list = dir.join(format!("{prefix}{RING_FILE}"));
    // A rotation may end while we read. The bound is for a folder that never stands still.
    let mut attempts = 32;
    loop {
        let text = read_list(dir, &list)?;
        match assemble(&list, &text, |entry| read_key(&dir.join(format!("{prefix}{}", entry.file())), entry)) {
            Err(_) if attempts > 0 && read_list(dir, &list)? != text => attempts -= 1,
            done => return done,
        }
    }
}

/// The ring that `text` lists, each key as `read_key` reads it. `path` is where errors say that the list lies.
pub(super) fn assemble(
    path: &Path,
    text: &str,
    mut read_key: impl FnMut(&KeyEntry) -> Result<SigningKey, KeyRingError>,
) -> Result<(RingFile, Timeline), KeyRingError> {
    let path = path.to_owned();
    let ring: RingFile = serde_saphyr::from_str(text)
        .map_err(|error| KeyRingError::Syntax { path: path.clone(), problem: error.to_string() })?;
    if ring.keys.is_empty() {
        let problem = "it lists no key; restore it, or remove it and run `cloakroom keys generate`".to_owned();
        return Err(KeyRingError::Syntax { path, problem });
    }
    let fault = |at: usize, problem: &str| KeyRingError::Key {
        path: path.clone(),
        kid: ring.keys[at].kid.clone(),
        problem: problem.to_owned(),
    };
    for (at, entry) in ring.keys.iter().enumerate() {
        if !is_thumbprint(&entry.kid) {
            return Err(fault(at, "a `kid` is the RFC 7638 thumbprint of its key: 43 characters of base64url"));
        }
        if ring.keys[..at].iter().any(|earlier| earlier.kid == entry.kid) {
            return Err(fault(at, "it is listed twice; remove one of the two"));
        }
    }
    let times: Vec<KeyTimes> = ring.keys.iter().map(KeyEntry::times).collect();
    timeline::check(&times).map_err(|(at, problem)| fault(at, problem))?;
    let keys = ring.keys.iter().map(|entry| Ok((read_key(entry)?, entry.times())));
    let keys = keys.collect::<Result<Vec<_>, KeyRingError>>()?;
    Ok((ring, Timeline::new(keys)))
}

fn read_list(dir: &Path, path: &Path) -> Result<String, KeyRingError> {
    let refused = |action, source| KeyRingError::Io { action, path: dir.to_owned(), source };
    let folder = std::fs::metadata(dir).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => KeyRingError::Missing(dir.to_owned()),
        _ => refused("read", source),
    })?;
    // A sticky folder (a Kubernetes Secret volume is one) lets nobody replace another's files.
    if folder.mode() & 0o022 != 0 && folder.mode() & 0o1000 == 0 {
        let who = "others may put keys of theirs into the folder";
        return Err(KeyRingError::Exposed {
            path: dir.to_owned(),
            mode: folder.mode() & 0o7777,
            who,
            cure: "run `chmod 700` on it",
        });
    }
    let exposed = Exposure { bits: 0o022, who: "others may change which keys sign", cure: "run `chmod 600` on it" };
    let text = match read_file(path, &exposed) {
        Err(KeyRingError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(KeyRingError::Missing(dir.to_owned()));
        }
        read => read?,
    };
    String::from_utf8(text.to_vec()).map_err(|_| KeyRingError::Syntax {
        path: path.to_owned(),
        problem: "it is not UTF-8; restore the file".to_owned(),
    })
}

fn read_key(path: &Path, entry: &KeyEntry) -> Result<SigningKey, KeyRingError> {
    let exposed = Exposure { bits: EXPOSED, who: "others may read or change this private key", cure: CURE };
    parse_key(path, entry, &read_file(path, &exposed)?)
}

/// The key of a file at `path` with this text.
pub(super) fn parse_key(path: &Path, entry: &KeyEntry, text: &[u8]) -> Result<SigningKey, KeyRingError> {
    let fault = |problem: String| KeyRingError::Key { path: path.to_owned(), kid: entry.kid.clone(), problem };
    let der = key::from_pem(text).map_err(|problem| fault(problem.to_owned()))?;
    let key = SigningKey::from_pkcs8(entry.algorithm, &der).map_err(|rejected| {
        fault(format!(
            "this is not a PKCS#8 key for {} ({rejected}); restore the file, or correct `algorithm` in {RING_FILE}",
            entry.algorithm
        ))
    })?;
    if let Some(problem) = too_slow(key.rsa_bits()) {
        return Err(fault(problem));
    }
    if *key.id().0 != *entry.kid {
        return Err(fault(format!("the file holds another key, {}; restore the file", key.id().0)));
    }
    Ok(key)
}

/// What is wrong with an RSA key of so many bits.
pub(super) fn too_slow(rsa_bits: Option<usize>) -> Option<String> {
    let bits = rsa_bits.filter(|bits| *bits > MAX_RSA)?;
    Some(format!("an RSA key of {bits} bits takes too long for a signature; use one of at most {MAX_RSA}"))
}

/// What nobody but the owner may do with a file.
struct Exposure {
    bits: u32,
    who: &'static str,
    cure: &'static str,
}

fn read_file(path: &Path, exposed: &Exposure) -> Result<Zeroizing<Vec<u8>>, KeyRingError> {
    let refused = |source| KeyRingError::Io { action: "read", path: path.to_owned(), source };
    let file = secret_file::open(path, exposed.bits).map_err(|error| match error {
        Refused::Io(source) => refused(source),
        Refused::Exposed(mode) => {
            KeyRingError::Exposed { path: path.to_owned(), mode, who: exposed.who, cure: exposed.cure }
        }
    })?;
    let mut text = Zeroizing::new(Vec::new());
    file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(refused)?;
    if text.len() as u64 > MAX_FILE {
        return Err(refused(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {MAX_FILE} bytes"),
        )));
    }
    Ok(text)
}

/// 32 bytes in base64url; also what keeps a `kid` from naming a file elsewhere.
fn is_thumbprint(kid: &str) -> bool {
    kid.len() == 43 && kid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// The moment in RFC 3339, UTC.
pub fn rfc3339(at: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(at.as_millis()) {
        Ok(at) => at.to_string(),
        // Past the year 9999; no key is made for then.
        Err(_) => at.as_millis().to_string(),
    }
}

fn write_time<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at))
}

#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
fn write_some_time<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => write_time(at, serializer),
        None => serializer.serialize_none(),
    }
}

fn read_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    let at: jiff::Timestamp = text.parse().map_err(|_| {
        serde::de::Error::custom(format!("`{text}` is not a time in RFC 3339, as in 2030-01-31T08:00:00Z"))
    })?;
    Ok(Timestamp::from_millis(at.as_millisecond()))
}

fn read_some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    read_time(deserializer).map(Some)
}
