//! One subject with many sessions, all in use at two gates, is logged out everywhere.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use e2e::checker::status;
use e2e::measure::{Load, Requests, Row, Table, ask, connect};
use e2e::redis::{Redis, RedisOptions};
use http::Method;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::crowd::Crowd;
use super::gate::{Gate, Policies};
use crate::in_redis;

/// How often each gate is asked for one of the sessions before it is over.
const EVERY: Duration = Duration::from_millis(1);
/// How many are asked for at once when it is, until each was.
const AT_ONCE: usize = 32;

/// When the last check was sent that passed.
type LastPass = Arc<Mutex<Option<Instant>>>;

pub(crate) async fn everywhere(sessions: usize, rounds: usize, table: &mut Table) -> Result<()> {
    let policies = Policies::rules(100, 1);
    let redis = Redis::spawn(RedisOptions::default()).await?;
    let first = Gate::start(policies.gate(in_redis(&redis), "256Mi")?).await?;
    let second = Gate::start(policies.gate(in_redis(&redis), "256Mi")?.with_keys_of(&first.0)).await?;
    let crowd = Crowd::of(&redis, &first).await?;
    let (mut answered_after, mut passed_after, mut asked_after) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let subject = format!("everywhere-{round}");
        let made = crowd.create(0..sessions, 256, "customer", |_| subject.clone()).await?;
        let checks: Arc<[Bytes]> = made.iter().map(|made| policies.hot(&made.token)).collect();
        let requests = Requests::many(checks.to_vec());
        let (stop, last_pass) = (CancellationToken::new(), LastPass::default());
        let (mut in_use, mut channels) = (JoinSet::new(), Vec::new());
        for gate in [&first, &second] {
            Load::Saturated.measure(&gate.usage(), &gate.socket()?, &requests, sessions).await?;
            let channel = connect(&gate.socket()?).await?;
            let use_ = used(channel.clone(), Arc::clone(&checks), Arc::clone(&last_pass), stop.clone());
            in_use.spawn(use_);
            channels.push(channel);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;

        let asked = Instant::now();
        let path = format!("/v1/subjects/{subject}/sessions");
        let (status, answer) = first.0.api(Method::DELETE, &path, None).await?;
        let answered = Instant::now();
        ensure!((200..300).contains(&status), "the session API answers {status} to a log-out: {answer}");
        let mut sweeps = JoinSet::new();
        for channel in channels {
            sweeps.spawn(swept(channel, Arc::clone(&checks), Arc::clone(&last_pass)));
        }
        while let Some(done) = sweeps.join_next().await {
            done??;
        }
        let swept = Instant::now();
        stop.cancel();
        while let Some(done) = in_use.join_next().await {
            done??;
        }
        let last_pass = last_pass.lock().unwrap_or_else(PoisonError::into_inner).expect("they were in use");
        answered_after.push(answered - asked);
        passed_after.push(last_pass.saturating_duration_since(answered));
        asked_after.push(swept - answered);
    }
    table.push(Row::times(format!("log-out of {sessions} sessions: sent to answered"), answered_after));
    table.push(Row::times("answered to last wrong 200 at two gates", passed_after));
    table.push(Row::times("answered to each asked for and refused at both", asked_after));
    Ok(())
}

/// Asks for one session after the other at a steady rate.
async fn used(channel: Channel, checks: Arc<[Bytes]>, last_pass: LastPass, stop: CancellationToken) -> Result<()> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut running = JoinSet::new();
    for check in checks.iter().cycle() {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let (channel, check, last_pass) = (channel.clone(), check.clone(), Arc::clone(&last_pass));
        running.spawn(async move { asked(&channel, check, &last_pass).await });
        while let Some(done) = running.try_join_next() {
            done??;
        }
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

/// Asks for every session once, and then again for those that passed.
async fn swept(channel: Channel, checks: Arc<[Bytes]>, last_pass: LastPass) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (channel, checks) = (channel.clone(), Arc::clone(&checks));
        let (last_pass, next) = (Arc::clone(&last_pass), Arc::clone(&next));
        workers.spawn(async move {
            while let Some(check) = checks.get(next.fetch_add(1, Ordering::Relaxed)) {
                while asked(&channel, check.clone(), &last_pass).await? != 401 {}
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(())
}

async fn asked(channel: &Channel, check: Bytes, last_pass: &LastPass) -> Result<u16> {
    let sent = Instant::now();
    let status = status(ask(channel, check).await?)?;
    if status == 200 {
        let mut last = last_pass.lock().unwrap_or_else(PoisonError::into_inner);
        *last = (*last).max(Some(sent));
    }
    Ok(status)
}
