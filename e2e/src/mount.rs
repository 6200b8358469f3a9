//! A folder as kubelet makes of a Secret: files are links into a folder that is exchanged as a whole.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::Path;

use anyhow::{Context, Result};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::Value;

/// A mounted Secret.
pub struct Mount {
    folder: tempfile::TempDir,
    writes: u32,
}

impl Mount {
    /// With these files.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn of(files: &BTreeMap<String, String>) -> Result<Self> {
        let mut mount = Self { folder: tempfile::Builder::new().prefix("mount-").tempdir()?, writes: 0 };
        mount.update(files)?;
        Ok(mount)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Has these files from now on, and no others: all at once.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn update(&mut self, files: &BTreeMap<String, String>) -> Result<()> {
        self.writes += 1;
        let fresh = format!("..{}", self.writes);
        std::fs::create_dir(self.path().join(&fresh))?;
        for (name, content) in files {
            let path = self.path().join(&fresh).join(name);
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create_new(true).mode(0o440).open(path)?.write_all(content.as_bytes())?;
        }
        symlink(&fresh, self.path().join("..data_tmp"))?;
        std::fs::rename(self.path().join("..data_tmp"), self.path().join("..data"))?;
        for name in files.keys().filter(|name| self.path().join(name).symlink_metadata().is_err()) {
            symlink(Path::new("..data").join(name), self.path().join(name))?;
        }
        for entry in std::fs::read_dir(self.path())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with("..") && !files.contains_key(&name) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// The files in a Secret, as the API has it.
///
/// # Errors
/// When it has none, or one is no text.
pub fn files_of(secret: &Value) -> Result<BTreeMap<String, String>> {
    let data = secret["data"].as_object().context("a Secret without data")?;
    let file = |(name, value): (&String, &Value)| {
        let content = BASE64_STANDARD.decode(value.as_str().unwrap_or_default())?;
        Ok((name.clone(), String::from_utf8(content)?))
    };
    data.iter().map(file).collect()
}
