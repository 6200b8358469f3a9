//! A server whose data is thrown away, restored, or not what it should be.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use e2e::gate::CreatedSession;
use e2e::process::wait_until;
use e2e::redis::{Redis, RedisOptions};
use serde_json::{Value, json};

use crate::fleet::{Fleet, Gate, PATIENCE, STALE, believing_for};
use crate::watch::Watch;

fn record(session: &CreatedSession) -> String {
    format!("ckr:shop:s:{{{}}}", session.sid)
}

fn epoch(subject: &str) -> String {
    format!("ckr:shop:e:{{{}}}", URL_SAFE_NO_PAD.encode(subject))
}

fn way(redis: &Redis) -> Value {
    json!({ "url": redis.url() })
}

async fn start(gates: usize) -> Result<(Redis, Fleet)> {
    let redis = Redis::spawn(RedisOptions::default()).await?;
    let fleet = Fleet::start(gates, way(&redis), believing_for(STALE)).await?;
    Ok((redis, fleet))
}

/// A key's value in another key, to put it back later.
async fn keep(redis: &Redis, key: &str) -> Result<()> {
    redis.command(&["COPY", key, &format!("kept:{key}"), "REPLACE"]).await.map(drop)
}

async fn put_back(redis: &Redis, key: &str) -> Result<()> {
    redis.command(&["COPY", &format!("kept:{key}"), key, "REPLACE"]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_what_is_flushed_is_over_in_every_gate() -> Result<()> {
    tokio::try_join!(is_flushed("FLUSHALL"), is_flushed("FLUSHDB")).map(drop)
}

async fn is_flushed(flush: &str) -> Result<()> {
    let (redis, fleet) = start(2).await?;
    let session = fleet.log_in("ada").await?;
    for gate in &fleet.0 {
        gate.until(&session, 200).await?;
    }
    let watches: Vec<Watch> = fleet.0.iter().map(|gate| Watch::over(gate, &session)).collect();
    redis.command(&[flush]).await?;
    let flushed = Instant::now();
    for gate in &fleet.0 {
        gate.until(&session, 401).await?;
    }
    println!("| {flush:<60} | {:>5} ms | until all gates refuse", flushed.elapsed().as_millis());
    tokio::time::sleep(2 * STALE).await;
    for watch in watches {
        watch.end(&[200, 401, 503]).await?.none_passed_since(flushed + Duration::from_secs(1))?;
    }
    let again = Instant::now();
    let session = fleet.log_in("ada").await?;
    fleet.0[1].is_back(&format!("{flush}: a new session"), &session, again).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p19_what_a_full_server_throws_away_revives_nothing() -> Result<()> {
    let (redis, mut fleet) = start(2).await?;
    let (mut live, mut over) = (Vec::new(), Vec::new());
    for number in 0..10 {
        live.push(fleet.log_in(&format!("live-{number}")).await?);
        over.push(fleet.log_in("eve").await?);
        over.push(fleet.log_in(&format!("over-{number}")).await?);
    }
    for session in over.iter().chain(&live) {
        for gate in &fleet.0 {
            gate.until(session, 200).await?;
        }
    }
    for session in over.iter().skip(1).step_by(2) {
        ensure!(fleet.0[0].end(session).await? == 204);
    }
    ensure!(fleet.0[0].end_all("eve").await? == 200);
    for session in &over {
        fleet.0[1].until(session, 401).await?;
    }
    let dead: Vec<Watch> =
        over[..4].iter().flat_map(|it| fleet.0.iter().map(move |gate| Watch::over(gate, it))).collect();
    let alive: Vec<Watch> = live[..4].iter().map(|it| Watch::over(&fleet.0[1], it)).collect();

    let used: u64 = redis.info("used_memory").await?.parse()?;
    redis.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]).await?;
    redis.command(&["CONFIG", "SET", "maxmemory", &(used + 1_000_000).to_string()]).await?;
    let junk = "x".repeat(1_000);
    let mut connection = redis.connect().await?;
    let mut evicted = 0_u64;
    for number in 0.. {
        connection.call(&["SET", &format!("junk:{number}"), &junk]).await?.ok()?;
        if number % 20 == 0 {
            evicted = redis.info("evicted_keys").await?.parse()?;
        }
        if evicted > 400 {
            break;
        }
    }
    let lost = redis.command(&["KEYS", "ckr:*"]).await?.list().len();
    println!("| {:<60} | {evicted} keys, {lost} of ours left", "thrown away (allkeys-random)");
    // A gate that has seen nothing of all this knows what the store knows.
    fleet.begin_another(&way(&redis), &believing_for(STALE)).await?;
    let fresh = &fleet.0[2];
    for session in &over {
        fresh.until(session, 401).await?;
    }
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await?;
    // A subject whose epoch is lost begins a new one; what was ended under the old one stays so.
    let again = fleet.log_in("eve").await?;
    for gate in &fleet.0 {
        gate.until(&again, 200).await?;
        for session in &over {
            ensure!(gate.status(session).await? == 401);
        }
    }
    for watch in dead {
        watch.end(&[401]).await?;
    }
    for watch in alive {
        watch.end(&[200, 401, 503]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p19_a_subject_that_has_lost_its_epoch_gets_another_and_no_old_session_back() -> Result<()> {
    let (redis, fleet) = start(2).await?;
    let old = fleet.log_in("ada").await?;
    fleet.0[1].until(&old, 200).await?;
    redis.command(&["DEL", &epoch("ada")]).await?;
    fleet.0[1].until(&old, 401).await?;
    let new = fleet.log_in("ada").await?;
    for gate in &fleet.0 {
        gate.until(&new, 200).await?;
        ensure!(gate.status(&old).await? == 401);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p19_data_restored_from_a_copy_revives_nothing_for_gates_that_knew() -> Result<()> {
    let (redis, fleet) = start(2).await?;
    let (ada, eve) = (fleet.log_in("ada").await?, fleet.log_in("eve").await?);
    let keys = [record(&ada), record(&eve), epoch("eve")];
    for key in &keys {
        keep(&redis, key).await?;
    }
    ensure!(fleet.0[0].end(&ada).await? == 204);
    ensure!(fleet.0[0].end_all("eve").await? == 200);
    for gate in &fleet.0 {
        gate.until(&ada, 401).await?;
        gate.until(&eve, 401).await?;
    }
    let watches: Vec<Watch> =
        [&ada, &eve].iter().flat_map(|it| fleet.0.iter().map(move |gate| Watch::over(gate, it))).collect();
    for key in &keys {
        put_back(&redis, key).await?;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    // However the gates are shaken.
    redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    for watch in watches {
        watch.end(&[401]).await?;
    }
    Ok(())
}

/// `key` holds what it must not: nothing can be known of the session, the others are not harmed, and once the key holds again
/// what it should, the session passes.
async fn is_no_session(fault: &str, site: &(Redis, Fleet), session: &CreatedSession, key: &str) -> Result<()> {
    let (redis, fleet) = site;
    for gate in &fleet.0 {
        gate.until(session, 503).await?;
        gate.cannot_know(session).await?;
    }
    let again = Instant::now();
    put_back(redis, key).await?;
    for gate in &fleet.0 {
        gate.is_back(fault, session, again).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p02_what_is_no_record_is_no_session() -> Result<()> {
    let site = start(2).await?;
    let (redis, fleet) = &site;
    let (ada, bob) = (fleet.log_in("ada").await?, fleet.log_in("bob").await?);
    let hot: &Gate = &fleet.0[0];
    hot.until(&ada, 200).await?;
    hot.until(&bob, 200).await?;
    let steady = Watch::over(hot, &bob);
    for (what, key) in [("record", record(&ada)), ("epoch", epoch("ada"))] {
        keep(redis, &key).await?;
        redis.command(&["LPUSH", "a-list", "of one"]).await?;
        // In one step: no gate finds nothing there.
        redis.command(&["RENAME", "a-list", &key]).await?;
        let watch = Watch::over(hot, &ada);
        is_no_session(&format!("a list under the key of a {what}"), &site, &ada, &key).await?;
        redis.command(&["SET", &key, "no such thing", "KEEPTTL"]).await?;
        is_no_session(&format!("some text under the key of a {what}"), &site, &ada, &key).await?;
        // Read as far as a record may reach, and no further (P32).
        redis.command(&["SETRANGE", &key, "16000000", "x"]).await?;
        is_no_session(&format!("16 MB under the key of a {what}"), &site, &ada, &key).await?;
        watch.end(&[200, 503]).await?;
    }
    let (status, list) = fleet.0[1].process.api(http::Method::GET, "/v1/sessions?subject=ada", None).await?;
    ensure!(status == 200, "{status}: {list}");
    steady.end(&[200, 503]).await?.hardly_noticed()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p05_a_record_under_another_key_or_of_another_realm_is_no_session() -> Result<()> {
    let site = start(2).await?;
    let (redis, fleet) = &site;
    let (ada, eve) = (fleet.log_in("ada").await?, fleet.log_in("eve").await?);
    fleet.0[0].until(&eve, 200).await?;
    keep(redis, &record(&eve)).await?;
    redis.command(&["COPY", &record(&ada), &record(&eve), "REPLACE"]).await?;
    let watch = Watch::over(&fleet.0[0], &eve);
    is_no_session("the record of another session", &site, &eve, &record(&eve)).await?;
    let seen = watch.end(&[200, 503]).await?;
    ensure!(seen.subjects().iter().all(|subject| *subject == "eve"), "{:?}", seen.subjects());

    let bank = Fleet::start(1, way(redis), json!({ "realm": "bank" })).await?;
    let joe = bank.log_in("joe").await?;
    bank.0[0].until(&joe, 200).await?;
    ensure!(bank.0[0].status(&ada).await? == 401, "a token of another realm");
    let of_bank = format!("ckr:bank:s:{{{}}}", joe.sid);
    keep(redis, &of_bank).await?;
    redis.command(&["COPY", &record(&ada), &of_bank, "REPLACE"]).await?;
    bank.0[0].until(&joe, 503).await?;
    bank.0[0].cannot_know(&joe).await?;
    put_back(redis, &of_bank).await?;
    bank.0[0].until(&joe, 200).await?;
    // The same id in both realms: what ends in the one is not ended, and not revived, in the other.
    ensure!(bank.0[0].end(&joe).await? == 204);
    wait_until(PATIENCE, "end", async || bank.0[0].status(&joe).await.is_ok_and(|it| it == 401)).await?;
    fleet.0[0].until(&ada, 200).await?;
    Ok(())
}
