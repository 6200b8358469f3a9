//! Whatever breaks between a request and its response: nothing of ours leaves (P11), the client is told the truth, and nothing is
//! left behind in the gate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::gate::Store;
use e2e::process::{Signal, wait_until};
use e2e::sloppy::Act;
use e2e::tools::EnvoyVersion;
use serde_json::json;
use tokio::sync::Notify;

use super::PATIENCE;
use super::way::{Seen, Way, Wire, answer, our_cookie};
use crate::on_every_envoy;

on_every_envoy! {
    p11_a_gate_killed_between_request_and_response_lets_nothing_out => killed;
    p11_a_gate_killed_while_it_waits_for_the_body_lets_nothing_out => killed_in_the_body;
    p11_a_hung_gate_lets_nothing_out => hung;
    p11_a_response_without_a_request_half_is_cleaned => unchecked;
    a_restarted_gate_serves_the_other_half => restarted;
    p22_a_rule_that_changed_meanwhile_grants_nothing => policy_changed;
    p20_an_end_by_a_rule_that_changed_meanwhile_is_unavailable => end_changed;
    p17_an_end_of_all_reaches_the_others_of_a_session_that_is_over => ended_meanwhile;
    p11_a_jwt_stays_behind_when_its_rule_changed_meanwhile => exchange_changed;
}

/// What must not leave, whatever happens.
const SECRET: &str = "forged.internal.value";

/// Routes, whether they have the way back, and whether they need a session.
const ROUTES: [(&str, bool, bool); 6] = [
    ("/cart", true, true),
    ("/login", true, false),
    ("/login/header", true, false),
    ("/login/cookie", true, false),
    ("/exchange/body", true, false),
    ("/off", false, true),
];

/// An answer with all that a service could tell us. Where there is no way back, it tells what the static removal takes off.
pub(super) fn telling(target: &str) -> Vec<u8> {
    let jwt = match target {
        "/login/header" => format!("x-login-jwt: {SECRET}\r\n"),
        "/login/cookie" => format!("set-cookie: app_jwt={SECRET}\r\n"),
        _ => String::new(),
    };
    let body =
        if target == "/exchange/body" { format!(r#"{{"data":{{"access_token":"{SECRET}"}}}}"#) } else { "hi".into() };
    format!(
        "HTTP/1.1 200 OK\r\n{jwt}x-session-jwt: {SECRET}\r\nX_Session_Create: {SECRET}\r\nx-session-update: {SECRET}\r\n\
         x.session.end: {SECRET}\r\nx-session-color: {SECRET}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn durable(version: EnvoyVersion) -> Result<Way> {
    Way::with_both(
        version,
        |mut options| {
            options.store = Store::Embedded;
            options
        },
        |_| Ok(()),
    )
    .await
}

/// Waits until a request has reached the service.
pub(super) async fn arrived(way: &Way) -> Result<()> {
    wait_until(PATIENCE, "request at the service", async || !way.service.take().is_empty()).await
}

/// Sends a request that the service answers only once `meanwhile` is done.
async fn held(
    way: &Way,
    wire: Wire,
    target: &str,
    token: Option<&str>,
    meanwhile: impl AsyncFnOnce() -> Result<()>,
) -> Result<Seen> {
    held_with(way, wire, target, token, vec![Act::Send(telling(target))], meanwhile).await
}

/// The same, with an answer of the test's own.
async fn held_with(
    way: &Way,
    wire: Wire,
    target: &str,
    token: Option<&str>,
    acts: Vec<Act>,
    meanwhile: impl AsyncFnOnce() -> Result<()>,
) -> Result<Seen> {
    let go_on = Arc::new(Notify::new());
    way.answers([vec![Act::Await(Arc::clone(&go_on))], acts].concat());
    way.service.take();
    let then = async {
        arrived(way).await?;
        meanwhile().await?;
        go_on.notify_one();
        Ok(())
    };
    let (seen, ()) = tokio::try_join!(way.ask(wire, "POST", target, token), then)?;
    Ok(seen)
}

pub(super) fn clean(seen: &Seen) -> bool {
    seen.ours().is_empty() && !seen.contains(SECRET)
}

/// Envoy may need a moment to find the gate again.
pub(super) async fn works_again(way: &Way, token: &str) -> Result<()> {
    way.answers(answer(&[]));
    wait_until(PATIENCE, "way back", async || {
        let seen = way.ask(Wire::Http1, "GET", "/cart", Some(token)).await;
        seen.is_ok_and(|seen| seen.status == 200)
    })
    .await
}

async fn killed(version: EnvoyVersion) -> Result<()> {
    let mut way = durable(version).await?;
    let token = way.gate.create_session(&json!({ "subject": "ada" })).await?.token;
    for (target, way_back, session) in ROUTES {
        for wire in Wire::ALL {
            works_again(&way, &token).await?;
            let shown = session.then_some(&*token);
            let seen = held(&way, wire, target, shown, async || way.gate.process().kill().map(drop)).await?;
            let status = if way_back { 503 } else { 200 };
            ensure!(seen.status == status && clean(&seen), "{wire:?} {target}: {seen:?}");
            way.gate.crash_and_restart().await?;
        }
    }
    Ok(())
}

async fn killed_in_the_body(version: EnvoyVersion) -> Result<()> {
    let mut way = durable(version).await?;
    let token = way.gate.create_session(&json!({ "subject": "ada" })).await?.token;
    for wire in Wire::ALL {
        works_again(&way, &token).await?;
        let go_on = Arc::new(Notify::new());
        let all = telling("/exchange/body");
        let (first, rest) = all.split_at(all.len() - 5);
        way.answers(vec![Act::Send(first.to_vec()), Act::Await(Arc::clone(&go_on)), Act::Send(rest.to_vec())]);
        let then = async {
            wait_until(PATIENCE, "stream", async || way.streams().await.is_ok_and(|open| open == 1)).await?;
            way.gate.process().kill()?;
            go_on.notify_one();
            Ok(())
        };
        let (seen, ()) = tokio::try_join!(way.ask(wire, "POST", "/exchange/body", None), then)?;
        ensure!(seen.status == 503 && clean(&seen), "{wire:?}: {seen:?}");
        way.gate.crash_and_restart().await?;
    }
    Ok(())
}

/// Stopped, it neither answers nor breaks a connection: `message_timeout` must end the wait.
async fn hung(version: EnvoyVersion) -> Result<()> {
    let way = Way::timed(version, |options| options, |_| Ok(())).await?;
    let token = way.gate.create_session(&json!({ "subject": "ada" })).await?.token;
    for (target, way_back, session) in ROUTES {
        works_again(&way, &token).await?;
        let began = Instant::now();
        let shown = session.then_some(&*token);
        let stop = async || {
            way.gate.process().signal(Signal::STOP);
            Ok(())
        };
        let seen = held(&way, Wire::Http1, target, shown, stop).await;
        way.gate.process().signal(Signal::CONT);
        let seen = seen?;
        let fine = if way_back { matches!(seen.status, 503 | 504) } else { seen.status == 200 };
        ensure!(fine && clean(&seen), "{target}: {seen:?}");
        // 1.25 s in the shipped file; the rest is for a busy machine.
        ensure!(began.elapsed() < Duration::from_secs(10), "{target}: {:?}", began.elapsed());
    }
    works_again(&way, &token).await
}

/// The check is switched off for a route, and the way back is not: there is no note from a request half.
async fn unchecked(version: EnvoyVersion) -> Result<()> {
    let way = Way::with(version, |config| {
        let package = "type.googleapis.com/envoy.extensions.filters.http";
        config.route_first(json!({
            "match": { "prefix": "/unchecked" },
            "route": { "cluster": "shop" },
            "typed_per_filter_config": {
                "envoy.filters.http.ext_authz": { "@type": format!("{package}.ext_authz.v3.ExtAuthzPerRoute"), "disabled": true },
                "envoy.filters.http.ext_proc": { "@type": format!("{package}.ext_proc.v3.ExtProcPerRoute"), "overrides": {} },
            },
        }))?;
        config.no_static_removal().map(drop)
    })
    .await?;
    let before = way.counted("no_handle").await?;
    way.answers(vec![Act::Send(telling("/unchecked"))]);
    let seen = way.ask(Wire::Http1, "POST", "/unchecked", None).await?;
    ensure!(seen.status == 200 && clean(&seen), "{seen:?}");
    ensure!(way.counted("no_handle").await? == before + 1);
    Ok(())
}

/// The note that a request leaves is all that its response needs: another process opens it.
async fn restarted(version: EnvoyVersion) -> Result<()> {
    let mut way = durable(version).await?;
    let go_on = Arc::new(Notify::new());
    let create = answer(&[("x-session-create", r#"{"subject":"ada"}"#)]).remove(0);
    way.answers(vec![Act::Await(Arc::clone(&go_on)), create]);
    let mut client = way.sent("POST", "/login", &[]).await?;
    arrived(&way).await?;
    way.gate.crash_and_restart().await?;
    // Before the service goes on, Envoy has found the new process.
    let probe = async || way.sent("GET", "/login/public", &[]).await;
    wait_until(PATIENCE, "passed check", async || {
        let Ok(_held) = probe().await else { return false };
        arrived_soon(&way).await
    })
    .await?;
    go_on.notify_one();
    let seen: Seen = client.any_response(false).await?.into();
    ensure!(seen.status == 200, "{seen:?}");
    let token = our_cookie(&seen)?.token;
    ensure!(way.claims("/cart", &token).await?["sub"] == "ada");
    Ok(())
}

/// The service answers by a rule that is not there any more.
async fn policy_changed(version: EnvoyVersion) -> Result<()> {
    for (target, from, to) in [
        ("/cart", "writableClaims: [cart, note]", "writableClaims: [note]"),
        ("/cart", "name: cart,", "name: basket,"),
        ("/cart/all", "session: { writableClaims: [cart], end: true } }\n  - { name: plain", "}\n  - { name: plain"),
    ] {
        let way = Way::open(version).await?;
        let token = way.gate.create_session(&json!({ "subject": "ada", "claims": { "cart": ["mine"] } })).await?.token;
        let go_on = Arc::new(Notify::new());
        let told = answer(&[("x-session-update", r#"{"cart":[]}"#)]).remove(0);
        way.answers(vec![Act::Await(Arc::clone(&go_on)), told]);
        let mut client = way.sent("POST", target, &[("cookie", &format!("__Host-session={token}"))]).await?;
        arrived(&way).await?;
        way.change_policy(from, to).await?;
        go_on.notify_one();
        let seen: Seen = client.any_response(false).await?.into();
        ensure!(seen.status == 200 && clean(&seen), "{to}: {seen:?}");
        ensure!(way.counted("policy_changed").await? == 1, "{to}");
        ensure!(way.claims("/off", &token).await?["claims"]["cart"] == json!(["mine"]), "{to}");
    }
    Ok(())
}

/// Who asked to be logged out must not believe that it was done.
async fn end_changed(version: EnvoyVersion) -> Result<()> {
    for (from, to) in [
        ("session: { end: true } }", "}"),
        ("session: { end: true } }", "session: { end: true, writableClaims: [cart] } }"),
        ("name: logout,", "name: leave,"),
    ] {
        let way = Way::open(version).await?;
        let token = way.gate.create_session(&json!({ "subject": "ada" })).await?.token;
        let told = answer(&[("x-session-end", "current")]);
        let change = async || way.change_policy(from, to).await;
        let seen = held_with(&way, Wire::Http1, "/logout", Some(&token), told, change).await?;
        ensure!(seen.status == 503 && seen.header("retry-after") == ["1"] && clean(&seen), "{to}: {seen:?}");
        ensure!(seen.header("set-cookie").is_empty() && seen.header("cache-control") == ["no-store"], "{to}: {seen:?}");
        ensure!(way.counted("policy_changed").await? == 1, "{to}");
        way.claims("/off", &token).await?;
    }
    Ok(())
}

/// The request's own session ends while the service works: a log-out everywhere is one all the same.
async fn ended_meanwhile(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    for (command, left) in [("current", 1), ("subject", 0)] {
        let own = way.gate.create_session(&json!({ "subject": "ada" })).await?;
        let other = way.gate.create_session(&json!({ "subject": "ada" })).await?;
        let told = answer(&[("x-session-end", command)]);
        let revoke = async || way.gate.revoke_session(&own.sid).await;
        let seen = held_with(&way, Wire::Http1, "/logout", Some(&own.token), told, revoke).await?;
        ensure!(seen.status == 200 && our_cookie(&seen)?.token.is_empty(), "{command}: {seen:?}");
        ensure!(way.sids("ada").await?.len() == left, "{command}");
        way.gate.revoke_session(&other.sid).await?;
    }
    Ok(())
}

async fn exchange_changed(version: EnvoyVersion) -> Result<()> {
    // Another place, and none at all.
    for (from, to) in [
        ("exchange: { header: x-login-jwt,", "exchange: { header: x-other-jwt,"),
        ("- name: by-header", "- name: by-another-name"),
    ] {
        let way = Way::open(version).await?;
        let jwt = way.jwt(&json!({ "sub": "ada", "aud": "cloakroom" }))?;
        let go_on = Arc::new(Notify::new());
        let told = answer(&[("x-login-jwt", &jwt)]).remove(0);
        way.answers(vec![Act::Await(Arc::clone(&go_on)), told]);
        let mut client = way.sent("POST", "/login/header", &[]).await?;
        arrived(&way).await?;
        way.change_policy(from, to).await?;
        go_on.notify_one();
        let seen: Seen = client.any_response(false).await?.into();
        ensure!(seen.status == 502 && !seen.contains(&jwt), "{to}: {seen:?}");
        ensure!(way.counted("policy_changed").await? == 1, "{to}");
    }
    Ok(())
}

async fn arrived_soon(way: &Way) -> bool {
    wait_until(Duration::from_millis(500), "request", async || !way.service.take().is_empty()).await.is_ok()
}
