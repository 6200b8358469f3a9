//! Each control, before a real Redis.

use std::time::{Duration, Instant};

use super::*;
use crate::redis::resp::{Connection, Reply};
use crate::redis::{Redis, RedisOptions, Transport};
use crate::tls::Certificates;

/// A server, a proxy before it, and a client of the proxy.
struct Scene {
    redis: Redis,
    proxy: Proxy,
    client: Connection,
}

impl Scene {
    async fn set() -> Result<Self> {
        let redis = Redis::spawn(RedisOptions::default()).await?;
        let proxy = Proxy::spawn(redis.address())?;
        let client = Connection::open(proxy.address()).await?;
        Ok(Self { redis, proxy, client })
    }

    /// What the server has under a key, without the proxy.
    async fn stored(&self, key: &str) -> Result<String> {
        Ok(self.redis.command(&["GET", key]).await?.text())
    }
}

/// Whether a reply is there, without waiting for one.
async fn is_silent(client: &mut Connection) -> bool {
    tokio::time::timeout(Duration::ZERO, client.reply()).await.is_err()
}

#[tokio::test]
async fn replies_are_held_and_let_go_while_requests_pass() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.proxy.hold();
    let reply = scene.proxy.next_reply("OK", Act::Pass);
    scene.client.send(&["SET", "coat", "red"]).await?;
    reply.seen().await?;
    assert_eq!(scene.stored("coat").await?, "red");
    assert!(is_silent(&mut scene.client).await);
    scene.proxy.release();
    assert_eq!(scene.client.reply().await?.text(), "OK");
    Ok(())
}

#[tokio::test]
async fn one_reply_is_held_and_other_connections_go_on() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.redis.command(&["SET", "coat", "red"]).await?;
    let caught = scene.proxy.next_reply("red", Act::Hold);
    scene.client.send(&["PING"]).await?;
    scene.client.send(&["GET", "coat"]).await?;
    scene.client.send(&["PING", "after"]).await?;
    assert_eq!(scene.client.reply().await?.text(), "PONG");
    caught.seen().await?;
    let mut other = Connection::open(scene.proxy.address()).await?;
    assert_eq!(other.call(&["GET", "coat"]).await?.text(), "red");
    assert!(is_silent(&mut scene.client).await);
    caught.release();
    assert_eq!(scene.client.reply().await?.text(), "red");
    assert_eq!(scene.client.reply().await?.text(), "after");
    Ok(())
}

#[tokio::test]
async fn a_request_is_held_before_the_server_has_it() -> Result<()> {
    let mut scene = Scene::set().await?;
    let caught = scene.proxy.next_request("coat", Act::Hold);
    scene.client.send(&["SET", "coat", "red"]).await?;
    caught.seen().await?;
    assert_eq!(scene.stored("coat").await?, "");
    caught.release();
    assert_eq!(scene.client.reply().await?.text(), "OK");
    assert_eq!(scene.stored("coat").await?, "red");
    Ok(())
}

#[tokio::test]
async fn connections_are_cut_and_new_ones_taken_or_refused() -> Result<()> {
    let mut scene = Scene::set().await?;
    assert_eq!(scene.client.call(&["PING"]).await?.text(), "PONG");
    scene.proxy.cut().await;
    assert!(scene.client.reply().await.is_err());
    let mut open = Connection::open(scene.proxy.address()).await?;
    assert_eq!(open.call(&["PING"]).await?.text(), "PONG");
    assert_eq!(scene.proxy.accepted(), 2);

    scene.proxy.refuse().await;
    assert!(Connection::open(scene.proxy.address()).await.is_err());
    assert_eq!(open.call(&["PING"]).await?.text(), "PONG");
    scene.proxy.accept()?;
    assert_eq!(Connection::open(scene.proxy.address()).await?.call(&["PING"]).await?.text(), "PONG");
    Ok(())
}

#[tokio::test]
async fn a_black_hole_closes_nothing_and_gives_everything_back() -> Result<()> {
    let mut scene = Scene::set().await?;
    assert_eq!(scene.client.call(&["PING"]).await?.text(), "PONG");
    scene.proxy.black_hole();
    let request = scene.proxy.next_request("coat", Act::Pass);
    scene.client.send(&["SET", "coat", "red"]).await?;
    request.seen().await?;
    let mut late = Connection::open(scene.proxy.address()).await?;
    late.send(&["PING", "late"]).await?;
    assert_eq!(scene.stored("coat").await?, "");
    assert!(is_silent(&mut scene.client).await && is_silent(&mut late).await);
    scene.proxy.heal();
    assert_eq!(scene.client.reply().await?.text(), "OK");
    assert_eq!(late.reply().await?.text(), "late");
    assert_eq!(scene.stored("coat").await?, "red");
    Ok(())
}

#[tokio::test]
async fn a_reply_is_cut_in_half_or_off_after_the_server_has_done_its_part() -> Result<()> {
    let mut scene = Scene::set().await?;
    for (act, value) in [(Act::Halve, "red"), (Act::Cut, "blue")] {
        let caught = scene.proxy.next_reply("OK", act);
        let error = scene.client.call(&["SET", "coat", value]).await.expect_err("cut off").to_string();
        caught.seen().await?;
        // `+OK\r\n` are five bytes.
        let half = if act == Act::Halve { "\"+OK\"" } else { "\"\"" };
        assert!(error.ends_with(half), "{error}");
        assert_eq!(scene.stored("coat").await?, value);
        scene.client = Connection::open(scene.proxy.address()).await?;
    }
    assert_eq!(scene.client.call(&["PING"]).await?.text(), "PONG");
    Ok(())
}

#[tokio::test]
async fn bytes_are_slowed_both_ways() -> Result<()> {
    let mut scene = Scene::set().await?;
    let delay = Duration::from_millis(30);
    scene.proxy.slow(delay);
    let start = Instant::now();
    scene.client.call(&["PING"]).await?.ok()?;
    assert!(start.elapsed() >= 2 * delay);
    scene.proxy.slow(Duration::ZERO);
    let caught = scene.proxy.next_reply("PONG", Act::Delay(delay));
    let start = Instant::now();
    scene.client.call(&["PING"]).await?.ok()?;
    assert!(start.elapsed() >= delay);
    caught.seen().await
}

#[tokio::test]
async fn tls_passes_and_is_held_as_it_comes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let transport = Transport::Tls(Certificates::make(folder.path(), &["127.0.0.1"])?);
    let redis = Redis::spawn(RedisOptions { transport, ..RedisOptions::default() }).await?;
    let proxy = Proxy::spawn(redis.address())?;
    let mut client = redis.connect_through(proxy.address()).await?;
    assert_eq!(client.call(&["PING"]).await?.text(), "PONG");
    proxy.hold();
    let caught = proxy.next_reply("", Act::Pass);
    client.send(&["SET", "coat", "red"]).await?;
    caught.seen().await?;
    assert!(is_silent(&mut client).await);
    proxy.release();
    assert_eq!(client.reply().await?, Reply::Status("OK".into()));
    Ok(())
}
