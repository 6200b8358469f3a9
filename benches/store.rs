//! What sessions in Redis cost (`cargo xtask bench store`): a check that has to load its session against one that finds it in
//! memory; a million sessions in Redis and 100,000 of them in use at one gate; the log-out of a subject with 10,000 sessions,
//! all in use at two gates.
//!
//! Real gates and a real Redis on this machine. CPU is the gate's own, as in `checks.rs`; what Redis and the client use is not
//! in it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a benchmark reports to a terminal"
)]

mod store {
    pub(crate) mod crowd;
    pub(crate) mod gate;
    pub(crate) mod logout;
}

use std::time::Instant;

use anyhow::{Context as _, ensure};
use e2e::gate::Store;
use e2e::measure::{Load, Requests, Row, Table};
use e2e::redis::{Redis, RedisOptions};

use serde_json::json;
use store::crowd::Crowd;
use store::gate::{Gate, Policies};

/// Bytes of a session's claims where CPU is measured, and where memory is.
const CLAIMS: [usize; 2] = [256, 1_024];

#[derive(Clone, Copy)]
struct Effort {
    /// Checks of a round.
    saturated: usize,
    single: usize,
    rounds: usize,
    /// Sessions in Redis, and how many of them are in use.
    sessions: usize,
    hot: usize,
    /// Sessions of the subject that is logged out, and how often.
    everywhere: usize,
    logouts: usize,
}

fn main() -> anyhow::Result<()> {
    let quick = std::env::var_os("CLOAKROOM_BENCH_QUICK").is_some();
    let effort = if quick {
        Effort {
            saturated: 2_000,
            single: 1_000,
            rounds: 3,
            sessions: 50_000,
            hot: 10_000,
            everywhere: 2_000,
            logouts: 2,
        }
    } else {
        Effort {
            saturated: 4_000,
            single: 2_000,
            rounds: 9,
            sessions: 1_000_000,
            hot: 100_000,
            everywhere: 10_000,
            logouts: 5,
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let mut table = Table::default();
        misses(effort, &mut table).await?;
        many(effort, &mut table).await?;
        store::logout::everywhere(effort.everywhere, effort.logouts, &mut table).await?;
        table.print("store")
    })
}

/// The store of a gate whose Redis this is.
fn in_redis(redis: &Redis) -> Store {
    Store::Redis(json!({ "kind": "redis", "redis": { "url": redis.url() } }))
}

/// Sessions that the gate has never loaded against the same ones just after it has. A refusal shows the cost of the load
/// alone; an allowed request also signs the session's first JWT.
async fn misses(effort: Effort, table: &mut Table) -> anyhow::Result<()> {
    let policies = Policies::rules(100, 1);
    for (what, role) in [("refused (no JWT)", "stranger"), ("allowed (JWT signed)", "customer")] {
        for (how, load, checks) in
            [("saturated", Load::Saturated, effort.saturated), ("one at a time", Load::OneAtATime, effort.single)]
        {
            let redis = Redis::spawn(RedisOptions::default()).await?;
            let gate = Gate::start(policies.gate(in_redis(&redis), "256Mi")?).await?;
            let crowd = Crowd::of(&redis, &gate).await?;
            let (mut misses, mut hits) = (Vec::new(), Vec::new());
            // The first round warms up and is not counted.
            for round in 0..=effort.rounds {
                let ids = round * checks..(round + 1) * checks;
                let made = crowd.create(ids, CLAIMS[0], role, |n| format!("user-{n}")).await?;
                let requests = Requests::many(made.iter().map(|made| policies.hot(&made.token)).collect());
                let loads = loads(&gate).await?;
                let miss = load.measure(&gate.usage(), &gate.socket()?, &requests, checks).await?;
                let hit = load.measure(&gate.usage(), &gate.socket()?, &requests, checks).await?;
                let loads = self::loads(&gate).await? - loads;
                ensure!(loads == checks as u64, "{loads} loads and not {checks}");
                if round > 0 {
                    misses.push(miss);
                    hits.push(hit);
                }
            }
            table.push(Row::ratio(format!("miss against hit, Redis, {what}, {how}"), &misses, &hits));
        }
    }
    Ok(())
}

/// Many sessions in Redis, and some of them in use.
async fn many(effort: Effort, table: &mut Table) -> anyhow::Result<()> {
    let policies = Policies::rules(100, 1);
    let redis = Redis::spawn(RedisOptions::default()).await?;
    let first = Gate::start(policies.gate(in_redis(&redis), "2Gi")?).await?;
    let crowd = Crowd::of(&redis, &first).await?;

    let (before, began) = (used_memory(&redis).await?, Instant::now());
    let mut from = 0;
    // Those in use come last: what is long made is due to be touched.
    let in_use = effort.sessions - 2 * effort.hot;
    while from < in_use {
        let to = in_use.min(from + 50_000);
        crowd.create(from..to, CLAIMS[1], "customer", |n| format!("user-{n}")).await?;
        from = to;
        eprintln!("{to} of {} sessions are in Redis", effort.sessions);
    }
    let mut hot = Vec::new();
    for role in ["stranger", "customer"] {
        hot.push(crowd.create(from..from + effort.hot, CLAIMS[1], role, |n| format!("user-{n}")).await?);
        from += effort.hot;
    }
    let took = began.elapsed().as_secs_f64();
    table.push(Row::number("sessions made in Redis", effort.sessions as f64 / took, "a second"));
    let used = used_memory(&redis).await? - before;
    table.push(Row::bytes("Redis, one of many sessions of 1 KiB", used, effort.sessions as u64));
    table.push(Row::bytes("Redis, all of them", used, 1));
    for (what, bytes) in crowd.memory_of(&redis, &hot[0]).await? {
        table.push(Row::bytes(format!("Redis, {what}"), bytes, 1));
    }

    for (what, made) in ["no JWT", "with its JWT"].into_iter().zip(&hot) {
        let gate = Gate::start(policies.gate(in_redis(&redis), "2Gi")?.with_keys_of(&first.0)).await?;
        let few = Gate::start(policies.gate(in_redis(&redis), "2Gi")?.with_keys_of(&first.0)).await?;
        let ten = Requests::many(made.iter().take(10).map(|made| policies.hot(&made.token)).collect());
        // Connections, buffers and the first sessions are there before it is measured.
        for gate in [&gate, &few] {
            Load::Saturated.measure(&gate.usage(), &gate.socket()?, &ten, 2_000).await?;
        }
        let (resident, anonymous) = (gate.usage().resident()?, gate.usage().anonymous()?);
        let all = Requests::many(made.iter().map(|made| policies.hot(&made.token)).collect());
        Load::Saturated.measure(&gate.usage(), &gate.socket()?, &all, made.len()).await?;
        let (resident, anonymous) = (gate.usage().resident()? - resident, gate.usage().anonymous()? - anonymous);
        let each = made.len() as u64 - 10;
        table.push(Row::bytes(format!("gate, one of {} cached sessions, {what}", made.len()), resident, each));
        table.push(Row::bytes("the same without the files' pages", anonymous, each));

        // In an order that has nothing to do with that in which they came into memory.
        let mut tokens: Vec<&str> = made.iter().map(|made| made.token.as_str()).collect();
        tokens.sort_unstable_by_key(|token| token.bytes().rev().collect::<Vec<_>>());
        let (mut of_all, mut of_ten) = (Vec::new(), Vec::new());
        for some in tokens.chunks(made.len().div_ceil(effort.rounds)) {
            let requests = Requests::many(some.iter().map(|token| policies.hot(token)).collect());
            // After a minute each session is loaded again, and after half of one each JWT is signed again: here, where it is
            // not counted, and where it still happens in a round, that is left out.
            Load::Saturated.measure(&gate.usage(), &gate.socket()?, &requests, some.len()).await?;
            Load::Saturated.measure(&few.usage(), &few.socket()?, &ten, 2_000).await?;
            let before = work(&[&gate, &few]).await?;
            let many = Load::Saturated.measure(&gate.usage(), &gate.socket()?, &requests, some.len()).await?;
            let of_few = Load::Saturated.measure(&few.usage(), &few.socket()?, &ten, some.len()).await?;
            if work(&[&gate, &few]).await? == before {
                of_all.push(many);
                of_ten.push(of_few);
            }
        }
        if !of_all.is_empty() {
            table.push(Row::ratio(format!("hit, {} sessions in use against 10, {what}", made.len()), &of_all, &of_ten));
        }
        table.push(Row::number("rounds of it that count", of_all.len() as f64, "rounds"));
    }
    Ok(())
}

async fn used_memory(redis: &Redis) -> anyhow::Result<u64> {
    Ok(redis.info("used_memory").await?.parse()?)
}

/// How many sessions these gates have loaded, and how many JWTs signed.
async fn work(gates: &[&Gate]) -> anyhow::Result<u64> {
    let mut sum = 0;
    for gate in gates {
        sum += loads(gate).await? + metric(gate, "cloakroom_session_jwts_total{source=\"minted\"}").await?;
    }
    Ok(sum)
}

async fn loads(gate: &Gate) -> anyhow::Result<u64> {
    metric(gate, "cloakroom_store_loads_total").await
}

async fn metric(gate: &Gate, name: &str) -> anyhow::Result<u64> {
    let metrics = gate.0.metrics().await?;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("no {name} in the metrics"))?.parse()?)
}
