//! Sentinels that put another server in a master's place.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::gate::CreatedSession;
use e2e::process::wait_until;
use e2e::redis::RedisOptions;
use e2e::redis::proxy::Proxy;
use e2e::redis::sentinel::{SentinelOptions, Sentinels};
use serde_json::{Value, json};

use crate::fleet::{Fleet, Gate, PATIENCE, STALE, believing_for};
use crate::watch::Watch;

/// What leads to the master by way of these sentinels.
fn way(sentinels: &[SocketAddr]) -> Value {
    let addresses: Vec<String> = sentinels.iter().map(ToString::to_string).collect();
    json!({ "sentinel": { "master": "cloakroom", "addresses": addresses } })
}

/// The same; a change is answered when a replica has it, so that a failover keeps it.
fn durable(sentinels: &[SocketAddr]) -> Value {
    let mut way = way(sentinels);
    way["wait"] = json!({ "replicas": 1 });
    way
}

/// Ends a session as soon as that can be done: a new master may have to wait for its first replica.
async fn ends(gate: &Gate, session: &CreatedSession) -> Result<Instant> {
    let end = async || gate.end(session).await.is_ok_and(|status| status == 204);
    wait_until(PATIENCE, "log-out", end).await?;
    Ok(Instant::now())
}

/// The master goes by `begin`, another takes over, and the old one comes back by `end`: what was ended meanwhile stays ended.
async fn fails_over(
    fault: &str,
    begin: impl AsyncFnOnce(&Sentinels) -> Result<usize>,
    end: impl AsyncFnOnce(&mut Sentinels, usize) -> Result<()>,
) -> Result<()> {
    let mut sentinels = Sentinels::spawn(SentinelOptions::default()).await?;
    let fleet = Fleet::start(2, durable(&sentinels.sentinel_addresses()), believing_for(STALE)).await?;
    let (ada, bob) = (fleet.log_in("ada").await?, fleet.log_in("bob").await?);
    for gate in &fleet.0 {
        gate.until(&ada, 200).await?;
        gate.until(&bob, 200).await?;
    }
    let steady = Watch::over(&fleet.0[1], &ada);
    let doomed = Watch::over(&fleet.0[1], &bob);
    let old = begin(&sentinels).await?;
    let began = Instant::now();
    sentinels.master_after(old).await?;
    let elected = Instant::now();
    for gate in &fleet.0 {
        gate.is_back(fault, &ada, elected).await?;
    }
    println!("| {:<60} | {:>5} ms |", format!("{fault}: until the election"), (elected - began).as_millis());
    let ended = ends(&fleet.0[0], &bob).await?;
    end(&mut sentinels, old).await?;
    let back = &sentinels.servers()[old];
    let follows = async || back.info("role").await.is_ok_and(|role| role == "slave");
    wait_until(PATIENCE, "old master that follows the new one", follows).await?;
    fleet.0[1].until(&ada, 200).await?;
    steady.end(&[200, 503]).await?;
    let seen = doomed.end(&[200, 401, 503]).await?;
    seen.none_passed_since(ended + Duration::from_secs(1))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p19_what_ended_after_a_master_was_killed_stays_ended() -> Result<()> {
    let kill = async |sentinels: &Sentinels| sentinels.kill_master().await;
    fails_over("the master was killed", kill, async |sentinels, old| sentinels.servers_mut()[old].restart().await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p19_what_ended_after_a_master_was_stopped_stays_ended_when_it_goes_on() -> Result<()> {
    let stop = async |sentinels: &Sentinels| sentinels.stop_master().await;
    fails_over("the master was stopped", stop, async |sentinels, old| {
        sentinels.servers()[old].cont();
        Ok(())
    })
    .await
}

/// A gate, the old master and one sentinel on one side; the others, who have elected another, on the other.
#[tokio::test(flavor = "multi_thread")]
async fn p18_a_master_that_is_cut_off_with_a_gate_is_not_believed_beyond_the_bound() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let password = folder.path().join("password");
    std::fs::write(&password, "of-the-gates")?;
    let users = vec!["gates on >of-the-gates ~* &* +@all".to_owned()];
    let servers = RedisOptions { users, ..RedisOptions::default() };
    let sentinels = Sentinels::spawn(SentinelOptions { servers, ..SentinelOptions::default() }).await?;
    let addresses = sentinels.sentinel_addresses();
    let proxies = [Proxy::spawn(addresses[0])?, Proxy::spawn(addresses[1])?];
    let mut ways = [durable(&addresses), way(&[proxies[0].address(), proxies[1].address(), addresses[2]])];
    for way in &mut ways {
        (way["username"], way["passwordFile"]) = (json!("gates"), json!(password));
    }
    let fleet = Fleet::each(&ways, believing_for(STALE)).await?;
    let [free, cut_off] = fleet.0.as_slice() else { unreachable!("two gates") };
    let (ada, bob, eve) = (fleet.log_in("ada").await?, fleet.log_in("bob").await?, fleet.log_in("eve").await?);
    for gate in &fleet.0 {
        gate.until(&ada, 200).await?;
        gate.until(&bob, 200).await?;
    }
    let watch = Watch::over(cut_off, &ada);

    proxies.iter().for_each(Proxy::black_hole);
    let began = Instant::now();
    // The old master goes on serving the gates. Sentinels and replicas have no word with it any more.
    let old = sentinels.master().await?.unwrap();
    let mut master = sentinels.servers()[old].connect().await?;
    for user in ["e2e", "default"] {
        master.call(&["ACL", "SETUSER", user, "off"]).await?.ok()?;
        master.call(&["CLIENT", "KILL", "USER", user, "SKIPME", "yes"]).await?.ok()?;
    }
    sentinels.master_after(old).await?;
    let elected = Instant::now();
    free.is_back("the master was cut off, not from the gate", &bob, elected).await?;
    ends(free, &ada).await?;
    let late = fleet.log_in("joe").await?;

    cut_off.until(&ada, 503).await?;
    for session in [&ada, &bob, &eve, &late] {
        cut_off.cannot_know(session).await?;
    }
    ensure!(cut_off.end(&eve).await? == 503, "a log-out that only the old master knows is none");
    ensure!(cut_off.try_log_in("ann").await? == 503);
    let ending = Instant::now();
    proxies.iter().for_each(Proxy::heal);
    let ended = Instant::now();
    cut_off.is_back("the master was cut off with the gate", &bob, ended).await?;
    ensure!(cut_off.status(&ada).await? == 401);
    cut_off.until(&late, 200).await?;
    watch.end(&[200, 401, 503]).await?.none_passed(began + STALE, ending)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_without_most_of_the_sentinels_nothing_is_believed_beyond_the_bound() -> Result<()> {
    // Shorter than two waits for a sentinel that hangs.
    let stale = Duration::from_millis(800);
    let mut sentinels = Sentinels::spawn(SentinelOptions::default()).await?;
    let fleet = Fleet::start(1, durable(&sentinels.sentinel_addresses()), believing_for(stale)).await?;
    let gate = &fleet.0[0];
    let (hot, cold) = (fleet.log_in("ada").await?, fleet.log_in("bob").await?);
    gate.until(&hot, 200).await?;

    // One of three may hang.
    let watch = Watch::over(gate, &hot);
    sentinels.sentinels()[0].stop().await?;
    tokio::time::sleep(3 * stale).await;
    ensure!(gate.end(&fleet.log_in("eve").await?).await? == 204);
    watch.end(&[200, 503]).await?.hardly_noticed()?;

    let watch = Watch::over(gate, &hot);
    sentinels.sentinels()[1].kill()?;
    let began = Instant::now();
    gate.until(&hot, 503).await?;
    gate.cannot_know(&cold).await?;
    ensure!(gate.end(&cold).await? == 503);
    // The server answers all the time: if what it says were believed now, it would show.
    tokio::time::sleep(2 * stale).await;
    let ending = Instant::now();
    sentinels.sentinels_mut()[1].restart().await?;
    let ended = Instant::now();
    gate.is_back("two of three sentinels were away", &hot, ended).await?;
    watch.end(&[200, 503]).await?.none_passed(began + stale, ending)?;
    sentinels.sentinels()[0].cont();
    ensure!(gate.end(&cold).await? == 204 && gate.status(&cold).await? == 401);
    Ok(())
}
