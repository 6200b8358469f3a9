//! How soon a log-out is felt everywhere: ten gates with their defaults on one real Redis, sessions in use through each, and
//! one session after the other revoked at a gate chosen at random (`cargo xtask bench revocation`).
//!
//! What counts is a **wrong 200**: a check that was sent after the revoke's answer had arrived, and passed. From the answer to
//! the moment when the last one was sent, at any of the gates, is the figure; 0 when there was none. A session that is
//! revoked is asked for at every gate every few milliseconds, the gates in turn, from before its end until a while after
//! all of them have refused it, and now and then for some time after that. So a pass can hide for no longer than the
//! pause between two checks at one gate.
//!
//! Whether late passes would be seen at all is tried, too: with gates that may not ask Redis to tell them of changes, which
//! load a session again after half a second.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a benchmark reports to a terminal"
)]

mod revocation {
    pub(crate) mod fleet;
    pub(crate) mod steady;
    pub(crate) mod watch;
}

use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::measure::{Row, Table, busy};
use revocation::fleet::{Fleet, Tracking};
use revocation::steady::Steady;
use revocation::watch::{Watched, watch};

/// How many gates there are.
const GATES: usize = 10;
/// How many sessions a subject has that is logged out everywhere.
const SESSIONS: usize = 10;

/// How many sessions are revoked, how many subjects logged out, and how many sessions revoked where no gate is told.
#[derive(Clone, Copy)]
struct Effort {
    revocations: usize,
    subjects: usize,
    untold: usize,
}

fn main() -> anyhow::Result<()> {
    let quick = std::env::var_os("CLOAKROOM_BENCH_QUICK").is_some();
    let effort = if quick {
        Effort { revocations: 100, subjects: 20, untold: 10 }
    } else {
        Effort { revocations: 1_000, subjects: 200, untold: 50 }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let mut table = Table::default();
        let ends = [("one session", effort.revocations, 1), ("all of a subject", effort.subjects, SESSIONS)];
        ended(Tracking::Allowed, &ends, &mut table).await?;
        ended(Tracking::Forbidden, &[("not told of", effort.untold, 1)], &mut table).await?;
        table.print("revocation")
    })
}

/// Ends sessions one after the other: what, how often, and how many at once.
async fn ended(tracking: Tracking, ends: &[(&str, usize, usize)], table: &mut Table) -> anyhow::Result<()> {
    let fleet = Arc::new(Fleet::start(GATES, tracking).await?);
    let steady = Steady::begin(&fleet).await?;
    let (began, busy_before, before) = (Instant::now(), busy()?, fleet.read()?);
    let mut watched = Vec::new();
    for &(what, rounds, sessions) in ends {
        let mut ended = Vec::new();
        for round in 0..rounds {
            let this = watch(&fleet, sessions).await?;
            steady.remember(&this);
            ended.push(this);
            if (round + 1) % 100 == 0 {
                eprintln!("{what}: {} of {rounds}", round + 1);
            }
        }
        watched.push((what, ended));
    }
    let (took, machine, after) = (began.elapsed(), busy()? - busy_before, fleet.read()?);
    // The last answers first: then all is known.
    let asked = steady.end().await?;

    for (what, ended) in &watched {
        rows(table, what, ended);
    }
    let checks = asked.checks + watched.iter().flat_map(|(_, ended)| ended).map(|it| it.checks()).sum::<usize>();
    table.push(Row::number("checks at all gates together", checks as f64 / took.as_secs_f64(), "a second"));
    table.push(Row::number("checks of other sessions that were not 200", asked.refused as f64, "in all"));
    let share = |used: Duration| used.as_secs_f64() * 100.0 / took.as_secs_f64();
    let used = |part: usize| Duration::from_secs_f64(before[part].until(&after[part], 1).cpu / 1e9);
    let parts = [("all gates", used(0)), ("Redis", used(1)), ("this client", used(2))];
    for (part, used) in parts {
        table.push(Row::number(format!("CPU of {part}"), share(used), "% of a core"));
    }
    let others = machine.saturating_sub(parts.iter().map(|(_, used)| *used).sum());
    table.push(Row::number("CPU of everything else on the machine", share(others), "% of a core"));
    Ok(())
}

fn rows(table: &mut Table, what: &str, ended: &[Arc<Watched>]) {
    let times = |of: fn(&Watched) -> Duration| ended.iter().map(move |it| of(it));
    table.push(Row::times(format!("{what}: revoke answered to last wrong 200"), times(Watched::answer_to_last_pass)));
    table.push(Row::times(format!("{what}: revoke sent to last 200"), times(Watched::request_to_last_pass)));
    table.push(Row::times(format!("{what}: revoke sent to answered"), times(Watched::request_to_answer)));
    let late = ended.iter().filter(|it| !it.answer_to_last_pass().is_zero()).count();
    table.push(Row::number(format!("{what}: with any wrong 200"), late as f64, "revocations"));
    let unanswered = ended.iter().map(|it| it.unanswered()).sum::<usize>();
    table.push(Row::number(format!("{what}: answers neither 200 nor 401"), unanswered as f64, "checks"));
}
