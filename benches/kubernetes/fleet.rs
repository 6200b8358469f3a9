//! What gates cost the API server: by how many of them watch.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use e2e::checker::Checker;
use e2e::gate::Cloakroom;
use e2e::measure::{Row, Table, Usage};
use e2e::process::wait_until;
use http::Method;
use serde_json::json;

use super::cluster::Cluster;

/// How long the API server is watched at rest, and while policies change.
const SPELL: Duration = Duration::from_secs(20);
/// Changes a second meanwhile.
const CHANGES: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn measure(cluster: &Cluster, counts: [usize; 2], table: &mut Table) -> Result<()> {
    let server = Usage::of(cluster.server.process().pid());
    let mut gates: Vec<Cloakroom> = Vec::new();
    for count in std::iter::once(0).chain(counts) {
        let (before, began) = (server.read()?, Instant::now());
        let added = count - gates.len();
        while gates.len() < count {
            gates.push(Cloakroom::spawn(cluster.gate()?).await?);
        }
        if added > 0 {
            let each = before.until(&server.read()?, added).cpu / 1e6;
            table.push(Row::number(format!("API server, CPU for the start of each gate up to {count}"), each, "ms"));
            table.push(Row::number(
                format!("gates started a second, up to {count}, one after the other"),
                added as f64 / began.elapsed().as_secs_f64(),
                "a second",
            ));
        }
        spell(cluster, &gates, &server, table).await?;
    }
    Ok(())
}

/// The API server with these gates: at rest, and while one policy changes.
async fn spell(cluster: &Cluster, gates: &[Cloakroom], server: &Usage, table: &mut Table) -> Result<()> {
    let count = gates.len();
    let share = |cpu_nanos: f64, took: Duration| cpu_nanos / took.as_nanos() as f64 * 100.0;
    let (before, began) = (server.read()?, Instant::now());
    tokio::time::sleep(SPELL).await;
    let rest = share(before.until(&server.read()?, 1).cpu, began.elapsed());
    table.push(Row::number(format!("API server, CPU at rest, {count} gates"), rest, "% of a core"));
    table.push(Row::bytes(format!("API server, resident, {count} gates"), server.resident()?, 1));
    table.push(Row::number(format!("watches, {count} gates"), watches(cluster).await?, "in all"));

    let (before, began) = (server.read()?, Instant::now());
    let mut changes = 0;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / CHANGES);
    while began.elapsed() < SPELL {
        ticks.tick().await;
        changes += 1;
        cluster
            .write("changing", "changing.example", &json!([{ "name": format!("v{changes}"), "access": "Public" }]))
            .await?;
    }
    let took = began.elapsed();
    let cpu = before.until(&server.read()?, 1).cpu;
    table.push(Row::number(
        format!("API server, CPU, {CHANGES} changes a second, {count} gates"),
        share(cpu, took),
        "% of a core",
    ));
    table.push(Row::number(
        format!("API server, CPU of a change above rest, {count} gates"),
        (cpu - rest / 100.0 * took.as_nanos() as f64) / f64::from(changes) / 1e6,
        "ms",
    ));
    // The last change has arrived everywhere: they do follow.
    cluster.write("changing", "changing.example", &json!([{ "access": "Deny" }])).await?;
    let (written, mut slowest) = (Instant::now(), Duration::ZERO);
    for gate in gates {
        let checker = Checker::connect(&gate.grpc()?).await?;
        let refused = async || checker.get("changing.example", "/", "x").await.is_ok_and(|it| it.status == 403);
        wait_until(PATIENCE, "change at a gate", refused).await?;
        slowest = slowest.max(written.elapsed());
    }
    if count > 0 {
        let millis = slowest.as_secs_f64() * 1e3;
        table.push(Row::number(format!("a change seen at all {count} gates, asked in turn"), millis, "ms"));
    }
    Ok(())
}

/// The watches of the kinds that gates follow, as the API server counts them.
async fn watches(cluster: &Cluster) -> Result<f64> {
    let (_, metrics) = cluster.server.api(Method::GET, "/metrics", None).await?;
    let metrics = metrics.as_str().context("the API server has no metrics")?;
    let ours = |line: &&str| {
        line.starts_with("apiserver_longrunning_requests{")
            && line.contains("verb=\"WATCH\"")
            && ["cloakroom.dev", "gateway.networking.k8s.io"].iter().any(|group| line.contains(group))
    };
    let count = |line: &str| line.rsplit_once(' ').and_then(|(_, count)| count.parse::<f64>().ok());
    metrics.lines().filter(ours).map(|line| count(line).context("a metric without a number")).sum()
}
