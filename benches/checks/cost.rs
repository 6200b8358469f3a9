//! What a process has used, by the kernel's own count.

use std::fs;

use anyhow::Context as _;

/// A process to be read.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    pid: u32,
}

/// What a number of checks cost a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// CPU of one check, in nanoseconds.
    pub(crate) cpu: f64,
}

/// A reading.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    cpu: u64,
}

impl Usage {
    pub(crate) fn of(pid: u32) -> Self {
        Self { pid }
    }

    /// CPU time of all threads so far.
    pub(crate) fn read(&self) -> anyhow::Result<Reading> {
        let mut cpu = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid)).context("the server is gone")? {
            let path = task?.path().join("schedstat");
            let text = fs::read_to_string(&path)?;
            cpu += text.split_whitespace().next().context("schedstat is empty")?.parse::<u64>()?;
        }
        Ok(Reading { cpu })
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        self.status("VmRSS:")
    }

    /// Resident memory that is not a file's pages, in bytes.
    pub(crate) fn anonymous(&self) -> anyhow::Result<u64> {
        self.status("RssAnon:")
    }

    fn status(&self, field: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field in status")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }
}

impl Reading {
    /// What was used since, for each of `checks`.
    pub(crate) fn until(self, after: Self, checks: usize) -> Cost {
        Cost { cpu: (after.cpu - self.cpu) as f64 / checks as f64 }
    }
}
