//! The last set on disk: what a gate begins with that starts while the API server is away (P34).
//!
//! One line with the format's name, its version and the SHA-256 of the rest; the rest is JSON. The file is written beside its
//! place and moved there whole. It holds no Secret.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::kind::Source;
use super::known::KeptPart;

/// The format and its version: another one is not read.
const FORMAT: &str = "cloakroom-policies 1 sha256:";
/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 512 * 1024 * 1024;

/// Whose objects a snapshot has. One that was made with other settings is no snapshot of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scope {
    /// The API server's address.
    pub(super) server: String,
    /// The label selector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) selector: Option<String>,
    /// What is listed.
    pub(super) sources: Vec<Source>,
}

/// The rest of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Snapshot {
    /// When it was made (RFC 3339).
    pub(super) made: String,
    pub(super) scope: Scope,
    pub(super) parts: Vec<KeptPart>,
}

/// Why a snapshot is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SnapshotError {
    #[error("it cannot be read")]
    Read(#[from] io::Error),
    #[error("others may write to it: mode {0:o}, where 600 is right")]
    Mode(u32),
    #[error("it belongs to user {0}, not to the one who runs this process")]
    Owner(u32),
    #[error("it is over {MAX_BYTES} bytes")]
    TooLarge,
    #[error("it is not a snapshot of this version: its first line should begin with `{FORMAT}`")]
    Format,
    #[error("its checksum is wrong: it was cut or changed")]
    Checksum,
    #[error("it does not decode")]
    Content(#[from] serde_json::Error),
    #[error("it was made with other settings: another API server, namespace, selector or set of Gateways")]
    Foreign,
}

/// Where the snapshot is, and whose objects it must have.
#[derive(Clone, Debug)]
pub(super) struct SnapshotFile {
    pub(super) path: PathBuf,
    pub(super) scope: Scope,
}

impl SnapshotFile {
    /// Reads it; `None` when there is none.
    pub(super) fn load(&self) -> Result<Option<Snapshot>, SnapshotError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        if metadata.mode() & 0o022 != 0 {
            return Err(SnapshotError::Mode(metadata.mode() & 0o777));
        }
        let ours = fs::metadata("/proc/self").map(|it| it.uid());
        if ours.is_ok_and(|ours| ours != metadata.uid() && metadata.uid() != 0) {
            return Err(SnapshotError::Owner(metadata.uid()));
        }
        if metadata.len() > MAX_BYTES {
            return Err(SnapshotError::TooLarge);
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes)?;
        let snapshot = decode(&bytes)?;
        if snapshot.scope != self.scope {
            return Err(SnapshotError::Foreign);
        }
        Ok(Some(snapshot))
    }

    /// Writes it, whole: a crash leaves the old one or the new one.
    pub(super) fn save(&self, parts: Vec<KeptPart>) -> io::Result<()> {
        let made = jiff::Timestamp::now().to_string();
        let body = serde_json::to_vec(&Snapshot { made, scope: self.scope.clone(), parts })?;
        let part = self.path.with_added_extension("part");
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Always a new file: a link that others put at its name is never written through.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        file.write_all(FORMAT.as_bytes())?;
        file.write_all(checksum(&body).as_bytes())?;
        file.write_all(b"\n")?;
        file.write_all(&body)?;
        file.sync_all()?;
        fs::rename(&part, &self.path)?;
        let folder = self.path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

fn decode(bytes: &[u8]) -> Result<Snapshot, SnapshotError> {
    let rest = bytes.strip_prefix(FORMAT.as_bytes()).ok_or(SnapshotError::Format)?;
    let end = rest.iter().position(|byte| *byte == b'\n').ok_or(SnapshotError::Checksum)?;
    let (told, body) = (&rest[..end], &rest[end + 1..]);
    if told != checksum(body).as_bytes() {
        return Err(SnapshotError::Checksum);
    }
    Ok(serde_json::from_slice(body)?)
}

fn checksum(body: &[u8]) -> String {
    digest(&SHA256, body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
