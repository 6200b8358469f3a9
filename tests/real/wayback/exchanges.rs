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
    p11_a_jwt_in_another_cookie_stays_behind => in_another_cookie;
    p11_an_end_beside_a_jwt_is_done_and_the_jwt_stays_behind => beside_an_end;
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
pub(super) fn is_bad_gateway(seen: &Seen, jwt: &str) -> bool {
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
    let invalid = "invalid_jwt";
    let mut jwts = vec![
        ("another issuer's key", invalid, Issuer::new(ISSUER)?.sign(now, &fine)?),
        ("cut off", invalid, format!("{head}.{payload}")),
        ("no signature", invalid, format!("{head}.{payload}.")),
        ("alg none", invalid, format!("eyJhbGciOiJub25lIn0.{payload}.{signature}")),
        ("alg HS256", invalid, format!("eyJhbGciOiJIUzI1NiIsImtpZCI6Imlzc3Vlci0xIn0.{payload}.{signature}")),
        ("no JWT", invalid, "nonsense".to_owned()),
    ];
    // The last ones verify, and no session can be made of what they say.
    for (what, outcome, claims) in [
        ("expired", invalid, with("exp", json!(now - 3600))),
        ("no end", invalid, with("exp", Value::Null)),
        ("not yet", invalid, with("nbf", json!(now + 3600))),
        ("another audience", invalid, with("aud", json!("other"))),
        ("no audience", invalid, with("aud", Value::Null)),
        ("another issuer", invalid, with("iss", json!("https://evil.example"))),
        ("nobody", invalid, with("sub", Value::Null)),
        ("somebody of no name", "unusable_jwt", with("sub", json!(""))),
        ("a name without end", "unusable_jwt", with("sub", json!("x".repeat(2000)))),
        ("a role without a name", "unusable_jwt", with("roles", json!([""]))),
    ] {
        jwts.push((what, outcome, way.jwt(&claims)?));
    }
    let planted = way.gate.create_session(&json!({ "subject": "bob" })).await?.token;
    // Each alone, and all together.
    let counts = async || -> Result<[u64; 3]> {
        Ok([way.counted(invalid).await?, way.counted("unusable_jwt").await?, way.responses().await?])
    };
    for (what, outcome, jwt) in &jwts {
        for (target, acts) in places(jwt) {
            way.answers(acts);
            let [invalid_ones, unusable_ones, all] = counts().await?;
            let seen = way.ask(Wire::Http1, "POST", target, Some(&planted)).await?;
            ensure!(is_bad_gateway(&seen, jwt), "{what}, {target}: {seen:?}");
            let is_invalid = *outcome == invalid;
            let want = [invalid_ones + u64::from(is_invalid), unusable_ones + u64::from(!is_invalid), all + 1];
            let got = counts().await?;
            ensure!(got == want, "{what}, {target}: not {outcome}: {got:?} instead of {want:?}");
        }
    }
    // Nothing was made, so nothing ended.
    ensure!(way.claims("/cart", &planted).await?["sub"] == "bob");

    // Two of them: which one counts is anybody's guess.
    let cookie = format!("app_jwt={good}");
    for (target, header) in [("/login/header", ("x-login-jwt", &*good)), ("/login/cookie", ("set-cookie", &*cookie))] {
        way.answers(answer(&[header, header]));
        let [invalid_ones, unusable_ones, all] = counts().await?;
        let seen = way.ask(Wire::Http1, "POST", target, None).await?;
        ensure!(is_bad_gateway(&seen, &good), "two, {target}: {seen:?}");
        ensure!(counts().await? == [invalid_ones + 1, unusable_ones, all + 1], "two, {target}");
    }
    Ok(())
}

/// Under another spelling of the name, or where only some readers look for a cookie.
async fn in_another_cookie(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let jwt = way.jwt(&json!({ "sub": "ada", "aud": "cloakroom" }))?;
    let fine = format!("app_jwt={jwt}; Path=/");
    for line in [
        format!("App_Jwt={jwt}; Path=/"),
        format!("a=1, app_jwt={jwt}"),
        format!("a=1; app_jwt={jwt}"),
        format!("__Host-app_jwt={jwt}; Path=/; Secure"),
        format!("=app_jwt={jwt}"),
    ] {
        for lines in [vec![&line], vec![&line, &fine]] {
            for wire in Wire::ALL {
                let headers: Vec<_> = lines.iter().map(|line| ("set-cookie", &***line)).collect();
                way.answers(answer(&headers));
                let before = (way.counted("invalid_jwt").await?, way.responses().await?);
                let seen = way.ask(wire, "POST", "/login/cookie", None).await?;
                ensure!(is_bad_gateway(&seen, &jwt), "{wire:?} {line}: {seen:?}");
                let after = (way.counted("invalid_jwt").await?, way.responses().await?);
                ensure!(after == (before.0 + 1, before.1 + 1), "{wire:?} {line}: {before:?}, then {after:?}");
            }
        }
    }
    ensure!(way.sids("ada").await?.is_empty());
    Ok(())
}

/// Who asked to be logged out is, whatever else is wrong with the answer.
async fn beside_an_end(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let jwt = way.jwt(&json!({ "sub": "ada", "aud": "cloakroom" }))?;
    let (end, with_jwt) = (("x-session-end", "current"), ("x-login-jwt", &*jwt));
    for (headers, status, outcome) in [
        (vec![end, with_jwt], 200, "conflicting_commands"),
        (vec![with_jwt, end, with_jwt], 502, "invalid_jwt"),
        (vec![end, end, with_jwt, with_jwt], 502, "invalid_jwt"),
    ] {
        for wire in Wire::ALL {
            let old = way.gate.create_session(&json!({ "subject": "bob" })).await?.token;
            way.answers(answer(&headers));
            let before = (way.counted("ended").await?, way.counted(outcome).await?);
            let seen = way.ask(wire, "POST", "/login/header/out", Some(&old)).await?;
            let name = format!("{wire:?} {outcome}: {seen:?}");
            ensure!(seen.status == status && !seen.contains(&jwt) && seen.ours().is_empty(), "{name}");
            ensure!(seen.header("x-login-jwt").is_empty() && seen.header("cache-control") == ["no-store"], "{name}");
            ensure!(status == 502 || our_cookie(&seen)?.token.is_empty(), "{name}");
            let after = (way.counted("ended").await?, way.counted(outcome).await?);
            ensure!(after == (before.0 + 1, before.1 + 1), "{before:?}, then {after:?}: {name}");
            ensure!(way.sids("bob").await?.is_empty() && way.sids("ada").await?.is_empty(), "{name}");
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
