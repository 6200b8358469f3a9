//! A server that is away, hangs, or loses its connections.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::process::wait_until;
use e2e::redis::proxy::{Act, Proxy};
use e2e::redis::{Persistence, Redis, RedisOptions};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::fleet::{Fleet, Gate, PATIENCE, STALE, believing_for};
use crate::watch::Watch;

/// One server that forgets nothing, a proxy before it, and gates that reach it through that.
struct Site {
    redis: Redis,
    proxy: Proxy,
    fleet: Fleet,
}

impl Site {
    async fn start(gates: usize, stale: Duration) -> Result<Self> {
        let options = RedisOptions { persistence: Persistence::EveryWrite, ..RedisOptions::default() };
        let redis = Redis::spawn(options).await?;
        let proxy = Proxy::spawn(redis.address())?;
        let fleet = Fleet::start(gates, way(&proxy), believing_for(stale)).await?;
        Ok(Self { redis, proxy, fleet })
    }

    fn gate(&self) -> &Gate {
        &self.fleet.0[0]
    }
}

fn way(proxy: &Proxy) -> Value {
    json!({ "url": format!("redis://{}", proxy.address()) })
}

/// The server is not to be asked from `begin` to `end`: what is cached passes for `stale`, everything else and everything after
/// that is 503, nobody loses a cookie, and all is well again by itself.
async fn goes_dark(
    fault: &str,
    stale: Duration,
    begin: impl AsyncFnOnce(&mut Site) -> Result<()>,
    end: impl AsyncFnOnce(&mut Site) -> Result<()>,
) -> Result<()> {
    let mut site = Site::start(1, stale).await?;
    let (hot, cold) = (site.fleet.log_in("ada").await?, site.fleet.log_in("bob").await?);
    let doomed = site.fleet.log_in("eve").await?;
    site.gate().until(&hot, 200).await?;
    let watch = Watch::over(site.gate(), &hot);

    begin(&mut site).await?;
    let began = Instant::now();
    site.gate().cannot_know(&cold).await?;
    site.gate().until(&hot, 503).await?;
    site.gate().cannot_know(&hot).await?;
    ensure!(site.gate().end(&doomed).await? == 503, "a log-out that is not made is not answered as if it were");
    ensure!(site.gate().try_log_in("joe").await? == 503);

    let ending = Instant::now();
    end(&mut site).await?;
    let ended = Instant::now();
    site.gate().is_back(fault, &hot, ended).await?;
    site.gate().until(&cold, 200).await?;
    watch.end(&[200, 503]).await?.none_passed(began + stale, ending)?;
    ensure!(site.gate().end(&doomed).await? == 204, "asked again, it is made");
    ensure!(site.gate().status(&doomed).await? == 401);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_a_killed_server_is_believed_for_the_bound_and_no_longer() -> Result<()> {
    goes_dark(
        "killed, and started again",
        STALE,
        async |site| site.redis.kill(),
        async |site| site.redis.restart().await,
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_a_stopped_server_is_believed_for_the_bound_and_no_longer() -> Result<()> {
    let stop = async |site: &mut Site| site.redis.stop().await;
    goes_dark("stopped (SIGSTOP)", STALE, stop, async |site| {
        site.redis.cont();
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_a_stopped_server_is_believed_for_the_five_seconds_that_are_the_default() -> Result<()> {
    let stop = async |site: &mut Site| site.redis.stop().await;
    goes_dark("stopped, with the default maxStaleness", Duration::from_secs(5), stop, async |site| {
        site.redis.cont();
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_a_server_that_became_a_replica_is_believed_for_the_bound_and_no_longer() -> Result<()> {
    // Nobody listens there.
    let nobody = e2e::port::Port::reserve()?.address();
    let (ip, port) = (nobody.ip().to_string(), nobody.port().to_string());
    let demote = async |site: &mut Site| {
        site.redis.command(&["REPLICAOF", &ip, &port]).await?;
        let noticed = async || site.gate().process.output().contains("it is no master");
        wait_until(PATIENCE, "word of it in the log", noticed).await
    };
    goes_dark("read-only (REPLICAOF)", STALE, demote, async |site| {
        site.redis.command(&["REPLICAOF", "NO", "ONE"]).await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_a_partition_is_believed_for_the_bound_and_no_longer() -> Result<()> {
    let part = async |site: &mut Site| {
        site.proxy.black_hole();
        Ok(())
    };
    goes_dark("partitioned", STALE, part, async |site| {
        site.proxy.heal();
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_a_server_that_answers_too_late_is_believed_for_the_bound_and_no_longer() -> Result<()> {
    let slow = async |site: &mut Site| {
        site.proxy.slow(Duration::from_millis(1500));
        Ok(())
    };
    goes_dark("slow: three seconds for an answer", STALE, slow, async |site| {
        site.proxy.slow(Duration::ZERO);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_a_little_slow_is_waited_for() -> Result<()> {
    let site = Site::start(1, Duration::from_secs(5)).await?;
    let (hot, cold) = (site.fleet.log_in("ada").await?, site.fleet.log_in("bob").await?);
    site.gate().until(&hot, 200).await?;
    let watch = Watch::over(site.gate(), &hot);
    site.proxy.slow(Duration::from_millis(60));
    site.gate().until(&cold, 200).await?;
    ensure!(site.gate().end(&cold).await? == 204);
    ensure!(site.gate().status(&cold).await? == 401);
    watch.end(&[200, 503]).await?.hardly_noticed()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p02_a_gate_that_starts_before_its_store_waits_for_it() -> Result<()> {
    let mut site = Site::start(1, STALE).await?;
    let ada = site.fleet.log_in("ada").await?;
    site.redis.kill()?;
    site.fleet.begin_another(&way(&site.proxy), &believing_for(STALE)).await?;
    let late = &site.fleet.0[1];
    late.cannot_know(&ada).await?;
    ensure!(!late.process.is_ready().await, "ready without a store");
    site.redis.restart().await?;
    let ended = Instant::now();
    late.is_back("away when the gate starts", &ada, ended).await?;
    let ready = async || late.process.is_ready().await;
    wait_until(PATIENCE, "readiness", ready).await
}

/// A connection that breaks is made anew at once; who asked meanwhile does not notice.
#[tokio::test(flavor = "multi_thread")]
async fn p02_half_an_answer_is_none() -> Result<()> {
    let site = Site::start(1, Duration::from_secs(5)).await?;
    let hot = site.fleet.log_in("ada").await?;
    site.gate().until(&hot, 200).await?;
    let watch = Watch::over(site.gate(), &hot);
    for (subject, act) in [("half-a-record", Act::Halve), ("no-record", Act::Cut)] {
        let session = site.fleet.log_in(subject).await?;
        let caught = site.proxy.next_reply(subject, act);
        let ended = Instant::now();
        ensure!(site.gate().status(&session).await? == 200, "{subject}");
        caught.seen().await?;
        site.gate().is_back(&format!("a connection broken by {subject}"), &session, ended).await?;
    }
    // What became of a change whose answer is lost, nobody knows: the caller is told so, and asks again.
    for (name, act) in [("half an answer", Act::Halve), ("no answer", Act::Cut)] {
        let session = site.fleet.log_in("eve").await?;
        site.gate().until(&session, 200).await?;
        let caught = site.proxy.next_reply(":1\r\n", act);
        ensure!(site.gate().end(&session).await? == 503, "{name} to a log-out");
        caught.seen().await?;
        ensure!(site.gate().end(&session).await? == 204);
        ensure!(site.gate().status(&session).await? == 401);
    }
    let seen = watch.end(&[200, 503]).await?;
    println!("| {:<60} | {:>3} of {} answers were 503", "broken connections", seen.count(503), seen.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_a_word_of_a_log_out_that_is_lost_with_its_connection_is_not_missed() -> Result<()> {
    let redis = Redis::spawn(RedisOptions::default()).await?;
    let proxy = Proxy::spawn(redis.address())?;
    let near = json!({ "url": redis.url() });
    let fleet = Fleet::each(&[way(&proxy), near], believing_for(Duration::from_secs(5))).await?;
    let [far, near] = fleet.0.as_slice() else { unreachable!("two gates") };
    for (name, act) in [("half a word", Act::Halve), ("no word", Act::Cut)] {
        let session = near.process.create_session(&json!({ "subject": "ada" })).await?;
        far.until(&session, 200).await?;
        let watch = Watch::over(far, &session);
        let caught = proxy.next_reply(&session.sid, act);
        ensure!(near.end(&session).await? == 204);
        let ended = Instant::now();
        caught.seen().await?;
        far.until(&session, 401).await?;
        println!("| {:<60} | {:>5} ms | until refused", format!("{name} of a log-out"), ended.elapsed().as_millis());
        watch.end(&[200, 401, 503]).await?.none_passed_since(ended + Duration::from_secs(1))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_log_outs_are_felt_while_all_clients_are_killed_each_second() -> Result<()> {
    let site = Site::start(2, STALE).await?;
    let [ending, other] = site.fleet.0.as_slice() else { unreachable!("two gates") };
    let hot = site.fleet.log_in("ada").await?;
    let mut pace = interval(Duration::from_secs(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for gate in &site.fleet.0 {
        gate.until(&hot, 200).await?;
    }
    let steady: Vec<Watch> = site.fleet.0.iter().map(|gate| Watch::over(gate, &hot)).collect();
    let mut ended: Vec<(Watch, Instant)> = Vec::new();
    for _ in 0..10 {
        let session = site.fleet.log_in("bob").await?;
        other.until(&session, 200).await?;
        let watch = Watch::over(other, &session);
        pace.tick().await;
        site.redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).await?;
        // The change may have been under way on a connection that was killed: then it is asked for again.
        let end = async || ending.end(&session).await.is_ok_and(|status| status == 204);
        wait_until(PATIENCE, "log-out", end).await?;
        let at = Instant::now();
        other.until(&session, 401).await?;
        // The one before was watched for a second more.
        while let Some((watch, at)) = ended.pop() {
            watch.end(&[200, 401, 503]).await?.none_passed_since(at + Duration::from_secs(1))?;
        }
        ended.push((watch, at));
    }
    for watch in steady {
        let seen = watch.end(&[200, 503]).await?;
        println!("| {:<60} | {:>3} of {} answers were 503", "all clients killed", seen.count(503), seen.len());
    }
    ending.is_back("all clients killed each second", &hot, Instant::now()).await
}
