//! A disk that takes no more writes. The kernel refuses each one (`RLIMIT_FSIZE`), also to root, whom no file mode holds back.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::gate::{Cloakroom, GateOptions, Store};
use e2e::process::wait_until;
use serde_json::json;

use super::PATIENCE;
use crate::scene::cloakroom;

/// What starts gates whose disk can be taken away.
pub(super) struct Disk(tempfile::TempDir);

impl Disk {
    /// A gate that writes past the limit gets a signal that would end it. On a full disk there is none, so this one ignores it.
    pub(super) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let starter = format!("#!/bin/sh\ntrap '' XFSZ\nexec '{}' \"$@\"\n", cloakroom().display());
        // Written by another process: what this one has open for writing, a child of another test may hold open, too, and such
        // a file cannot be started.
        let mut writer = Command::new("sh");
        writer
            .args(["-c", "printf %s \"$1\" >\"$2\" && chmod 700 \"$2\"", "sh", &starter])
            .arg(folder.path().join("gate"));
        ensure!(writer.status()?.success());
        Ok(Self(folder))
    }

    /// The same gate, started so, with the store in a file.
    pub(super) fn under(&self, mut options: GateOptions) -> GateOptions {
        options.binary = self.0.path().join("gate");
        options.store = Store::Embedded;
        options
    }
}

/// Takes the disk away.
pub(super) fn fill(gate: &Cloakroom) -> Result<()> {
    limit(gate, "0:")
}

/// Gives it back, and waits until the store has noticed.
pub(super) async fn make_room(gate: &Cloakroom) -> Result<()> {
    limit(gate, "unlimited:")?;
    let works = async || gate.create_session(&json!({ "subject": "probe" })).await.is_ok();
    wait_until(PATIENCE, "store that works again", works).await
}

/// The soft limit alone, which may be raised again.
fn limit(gate: &Cloakroom, soft: &str) -> Result<()> {
    let mut prlimit = Command::new("prlimit");
    prlimit.arg(format!("--pid={}", gate.process().pid())).arg(format!("--fsize={soft}"));
    ensure!(prlimit.status().context("prlimit, of util-linux")?.success(), "prlimit failed");
    Ok(())
}
