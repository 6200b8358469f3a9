//! A new log-in means a new token, and whoever planted one gains nothing (P15).

use anyhow::{Context as _, Result, ensure};
use e2e::process::wait_until;
use e2e::sloppy::Act;
use e2e::tools::EnvoyVersion;
use serde_json::json;

use super::PATIENCE;
use super::exchanges::new_token;
use super::way::{Way, Wire, answer, our_cookie};
use crate::on_every_envoy;

on_every_envoy! {
    p15_a_planted_token_is_replaced_and_dead => planted;
    p15_a_failed_log_in_leaves_the_session => failed;
    p15_a_dead_token_does_not_stand_in_the_way => dead;
    p13_two_tokens_are_refused_at_the_log_in => two;
    p14_no_cache_keeps_a_token => caches;
    a_log_out_has_the_last_word_about_the_cookie => last_word;
}

const CREATE: (&str, &str) = ("x-session-create", r#"{"subject":"victim"}"#);

/// The ways to log in: where, what the service answers, and with what body.
async fn ways_in(way: &Way) -> Result<Vec<(&'static str, Vec<Act>)>> {
    let jwt = way.jwt(&json!({ "sub": "victim", "aud": "cloakroom" }))?;
    let body = json!({ "data": { "access_token": jwt } }).to_string();
    Ok(vec![
        ("/login", answer(&[CREATE])),
        ("/login/header", answer(&[("x-login-jwt", &jwt)])),
        ("/login/cookie", answer(&[("set-cookie", &format!("app_jwt={jwt}; Path=/"))])),
        ("/exchange/body", super::way::answer_bytes(&[("content-type", b"application/json")], body.as_bytes())),
    ])
}

async fn planted(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    for (target, acts) in ways_in(&way).await? {
        for wire in Wire::ALL {
            let planted = way.gate.create_session(&json!({ "subject": "mallory" })).await?.token;
            way.answers(acts.clone());
            way.service.take();
            let answered = way.ask(wire, "POST", target, Some(&planted)).await?;
            ensure!(answered.status == 200 && answered.ours().is_empty(), "{target}: {answered:?}");
            for seen in way.service.take() {
                ensure!(seen.header_readings("x-session-jwt").is_empty(), "{target}: identity at a log-in: {seen:?}");
                ensure!(!seen.contains(&planted), "{target}: the token arrived");
            }
            let new = new_token(target, &answered)?;
            ensure!(!new.is_empty() && new != planted, "{target}: the planted token stays");
            // Where the new one is in no cookie, the planted one is taken back.
            let in_cookie = our_cookie(&answered)?.token;
            ensure!(in_cookie == new || in_cookie.is_empty(), "{target}: {answered:?}");
            ensure!(way.ask(Wire::Http1, "GET", "/cart", Some(&planted)).await?.status == 401, "{target}: it lives on");
            ensure!(way.claims("/cart", &new).await?["sub"] == "victim", "{target}");
        }
    }
    Ok(())
}

/// A wrong password, say: nothing is made, and nothing ends.
async fn failed(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let session = way.gate.create_session(&json!({ "subject": "ada" })).await?.token;
    for acts in [answer(&[]), answer(&[("x-session-create", r#"{"subject":7}"#)])] {
        way.answers(acts);
        let answered = way.ask(Wire::Http1, "POST", "/login", Some(&session)).await?;
        ensure!(answered.status == 200 && answered.header("set-cookie").is_empty(), "{answered:?}");
        ensure!(way.claims("/cart", &session).await?["sub"] == "ada");
    }
    Ok(())
}

async fn dead(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let gone = way.gate.create_session(&json!({ "subject": "ada" })).await?;
    way.gate.revoke_session(&gone.sid).await?;
    way.answers(answer(&[]));
    let page = way.ask(Wire::Http1, "GET", "/login", Some(&gone.token)).await?;
    ensure!(page.status == 200, "nobody can log in: {page:?}");
    ensure!(our_cookie(&page)?.token.is_empty(), "the dead cookie stays: {page:?}");
    way.answers(answer(&[CREATE]));
    let answered = way.ask(Wire::Http1, "POST", "/login", Some(&gone.token)).await?;
    let new = our_cookie(&answered)?.token;
    ensure!(way.claims("/cart", &new).await?["sub"] == "victim");
    Ok(())
}

async fn two(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let one = way.gate.create_session(&json!({ "subject": "ada" })).await?.token;
    let other = way.gate.create_session(&json!({ "subject": "mallory" })).await?.token;
    way.answers(answer(&[CREATE]));
    let cookies = format!("__Host-session={one}; __Host-session={other}");
    let answered = way.ask_with(Wire::Http1, "POST", "/login", &[("cookie", &cookies)]).await?;
    ensure!(answered.status == 400 && answered.header("set-cookie").is_empty(), "{answered:?}");
    for token in [one, other] {
        way.claims("/cart", &token).await?;
    }
    Ok(())
}

/// Whatever the service, or a library of its, says to caches.
async fn caches(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let told = "Cache-Control: public, max-age=60\r\nCDN-Cache-Control: max-age=60\r\nSurrogate-Control: max-age=60\r\n\
                Expires: Thu, 01 Dec 2994 16:00:00 GMT\r\n";
    let telling = |acts: Vec<Act>| -> Vec<Act> {
        let told = |act| match act {
            Act::Send(bytes) => Act::Send([b"HTTP/1.1 200 OK\r\n", told.as_bytes(), &bytes[17..]].concat()),
            other => other,
        };
        acts.into_iter().map(told).collect()
    };
    let mut ways = ways_in(&way).await?;
    ways.push(("/logout", answer(&[("x-session-end", "current")])));
    for (target, acts) in ways {
        for wire in Wire::ALL {
            let session = way.gate.create_session(&json!({ "subject": "ada" })).await?.token;
            way.answers(telling(acts.clone()));
            let seen = way.ask(wire, "POST", target, Some(&session)).await?;
            let name = format!("{wire:?} {target}: {seen:?}");
            ensure!(seen.status == 200 && seen.header("cache-control") == ["no-store"], "{name}");
            for other in ["cdn-cache-control", "surrogate-control", "expires"] {
                ensure!(seen.header(other).is_empty(), "{name}");
            }
        }
    }
    // Where nothing is given out or taken back, that is the service's own business.
    way.answers(telling(answer(&[])));
    let seen = way.ask(Wire::Http1, "POST", "/login", None).await?;
    ensure!(seen.header("cdn-cache-control") == ["max-age=60"] && seen.header("expires").len() == 1, "{seen:?}");
    Ok(())
}

/// By a rule whose service may end the session no cookie is replaced, however old it is: the new one would arrive behind the line
/// that takes it back, and stay.
async fn last_word(version: EnvoyVersion) -> Result<()> {
    let way = Way::with_both(
        version,
        |mut options| {
            options.config["sessions"] = json!({ "rotate": { "every": "1s", "overlap": "1s" } });
            options
        },
        |_| Ok(()),
    )
    .await?;
    let leaving = way.gate.create_session(&json!({ "subject": "ada" })).await?.token;
    // Another session of the same age tells the time: three of its cookies have grown old when it has a fourth.
    let mut staying = way.gate.create_session(&json!({ "subject": "bob" })).await?.token;
    way.answers(answer(&[]));
    for _ in 0..3 {
        let next = std::cell::RefCell::new(None);
        wait_until(PATIENCE, "rotation", async || {
            let kept = way.ask(Wire::Http1, "POST", "/logout", Some(&leaving)).await.unwrap();
            assert!(kept.status == 200 && kept.header("set-cookie").is_empty(), "{kept:?}");
            let seen = way.ask(Wire::Http1, "POST", "/cart", Some(&staying)).await.unwrap();
            *next.borrow_mut() = our_cookie(&seen).ok();
            next.borrow().is_some()
        })
        .await?;
        staying = next.into_inner().context("a new cookie")?.token;
    }
    way.answers(answer(&[("x-session-end", "current")]));
    let ended = way.ask(Wire::Http1, "POST", "/logout", Some(&leaving)).await?;
    ensure!(ended.status == 200 && our_cookie(&ended)?.token.is_empty(), "{ended:?}");
    Ok(())
}
