//! Gates that start while the API server is away.

use anyhow::{Result, ensure};
use e2e::gate::Cloakroom;
use e2e::kube::ApiServer;
use e2e::process::wait_until;

use crate::house::{self, PATIENCE, closed, comes_to, policy, public, readyz};

/// A gate with a good policy, and one whose newest form is bad, both in its snapshot.
async fn settled(server: &ApiServer) -> Result<Cloakroom> {
    let gate = Cloakroom::spawn(house::options(server)?).await?;
    server.apply(&public("good")).await?;
    server.apply(&public("bad")).await?;
    comes_to(&gate, "bad.example", 200).await?;
    server.apply(&policy("bad", "[{ name: 'no name', access: Deny }]")).await?;
    house::says(&gate, "policy problem", 1).await?;
    ensure!(house::status(&gate, "bad.example").await? == 200);
    let file = gate.folder().join("policies.snapshot");
    let is_kept = async || std::fs::read_to_string(&file).is_ok_and(|text| text.contains("no name"));
    wait_until(PATIENCE, "snapshot", is_kept).await?;
    Ok(gate)
}

#[tokio::test(flavor = "multi_thread")]
async fn p34_a_gate_that_starts_while_the_api_server_is_away_goes_on_as_before() -> Result<()> {
    let mut server = house::server().await?;
    let mut gate = settled(&server).await?;
    server.kill()?;
    gate.crash_and_restart().await?;
    for host in ["good.example", "bad.example"] {
        ensure!(house::status(&gate, host).await? == 200, "{host}");
    }
    ensure!(house::status(&gate, "other.example").await? == 403);
    house::says(&gate, "policies taken from the snapshot", 1).await?;

    // The list replaces it as a whole.
    server.restart().await?;
    house::delete(&server, "good").await?;
    comes_to(&gate, "good.example", 403).await?;
    ensure!(house::status(&gate, "bad.example").await? == 200, "its last good form is still in force");
    server.apply(&closed("bad")).await?;
    comes_to(&gate, "bad.example", 403).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p34_a_gate_without_a_good_snapshot_waits_and_refuses() -> Result<()> {
    let mut server = house::server().await?;
    let mut gate = settled(&server).await?;
    let file = gate.folder().join("policies.snapshot");
    let whole = std::fs::read_to_string(&file)?;
    server.kill()?;
    for (snapshot, says) in [
        (Some(whole.replace("Public", "public")), "its checksum is wrong"),
        (Some(whole[..whole.len() / 2].to_owned()), "its checksum is wrong"),
        (Some("{}".to_owned()), "it is not a snapshot of this version"),
        (Some(foreign(&whole)), "it was made with other settings"),
        (None, "no snapshot of the policies yet"),
    ] {
        match &snapshot {
            Some(text) => std::fs::write(&file, text)?,
            None => std::fs::remove_file(&file)?,
        }
        gate.crash_and_begin().await?;
        house::says(&gate, says, 1).await?;
        for host in ["good.example", "bad.example", "other.example"] {
            ensure!(house::status(&gate, host).await? == 503, "{host}: {says}");
        }
        let ready = readyz(&gate).await?;
        ensure!(ready["checks"]["policies"] == false && !gate.is_ready().await, "{ready}");
        ensure!(ready["reasons"]["policies"].as_str().is_some_and(|it| it.contains("authpolicies")), "{ready}");
    }
    server.restart().await?;
    comes_to(&gate, "good.example", 200).await?;
    // It never saw the good form, so what the bad one is for is closed.
    ensure!(house::status(&gate, "bad.example").await? == 403);
    wait_until(PATIENCE, "readiness", async || gate.is_ready().await).await
}

/// The same snapshot, of another API server, its checksum right.
fn foreign(whole: &str) -> String {
    let body = whole.split_once('\n').unwrap().1.replace("https://127.0.0.1", "https://127.0.0.2");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body.as_bytes());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("cloakroom-policies 1 sha256:{digest}\n{body}")
}
