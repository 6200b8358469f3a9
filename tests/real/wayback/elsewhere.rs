//! A JWT that is not where the rule looks, alone or beside one that is: in plain sight in what is read, it stays behind (P11). What
//! is not read passes.

use anyhow::{Context as _, Result, ensure};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use e2e::sloppy::Act;
use e2e::tools::EnvoyVersion;
use serde_json::json;

use super::exchanges::{is_bad_gateway, new_token};
use super::way::{Way, Wire, answer_bytes, our_cookie};
use crate::on_every_envoy;

on_every_envoy! {
    p11_a_second_jwt_in_the_body_stays_behind => second_in_the_body;
    p11_a_jwt_elsewhere_in_the_headers_stays_behind => in_the_headers;
    what_is_no_jwt_or_is_not_read_passes => passes;
}

const JSON: (&str, &[u8]) = ("content-type", b"application/json");

/// The answer is a 502 that counts as this and holds nothing of either JWT, and no session was made.
async fn stays_behind(
    way: &Way,
    what: &str,
    target: &str,
    acts: Vec<Act>,
    outcome: &str,
    jwts: [&str; 2],
) -> Result<()> {
    for wire in Wire::ALL {
        way.answers(acts.clone());
        let before = (way.counted(outcome).await?, way.responses().await?);
        let seen = way.ask(wire, "POST", target, None).await?;
        let name = format!("{what}, {target}, {wire:?}: {seen:?}");
        for jwt in jwts {
            // However it was written: its claims and its signature are nowhere.
            let (_, rest) = jwt.split_once('.').context("three parts")?;
            let (claims, signature) = rest.split_once('.').context("three parts")?;
            ensure!(is_bad_gateway(&seen, claims) && !seen.contains(signature), "{name}");
        }
        let after = (way.counted(outcome).await?, way.responses().await?);
        ensure!(after == (before.0 + 1, before.1 + 1), "{before:?}, then {after:?}: {name}");
    }
    ensure!(way.sids("ada").await?.is_empty() && way.sids("bob").await?.is_empty(), "{what}, {target}");
    Ok(())
}

/// The one that the rule takes, and another.
fn two(way: &Way) -> Result<(String, String)> {
    Ok((way.jwt(&json!({ "sub": "ada", "aud": "cloakroom" }))?, way.jwt(&json!({ "sub": "bob", "aud": "cloakroom" }))?))
}

async fn second_in_the_body(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let (one, other) = two(&way)?;
    let (head, rest) = other.split_once('.').context("three parts")?;
    let header = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(head)?)?;
    let spaced = BASE64_URL_SAFE_NO_PAD.encode(format!("\n {header}"));
    let taken = format!(r#""data":{{"access_token":"{one}"}}"#);
    for (what, body) in [
        ("beside it", format!(r#"{{"data":{{"access_token":"{one}","id_token":"{other}"}}}}"#)),
        ("the same again", format!(r#"{{{taken},"copy":"{one}"}}"#)),
        ("before it", format!(r#"{{"copy":"{other}",{taken}}}"#)),
        ("another letter case", format!(r#"{{"data":{{"access_token":"{one}","Access_Token":"{other}"}}}}"#)),
        ("a name", format!(r#"{{{taken},"{other}":1}}"#)),
        ("within a text", format!(r#"{{{taken},"next":"/#access_token={other}&state=1"}}"#)),
        ("white space in its header", format!(r#"{{{taken},"copy":"{spaced}.{rest}"}}"#)),
        ("padding", format!(r#"{{{taken},"copy":"{head}=.{rest}="}}"#)),
        ("escapes", format!(r#"{{{taken},"copy":"{}"}}"#, other.replace('.', r"\u002e"))),
        ("escapes, alone", format!(r#"{{"copy":"{}"}}"#, other.replace('.', r"\u002e"))),
    ] {
        let acts = answer_bytes(&[JSON], body.as_bytes());
        stays_behind(&way, what, "/exchange/body", acts, "unreadable_body", [&one, &other]).await?;
    }
    Ok(())
}

async fn in_the_headers(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let (one, other) = two(&way)?;
    let body = json!({ "data": { "access_token": one } }).to_string();
    let (in_header, in_cookie) = (("x-login-jwt", one.clone()), ("set-cookie", format!("app_jwt={one}; Path=/")));
    for (what, name, value) in [
        ("another cookie", "set-cookie", format!("x={other}")),
        ("behind the cookie", "set-cookie", format!("app_jwt=; Path=/, app_jwt={other}")),
        ("an attribute of the cookie", "set-cookie", format!("app_jwt=; Path=/{other}")),
        ("a credential", "authorization", format!("Bearer {other}")),
        ("a fragment", "location", format!("/#access_token={other}&token_type=bearer")),
        ("another header", "x-other-jwt", other.clone()),
    ] {
        for (target, taken) in [
            ("/exchange/body", None),
            ("/login/header", None),
            ("/login/header", Some(&in_header)),
            ("/login/cookie", None),
            ("/login/cookie", Some(&in_cookie)),
        ] {
            let mut headers = vec![JSON, (name, value.as_bytes())];
            headers.extend(taken.map(|(name, value)| (*name, value.as_bytes())));
            let acts = answer_bytes(&headers, body.as_bytes());
            stays_behind(&way, what, target, acts, "invalid_jwt", [&one, &other]).await?;
        }
    }
    Ok(())
}

/// Where the rule looks in the headers, the body is not read; and three parts with dots between them may be something else.
async fn passes(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let (one, other) = two(&way)?;
    let flask = "session=eyJfZnJlc2giOmZhbHNlfQ.aMxYzQ.c2lnbmF0dXJl; HttpOnly; Path=/";
    let others: [(&str, &[u8]); 3] = [
        ("set-cookie", flask.as_bytes()),
        ("x-next", b"https://example.com.au/"),
        ("x-session-color", other.as_bytes()),
    ];
    let cookie = format!("app_jwt={one}");
    for (target, taken) in [("/login/header", ("x-login-jwt", &one)), ("/login/cookie", ("set-cookie", &cookie))] {
        for wire in Wire::ALL {
            let headers: Vec<_> = others.into_iter().chain([(taken.0, taken.1.as_bytes())]).collect();
            way.answers(answer_bytes(&headers, other.as_bytes()));
            let seen = way.ask(wire, "POST", target, None).await?;
            let name = format!("{target}, {wire:?}: {seen:?}");
            ensure!(seen.status == 200 && seen.body == other.as_bytes() && !seen.contains(&one), "{name}");
            ensure!(
                seen.header("set-cookie")[0] == flask && seen.header("x-next") == ["https://example.com.au/"],
                "{name}"
            );
            ensure!(seen.ours().is_empty(), "{name}");
            ensure!(target != "/login/cookie" || !our_cookie(&seen)?.token.is_empty(), "{name}");
            ensure!(way.claims("/cart", &new_token(target, &seen)?).await?["sub"] == "ada", "{name}");
        }
    }
    Ok(())
}
