//! What a check costs: the server's own CPU per check against a bare tonic server that always answers OK with the same
//! header bytes ("the floor"), both over a socket file, taken in turns in one run (`cargo xtask bench checks`). Allocations are counted inside the process, by the benchmark `decision`, which the same command runs after.
//!
//! CPU is `/proc/PID/task/*/schedstat`: time on a processor as the kernel counts it, which hardly moves when neighbours take
//! the processor away. Latency and throughput do move, so they are not reported.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a benchmark reports to a terminal"
)]

/// The floor runs on the allocator that the gate runs on.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod checks {
    pub(crate) mod floor;
    pub(crate) mod gate;
    pub(crate) mod load;
    pub(crate) mod report;
    pub(crate) mod writes;
}

use std::path::PathBuf;

use checks::gate::{Gate, Policies};
use checks::load::{Load, Requests};
use checks::report::{Report, Row};
use checks::writes::Writes;
use e2e::measure::{Cost, Usage};

/// How many checks a round has, and how many rounds of each are taken in turns.
#[derive(Clone, Copy)]
struct Effort {
    saturated: usize,
    single: usize,
    rounds: usize,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).map(String::as_str) == Some("floor") {
        return checks::floor::serve(&PathBuf::from(&arguments[2]), arguments[3].parse()?);
    }
    let quick = std::env::var_os("CLOAKROOM_BENCH_QUICK").is_some();
    let effort = if quick {
        Effort { saturated: 20_000, single: 4_000, rounds: 3 }
    } else {
        Effort { saturated: 60_000, single: 15_000, rounds: 9 }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(run(effort))
}

async fn run(effort: Effort) -> anyhow::Result<()> {
    let mut report = Report::default();
    let mut at_ten_rules = None;
    for policies in [Policies::rules(10, 1), Policies::rules(100, 1), Policies::rules(10_000, 1_000)] {
        let gate = Gate::start(&policies).await?;
        let session = gate.create_session(0, 256, "customer").await?;
        let floor = checks::floor::Floor::start(gate.jwt_bytes(&session).await?, None)?;
        let hot = Requests::one(gate.request(&session.token, policies.hot()));
        for (how, load, checks) in [
            ("saturated", Load::Saturated, effort.saturated),
            ("one at a time", Load::OneAtATime, effort.single),
            ("2,000/s", Load::Rate(2_000), effort.single.min(8_000)),
        ] {
            let (ours, floors) = in_turns(
                effort.rounds,
                checks,
                load,
                (gate.usage(), gate.socket()),
                (floor.usage(), floor.socket()),
                &hot,
            )
            .await?;
            report.push(Row::ratio(format!("hit, {} rules, {how}", policies.count()), &ours, &floors));
            if matches!(load, Load::Saturated) {
                match (&at_ten_rules, policies.count()) {
                    (None, 10) => at_ten_rules = Some(ours),
                    (Some(ten), 10_000) => {
                        report.push(Row::ratio("10,000 rules against 10, saturated".to_owned(), &ours, ten))
                    }
                    _ => {}
                }
            }
        }
    }
    writes(effort, &mut report).await?;
    miss(effort, &mut report).await?;
    memory(&mut report).await?;
    report.print()?;
    Ok(())
}

/// The same load at two servers, in turns, after one round each that is not counted.
async fn in_turns(
    rounds: usize,
    checks: usize,
    load: Load,
    ours: (Usage, PathBuf),
    floor: (Usage, PathBuf),
    requests: &Requests,
) -> anyhow::Result<(Vec<Cost>, Vec<Cost>)> {
    let (mut of_ours, mut of_floor) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let a = load.measure(&ours.0, &ours.1, requests, checks).await?;
        let b = load.measure(&floor.0, &floor.1, requests, checks).await?;
        if round > 0 {
            of_ours.push(a);
            of_floor.push(b);
        }
    }
    Ok((of_ours, of_floor))
}

/// Write calls a check. In rounds of their own, as counting costs something too.
async fn writes(effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    let policies = Policies::rules(100, 1);
    let (of_gate, of_floor) = (Writes::new()?, Writes::new()?);
    let gate = Gate::counted(&policies, &of_gate).await?;
    let session = gate.create_session(0, 256, "customer").await?;
    let floor = checks::floor::Floor::start(gate.jwt_bytes(&session).await?, Some(&of_floor))?;
    let hot = Requests::one(gate.request(&session.token, policies.hot()));
    for (how, load) in
        [("saturated", Load::Saturated), ("one at a time", Load::OneAtATime), ("2,000/s", Load::Rate(2_000))]
    {
        let (ours, floors) = (of_gate.read()?, of_floor.read()?);
        load.measure(&gate.usage(), &gate.socket(), &hot, effort.single).await?;
        load.measure(&floor.usage(), &floor.socket(), &hot, effort.single).await?;
        let (ours, floors) = (of_gate.read()? - ours, of_floor.read()? - floors);
        report.push(Row::each(format!("write calls a check, {how}"), effort.single, ours, floors));
    }
    Ok(())
}

/// Cold sessions of the embedded store against hot ones: every check of a miss round asks for a session that this gate has
/// never loaded, so the sessions are made by one gate and asked of the next on the same file. A refusal shows the cost of the
/// load alone; an allowed request also signs the session's first JWT.
async fn miss(effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    let policies = Policies::rules(100, 1);
    let per_round = 4_000;
    for (what, role) in [
        ("miss against hit, embedded store, refused (no JWT)", "stranger"),
        ("miss against hit, embedded store, allowed (JWT signed)", "customer"),
    ] {
        let gate = Gate::start(&policies).await?;
        let mut tokens = Vec::new();
        for batch in 0..effort.rounds {
            tokens.push(gate.create_sessions(batch * per_round, per_round, 256, role).await?);
        }
        let gate = gate.restart().await?;
        let (mut misses, mut hits) = (Vec::new(), Vec::new());
        for batch in &tokens {
            let requests = Requests::many(batch.iter().map(|token| gate.request(token, policies.hot())).collect());
            misses.push(Load::Saturated.measure(&gate.usage(), &gate.socket(), &requests, per_round).await?);
            hits.push(Load::Saturated.measure(&gate.usage(), &gate.socket(), &requests, per_round).await?);
        }
        report.push(Row::ratio(what.to_owned(), &misses, &hits));
    }
    Ok(())
}

/// Resident memory of an idle gate, and what 10,000 cached sessions of 1 KiB add to it, without and with a JWT beside each.
async fn memory(report: &mut Report) -> anyhow::Result<()> {
    const SESSIONS: usize = 10_000;
    let policies = Policies::rules(100, 1);
    let gate = Gate::start(&policies).await?;
    report.push(Row::bytes("idle, anonymous memory", gate.usage().anonymous()?, 1));
    report.push(Row::bytes("idle, resident (with the program's own pages)", gate.usage().resident()?, 1));
    for (what, role) in [("1 KiB", "stranger"), ("1 KiB and its JWT", "customer")] {
        let gate = Gate::start(&policies).await?;
        let tokens = gate.create_sessions(0, SESSIONS, 1_024, role).await?;
        let gate = gate.restart().await?;
        let before = gate.usage().anonymous()?;
        let requests = Requests::many(tokens.iter().map(|token| gate.request(token, policies.hot())).collect());
        Load::Saturated.measure(&gate.usage(), &gate.socket(), &requests, tokens.len()).await?;
        let after = gate.usage().anonymous()?;
        report.push(Row::bytes(
            &format!("10,000 cached sessions of {what}, resident in all"),
            gate.usage().resident()?,
            1,
        ));
        report.push(Row::bytes(
            &format!("per cached session of {what}"),
            after.saturating_sub(before),
            SESSIONS as u64,
        ));
    }
    Ok(())
}
