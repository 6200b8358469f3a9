//! Which process is the cluster's, in a way that no other process can be taken for it.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

const FILE: &str = "node.json";

/// A process by its number, and what tells it from a later one of that number.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pid: u32,
    /// In ticks after the boot (proc_pid_stat(5)).
    started: u64,
    boot: String,
}

impl Record {
    pub(super) fn of(pid: u32) -> Result<Self> {
        let started = started(pid).with_context(|| format!("process {pid} is gone"))?;
        Ok(Self { pid, started, boot: boot()? })
    }

    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let partial = folder.join(".node.json");
        fs::write(&partial, serde_json::to_vec(self)?)?;
        Ok(fs::rename(partial, folder.join(FILE))?)
    }

    pub(super) fn read(folder: &Path) -> Result<Option<Self>> {
        match fs::read(folder.join(FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| format!("the record in {FILE}")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(FILE),
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        boot().is_ok_and(|it| it == self.boot) && started(self.pid) == Some(self.started)
    }

    /// Kills the grandchild of this name: `unshare` has the node as its child, and that has the parts.
    pub(super) fn kill_below(&self, name: &str) -> Result<()> {
        let parts = children(self.pid).into_iter().flat_map(children);
        let is_it = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|it| it.trim() == name);
        let part = parts.into_iter().find(is_it).and_then(open).with_context(|| format!("no {name} runs"))?;
        Ok(pidfd_send_signal(part, Signal::KILL)?)
    }

    /// Kills it and its children, of which the kernel ends the rest, and waits until they are gone. Says whether it ran.
    pub(super) fn end(&self, patience: Duration) -> Result<bool> {
        let Some(process) = open(self.pid) else { return Ok(false) };
        // Asked after it was opened: what is open now is what is on record.
        if !self.is_alive() {
            return Ok(false);
        }
        let children: Vec<Self> = children(self.pid).into_iter().filter_map(|pid| Self::of(pid).ok()).collect();
        pidfd_send_signal(&process, Signal::KILL).ok();
        for child in &children {
            // `unshare` has it killed with itself; this is for one that was started in between.
            if let Some(process) = open(child.pid).filter(|_| child.is_alive()) {
                pidfd_send_signal(&process, Signal::KILL).ok();
            }
        }
        let deadline = Instant::now() + patience;
        while self.is_alive() || children.iter().any(Self::is_alive) {
            ensure!(Instant::now() < deadline, "process {} does not end", self.pid);
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(true)
    }
}

fn open(pid: u32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()
}

fn boot() -> Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// When a process was started; nothing for one that has ended, whether or not somebody has waited for it.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    // The 22nd field; the state is the third.
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18)?.parse().ok())?
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|it| it.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_record_is_of_one_process_only() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Record::read(folder.path()).expect("no record").is_none());
        let mut child = Command::new("sleep").arg("600").spawn().expect("sleep starts");
        Record::of(child.id()).expect("it runs").write(folder.path()).expect("written");
        let record = Record::read(folder.path()).expect("readable").expect("a record");
        assert!(record.is_alive());
        let reused = Record { started: record.started - 1, ..Record::of(child.id()).expect("it runs") };
        assert!(!reused.is_alive() && !reused.end(Duration::ZERO).expect("nothing to end"));
        let rebooted = Record { boot: "another".to_owned(), ..Record::of(child.id()).expect("it runs") };
        assert!(!rebooted.is_alive());
        assert!(record.is_alive());
        assert!(record.end(Duration::from_secs(20)).expect("it ends"));
        assert!(!record.is_alive());
        assert!(!child.wait().expect("it has ended").success());
        assert!(!record.end(Duration::ZERO).expect("nothing to end"));
    }
}
