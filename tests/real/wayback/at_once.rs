//! Many responses that change one session at the same time: each is done, or is refused and says so (P20).

use anyhow::{Result, ensure};
use e2e::gate::Store;
use e2e::tools::EnvoyVersion;
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use super::way::{Way, Wire};
use crate::on_every_envoy;

on_every_envoy! {
    p20_of_a_hundred_updates_at_once_none_is_lost_in_silence => updates;
    p17_no_update_revives_a_session_that_another_response_ends => race;
}

async fn updates(version: EnvoyVersion) -> Result<()> {
    for store in [Store::Memory, Store::Embedded] {
        let way = Way::with_both(version, |options| e2e::gate::GateOptions { store, ..options }, |_| Ok(())).await?;
        let session = way.gate.create_session(&json!({ "subject": "ada" })).await?;
        let keys: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
        let asked = keys.iter().map(async |key| {
            let target = format!("/cart?note={key}");
            anyhow::Ok((key, way.ask(Wire::Http1, "POST", &target, Some(&session.token)).await?.status))
        });
        let answered = try_join_all(asked).await?;
        let claims = way.claims("/cart", &session.token).await?;
        let note = claims["claims"]["note"].as_object().cloned().unwrap_or_default();
        let mut done = 0;
        for (key, status) in answered {
            ensure!(matches!(status, 200 | 503), "{key}: {status}");
            ensure!(
                status != 200 || note.get(key) == Some(&Value::Bool(true)),
                "{key} was answered with 200 and is lost"
            );
            done += u64::from(status == 200);
        }
        // What was refused is counted; none was, as they wait for each other.
        ensure!(done == 100 && way.counted("updated").await? == 100, "{done} of 100");
    }
    Ok(())
}

async fn race(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    // Once in earnest: what is raced for is the gate's, and the same behind each proxy.
    let rounds = if matches!(version, EnvoyVersion::Newest) { 1000 } else { 20 };
    for round in 0..rounds {
        let session = way.gate.create_session(&json!({ "subject": "ada" })).await?;
        let token = &*session.token;
        let updates = (0..4).map(|n| format!("/cart?note=r{round}n{n}"));
        let targets = updates.chain(["/logout?end".to_owned()]);
        let asked = targets.map(async |target| way.ask(Wire::Http1, "POST", &target, Some(token)).await);
        for seen in try_join_all(asked).await? {
            // A request that came after the end is refused already.
            ensure!(matches!(seen.status, 200 | 401), "{seen:?}");
        }
        let after = way.ask(Wire::Http1, "GET", "/cart", Some(token)).await?;
        ensure!(after.status == 401, "round {round}: alive after its end: {after:?}");
        ensure!(way.sids("ada").await?.is_empty(), "round {round}");
    }
    Ok(())
}
