//! What could not be written was not done, and its client hears so (P20): through the proxy, with a disk that takes nothing.

use anyhow::{Context as _, Result, ensure};
use e2e::process::wait_until;
use e2e::sloppy::Act;
use e2e::tools::EnvoyVersion;
use serde_json::json;

use super::PATIENCE;
use super::disk::{self, Disk};
use super::way::{Seen, Way, Wire, answer, answer_bytes, our_cookie};
use crate::on_every_envoy;

on_every_envoy! {
    p20_a_change_that_cannot_be_written_is_a_503_and_not_done => not_written;
    p20_a_log_in_that_cannot_be_written_gives_nothing_out => not_logged_in;
}

/// 503 as browsers and libraries understand it: later, not from a cache, and with nothing of the service's answer in it.
fn is_unavailable(seen: &Seen) -> bool {
    seen.status == 503
        && seen.header("retry-after") == ["1"]
        && seen.header("cache-control") == ["no-store"]
        && seen.header("content-type") == ["application/problem+json"]
        && seen.header("set-cookie").is_empty()
        && seen.ours().is_empty()
        && seen.body.starts_with(br#"{"type":"about:blank","title":"Service Unavailable","status":503,"#)
}

async fn open(version: EnvoyVersion, disk: &Disk) -> Result<Way> {
    Way::with_both(version, |options| disk.under(options), |_| Ok(())).await
}

/// Asks with the disk full. One response was read, and counted as what it is.
async fn with_full_disk(way: &Way, wire: Wire, target: &str, token: Option<&str>, acts: Vec<Act>) -> Result<Seen> {
    way.answers(acts);
    let before = (way.counted("store_unavailable").await?, way.responses().await?);
    disk::fill(&way.gate)?;
    let seen = way.ask(wire, "POST", target, token).await?;
    let after = (way.counted("store_unavailable").await?, way.responses().await?);
    ensure!(after == (before.0 + 1, before.1 + 1), "{target}: {before:?}, then {after:?}: {seen:?}");
    disk::make_room(&way.gate).await?;
    Ok(seen)
}

/// Envoy may need a moment to find a new process.
async fn restart(way: &mut Way, token: &str) -> Result<()> {
    way.gate.crash_and_restart().await?;
    way.answers(answer(&[]));
    let works = async || way.ask(Wire::Http1, "GET", "/off", Some(token)).await.is_ok_and(|seen| seen.status == 200);
    wait_until(PATIENCE, "answer after the restart", works).await
}

async fn not_written(version: EnvoyVersion) -> Result<()> {
    let disk = Disk::new()?;
    let mut way = open(version, &disk).await?;
    let claims = json!({ "cart": ["mine"] });
    let mut kept = Vec::new();
    for (target, command) in [
        ("/cart", ("x-session-update", r#"{"cart":["lost"]}"#)),
        ("/logout", ("x-session-end", "current")),
        ("/logout", ("x-session-end", "subject")),
    ] {
        for wire in Wire::ALL {
            let token = way.gate.create_session(&json!({ "subject": "ada", "claims": claims })).await?.token;
            let seen = with_full_disk(&way, wire, target, Some(&token), answer(&[command])).await?;
            let name = format!("{wire:?} {command:?}: {seen:?}");
            ensure!(is_unavailable(&seen) && !seen.contains(&token), "{name}");
            kept.push((name, token));
        }
    }
    // Neither in the memory of the process that failed, nor on the disk.
    for again in [false, true] {
        for (name, token) in &kept {
            ensure!(way.claims("/off", token).await?["claims"] == claims, "{name}");
        }
        if !again {
            restart(&mut way, &kept[0].1).await?;
        }
    }
    ensure!(way.sids("ada").await?.len() == kept.len());
    // Said once more with room on the disk, it is done.
    let token = &kept[0].1;
    way.answers(answer(&[("x-session-end", "subject")]));
    ensure!(way.ask(Wire::Http1, "POST", "/logout", Some(token)).await?.status == 200);
    ensure!(way.sids("ada").await?.is_empty());
    Ok(())
}

async fn not_logged_in(version: EnvoyVersion) -> Result<()> {
    let disk = Disk::new()?;
    let mut way = open(version, &disk).await?;
    let jwt = way.jwt(&json!({ "sub": "eve", "aud": "cloakroom" }))?;
    let body = json!({ "data": { "access_token": jwt } }).to_string();
    let planted = way.gate.create_session(&json!({ "subject": "bob" })).await?.token;
    for (target, acts) in [
        ("/login", answer(&[("x-session-create", r#"{"subject":"eve"}"#)])),
        ("/login/header", answer(&[("x-login-jwt", &jwt)])),
        ("/login/cookie", answer(&[("set-cookie", &format!("app_jwt={jwt}; Path=/"))])),
        ("/exchange/body", answer_bytes(&[("content-type", b"application/json")], body.as_bytes())),
    ] {
        // Who comes with a session keeps it: it ends with a new one, and there is none.
        for (wire, token) in [(Wire::Http1, None), (Wire::Http2, Some(&*planted))] {
            let seen = with_full_disk(&way, wire, target, token, acts.clone()).await?;
            let name = format!("{wire:?} {target}: {seen:?}");
            ensure!(is_unavailable(&seen) && !seen.contains(&jwt) && !seen.contains("ckr_"), "{name}");
            ensure!(way.sids("eve").await?.is_empty(), "a session that nobody was given: {name}");
            ensure!(way.claims("/off", &planted).await?["sub"] == "bob", "{name}");
        }
    }
    restart(&mut way, &planted).await?;
    ensure!(way.sids("eve").await?.is_empty());
    ensure!(way.claims("/off", &planted).await?["sub"] == "bob");
    // The same log-in with room on the disk.
    way.answers(answer(&[("x-session-create", r#"{"subject":"eve"}"#)]));
    let seen = way.ask(Wire::Http1, "POST", "/login", None).await?;
    ensure!(way.claims("/off", &our_cookie(&seen).context("no log-in")?.token).await?["sub"] == "eve");
    Ok(())
}
