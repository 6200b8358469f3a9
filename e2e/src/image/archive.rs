//! Archives whose bytes depend on nothing but what is in them.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use flate2::{Compression, GzBuilder};

/// A tar archive in the making. Everything is root's, of 1970.
pub(super) struct Archive {
    tar: tar::Builder<Vec<u8>>,
    folders: BTreeSet<PathBuf>,
}

impl Default for Archive {
    fn default() -> Self {
        Self { tar: tar::Builder::new(Vec::new()), folders: BTreeSet::new() }
    }
}

impl Archive {
    /// A file, and the folders above it.
    pub(super) fn file(&mut self, path: &Path, content: &[u8], mode: u32) -> Result<()> {
        let above: Vec<_> = path.ancestors().skip(1).filter(|it| !it.as_os_str().is_empty()).collect();
        for folder in above.into_iter().rev() {
            if self.folders.insert(folder.to_owned()) {
                self.append(folder, &[], 0o755, tar::EntryType::Directory)?;
            }
        }
        self.append(path, content, mode, tar::EntryType::Regular)
    }

    fn append(&mut self, path: &Path, content: &[u8], mode: u32, kind: tar::EntryType) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(u64::try_from(content.len())?);
        Ok(self.tar.append_data(&mut header, path, content)?)
    }

    pub(super) fn finish(self) -> Result<Vec<u8>> {
        Ok(self.tar.into_inner()?)
    }
}

/// As gzip, without a name and a time.
pub(super) fn compress(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    gzip.write_all(bytes)?;
    Ok(gzip.finish()?)
}

/// `sha256:…`.
pub(super) fn digest(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Something that is found by its digest.
pub(super) struct Blob {
    content: Vec<u8>,
    digest: String,
}

impl Blob {
    pub(super) fn new(content: impl Into<Vec<u8>>) -> Self {
        let content = content.into();
        let digest = digest(&content);
        Self { content, digest }
    }

    pub(super) fn content(&self) -> &[u8] {
        &self.content
    }

    pub(super) fn digest(&self) -> String {
        self.digest.clone()
    }

    pub(super) fn size(&self) -> usize {
        self.content.len()
    }

    /// Where the OCI layout has it.
    pub(super) fn path(&self) -> String {
        format!("blobs/{}", self.digest.replace(':', "/"))
    }
}
