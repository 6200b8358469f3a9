//! Files that hold a secret: how they are opened, and what others may do with them.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What nobody but the owner may do with a secret, as permission bits. Reading by a group is allowed: that is how Kubernetes hands
/// a Secret to a process that is not root (`fsGroup`).
pub const EXPOSED: u32 = 0o027;
/// What to do where somebody may.
pub const CURE: &str = "run `chmod 600` on it, or mount its Secret with `defaultMode: 0440`";

/// Why a file was not opened.
#[derive(Debug)]
pub enum Refused {
    /// What the system said.
    Io(io::Error),
    /// Others may do too much with it: its permission bits.
    Exposed(u32),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Opens a file whose permissions have none of these bits.
///
/// # Errors
/// When they have, or it cannot be opened.
pub fn open(path: &Path, forbidden: u32) -> Result<File, Refused> {
    let file = File::open(path)?;
    // Of the open file, not of the path: nobody can swap the one for the other in between.
    let mode = file.metadata()?.mode() & 0o7777;
    if mode & forbidden == 0 { Ok(file) } else { Err(Refused::Exposed(mode)) }
}
