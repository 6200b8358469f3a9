//! The audit log: one line for each session that a response changed, and none for what changed nothing.

use anyhow::{Context as _, Result, ensure};
use e2e::process::wait_until;
use e2e::tools::EnvoyVersion;
use serde_json::{Value, json};

use super::PATIENCE;
use super::disk::{self, Disk};
use super::way::{Way, Wire, answer};
use crate::on_every_envoy;

on_every_envoy! {
    each_change_of_a_response_has_its_line_in_the_audit_log => lines;
}

/// A line without its time.
type Line = serde_json::Map<String, Value>;

/// The lines of the audit log that a service is the actor of, as JSON.
fn written(way: &Way) -> Vec<Line> {
    let lines = way.gate.output().lines();
    let lines = lines.iter().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let audit = lines.filter(|line| line.get("target") == Some(&json!("audit")));
    audit.filter(|line| line["actor"].as_str().is_some_and(|actor| actor.starts_with("service "))).collect()
}

/// What a line says, without what each one has.
fn told(mut line: Line) -> Result<Value> {
    for (name, want) in [("target", "audit"), ("level", "INFO"), ("message", "session change"), ("realm", "shop")] {
        ensure!(line.remove(name).as_ref() == Some(&json!(want)), "no {name} of {want}: {line:?}");
    }
    ensure!(line.remove("timestamp").is_some(), "no time: {line:?}");
    ensure!(line.contains_key("result"), "no result: {line:?}");
    if line["result"] == "ok" {
        line.remove("result");
    }
    Ok(Value::Object(line))
}

async fn lines(version: EnvoyVersion) -> Result<()> {
    let disk = Disk::new()?;
    let way = Way::with_both(
        version,
        |mut options| {
            options.config["telemetry"] = json!({ "format": "json" });
            disk.under(options)
        },
        |_| Ok(()),
    )
    .await?;
    let make = async |subject: &str| {
        let session = way.gate.create_session(&json!({ "subject": subject, "claims": { "cart": ["CANARY"] } })).await?;
        anyhow::Ok((session.sid, session.token))
    };
    // The lines since the last call. One more line, asked for last, proves that those before it are there: the log is in order.
    let is_mark = |line: &Line| line["actor"] == json!("service shop/shop/all");
    let marks = || written(&way).iter().filter(|line| is_mark(line)).count();
    let since = async || -> Result<Vec<Value>> {
        let (before, token) = (marks(), make("mark").await?.1);
        way.answers(answer(&[("x-session-end", "current")]));
        ensure!(way.ask(Wire::Http1, "POST", "/cart/all", Some(&token)).await?.status == 200);
        wait_until(PATIENCE, "line of the mark", async || marks() > before).await?;
        let all = written(&way);
        let lines = all.split(is_mark).nth_back(1).context("no mark")?;
        lines.iter().cloned().map(told).collect()
    };
    let ask = async |target: &str, token: Option<&str>, header: (&str, &str)| -> Result<()> {
        way.answers(answer(&[header]));
        let seen = way.ask(Wire::Http1, "POST", target, token).await?;
        ensure!(seen.status == 200, "{target} {header:?}: {seen:?}");
        Ok(())
    };
    let create = ("x-session-create", r#"{"subject":"eve","claims":{"note":"CANARY"}}"#);
    let jwt = way.jwt(&json!({ "sub": "ada", "aud": "cloakroom", "tier": "CANARY" }))?;

    ask("/login", None, create).await?;
    let new = way.sids("eve").await?;
    ensure!(
        since().await?
            == [json!({ "actor": "service shop/shop/login", "verb": "create", "sid": new[0], "subject": "eve" })]
    );

    let (planted, token) = make("mallory").await?;
    ask("/login", Some(&token), create).await?;
    let newer = way.sids("eve").await?.into_iter().find(|sid| !new.contains(sid)).context("a second one")?;
    let got = since().await?;
    ensure!(
        got == [
            json!({ "actor": "service shop/shop/login", "verb": "create", "sid": newer, "subject": "eve" }),
            json!({ "actor": "service shop/shop/login", "verb": "revoke", "sid": planted }),
        ],
        "{got:#?}"
    );

    let (planted, token) = make("mallory").await?;
    ask("/login/header", Some(&token), ("x-login-jwt", &jwt)).await?;
    let made = way.sids("ada").await?;
    let got = since().await?;
    ensure!(
        got == [
            json!({ "actor": "service shop/shop/by-header", "verb": "exchange", "sid": made[0], "subject": "ada" }),
            json!({ "actor": "service shop/shop/by-header", "verb": "revoke", "sid": planted }),
        ],
        "{got:#?}"
    );

    let (sid, token) = make("bob").await?;
    ask("/cart", Some(&token), ("x-session-update", r#"{"cart":["CANARY"]}"#)).await?; // it says so already
    ask("/cart", Some(&token), ("x-session-update", r#"{"tier":"CANARY"}"#)).await?; // it may not
    ask("/cart", Some(&token), ("x-session-update", r#"{"note":"CANARY"}"#)).await?;
    let got = since().await?;
    ensure!(got == [json!({ "actor": "service shop/shop/cart", "verb": "update", "sid": sid })], "{got:#?}");

    let (other, _) = make("bob").await?;
    ask("/logout", Some(&token), ("x-session-end", "current")).await?;
    let got = since().await?;
    ensure!(got == [json!({ "actor": "service shop/shop/logout", "verb": "revoke", "sid": sid })], "{got:#?}");
    ensure!(way.sids("bob").await? == [other]);

    // All of a subject's at once is another verb, and says whose.
    let (sid, token) = make("bob").await?;
    ask("/logout", Some(&token), ("x-session-end", "subject")).await?;
    let got = since().await?;
    let whose = json!({ "actor": "service shop/shop/logout", "verb": "revokeSubject", "sid": sid, "subject": "bob" });
    ensure!(got == [whose], "{got:#?}");
    ensure!(way.sids("bob").await?.is_empty());

    // What could not be written may have been done all the same.
    let (sid, token) = make("bob").await?;
    for (target, shown, (name, value), verb) in [
        ("/cart", Some(&*token), ("x-session-update", r#"{"cart":["CANARY, too"]}"#), "update"),
        ("/logout", Some(&token), ("x-session-end", "current"), "revoke"),
        ("/logout", Some(&token), ("x-session-end", "subject"), "revokeSubject"),
        ("/login", Some(&token), create, "create"),
        ("/login/header", Some(&token), ("x-login-jwt", &jwt), "exchange"),
    ] {
        way.answers(answer(&[(name, value)]));
        disk::fill(&way.gate)?;
        let status = way.ask(Wire::Http1, "POST", target, shown).await?.status;
        disk::make_room(&way.gate).await?;
        ensure!(status == 503, "{verb}: {status}");
        let got = since().await?;
        ensure!(got.len() == 1, "{verb}: {got:#?}");
        let of = (&got[0]["verb"], &got[0]["sid"], &got[0]["result"]);
        ensure!(of == (&json!(verb), &json!(sid), &json!("store_unavailable")), "{got:#?}");
    }

    for line in written(&way) {
        let text = Value::Object(line).to_string();
        ensure!(!text.contains("CANARY") && !text.contains("ckr_") && !text.contains(&jwt), "{text}");
    }
    Ok(())
}
