//! Who we are to a server, and what it lets us do.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::gate::CreatedSession;
use e2e::process::wait_until;
use e2e::redis::cluster::RedisCluster;
use e2e::redis::{Redis, RedisOptions, Transport};
use e2e::tls::Certificates;
use http::Method;
use serde_json::{Value, json};

use crate::fleet::{Fleet, PATIENCE, STALE, believing_for};
use crate::watch::Watch;

/// The user of docs/store.md, exactly as the page says.
fn user_of_the_page(password: &str) -> Result<String> {
    let page = include_str!("../../docs/store.md");
    let (_, line) = page.split_once("ACL SETUSER cloakroom on >… ").context("the page names the user")?;
    let (rules, _) = line.split_once("```").context("the end of its rules")?;
    let rules: Vec<&str> = rules.split_whitespace().collect();
    Ok(format!("cloakroom on >{password} {}", rules.join(" ")))
}

/// Everything that a gate does with a store, through its surfaces.
async fn does_everything(fleet: &Fleet) -> Result<()> {
    let [one, two] = fleet.0.as_slice() else { unreachable!("two gates") };
    let provider = json!({ "iss": "https://issuer.example", "sid": "their-session" });
    let body = json!({ "subject": "ada", "provider": provider, "idle": "20s" });
    let ada = one.process.create_session(&body).await?;
    let bob: CreatedSession = fleet.log_in("bob").await?;
    for gate in &fleet.0 {
        gate.until(&ada, 200).await?;
        gate.until(&bob, 200).await?;
    }
    let path = format!("/v1/sessions/{}", ada.sid);
    let (status, answer) =
        one.process.api(Method::PATCH, &path, Some(&json!({ "claims": { "tier": "gold" } }))).await?;
    ensure!(status == 200, "update: {status} {answer}");
    let (status, answer) = one.process.api(Method::GET, "/v1/sessions?subject=ada", None).await?;
    ensure!(status == 200, "list: {status} {answer}");
    let (status, answer) =
        one.process.api(Method::POST, &format!("{path}/rotate"), Some(&json!({ "token": ada.token }))).await?;
    ensure!(status == 200, "rotate: {status} {answer}");
    // A use is noted once each tenth of what a session may lie idle.
    let first = one.process.api(Method::GET, &path, None).await?.1["lastSeen"].clone();
    let used = async || {
        let _ = one.get(&ada).await;
        one.process.api(Method::GET, &path, None).await.is_ok_and(|(_, now)| now["lastSeen"] != first)
    };
    wait_until(PATIENCE, "use that is noted", used).await?;
    ensure!(one.end(&bob).await? == 204);
    ensure!(one.end_all("ada").await? == 200);
    let ended = Instant::now();
    two.until(&bob, 401).await?;
    two.until(&ada, 401).await?;
    ensure!(ended.elapsed() < Duration::from_secs(1), "{:?}: not told of it", ended.elapsed());
    Ok(())
}

/// No server has refused our user anything.
async fn nothing_was_refused(redis: &Redis) -> Result<()> {
    let refused = redis.command(&["ACL", "LOG"]).await?;
    ensure!(refused.list().is_empty(), "refused by the ACL of docs/store.md: {refused:?}");
    Ok(())
}

fn tells_of_changes(fleet: &Fleet) -> Result<()> {
    for gate in &fleet.0 {
        ensure!(!gate.process.output().contains("does not tell of changes"));
    }
    Ok(())
}

async fn over_tls(mutual: bool, folder: &Path) -> Result<()> {
    let certificates = Certificates::make(folder, &["127.0.0.1"])?;
    let mut tls = json!({ "caFile": certificates.ca });
    if mutual {
        (tls["certFile"], tls["keyFile"]) = (json!(certificates.client.certificate), json!(certificates.client.key));
    }
    let transport = match mutual {
        true => Transport::MutualTls(certificates),
        false => Transport::Tls(certificates),
    };
    let password = folder.join("password");
    std::fs::write(&password, "for-gates\n")?;
    let users = vec![user_of_the_page("for-gates")?];
    let options = RedisOptions { transport, users, password: Some("closed".to_owned()), ..RedisOptions::default() };
    let redis = Redis::spawn(options.clone()).await?;
    let (ip, port) = (redis.address().ip(), redis.address().port());
    let _replica = Redis::spawn(options.line(format!("replicaof {ip} {port}"))).await?;
    let way = json!({
        "url": redis.url(), "username": "cloakroom", "passwordFile": password, "tls": tls, "wait": { "replicas": 1 },
    });
    let fleet = Fleet::start(2, way, believing_for(STALE)).await?;
    let replicated = async || fleet.log_in("first").await.is_ok();
    wait_until(PATIENCE, "replica", replicated).await?;
    does_everything(&fleet).await?;
    tells_of_changes(&fleet)?;
    nothing_was_refused(&redis).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_that_the_page_makes_may_do_what_a_gate_does_over_tls() -> Result<()> {
    over_tls(false, tempfile::tempdir()?.path()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_that_the_page_makes_may_do_what_a_gate_does_over_mutual_tls() -> Result<()> {
    over_tls(true, tempfile::tempdir()?.path()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_that_the_page_makes_may_do_what_a_gate_does_in_a_cluster() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let password = folder.path().join("password");
    std::fs::write(&password, "for-gates")?;
    let users = vec![user_of_the_page("for-gates")?];
    let cluster = RedisCluster::spawn(RedisOptions { users, ..RedisOptions::default() }).await?;
    let addresses: Vec<String> = cluster.addresses().iter().map(ToString::to_string).collect();
    let way = json!({ "cluster": { "addresses": addresses }, "username": "cloakroom", "passwordFile": password });
    let fleet = Fleet::start(2, way, believing_for(STALE)).await?;
    does_everything(&fleet).await?;
    // One that is asked for while its slot moves: ASKING.
    let session = fleet.log_in("moving").await?;
    let slot = cluster.slot_of(&format!("ckr:shop:s:{{{}}}", session.sid)).await?;
    let to = (cluster.node_of_slot(slot).await? + 1) % 3;
    let migration = cluster.begin_migration(slot, to).await?;
    cluster.move_keys(migration).await?;
    fleet.0[1].until(&session, 200).await?;
    cluster.finish_migration(migration).await?;
    tells_of_changes(&fleet)?;
    for node in cluster.nodes() {
        nothing_was_refused(node).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p18_a_changed_password_is_felt_at_the_next_connection_and_mended_without_a_restart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let password = folder.path().join("password");
    std::fs::write(&password, "old\n")?;
    let redis = Redis::spawn(RedisOptions { password: Some("old".to_owned()), ..RedisOptions::default() }).await?;
    let way = json!({ "url": redis.url(), "passwordFile": password });
    let fleet = Fleet::start(1, way, believing_for(STALE)).await?;
    let gate = &fleet.0[0];
    let (hot, cold) = (fleet.log_in("ada").await?, fleet.log_in("bob").await?);
    gate.until(&hot, 200).await?;

    let watch = Watch::over(gate, &hot);
    redis.command(&["CONFIG", "SET", "requirepass", "new"]).await?;
    tokio::time::sleep(2 * STALE).await;
    watch.end(&[200, 503]).await?.hardly_noticed().context("before the next connection")?;

    let watch = Watch::over(gate, &hot);
    redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).await?;
    let began = Instant::now();
    gate.cannot_know(&cold).await?;
    gate.until(&hot, 503).await?;
    ensure!(gate.end(&cold).await? == 503);
    let told = async || gate.process.output().contains("the server refused the user, the password");
    wait_until(PATIENCE, "word of it in the log", told).await?;
    for secret in ["\"old\"", "\"new\""] {
        ensure!(!gate.process.output().contains(secret), "a password in the log");
    }
    let ending = Instant::now();
    std::fs::write(&password, "new\n")?;
    let ended = Instant::now();
    gate.is_back("wrong password, mended in its file", &hot, ended).await?;
    gate.until(&cold, 200).await?;
    watch.end(&[200, 503]).await?.none_passed(began + STALE, ending)
}

/// A server that tells of no change: what was loaded is believed for half a second.
async fn is_asked_again_and_again(redis: &Redis, way: Value) -> Result<()> {
    let fleet = Fleet::start(2, way, believing_for(STALE)).await?;
    let [ending, other] = fleet.0.as_slice() else { unreachable!("two gates") };
    for gate in &fleet.0 {
        ensure!(gate.process.output().contains("does not tell of changes"), "the log says so");
    }
    let hot = fleet.log_in("ada").await?;
    let steady = Watch::over(other, &hot);
    for everywhere in [false, true, false] {
        let session = fleet.log_in("eve").await?;
        let watch = Watch::over(other, &session);
        other.until(&session, 200).await?;
        match everywhere {
            true => ensure!(ending.end_all("eve").await? == 200),
            false => ensure!(ending.end(&session).await? == 204),
        }
        let ended = Instant::now();
        other.until(&session, 401).await?;
        println!("| {:<60} | {:>5} ms | until refused", "no tracking", ended.elapsed().as_millis());
        tokio::time::sleep(STALE).await;
        watch.end(&[200, 401, 503]).await?.none_passed_since(ended + Duration::from_millis(510))?;
    }
    steady.end(&[200, 503]).await?.hardly_noticed()?;
    let refused = redis.command(&["CLIENT", "LIST", "TYPE", "normal"]).await?.text();
    ensure!(!refused.contains("redir=0"), "nobody tracks here");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_a_user_that_may_not_ask_to_be_told_asks_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let password = folder.path().join("password");
    std::fs::write(&password, "for-gates")?;
    let users = vec!["gates on >for-gates ~* &* +@all -client|tracking -client|caching".to_owned()];
    let redis = Redis::spawn(RedisOptions { users, ..RedisOptions::default() }).await?;
    let way = json!({ "url": redis.url(), "username": "gates", "passwordFile": password });
    is_asked_again_and_again(&redis, way).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_a_server_without_resp3_is_asked_again() -> Result<()> {
    let redis = Redis::spawn(RedisOptions::default().line("rename-command HELLO \"\"")).await?;
    is_asked_again_and_again(&redis, json!({ "url": redis.url() })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p17_a_server_without_resp3_and_with_a_password_is_asked_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let password = folder.path().join("password");
    std::fs::write(&password, "secret")?;
    let options = RedisOptions { password: Some("secret".to_owned()), ..RedisOptions::default() };
    let redis = Redis::spawn(options.line("rename-command HELLO \"\"")).await?;
    is_asked_again_and_again(&redis, json!({ "url": redis.url(), "passwordFile": password })).await
}
