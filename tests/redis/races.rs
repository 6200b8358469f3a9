//! A load that is under way while its session is ended.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::redis::proxy::{Act, Proxy};
use e2e::redis::{Redis, RedisOptions};
use futures_util::future::try_join_all;
use serde_json::json;

use crate::fleet::{Fleet, HOST, STALE, believing_for};
use crate::watch::Watch;

/// Which answer of a load is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Record,
    Epoch,
}

/// Who ends the session meanwhile: the gate that loads it, or another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Itself,
    Another,
}

/// A gate loads a session; the server's answer, given before the session was ended, is held until that was answered.
async fn races(held: Held, by: By, everywhere: bool) -> Result<()> {
    let redis = Redis::spawn(RedisOptions::default()).await?;
    let proxy = Proxy::spawn(redis.address())?;
    let (far, near) = (json!({ "url": format!("redis://{}", proxy.address()) }), json!({ "url": redis.url() }));
    // A held answer is waited for; what is not answered then is no longer a race.
    let fleet = Fleet::each(&[far, near], believing_for(Duration::from_secs(5))).await?;
    let [loading, another] = fleet.0.as_slice() else { unreachable!("two gates") };
    let name = format!("{held:?}-{by:?}-{everywhere}");
    let session = another.process.create_session(&json!({ "subject": name })).await?;
    let epoch = redis.command(&["KEYS", "ckr:shop:e:*"]).await?.list()[0].text();
    let epoch = redis.command(&["GET", &epoch]).await?.text();
    let caught = match held {
        Held::Record => proxy.next_reply(&name, Act::Hold),
        Held::Epoch => proxy.next_reply(&epoch, Act::Hold),
    };
    let checker = loading.checker.clone();
    let token = session.token.clone();
    let early = tokio::spawn(async move { checker.get(HOST, "/cart", &token).await });
    caught.seen().await?;
    let watch = Watch::over(loading, &session);
    let ender = match by {
        By::Itself => loading,
        By::Another => another,
    };
    let status = match everywhere {
        true => ender.end_all(&name).await?,
        false => ender.end(&session).await?,
    };
    ensure!((200..300).contains(&status), "{status}");
    let ended = Instant::now();
    caught.release();
    let early = early.await??.status;
    loading.until(&session, 401).await?;
    let felt = ended.elapsed();
    tokio::time::sleep(STALE).await;
    let seen = watch.end(&[200, 401, 503]).await?;
    // What the gate was told behind the held answer it cannot have known before.
    let strict = by == By::Itself || held == Held::Record;
    println!("| {name:<60} | {:>5} ms | {early} to the early one, then {} passed", felt.as_millis(), seen.count(200));
    if strict {
        ensure!(early != 200, "{name}: a load begun before a log-out served it afterwards");
        seen.none_passed_since(ended)?;
    }
    seen.none_passed_since(ended + Duration::from_secs(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn p19_a_load_begun_before_a_log_out_never_serves_it_afterwards() -> Result<()> {
    for held in [Held::Record, Held::Epoch] {
        let ways = [(By::Itself, false), (By::Itself, true), (By::Another, false), (By::Another, true)];
        try_join_all(ways.map(|(by, everywhere)| races(held, by, everywhere))).await?;
    }
    Ok(())
}
