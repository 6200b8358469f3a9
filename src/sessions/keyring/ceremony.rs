//! Making and replacing keys in a folder (`cloakroom keys`), safe to do while servers read it.
//!
//! Every file appears complete, by a rename or a link, and `keyring.yaml` last; files that it no longer names go after it.
//! An interrupted run leaves at most a file that nothing refers to.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::KeyId;
use super::algorithm::SigningAlgorithm;
use super::folder::{self, KeyEntry, KeyRingError, RING_FILE, RingFile};
use super::key::{self, SigningKey};
use super::timeline::{KeyState, KeyTimes};
use crate::authz::session::Timestamp;
use crate::sessions::token::{RandomFailed, TokenKeys};

/// The shortest time for which a key may be published before it signs: what the key set may be cached for (5 min), and one
/// minute for servers to notice the new key.
pub const MIN_PUBLISH: Duration = Duration::from_secs(6 * 60);

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    /// The folder's present keys cannot be used.
    #[error(transparent)]
    Ring(#[from] KeyRingError),
    /// Nothing may be overwritten.
    #[error("{}: there is one already; nothing was changed. To replace the signing key run `cloakroom keys rotate`", .0.display())]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("{}: cannot {action}{}", path.display(), cure(source))]
    Io {
        /// What was being done, as a verb: `write`.
        action: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Two at once.
    #[error("{}: another `cloakroom keys` is at work in this folder; try again when it has ended", .0.display())]
    Busy(PathBuf),
    /// The newest key does not sign yet.
    #[error("a rotation is under way: key {kid} signs from {signs} on. Wait until then, or let it sign with `--now`", kid = .0.0, signs = folder::rfc3339(*.1))]
    UnderWay(KeyId, Timestamp),
    /// A key waits to sign, and it is for another algorithm than the one asked for.
    #[error("the key that waits, {kid}, is for {}: let it sign with `--now --algorithm {}` first", .1, .1, kid = .0.0)]
    OtherAlgorithm(KeyId, SigningAlgorithm),
    /// Services could meet a JWT whose key they have not fetched yet.
    #[error(
        "a key must be published for at least 6m before it signs, since services may cache the key set for 5m; `--now` does without, and says what that costs"
    )]
    TooSoon,
    /// The system has no randomness.
    #[error("the system's random generator failed")]
    Random,
}

fn cure(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            " (a mounted Secret is made elsewhere: make the keys in a writable folder and update the Secret)"
        }
        io::ErrorKind::PermissionDenied => " (run this as the folder's owner)",
        _ => "",
    }
}

/// When a new key takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handover {
    /// After it has been published for this long, at least [`MIN_PUBLISH`].
    After(Duration),
    /// At once, whatever services have cached.
    Now,
}

/// What a rotation did.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The key that takes over.
    pub key: KeyId,
    /// Its algorithm.
    pub algorithm: SigningAlgorithm,
    /// Whether it was made now; else it had been published by an earlier rotation.
    pub made: bool,
    /// The key it takes over from.
    pub previous: KeyId,
    /// From when on it signs.
    pub signs: Timestamp,
    /// When the previous key leaves the key set.
    pub previous_gone: Timestamp,
    /// Keys that were deleted since their overlap is over.
    pub deleted: Vec<KeyId>,
}

/// One line of `cloakroom keys list`.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The key.
    pub key: KeyId,
    /// Its algorithm.
    pub algorithm: SigningAlgorithm,
    /// Its times.
    pub times: KeyTimes,
    /// What it does now.
    pub state: KeyState,
}

/// Makes the first key of `dir` (and the folder, mode 0700): published and signing from `now` on.
pub fn generate(dir: &Path, algorithm: SigningAlgorithm, now: Timestamp) -> Result<KeyId, CeremonyError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| refused("make the folder", dir, source))?;
    let _lock = lock(dir)?;
    let ring = dir.join(RING_FILE);
    if ring.symlink_metadata().is_ok() {
        return Err(CeremonyError::Exists(ring));
    }
    let now = whole_second(now);
    let (key, entry) = make_key(dir, algorithm, KeyTimes { published: now, signing: now, retired: None })?;
    write_ring(dir, &RingFile { keys: vec![entry] })?;
    Ok(key)
}

/// Makes a token key file with one key of 32 random bytes in base64url.
pub fn generate_token_key(path: &Path) -> Result<(), CeremonyError> {
    let mut line = TokenKeys::generate_line().map_err(|RandomFailed| CeremonyError::Random)?;
    line.push('\n');
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = write_temporary(parent, &line)?;
    // A link, unlike a rename, never replaces a file.
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary).map_err(|source| refused("remove", &temporary, source))?;
    match linked {
        Ok(()) => sync_folder(parent),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(CeremonyError::Exists(path.to_owned())),
        Err(source) => Err(refused("write", path, source)),
    }
}

/// Lets the next key of `dir` take over. `algorithm` is the present key's unless given.
pub fn rotate(
    dir: &Path,
    algorithm: Option<SigningAlgorithm>,
    handover: Handover,
    now: Timestamp,
) -> Result<Rotated, CeremonyError> {
    if matches!(handover, Handover::After(publish_for) if publish_for < MIN_PUBLISH) {
        return Err(CeremonyError::TooSoon);
    }
    if let Err(source) = fs::metadata(dir) {
        return Err(match source.kind() {
            io::ErrorKind::NotFound => KeyRingError::Missing(dir.to_owned()).into(),
            _ => refused("read", dir, source),
        });
    }
    let _lock = lock(dir)?;
    let (mut ring, _) = folder::read(dir)?;
    let made = turn(&mut ring, algorithm, handover, now, |algorithm, times| Ok(make_key(dir, algorithm, times)?.1))?;
    let gone = prune(&mut ring, now);
    write_ring(dir, &ring)?;
    for entry in &gone {
        let path = dir.join(entry.file());
        fs::remove_file(&path).map_err(|source| refused("delete", &path, source))?;
    }
    sync_folder(dir)?;
    let [.., previous, key] = ring.keys.as_slice() else {
        unreachable!("a key that retires at or after `now` is not gone, and its successor follows it")
    };
    Ok(Rotated {
        key: KeyId(key.kid.as_str().into()),
        algorithm: key.algorithm,
        made,
        previous: KeyId(previous.kid.as_str().into()),
        signs: key.signing,
        previous_gone: previous.times().gone().unwrap_or(key.signing),
        deleted: gone.iter().map(|entry| KeyId(entry.kid.as_str().into())).collect(),
    })
}

/// Lets the next key of `ring` take over: one that `make` makes, unless one waits already. Answers whether it was made.
pub(super) fn turn(
    ring: &mut RingFile,
    algorithm: Option<SigningAlgorithm>,
    handover: Handover,
    now: Timestamp,
    make: impl FnOnce(SigningAlgorithm, KeyTimes) -> Result<KeyEntry, CeremonyError>,
) -> Result<bool, CeremonyError> {
    let now = whole_second(now);
    let last = ring.keys.len() - 1;
    let newest = &ring.keys[last];
    if newest.signing > now && last > 0 {
        if handover != Handover::Now {
            return Err(CeremonyError::UnderWay(KeyId(newest.kid.as_str().into()), newest.signing));
        }
        if algorithm.is_some_and(|wanted| wanted != newest.algorithm) {
            return Err(CeremonyError::OtherAlgorithm(KeyId(newest.kid.as_str().into()), newest.algorithm));
        }
        let signing = now.max(ring.keys[last - 1].signing.plus(Duration::from_secs(1)));
        ring.keys[last].signing = signing;
        ring.keys[last].published = ring.keys[last].published.min(signing);
        ring.keys[last - 1].retired = Some(signing);
        return Ok(false);
    }
    let signing = match handover {
        Handover::After(publish_for) => now.plus(publish_for),
        Handover::Now => now,
    };
    // Each key signs for some time, so that the order of two rotations within one second is plain.
    let signing = whole_second(signing).max(newest.signing.plus(Duration::from_secs(1)));
    let times = KeyTimes { published: now.min(signing), signing, retired: None };
    let entry = make(algorithm.unwrap_or(newest.algorithm), times)?;
    ring.keys[last].retired = Some(signing);
    ring.keys.push(entry);
    Ok(true)
}

/// Takes the keys out of `ring` whose time is over.
pub(super) fn prune(ring: &mut RingFile, now: Timestamp) -> Vec<KeyEntry> {
    let now = whole_second(now);
    let keys = std::mem::take(&mut ring.keys);
    let (gone, kept) = keys.into_iter().partition(|entry| entry.times().state(now) == KeyState::Gone);
    ring.keys = kept;
    gone
}

/// The keys of `dir`, oldest first, each checked.
pub fn list(dir: &Path, now: Timestamp) -> Result<Vec<Listed>, KeyRingError> {
    let timeline = folder::load(dir)?;
    let listed = timeline.keys().iter().map(|(key, times)| Listed {
        key: key.id().clone(),
        algorithm: key.algorithm(),
        times: *times,
        state: times.state(now),
    });
    Ok(listed.collect())
}

fn make_key(dir: &Path, algorithm: SigningAlgorithm, times: KeyTimes) -> Result<(KeyId, KeyEntry), CeremonyError> {
    let (entry, pem) = new_key(algorithm, times)?;
    write(dir, &entry.file(), &pem)?;
    Ok((KeyId(entry.kid.as_str().into()), entry))
}

/// A new key: its line in `keyring.yaml` and its file.
pub(super) fn new_key(
    algorithm: SigningAlgorithm,
    times: KeyTimes,
) -> Result<(KeyEntry, Zeroizing<String>), CeremonyError> {
    let der = SigningKey::generate(algorithm).map_err(|_| CeremonyError::Random)?;
    // Read back as a server will read it: a key that could not be loaded is never named in `keyring.yaml`.
    let key = SigningKey::from_pkcs8(algorithm, &der).map_err(|_| CeremonyError::Random)?;
    let KeyTimes { published, signing, retired } = times;
    let entry = KeyEntry { kid: key.id().0.to_string(), algorithm, published, signing, retired };
    Ok((entry, key::to_pem(&der)))
}

fn write_ring(dir: &Path, ring: &RingFile) -> Result<(), CeremonyError> {
    write(dir, RING_FILE, &ring_text(ring))
}

/// `keyring.yaml`.
pub(super) fn ring_text(ring: &RingFile) -> String {
    let yaml = serde_saphyr::to_string(ring).expect("names and times are strings");
    format!(
        "# Written by `cloakroom keys`. Oldest key first; each key's `retired` is the `signing` of the next.\n{yaml}"
    )
}

/// Puts a complete file in place of whatever has its name, durably.
fn write(dir: &Path, name: &str, text: &str) -> Result<(), CeremonyError> {
    let temporary = write_temporary(dir, text)?;
    let path = dir.join(name);
    fs::rename(&temporary, &path).map_err(|source| refused("write", &path, source))?;
    sync_folder(dir)
}

/// A new file with this text on the disk, mode 0600, of the folder's owner: a key that root makes is readable to the server.
fn write_temporary(dir: &Path, text: &str) -> Result<PathBuf, CeremonyError> {
    let mut random = [0; 12];
    rand::fill(&mut random).map_err(|_| CeremonyError::Random)?;
    let path = dir.join(format!(".cloakroom-{}.tmp", URL_SAFE_NO_PAD.encode(random)));
    let write = || -> io::Result<()> {
        let owner = fs::metadata(dir)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        if file.metadata()?.uid() != owner.uid() {
            std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| {
        // The file, if there is one, names nothing and holds at most what could not be finished.
        let _ = fs::remove_file(&path);
        refused("write", dir, source)
    })?;
    Ok(path)
}

fn lock(dir: &Path) -> Result<File, CeremonyError> {
    let folder = File::open(dir).map_err(|source| refused("read", dir, source))?;
    match folder.try_lock() {
        Ok(()) => Ok(folder),
        Err(TryLockError::WouldBlock) => Err(CeremonyError::Busy(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(refused("lock", dir, source)),
    }
}

fn sync_folder(dir: &Path) -> Result<(), CeremonyError> {
    File::open(dir).and_then(|folder| folder.sync_all()).map_err(|source| refused("write", dir, source))
}

fn refused(action: &'static str, path: &Path, source: io::Error) -> CeremonyError {
    CeremonyError::Io { action, path: path.to_owned(), source }
}

/// `keyring.yaml` is for people too.
pub(super) fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.as_secs().saturating_mul(1000))
}
