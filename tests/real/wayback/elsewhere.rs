//! A JWT that is not where the rule looks, alone or beside one that is: in plain sight in what is read, it stays behind (P11). What
//! is not read passes.

use anyhow::{Context as _, Result, ensure};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use e2e::sloppy::Act;
use e2e::tools::EnvoyVersion;
use serde_json::json;

use super::exchanges::is_bad_gateway;
use super::way::{Way, Wire, answer_bytes};
use crate::on_every_envoy;

on_every_envoy! {
    p11_a_second_jwt_in_the_body_stays_behind => second_in_the_body;
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
