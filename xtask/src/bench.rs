//! The benchmarks: ratios taken in one run on this machine, never a verdict.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use crate::cargo;
use crate::terminal;

#[derive(Args)]
pub(crate) struct Options {
    /// What to measure.
    #[arg(value_enum, default_value_t)]
    which: Bench,
    /// A third of the rounds: to see whether it runs, not to quote.
    #[arg(long)]
    quick: bool,
}

/// A benchmark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// CPU and write calls of a check against a bare tonic server, saturated, one at a time and at a rate, at 10, 100 and 10,000
    /// rules; misses; memory; and what `decision` prints, for the allocations of a check.
    #[default]
    Checks,
    /// Allocations and time of a decision inside the process.
    Decision,
    /// Requests through Envoy without ext_proc, with one that changes nothing, and with one that changes sessions: CPU of both,
    /// latency.
    Wayback,
    /// Ten gates on one Redis: how soon a log-out is felt at all of them.
    Revocation,
    /// Redis: a miss against a hit; a million sessions, 100,000 of them in use; the log-out of 10,000 at once.
    Store,
    /// Ten thousand policies: to compile them, to compile them again when one has changed, their memory, and a check among them.
    Policies,
    /// Policies from the API of Kubernetes: from written to enforced through Envoy; what 100 gates cost the API server.
    Kubernetes,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let names: &[&str] = match options.which {
        Bench::Checks => &["checks", "decision"],
        Bench::Decision => &["decision"],
        Bench::Wayback => &["wayback"],
        Bench::Revocation => &["revocation"],
        Bench::Store => &["store"],
        Bench::Policies => &["policies"],
        Bench::Kubernetes => &["kubernetes"],
    };
    terminal::line("Building with optimisations; the first time takes several minutes");
    for name in names {
        if names.len() > 1 {
            terminal::heading(name);
        }
        let mut command = cargo::cargo();
        command.args(["bench", "--package", "cloakroom", "--bench", name]);
        if options.quick {
            command.env("CLOAKROOM_BENCH_QUICK", "1");
        }
        let status = command.status()?;
        ensure!(status.success(), "the benchmark failed: {status}");
    }
    Ok(ExitCode::SUCCESS)
}
