//! The way back through real Envoys: what a service says about the session in its answer, what becomes of it, and what of it a
//! client sees.

mod at_once;
mod audit;
mod bodies;
mod cookies;
mod disk;
mod durable;
mod elsewhere;
mod exchanges;
mod faults;
mod grpc;
mod leaks;
mod logins;
mod nonsense;
mod resets;
mod way;

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::tools::EnvoyVersion;
use serde_json::{Value, json};

use self::way::{Way, Wire, answer, our_cookie};
use crate::on_every_envoy;

/// On a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

on_every_envoy! {
    a_response_makes_changes_and_ends_a_session => whole_loop;
    p17_a_response_ends_all_sessions_of_a_subject => ends_all;
    an_end_that_is_said_twice_is_done_once => said_twice;
    a_bearer_token_gets_no_cookie => bearer;
    a_route_without_ext_proc_changes_nothing => route_off;
    p22_a_rule_grants_only_what_it_says => grants;
}

async fn whole_loop(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    for wire in Wire::ALL {
        way.service.take();
        way.answers(answer(&[("x-session-create", r#"{"subject":"ada","roles":["admin"],"claims":{"cart":[]}}"#)]));
        let made = way.ask(wire, "POST", "/login", None).await?;
        ensure!(made.status == 200, "{made:?}");
        ensure!(made.header("cache-control") == ["no-store"], "{made:?}");
        let token = our_cookie(&made)?.token;
        ensure!(way.service.take().iter().all(|seen| seen.header_readings("x-session-jwt").is_empty()));

        for (patch, cart) in [
            (r#"{"cart":["book"]}"#, json!(["book"])),
            (r#"{"cart":["book","pen"],"note":{"a":{"b":1}}}"#, json!(["book", "pen"])),
            (r#"{"note":{"a":null}}"#, json!(["book", "pen"])),
            (r#"{"cart":null}"#, Value::Null),
            (r#"{"cart":["last"]}"#, json!(["last"])),
        ] {
            way.answers(answer(&[("x-session-update", patch)]));
            let updated = way.ask(wire, "POST", "/cart", Some(&token)).await?;
            ensure!(updated.status == 200 && updated.header("set-cookie").is_empty(), "{updated:?}");
            ensure!(updated.ours().is_empty(), "{updated:?}");
            let claims = way.claims("/cart", &token).await?;
            ensure!(claims["sub"] == "ada" && claims["roles"] == json!(["admin"]), "{claims}");
            ensure!(claims["claims"]["cart"] == cart, "{patch}: {claims}");
        }
        ensure!(way.claims("/elsewhere", &token).await?["claims"]["note"] == json!({}));

        way.answers(answer(&[("x-session-end", "current")]));
        let ended = way.ask(wire, "POST", "/logout", Some(&token)).await?;
        ensure!(ended.status == 200 && ended.header("cache-control") == ["no-store"], "{ended:?}");
        let cookie = our_cookie(&ended)?;
        ensure!(cookie.token.is_empty() && cookie.attributes.contains("Max-Age=0"), "{ended:?}");
        ensure!(way.ask(wire, "GET", "/cart", Some(&token)).await?.status == 401);
    }
    Ok(())
}

async fn ends_all(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let phone = way.gate.create_session(&json!({ "subject": "ada" })).await?.token;
    let laptop = way.gate.create_session(&json!({ "subject": "ada" })).await?.token;
    let other = way.gate.create_session(&json!({ "subject": "bob" })).await?.token;
    way.answers(answer(&[("x-session-end", "subject")]));
    ensure!(way.ask(Wire::Http1, "POST", "/logout", Some(&phone)).await?.status == 200);
    way.answers(answer(&[]));
    for (token, status) in [(&phone, 401), (&laptop, 401), (&other, 200)] {
        ensure!(way.ask(Wire::Http1, "GET", "/cart", Some(token)).await?.status == status);
    }
    Ok(())
}

/// Of two scopes the wider one counts: who asked to be logged out must be.
async fn said_twice(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let (current, subject) = (("x-session-end", "current"), ("x-session-end", "subject"));
    for (said, left) in [([current, current], 1), ([current, subject], 0), ([subject, current], 0)] {
        for wire in Wire::ALL {
            let other = way.gate.create_session(&json!({ "subject": "ada" })).await?;
            let token = way.gate.create_session(&json!({ "subject": "ada" })).await?.token;
            let before = (way.counted("ended").await?, way.responses().await?);
            way.answers(answer(&said));
            let seen = way.ask(wire, "POST", "/logout", Some(&token)).await?;
            ensure!(seen.status == 200 && our_cookie(&seen)?.token.is_empty(), "{said:?}: {seen:?}");
            let after = (way.counted("ended").await?, way.responses().await?);
            ensure!(after == (before.0 + 1, before.1 + 1), "{said:?}: {before:?}, then {after:?}");
            ensure!(way.sids("ada").await?.len() == left, "{said:?}");
            way.gate.revoke_session(&other.sid).await?;
        }
    }
    Ok(())
}

/// A cookie is expired only where the credential came in one.
async fn bearer(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let token = way.gate.create_session(&json!({ "subject": "ada" })).await?.token;
    way.answers(answer(&[("x-session-end", "current"), ("cache-control", "public"), ("expires", "tomorrow")]));
    let ended = way.ask_with(Wire::Http1, "POST", "/logout", &[("authorization", &format!("Bearer {token}"))]).await?;
    ensure!(ended.status == 200 && ended.header("set-cookie").is_empty() && ended.ours().is_empty(), "{ended:?}");
    ensure!(ended.header("cache-control") == ["no-store"] && ended.header("expires").is_empty(), "{ended:?}");
    ensure!(way.ask(Wire::Http1, "GET", "/cart", Some(&token)).await?.status == 401);
    Ok(())
}

async fn route_off(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let token = way.gate.create_session(&json!({ "subject": "ada", "claims": { "cart": ["mine"] } })).await?.token;
    let read = way.responses().await?;
    for header in [("x-session-update", r#"{"cart":[]}"#), ("x-session-end", "current")] {
        way.answers(answer(&[header]));
        let passed = way.ask(Wire::Http1, "POST", "/off", Some(&token)).await?;
        ensure!(passed.status == 200 && passed.ours().is_empty(), "{passed:?}");
    }
    ensure!(way.claims("/off", &token).await?["claims"]["cart"] == json!(["mine"]));
    ensure!(way.responses().await? == read, "a route that is off paid for a call");
    Ok(())
}

/// Every command on every route: only what its rule grants has an effect, and everything else is counted.
async fn grants(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let create = ("x-session-create", r#"{"subject":"eve"}"#);
    let update = ("x-session-update", r#"{"cart":[]}"#);
    let end = ("x-session-end", "current");
    for (target, command, outcome) in [
        ("/login", update, "not_granted"),
        ("/login", end, "not_granted"),
        ("/cart", create, "not_granted"),
        ("/cart", end, "not_granted"),
        ("/logout", create, "not_granted"),
        ("/logout", update, "not_granted"),
        ("/exchange/body", create, "not_granted"),
        // Rules without `session`.
        ("/cart/plain", create, "no_handle"),
        ("/cart/plain", update, "no_handle"),
        ("/cart/plain", end, "no_handle"),
        ("/login/public", create, "no_handle"),
    ] {
        let session = way.gate.create_session(&json!({ "subject": "ada", "claims": { "cart": ["mine"] } })).await?;
        let before = way.counted(outcome).await?;
        way.answers(answer(&[command]));
        let passed = way.ask(Wire::Http1, "POST", target, Some(&session.token)).await?;
        let name = format!("{target} {command:?}");
        ensure!(passed.status == 200 && passed.ours().is_empty(), "{name}: {passed:?}");
        ensure!(passed.header("set-cookie").is_empty(), "{name}: {passed:?}");
        ensure!(way.counted(outcome).await? == before + 1, "{name}: {outcome} is not counted");
        ensure!(way.claims("/cart", &session.token).await?["claims"]["cart"] == json!(["mine"]), "{name}");
    }
    Ok(())
}
