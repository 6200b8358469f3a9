//! A server that answers and takes no change, or takes it without the replicas that were asked for.

use std::time::Instant;

use anyhow::{Result, ensure};
use e2e::process::wait_until;
use e2e::redis::{Redis, RedisOptions};
use serde_json::json;

use crate::fleet::{Fleet, PATIENCE, STALE, believing_for};
use crate::watch::Watch;

/// From `begin` to `end` sessions go on, cached or not, and no change is answered as if it were made.
async fn takes_no_change(
    fault: &str,
    begin: impl AsyncFnOnce(&Redis) -> Result<()>,
    end: impl AsyncFnOnce(&Redis) -> Result<()>,
) -> Result<()> {
    let redis = Redis::spawn(RedisOptions::default()).await?;
    let fleet = Fleet::start(2, json!({ "url": redis.url() }), believing_for(STALE)).await?;
    let (hot, cold) = (fleet.log_in("ada").await?, fleet.log_in("bob").await?);
    for gate in &fleet.0 {
        gate.until(&hot, 200).await?;
    }
    let watches: Vec<Watch> = fleet.0.iter().map(|gate| Watch::over(gate, &hot)).collect();
    begin(&redis).await?;
    let gate = &fleet.0[0];
    ensure!(gate.end(&hot).await? == 503);
    ensure!(gate.end_all("bob").await? == 503);
    ensure!(gate.try_log_in("joe").await? == 503);
    gate.until(&cold, 200).await?;
    // Longer than anything is believed without a proof.
    tokio::time::sleep(2 * STALE).await;
    end(&redis).await?;
    let ended = Instant::now();
    wait_until(PATIENCE, "log-in", async || gate.try_log_in("joe").await.is_ok_and(|it| it == 201)).await?;
    println!("| {fault:<60} | {:>5} ms | until a log-in", ended.elapsed().as_millis());
    for watch in watches {
        watch.end(&[200, 503]).await?.hardly_noticed()?;
    }
    ensure!(gate.end(&hot).await? == 204);
    ensure!(gate.end_all("bob").await? == 200);
    for gate in &fleet.0 {
        gate.until(&hot, 401).await?;
        gate.until(&cold, 401).await?;
    }
    Ok(())
}

async fn set(redis: &Redis, name: &str, value: &str) -> Result<()> {
    redis.command(&["CONFIG", "SET", name, value]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn p20_a_master_without_replicas_that_must_have_some_takes_no_change() -> Result<()> {
    let begin = async |redis: &Redis| set(redis, "min-replicas-to-write", "1").await;
    takes_no_change("too few replicas (min-replicas-to-write)", begin, async |redis| {
        set(redis, "min-replicas-to-write", "0").await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn p20_a_full_server_keeps_sessions_and_takes_no_change() -> Result<()> {
    let begin = async |redis: &Redis| {
        set(redis, "maxmemory-policy", "noeviction").await?;
        set(redis, "maxmemory", "1").await
    };
    takes_no_change("out of memory (noeviction)", begin, async |redis| set(redis, "maxmemory", "0").await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p20_what_too_few_replicas_have_is_no_success() -> Result<()> {
    let redis = Redis::spawn(RedisOptions::default()).await?;
    let way = json!({ "url": redis.url(), "wait": { "replicas": 1, "timeout": "300ms" } });
    let fleet = Fleet::start(2, way, believing_for(STALE)).await?;
    let [gate, other] = fleet.0.as_slice() else { unreachable!("two gates") };
    ensure!(gate.try_log_in("ada").await? == 503, "nobody has it but the master");

    let (ip, port) = (redis.address().ip(), redis.address().port());
    let mut replica = Redis::spawn(RedisOptions::default().line(format!("replicaof {ip} {port}"))).await?;
    let begun = Instant::now();
    wait_until(PATIENCE, "log-in", async || gate.try_log_in("ada").await.is_ok_and(|it| it == 201)).await?;
    println!("| {:<60} | {:>5} ms | until a log-in", "no replica (WAIT)", begun.elapsed().as_millis());
    let (ada, eve) = (fleet.log_in("ada").await?, fleet.log_in("eve").await?);
    other.until(&ada, 200).await?;
    other.until(&eve, 200).await?;

    replica.kill()?;
    // Refused, and safe all the same: the master has it.
    for _ in 0..2 {
        ensure!(gate.end(&ada).await? == 503);
        ensure!(gate.end_all("eve").await? == 503);
    }
    for session in [&ada, &eve] {
        gate.until(session, 401).await?;
        other.until(session, 401).await?;
    }
    replica.restart().await?;
    let begun = Instant::now();
    wait_until(PATIENCE, "log-out", async || gate.end(&ada).await.is_ok_and(|it| it == 204)).await?;
    println!("| {:<60} | {:>5} ms | until a log-out", "a replica was killed (WAIT)", begun.elapsed().as_millis());
    ensure!(gate.end_all("eve").await? == 200);
    let has = async || replica.command(&["EXISTS", &format!("ckr:shop:s:{{{}}}", ada.sid)]).await;
    ensure!(has().await?.text() == "1", "the tombstone");
    Ok(())
}
