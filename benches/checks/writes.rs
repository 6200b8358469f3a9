//! How many write calls a server makes: counted in the server itself, by a small library that is loaded before the C library.
//! `/proc/PID/io` does not count `send`, by which a socket is written to, and tracing is not allowed everywhere.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};

/// A count of one process.
pub(crate) struct Writes {
    folder: tempfile::TempDir,
}

impl Writes {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let counting = Self { folder: tempfile::tempdir()? };
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/checks/writes.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O2", source, "-o"]).arg(counting.library());
        let status = cc.status().context("counting write calls needs a C compiler, as the build does")?;
        ensure!(status.success(), "the library that counts write calls was not built: {status}");
        std::fs::write(counting.file(), 0_u64.to_ne_bytes())?;
        Ok(counting)
    }

    /// Has the program counted that this starts.
    pub(crate) fn count(&self, command: &mut Command) {
        command.env("LD_PRELOAD", self.library()).env("COUNT_WRITES_IN", self.file());
    }

    /// The calls so far.
    pub(crate) fn read(&self) -> anyhow::Result<u64> {
        let bytes = std::fs::read(self.file())?;
        Ok(u64::from_ne_bytes(bytes.as_slice().try_into().context("the count is one number")?))
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("writes.so")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("count")
    }
}
