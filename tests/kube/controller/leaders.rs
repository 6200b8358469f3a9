//! Several controllers: one writes, and another goes on when it is gone.

use anyhow::{Context, Result, ensure};
use e2e::process::wait_until;
use serde_json::Value;

use super::scene::{Cluster, Controller, PATIENCE, on_route};

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/cloakroom-system/leases/cloakroom-controller";
const MISSING: &str = "HTTPRoute nowhere: Accepted False TargetNotFound 1, ResolvedRefs False TargetNotFound 1, \
                       Programmed False TargetNotFound 1";

impl Cluster {
    async fn holder(&self) -> Result<String> {
        Ok(self.get(LEASE).await?["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until somebody holds the Lease who is not `before`.
    async fn holder_after(&self, before: &str) -> Result<String> {
        let other = async || self.holder().await.is_ok_and(|holder| !holder.is_empty() && holder != before);
        wait_until(PATIENCE, "holder of the lease", other).await?;
        self.holder().await
    }
}

/// Who it says it is, once it holds the Lease.
fn is_holder(controller: &Controller, holder: &str) -> bool {
    let says = |line: &String| line.contains("holds the lease") && line.contains(holder);
    controller.process.output().lines().iter().any(says)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_followed_by_the_other_and_one_that_ends_gives_way_at_once() -> Result<()> {
    let cluster = Cluster::spawn().await?;
    let first = cluster.controller().await?;
    let holder = cluster.holder_after("").await?;
    first.process.wait_until(PATIENCE, "word of it", async || is_holder(&first, &holder)).await?;
    let second = cluster.controller().await?;
    cluster.server.apply(&on_route("shop/one", "nowhere", "")).await?;
    cluster.says("shop/one", MISSING).await?;
    assert_eq!(cluster.holder().await?, holder, "the second one waits");
    assert!(!second.process.output().contains("holds the lease"));

    first.process.kill()?;
    cluster.server.apply(&on_route("shop/two", "nowhere", "")).await?;
    cluster.says("shop/two", MISSING).await?;
    let next = cluster.holder_after(&holder).await?;
    second.process.wait_until(PATIENCE, "word of it", async || is_holder(&second, &next)).await?;
    assert_eq!(cluster.get(LEASE).await?["spec"]["leaseTransitions"], 1);

    let third = cluster.controller().await?;
    assert_eq!(cluster.holder().await?, next);
    second.end()?;
    let last = cluster.holder_after(&next).await?;
    third.process.wait_until(PATIENCE, "word of it", async || is_holder(&third, &last)).await?;
    cluster.server.apply(&on_route("shop/three", "nowhere", "")).await?;
    cluster.says("shop/three", MISSING).await?;
    third.end()?;
    let given_back = cluster.get(LEASE).await?;
    assert_eq!(given_back["spec"]["holderIdentity"].as_str().unwrap_or_default(), "", "{given_back}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_held_up_writes_no_more() -> Result<()> {
    let cluster = Cluster::spawn().await?;
    let first = cluster.controller().await?;
    let holder = cluster.holder_after("").await?;
    let second = cluster.controller().await?;
    // As a machine does that sleeps: it wakes up in the belief that it still leads.
    first.process.signal(e2e::process::Signal::STOP);
    let next = cluster.holder_after(&holder).await?;
    cluster.server.apply(&on_route("shop/one", "nowhere", "")).await?;
    cluster.says("shop/one", MISSING).await?;
    first.process.signal(e2e::process::Signal::CONT);
    let noticed = async || first.process.output().contains("writes no more");
    first.process.wait_until(PATIENCE, "word that it writes no more", noticed).await?;
    cluster.server.apply(&on_route("shop/two", "nowhere", "")).await?;
    cluster.says("shop/two", MISSING).await?;
    assert_eq!(cluster.holder().await?, next);
    drop(second);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p34_a_server_that_was_away_finds_the_controller_at_work_again() -> Result<()> {
    let mut cluster = Cluster::spawn().await?;
    let controller = cluster.controller().await?;
    cluster.server.apply(&on_route("shop/one", "nowhere", "")).await?;
    cluster.says("shop/one", MISSING).await?;
    // No watch can go on from where it was.
    cluster.server.compact_history().await?;
    cluster.server.apply(&on_route("shop/two", "nowhere", "")).await?;
    cluster.says("shop/two", MISSING).await?;
    let writes: Value = cluster.policy("shop/one").await?;
    let managers = writes["metadata"]["managedFields"].as_array().context("managed fields")?.len();
    ensure!(managers == 2, "{writes:#}");
    controller.end()
}
