//! What a process has used, by the kernel's own count.

use std::fs;

use anyhow::Context as _;

/// A process to be read.
#[derive(Clone, Copy)]
pub struct Usage {
    pid: u32,
}

/// What a number of checks cost a server.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// CPU of one check, in nanoseconds.
    pub cpu: f64,
    /// Write calls of one check.
    pub writes: f64,
}

/// A reading.
#[derive(Clone, Copy)]
pub struct Reading {
    cpu: u64,
    writes: u64,
}

impl Usage {
    pub fn of(pid: u32) -> Self {
        Self { pid }
    }

    /// CPU time of all threads and the count of write calls, so far.
    pub fn read(&self) -> anyhow::Result<Reading> {
        let mut cpu = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid)).context("the server is gone")? {
            let path = task?.path().join("schedstat");
            let text = fs::read_to_string(&path)?;
            cpu += text.split_whitespace().next().context("schedstat is empty")?.parse::<u64>()?;
        }
        let io = fs::read_to_string(format!("/proc/{}/io", self.pid))?;
        let line = io.lines().find_map(|line| line.strip_prefix("syscw: ")).context("no syscw")?;
        Ok(Reading { cpu, writes: line.parse()? })
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }
}

impl Reading {
    /// What was used since, for each of `checks`.
    pub fn until(self, after: Self, checks: usize) -> Cost {
        let each = |it: u64| it as f64 / checks as f64;
        Cost { cpu: each(after.cpu - self.cpu), writes: each(after.writes - self.writes) }
    }
}
