//! From a policy's write to its effect on requests through Envoy.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::envoy::{Envoy, EnvoyConfig};
use e2e::gate::Cloakroom;
use e2e::http1::Connection;
use e2e::measure::{Row, Table};
use e2e::process::wait_until;
use e2e::sloppy::Sloppy;
use e2e::tools::EnvoyVersion;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;

const HOST: &str = "shop.localhost";
const NAME: &str = "measured";
/// The pause between two requests: a change can hide for no longer.
const EVERY: Duration = Duration::from_millis(2);
/// How long it is looked for an answer by the old policy after the first by the new one.
const LINGER: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(60);

/// Changes of one policy between two that answer differently; then policies made and deleted.
pub(crate) async fn measure(
    cluster: &Cluster,
    others: usize,
    changes: usize,
    deletions: usize,
    table: &mut Table,
) -> Result<()> {
    let gate = Cloakroom::spawn(cluster.gate()?).await?;
    let service = Sloppy::spawn().await?;
    let mut config = EnvoyConfig::shipped()?;
    config.plain()?.gate(&gate.grpc()?)?;
    config.service("shop", service.address())?.service("login", service.address())?;
    let envoy = Envoy::spawn(EnvoyVersion::Newest, &config).await?;
    let probe = Probe::begin(&envoy).await?;

    let with = format!("with {others} other policies");
    let rules = |access: &str| json!([{ "access": access }]);
    cluster.write(NAME, HOST, &rules("Deny")).await?;
    wait_until(PATIENCE, "first policy", async || probe.last() == Some(403)).await?;
    let mut changed = Vec::new();
    for n in 0..changes {
        let (access, want) = if n % 2 == 0 { ("Public", 200) } else { ("Deny", 403) };
        changed.push(felt(&probe, want, cluster.write(NAME, HOST, &rules(access))).await?);
    }
    rows(table, &format!("policy changed, {with}"), &changed);
    let (mut made, mut deleted) = (Vec::new(), Vec::new());
    cluster.write(NAME, HOST, &rules("Public")).await?;
    wait_until(PATIENCE, "open policy", async || probe.last() == Some(200)).await?;
    for _ in 0..deletions {
        deleted.push(felt(&probe, 403, cluster.delete(NAME)).await?);
        made.push(felt(&probe, 200, cluster.write(NAME, HOST, &rules("Public"))).await?);
    }
    rows(table, &format!("policy deleted, {with}"), &deleted);
    rows(table, &format!("policy made, {with}"), &made);
    cluster.delete(NAME).await?;
    probe.end().await?;
    Ok(())
}

/// The times of one write.
struct Felt {
    written: Duration,
    enforced: Duration,
}

fn rows(table: &mut Table, what: &str, felt: &[Felt]) {
    table.push(Row::times(format!("{what}: written to enforced"), felt.iter().map(|it| it.enforced)));
    table.push(Row::times(format!("{what}: sent to written"), felt.iter().map(|it| it.written)));
}

/// Writes, and waits until requests are answered with `want` and nothing else.
async fn felt(probe: &Probe, want: u16, write: impl Future<Output = Result<()>>) -> Result<Felt> {
    probe.forget();
    let asked = Instant::now();
    write.await?;
    let written = Instant::now();
    wait_until(PATIENCE, &format!("answer {want}"), async || probe.last() == Some(want)).await?;
    tokio::time::sleep(LINGER).await;
    let seen = probe.seen();
    let last_old = seen.iter().rposition(|(_, status)| *status != want);
    let first_new = seen.get(last_old.map_or(0, |at| at + 1)).context("no answer by the new policy")?.0;
    ensure!(seen.iter().all(|(_, status)| matches!(status, 200 | 403)), "other answers: {seen:?}");
    // What was sent before the write was answered may be judged by the new policy already: then it took no time.
    Ok(Felt { written: written - asked, enforced: first_new.saturating_duration_since(written) })
}

/// Requests through Envoy, one after the other, with the moments at which they were sent.
struct Probe {
    seen: Arc<Mutex<Vec<(Instant, u16)>>>,
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Probe {
    async fn begin(envoy: &Envoy) -> Result<Self> {
        let mut connection = Connection::open(envoy.address()).await?;
        let (seen, stop) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
        let (noted, stopped) = (Arc::clone(&seen), stop.clone());
        let request = format!("GET /cart HTTP/1.1\r\nHost: {HOST}\r\nAccept: application/json\r\n\r\n");
        let task = tokio::spawn(async move {
            while !stopped.is_cancelled() {
                let sent = Instant::now();
                connection.send(request.as_bytes()).await?;
                let status = connection.response(false).await?.status();
                noted.lock().unwrap_or_else(PoisonError::into_inner).push((sent, status));
                tokio::time::sleep(EVERY).await;
            }
            Ok(())
        });
        Ok(Self { seen, stop, task })
    }

    fn seen(&self) -> Vec<(Instant, u16)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn last(&self) -> Option<u16> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).last().map(|(_, status)| *status)
    }

    fn forget(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    async fn end(self) -> Result<()> {
        self.stop.cancel();
        self.task.await?
    }
}
