//! A JWT of the service becomes a session, and reaches nobody (P11, P24): in a header, a cookie, a member of the body.

use anyhow::{Context as _, Result, ensure};
use e2e::issuer::Issuer;
use e2e::sloppy::Act;
use e2e::tools::EnvoyVersion;
use serde_json::{Value, json};

use super::way::{ISSUER, Seen, Way, Wire, answer, answer_bytes, now, our_cookie};
use crate::on_every_envoy;

on_every_envoy! {
    a_jwt_of_the_service_becomes_a_session => swapped;
    the_body_keeps_what_else_it_says => body;
    p24_p11_a_jwt_that_does_not_verify_is_a_502_and_stays_behind => refused;
    p11_a_body_that_cannot_be_read_stays_behind => unreadable;
    an_answer_without_a_jwt_passes => nothing_to_swap;
}

/// An answer with a JWT in each of the three places.
fn places(jwt: &str) -> Vec<(&'static str, Vec<Act>)> {
    let body = json!({ "data": { "access_token": jwt } }).to_string();
    vec![
        ("/login/header", answer(&[("X-Login-Jwt", jwt)])),
        ("/login/cookie", answer(&[("set-cookie", &format!("app_jwt={jwt}; Path=/; Secure"))])),
        ("/exchange/body", answer_bytes(&[("content-type", b"application/json")], body.as_bytes())),
    ]
}

/// The token that takes a JWT's place: where the JWT was, but for a cookie of another name.
pub(super) fn new_token(target: &str, seen: &Seen) -> Result<String> {
    Ok(match target {
        "/login/header" => {
            let values = seen.header("x-login-jwt");
            ensure!(values.len() == 1, "{seen:?}");
            values[0].clone()
        }
        "/exchange/body" => {
            let body: Value = serde_json::from_slice(&seen.body)?;
            body["data"]["access_token"].as_str().context("no token in the body")?.to_owned()
        }
        _ => our_cookie(seen)?.token,
    })
}

async fn swapped(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let claims = json!({ "sub": "ada", "aud": ["other", "cloakroom"], "scope": "read write", "roles": ["admin"], "tier": "gold", "email": "a@b" });
    let jwt = way.jwt(&claims)?;
    for (target, acts) in places(&jwt) {
        for wire in Wire::ALL {
            way.answers(acts.clone());
            let seen = way.ask(wire, "POST", target, None).await?;
            let name = format!("{wire:?} {target}: {seen:?}");
            ensure!(seen.status == 200 && !seen.contains(&jwt) && seen.ours().is_empty(), "{name}");
            ensure!(seen.header("cache-control") == ["no-store"], "{name}");
            let token = new_token(target, &seen)?;
            let got = way.claims("/cart", &token).await?;
            ensure!(got["sub"] == "ada" && got["roles"] == json!(["admin"]), "{name}: {got}");
            ensure!(got["scope"] == "read write", "{name}: {got}");
            ensure!(got["claims"] == json!({ "tier": "gold" }), "{name}: {got}");
        }
    }
    Ok(())
}

/// The opaque token takes the JWT's place; all else of the body stays, and its length is told right.
async fn body(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let jwt = way.jwt(&json!({ "sub": "ada", "aud": "cloakroom" }))?;
    let said =
        json!({ "z": 1, "data": { "expires_in": 300, "access_token": jwt, "a": [1, 2.50, "\u{e9}"] }, "b": null });
    let text = said.to_string();
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        10,
        &text[..10],
        text.len() - 10,
        &text[10..]
    );
    let whole = answer_bytes(&[("content-type", b"application/json; charset=utf-8")], text.as_bytes());
    for acts in [whole, vec![Act::Send(chunked.into_bytes())]] {
        for wire in Wire::ALL {
            way.answers(acts.clone());
            let seen = way.ask(wire, "POST", "/exchange/body", None).await?;
            ensure!(seen.status == 200, "{wire:?}: {seen:?}");
            if let Some(length) = seen.header("content-length").first() {
                ensure!(length.parse() == Ok(seen.body.len()), "{wire:?}: {seen:?}");
            }
            let token = new_token("/exchange/body", &seen)?;
            ensure!(way.claims("/cart", &token).await?["sub"] == "ada");
            let mut got: Value = serde_json::from_slice(&seen.body)?;
            got["data"]["access_token"].take();
            let mut want = said.clone();
            want["data"]["access_token"].take();
            ensure!(got == want, "{got}");
        }
    }
    Ok(())
}

/// The answer is 502, and says nothing of what was wrong.
fn is_bad_gateway(seen: &Seen, jwt: &str) -> bool {
    seen.status == 502
        && !seen.contains(jwt)
        && seen.header("set-cookie").is_empty()
        && seen.header("content-type") == ["application/problem+json"]
        && seen.header("cache-control") == ["no-store"]
        && seen.ours().is_empty()
}

async fn refused(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let now = now()?;
    let fine = json!({ "sub": "ada", "aud": "cloakroom" });
    let with = |name: &str, value: Value| {
        let mut claims = fine.clone();
        claims[name] = value;
        claims
    };
    let good = way.jwt(&fine)?;
    let (head, rest) = good.split_once('.').context("three parts")?;
    let (payload, signature) = rest.split_once('.').context("three parts")?;
    let mut jwts = vec![
        ("another issuer's key", Issuer::new(ISSUER)?.sign(now, &fine)?),
        ("cut off", format!("{head}.{payload}")),
        ("no signature", format!("{head}.{payload}.")),
        ("alg none", format!("eyJhbGciOiJub25lIn0.{payload}.{signature}")),
        ("alg HS256", format!("eyJhbGciOiJIUzI1NiIsImtpZCI6Imlzc3Vlci0xIn0.{payload}.{signature}")),
        ("no JWT", "nonsense".to_owned()),
    ];
    for (what, claims) in [
        ("expired", with("exp", json!(now - 3600))),
        ("no end", with("exp", Value::Null)),
        ("not yet", with("nbf", json!(now + 3600))),
        ("another audience", with("aud", json!("other"))),
        ("no audience", with("aud", Value::Null)),
        ("another issuer", with("iss", json!("https://evil.example"))),
        ("nobody", with("sub", Value::Null)),
        ("somebody of no name", with("sub", json!(""))),
    ] {
        jwts.push((what, way.jwt(&claims)?));
    }
    let planted = way.gate.create_session(&json!({ "subject": "bob" })).await?.token;
    for (what, jwt) in &jwts {
        for (target, acts) in places(jwt) {
            way.answers(acts);
            let before =
                (way.counted("invalid_jwt").await? + way.counted("unusable_jwt").await?, way.responses().await?);
            let seen = way.ask(Wire::Http1, "POST", target, Some(&planted)).await?;
            ensure!(is_bad_gateway(&seen, jwt), "{what}, {target}: {seen:?}");
            let after =
                (way.counted("invalid_jwt").await? + way.counted("unusable_jwt").await?, way.responses().await?);
            ensure!(after == (before.0 + 1, before.1 + 1), "{what}, {target}: {before:?}, then {after:?}");
        }
    }
    // Nothing was made, so nothing ended.
    ensure!(way.claims("/cart", &planted).await?["sub"] == "bob");

    // Two of them: which one counts is anybody's guess.
    let two = [("x-login-jwt", &*good), ("x-login-jwt", &*good)];
    way.answers(answer(&two));
    let seen = way.ask(Wire::Http1, "POST", "/login/header", None).await?;
    ensure!(is_bad_gateway(&seen, &good), "two headers: {seen:?}");
    let cookie = format!("app_jwt={good}");
    way.answers(answer(&[("set-cookie", &cookie), ("set-cookie", &cookie)]));
    let seen = way.ask(Wire::Http1, "POST", "/login/cookie", None).await?;
    ensure!(is_bad_gateway(&seen, &good), "two cookies: {seen:?}");
    Ok(())
}

async fn unreadable(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let jwt = way.jwt(&json!({ "sub": "ada", "aud": "cloakroom" }))?;
    let said = json!({ "data": { "access_token": jwt } }).to_string();
    let json_type = ("content-type", &b"application/json"[..]);
    let twice = format!(r#"{{"data":{{"access_token":"{jwt}","access_token":"{jwt}"}}}}"#);
    // Envoy's own bounds, and its own answer: 32 KiB over HTTP/1.1, 1 MiB over HTTP/2.
    let padded = |size: usize| answer_bytes(&[json_type], format!("{said}{}", " ".repeat(size)).as_bytes());
    for (what, target, acts, wires, status) in [
        ("not held back", "/login/body", answer_bytes(&[json_type], said.as_bytes()), &Wire::ALL[..], 502),
        (
            "encoded",
            "/exchange/body",
            answer_bytes(&[json_type, ("content-encoding", b"gzip")], said.as_bytes()),
            &Wire::ALL,
            502,
        ),
        ("twice", "/exchange/body", answer_bytes(&[json_type], twice.as_bytes()), &Wire::ALL, 502),
        ("too large", "/exchange/body", padded(40_000), &[Wire::Http1], 500),
        ("large", "/exchange/body", padded(40_000), &[Wire::Http2], 200),
        ("too large", "/exchange/body", padded(1_100_000), &Wire::ALL, 500),
    ] {
        for wire in wires {
            way.answers(acts.clone());
            let seen = way.ask(*wire, "POST", target, None).await?;
            ensure!(seen.status == status && !seen.contains(&jwt), "{what}, {wire:?}: {seen:?}");
            ensure!(seen.header("set-cookie").is_empty() && seen.ours().is_empty(), "{what}, {wire:?}: {seen:?}");
        }
    }
    Ok(())
}

/// A wrong password, a redirect: nothing to swap is nothing wrong.
async fn nothing_to_swap(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let json_type = ("content-type", &b"application/json"[..]);
    for (target, acts, body) in [
        ("/login/header", answer(&[("set-cookie", "a=1")]), &b"hi"[..]),
        ("/login/cookie", answer(&[("set-cookie", "a=1")]), b"hi"),
        (
            "/exchange/body",
            answer_bytes(&[json_type, ("set-cookie", b"a=1")], br#"{ "error": "no" }"#),
            br#"{ "error": "no" }"#,
        ),
        ("/exchange/body", answer_bytes(&[json_type, ("set-cookie", b"a=1")], b""), b""),
    ] {
        for wire in Wire::ALL {
            way.answers(acts.clone());
            let seen = way.ask(wire, "POST", target, None).await?;
            ensure!(seen.status == 200 && seen.body == body, "{target}: {seen:?}");
            ensure!(seen.header("set-cookie") == ["a=1"], "{target}: {seen:?}");
        }
    }
    Ok(())
}
