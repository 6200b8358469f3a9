//! `cloakroom doctor --url` against real wiring, good and bad.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use e2e::envoy::{Envoy, EnvoyConfig};
use e2e::gate::{Cloakroom, GateOptions};
use e2e::process::Signal;
use e2e::sloppy::Sloppy;
use e2e::stage::example_policies;
use e2e::tools::EnvoyVersion;
use serde_json::{Value, json};

use crate::on_each_envoy;
use crate::scene::cloakroom;

on_each_envoy! {
    good_wiring_is_well => good;
    p7_a_forged_header_that_gets_past_is_found => forged;
    a_check_that_is_not_reached_is_found => unreached;
    a_gate_that_hangs_is_found => hung;
}

async fn gate() -> Result<Cloakroom> {
    Cloakroom::spawn(GateOptions { policies: example_policies()?, ..GateOptions::new(cloakroom()) }).await
}

/// The shipped configuration with this gate, before a service that shows its request.
async fn config(gate: &Cloakroom, shop: &Sloppy) -> Result<EnvoyConfig> {
    let mut config = EnvoyConfig::shipped()?;
    config.plain()?.gate(&gate.grpc()?)?.service("shop", shop.address())?;
    Ok(config)
}

/// Runs it, and returns its exit status and its findings.
fn doctor(envoy: &Envoy, path: &str, more: &[&str]) -> Result<(Option<i32>, Vec<Value>)> {
    let (url, address) = (format!("http://shop.localhost{path}"), envoy.address().to_string());
    let mut doctor = Command::new(cloakroom());
    doctor.args(["doctor", "--no-cluster", "-o", "json", "--url", &url, "--address", &address]).args(more);
    let answer = doctor.stdin(Stdio::null()).output()?;
    let errors = String::from_utf8_lossy(&answer.stderr);
    let told: Value = serde_json::from_slice(&answer.stdout).with_context(|| errors.into_owned())?;
    Ok((answer.status.code(), told["findings"].as_array().cloned().unwrap_or_default()))
}

/// That a finding with this check and level says this.
#[track_caller]
fn says(findings: &[Value], check: &str, level: &str, words: &str) {
    let fits = |it: &Value| {
        it["check"] == check && it["level"] == level && it["seen"].as_str().is_some_and(|seen| seen.contains(words))
    };
    assert!(findings.iter().any(fits), "{check} {level} {words}: {findings:#?}");
}

async fn good(version: EnvoyVersion) -> Result<()> {
    let (gate, shop) = (gate().await?, Sloppy::spawn().await?);
    let mut config = config(&gate, &shop).await?;
    let envoy = Envoy::spawn(version, config.patient()?).await?;
    let session = gate.create_session(&json!({ "subject": "bob" })).await?;
    let file = gate.folder().join("a-token");
    std::fs::write(&file, &session.token)?;
    let (status, findings) = doctor(&envoy, "/cart", &["--echo", "--token-file", &file.display().to_string()])?;
    ensure!(status == Some(0) && findings.len() == 3, "{status:?} {findings:#?}");
    says(&findings, "probe-check", "ok", "the check is reached");
    says(&findings, "probe-session", "ok", "x-session-jwt reaches the service");
    says(&findings, "probe-forged", "ok", "of 6 spellings of a forged x-session-jwt none");
    // Nobody's token is told.
    ensure!(!format!("{findings:?}").contains(&session.token));
    let (status, findings) = doctor(&envoy, "/cart", &[])?;
    ensure!(status == Some(0), "{findings:#?}");
    // Told to see what it cannot see.
    let (status, findings) = doctor(&envoy, "/cart", &["--echo"])?;
    says(&findings, "probe-forged", "unknown", "does not show the headers");
    ensure!(status == Some(2), "{findings:#?}");
    gate.revoke_session(&session.sid).await?;
    let (status, findings) = doctor(&envoy, "/cart", &["--token-file", &file.display().to_string()])?;
    says(&findings, "probe-session", "problem", "refuses the token (401)");
    ensure!(status == Some(1), "{findings:#?}");
    Ok(())
}

async fn forged(version: EnvoyVersion) -> Result<()> {
    let (gate, shop) = (gate().await?, Sloppy::spawn().await?);
    let mut config = config(&gate, &shop).await?;
    config.patient()?.no_static_removal()?.allow_underscores()?.unchecked("/open")?;
    let envoy = Envoy::spawn(version, &config).await?;
    let (status, findings) = doctor(&envoy, "/open", &["--public", "--echo"])?;
    ensure!(status == Some(1), "{findings:#?}");
    says(&findings, "probe-check", "ok", "as a public route should");
    says(&findings, "probe-forged", "problem", "came back: x-session-jwt, x_session_jwt, x.session.jwt");
    Ok(())
}

async fn unreached(version: EnvoyVersion) -> Result<()> {
    let (gate, shop) = (gate().await?, Sloppy::spawn().await?);
    let mut config = config(&gate, &shop).await?;
    let envoy = Envoy::spawn(version, config.patient()?.unchecked("/")?).await?;
    let (status, findings) = doctor(&envoy, "/cart", &[])?;
    ensure!(status == Some(1), "{findings:#?}");
    says(&findings, "probe-check", "problem", "answers 200 to a request without a credential");
    // Envoy's own configuration still takes the forged header off.
    says(&findings, "probe-forged", "ok", "of 6 spellings");
    Ok(())
}

async fn hung(version: EnvoyVersion) -> Result<()> {
    let (gate, shop) = (gate().await?, Sloppy::spawn().await?);
    let envoy = Envoy::spawn(version, &config(&gate, &shop).await?).await?;
    gate.process().stop().await?;
    // Without the way back the check alone ends.
    let (status, findings) = doctor(&envoy, "/other", &[])?;
    ensure!(status == Some(1), "{findings:#?}");
    says(&findings, "probe-check", "problem", "the proxy got no answer from the gate in time");
    // With it, newer Envoys show their own answer to the gate as well.
    let (status, findings) = doctor(&envoy, "/cart", &[])?;
    ensure!(status == Some(1), "{findings:#?}");
    says(&findings, "probe-check", "problem", "answers 50");
    gate.process().signal(Signal::CONT);
    Ok(())
}
