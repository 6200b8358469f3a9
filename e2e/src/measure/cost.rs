//! What a process has used, by the kernel's own count.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::iter::Sum;
use std::time::Duration;

use anyhow::{Context, Result};

/// A process to be read.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pid: u32,
}

/// What a number of requests cost a process.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// CPU of one request, in nanoseconds.
    pub cpu: f64,
}

/// A reading: CPU time of each thread so far, in nanoseconds. Threads apart, since one that ends takes its time with it.
#[derive(Clone, Debug)]
pub struct Reading(HashMap<OsString, u64>);

impl Usage {
    /// That of the process with this number.
    pub fn of(pid: u32) -> Self {
        Self { pid }
    }

    /// CPU time of its threads so far.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn read(&self) -> Result<Reading> {
        let mut threads = HashMap::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.pid)).context("the process is gone")? {
            let task = task?;
            // A thread may end between the listing and this.
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
            let cpu = text.split_whitespace().next().context("schedstat is empty")?.parse()?;
            threads.insert(task.file_name(), cpu);
        }
        Ok(Reading(threads))
    }

    /// Resident memory, in bytes.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resident(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    /// Resident memory that is not a file's pages, in bytes.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn anonymous(&self) -> Result<u64> {
        self.status("RssAnon:")
    }

    fn status(&self, field: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field in status")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }
}

/// The readings of several processes as one.
impl Sum for Reading {
    fn sum<I: Iterator<Item = Self>>(readings: I) -> Self {
        // The kernel's numbers of threads are those of no other process.
        Self(readings.flat_map(|it| it.0).collect())
    }
}

/// CPU time that all processors of the machine have spent on anything since it was started, in steps of 10 ms.
///
/// # Errors
/// When the kernel does not say.
pub fn busy() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let all = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("no line for all processors")?;
    let ticks = all.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    // user, nice, system, idle, iowait, irq, softirq, steal (proc(5)); what follows is in the first two already.
    let busy = ticks.iter().take(8).enumerate().filter(|(field, _)| !matches!(field, 3 | 4)).map(|(_, ticks)| ticks);
    Ok(Duration::from_millis(busy.sum::<u64>() * 10))
}

impl Reading {
    /// What was used from this reading to that one, for each of `requests`.
    #[expect(clippy::cast_precision_loss, reason = "2^53 ns are 104 days")]
    pub fn until(&self, after: &Self, requests: usize) -> Cost {
        let since = |(thread, cpu): (&OsString, &u64)| cpu.saturating_sub(self.0.get(thread).copied().unwrap_or(0));
        let used: u64 = after.0.iter().map(since).sum();
        Cost { cpu: used as f64 / requests as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(threads: &[(&str, u64)]) -> Reading {
        Reading(threads.iter().map(|(thread, cpu)| (OsString::from(thread), *cpu)).collect())
    }

    #[test]
    fn a_thread_that_ended_takes_nothing_back() {
        let (before, after) = (reading(&[("1", 500), ("2", 9_000)]), reading(&[("1", 800), ("3", 100)]));
        assert!((before.until(&after, 4).cpu - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_process_reads_itself() {
        let usage = Usage::of(std::process::id());
        let (before, all) = (usage.read().expect("it runs"), busy().expect("the kernel says"));
        let mut spent = before.clone();
        // A reading changes once the kernel has counted: at the next tick at the latest.
        while before.until(&spent, 1).cpu <= 0.0 {
            spent = usage.read().expect("it runs");
        }
        assert!(busy().expect("the kernel says") >= all);
        assert!(usage.anonymous().expect("it runs") < usage.resident().expect("it runs"));
    }
}
