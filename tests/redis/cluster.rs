//! A cluster: a master that is replaced, and slots that move.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use e2e::gate::CreatedSession;
use e2e::process::wait_until;
use e2e::redis::cluster::RedisCluster;
use e2e::redis::{Redis, RedisOptions};
use serde_json::{Value, json};

use crate::fleet::{Fleet, PATIENCE, STALE, believing_for};
use crate::watch::Watch;

fn way(cluster: &RedisCluster) -> Value {
    let addresses: Vec<String> = cluster.addresses().iter().map(ToString::to_string).collect();
    json!({ "cluster": { "addresses": addresses } })
}

fn record(session: &CreatedSession) -> String {
    format!("ckr:shop:s:{{{}}}", session.sid)
}

fn epoch(subject: &str) -> String {
    format!("ckr:shop:e:{{{}}}", URL_SAFE_NO_PAD.encode(subject))
}

async fn node_of(cluster: &RedisCluster, key: &str) -> Result<usize> {
    cluster.node_of_slot(cluster.slot_of(key).await?).await
}

/// A session whose record and whose subject's epoch lie with these masters.
async fn log_in_with(
    fleet: &Fleet,
    cluster: &RedisCluster,
    fits: impl Fn(usize, usize) -> bool,
) -> Result<CreatedSession> {
    for number in 0..200 {
        let subject = format!("user-{number}");
        let session = fleet.log_in(&subject).await?;
        if fits(node_of(cluster, &record(&session)).await?, node_of(cluster, &epoch(&subject)).await?) {
            return Ok(session);
        }
    }
    anyhow::bail!("200 sessions, and none lies where it should")
}

/// A master goes by `begin`: the sessions that lie with others do not notice.
async fn fails_over(fault: &str, begin: impl AsyncFnOnce(&Redis) -> Result<()>) -> Result<()> {
    // Else a cluster that has lost any slot serves none.
    let cluster = RedisCluster::spawn(RedisOptions::default().line("cluster-require-full-coverage no")).await?;
    let fleet = Fleet::start(2, way(&cluster), believing_for(STALE)).await?;
    let hit = log_in_with(&fleet, &cluster, |record, epoch| record == 0 && epoch != 0).await?;
    let ended = log_in_with(&fleet, &cluster, |record, epoch| record == 0 && epoch != 0).await?;
    let spared = log_in_with(&fleet, &cluster, |record, epoch| record != 0 && epoch != 0).await?;
    let other = &fleet.0[1];
    for session in [&hit, &ended, &spared] {
        other.until(session, 200).await?;
    }
    // What a replica does not have, a failover loses.
    let written: u64 = cluster.nodes()[0].info("master_repl_offset").await?.parse()?;
    let has = async || {
        let has = cluster.nodes()[3].info("slave_repl_offset").await;
        has.is_ok_and(|has| has.parse::<u64>().is_ok_and(|has| has >= written))
    };
    wait_until(PATIENCE, "replica that has everything", has).await?;
    let (hits, spares) = (Watch::over(other, &hit), Watch::over(other, &spared));
    let ends = Watch::over(other, &ended);
    let slot = cluster.slot_of(&record(&hit)).await?;
    begin(&cluster.nodes()[0]).await?;
    let began = Instant::now();
    cluster.master_after(slot, 0).await?;
    let elected = Instant::now();
    other.is_back(fault, &hit, elected).await?;
    println!("| {:<60} | {:>5} ms |", format!("{fault}: until the election"), (elected - began).as_millis());
    fleet.0[0].until(&ended, 200).await?;
    ensure!(fleet.0[0].end(&ended).await? == 204);
    let at = Instant::now();
    // One that was stopped goes on, and thinks for a moment that it is still the master.
    cluster.nodes()[0].cont();
    tokio::time::sleep(2 * STALE).await;
    spares.end(&[200, 503]).await?.hardly_noticed().context("a session of another master")?;
    hits.end(&[200, 503]).await?;
    ends.end(&[200, 401, 503]).await?.none_passed_since(at + Duration::from_secs(1))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_a_master_that_is_killed_takes_its_own_keys_with_it_and_no_others() -> Result<()> {
    fails_over("a master of the cluster was killed", async |master| master.kill()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p19_a_master_that_was_stopped_and_replaced_revives_nothing_when_it_goes_on() -> Result<()> {
    fails_over("a master of the cluster was stopped", async |master| master.stop().await).await
}

/// When a session is ended while its record's slot moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begun,
    Moved,
    Finished,
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_log_outs_are_felt_while_the_slots_of_sessions_move() -> Result<()> {
    let cluster = RedisCluster::spawn(RedisOptions::default()).await?;
    // No server is away here: nothing has to be given up soon.
    let fleet = Fleet::start(2, way(&cluster), believing_for(5 * STALE)).await?;
    let [ending, other] = fleet.0.as_slice() else { unreachable!("two gates") };
    for stage in [Stage::Begun, Stage::Moved, Stage::Finished] {
        for everywhere in [false, true] {
            let subject = format!("{stage:?}-{everywhere}");
            // Hot in the one gate and never asked for in the other.
            let (session, cold) = (fleet.log_in(&subject).await?, fleet.log_in("cold").await?);
            other.until(&session, 200).await?;
            let watch = Watch::over(other, &session);
            let slot = cluster.slot_of(&if everywhere { epoch(&subject) } else { record(&session) }).await?;
            let to = (cluster.node_of_slot(slot).await? + 1) % 3;
            let end = async || {
                let status = match everywhere {
                    true => ending.end_all(&subject).await?,
                    false => ending.end(&session).await?,
                };
                ensure!((200..300).contains(&status), "{status} to a log-out while its slot moves: {stage:?}");
                Ok(Instant::now())
            };

            let migration = cluster.begin_migration(slot, to).await?;
            ending.until(&session, 200).await?;
            other.until(&session, 200).await?;
            other.until(&cold, 200).await?;
            let mut ended = None;
            if stage == Stage::Begun {
                ended = Some(end().await?);
            }
            cluster.move_keys(migration).await?;
            if stage == Stage::Moved {
                ending.until(&session, 200).await?;
                ended = Some(end().await?);
            }
            cluster.finish_migration(migration).await?;
            let ended = match ended {
                Some(ended) => ended,
                None => {
                    ending.until(&session, 200).await?;
                    end().await?
                }
            };
            other.until(&session, 401).await?;
            let felt = ended.elapsed();
            println!("| {:<60} | {:>5} ms |", format!("ended while a slot moves: {subject}"), felt.as_millis());
            tokio::time::sleep(Duration::from_secs(1)).await;
            let seen = watch.end(&[200, 401, 503]).await?;
            seen.none_passed_since(ended + Duration::from_secs(1))?;
            seen.hardly_noticed()?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_asked_for_first_while_its_slot_moves_is_found() -> Result<()> {
    let cluster = RedisCluster::spawn(RedisOptions::default()).await?;
    let fleet = Fleet::start(1, way(&cluster), believing_for(STALE)).await?;
    for (subject, moved) in [("ada", false), ("bob", true)] {
        let session = fleet.log_in(subject).await?;
        for key in [record(&session), epoch(subject)] {
            let slot = cluster.slot_of(&key).await?;
            let to = (cluster.node_of_slot(slot).await? + 1) % 3;
            let migration = cluster.begin_migration(slot, to).await?;
            if moved {
                cluster.move_keys(migration).await?;
            }
            fleet.0[0].until(&session, 200).await?;
            cluster.move_keys(migration).await?;
            cluster.finish_migration(migration).await?;
            let known = async || fleet.0[0].status(&session).await.is_ok_and(|status| status == 200);
            wait_until(PATIENCE, "session on its new server", known).await?;
        }
    }
    Ok(())
}
