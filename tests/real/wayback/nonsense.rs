//! A service that sends nonsense, or wishes what it may not: nothing changes, its own answer arrives, and the attempt is
//! counted (P22, P38).

use anyhow::{Result, ensure};
use e2e::envoy::EnvoyConfig;
use e2e::tools::EnvoyVersion;
use serde_json::json;

use super::way::{Way, Wire, answer};
use crate::on_every_envoy;

on_every_envoy! {
    p22_nonsense_changes_nothing_and_is_counted => nonsense;
    p22_a_header_of_a_mebibyte_changes_nothing => mebibyte;
    p22_another_sessions_id_is_of_no_use => another;
    conflicting_commands_end_and_do_nothing_else => conflicts;
}

const UPDATE: &str = "x-session-update";
const CREATE: &str = "x-session-create";
const END: &str = "x-session-end";

/// A route, what the service's answer says there, and how it is counted.
type Row<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a str);

async fn nonsense(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let deep = format!(r#"{{"cart":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
    let large = format!(r#"{{"cart":"{}"}}"#, "x".repeat(20_000));
    let many = format!(r#"{{"subject":"eve","roles":[{}"r"]}}"#, r#""r","#.repeat(2000));
    let rows: Vec<Row<'_>> = vec![
        ("/cart", vec![(UPDATE, "")], "malformed_command"),
        ("/cart", vec![(UPDATE, "{")], "malformed_command"),
        ("/cart", vec![(UPDATE, "[]")], "malformed_command"),
        ("/cart", vec![(UPDATE, "null")], "malformed_command"),
        ("/cart", vec![(UPDATE, "\"cart\"")], "malformed_command"),
        ("/cart", vec![(UPDATE, r#"{"cart":[]} {}"#)], "malformed_command"),
        ("/cart", vec![(UPDATE, r#"{"cart":[],"cart":[1]}"#)], "malformed_command"),
        ("/cart", vec![(UPDATE, "{\"cart\":\"\u{e9}\u{fffd}\"")], "malformed_command"),
        ("/cart", vec![(UPDATE, "eyJjYXJ0IjpbXX0")], "malformed_command"),
        ("/cart", vec![(UPDATE, &deep)], "malformed_command"),
        ("/cart", vec![(UPDATE, &large)], "out_of_bounds"),
        ("/cart", vec![(UPDATE, r#"{"cart":[],"sub":"eve"}"#)], "claim_not_writable"),
        ("/cart", vec![(UPDATE, r#"{"roles":["admin"]}"#)], "claim_not_writable"),
        ("/cart", vec![(UPDATE, r#"{"cart":[],"tier":null}"#)], "claim_not_writable"),
        ("/cart", vec![(UPDATE, r#"{"Cart":[]}"#)], "claim_not_writable"),
        ("/cart", vec![(UPDATE, r#"{"cart.x":[]}"#)], "claim_not_writable"),
        ("/cart", vec![(UPDATE, r#"{"cart":[]}"#), (UPDATE, r#"{"cart":[]}"#)], "repeated_command"),
        ("/cart", vec![(UPDATE, r#"{"cart":[1]}"#), (UPDATE, r#"{"cart":[2]}"#)], "repeated_command"),
        ("/logout", vec![(END, "")], "malformed_command"),
        ("/logout", vec![(END, "Current")], "malformed_command"),
        ("/logout", vec![(END, "current, subject")], "malformed_command"),
        ("/logout", vec![(END, "all")], "malformed_command"),
        ("/logout", vec![(END, "current"), (END, "all")], "malformed_command"),
        ("/login", vec![(CREATE, "")], "malformed_command"),
        ("/login", vec![(CREATE, "[\"eve\"]")], "malformed_command"),
        ("/login", vec![(CREATE, r#"{"sub":"eve"}"#)], "malformed_command"),
        ("/login", vec![(CREATE, r#"{"subject":"eve","token":"ckr_x"}"#)], "malformed_command"),
        ("/login", vec![(CREATE, r#"{"subject":"eve","sid":"AAAA"}"#)], "malformed_command"),
        ("/login", vec![(CREATE, r#"{"subject":"eve","realm":"other"}"#)], "malformed_command"),
        ("/login", vec![(CREATE, r#"{"subject":""}"#)], "out_of_bounds"),
        ("/login", vec![(CREATE, &many)], "out_of_bounds"),
        ("/login", vec![(CREATE, r#"{"subject":"a"}"#), (CREATE, r#"{"subject":"b"}"#)], "repeated_command"),
    ];
    for (target, headers, outcome) in rows {
        let session = way.gate.create_session(&json!({ "subject": "ada", "claims": { "cart": ["mine"] } })).await?;
        let before = (way.counted(outcome).await?, way.responses().await?);
        way.answers(answer(&headers));
        let seen = way.ask(Wire::Http1, "POST", target, Some(&session.token)).await?;
        let shown: Vec<_> = headers.iter().map(|(name, value)| (name, value.get(..60).unwrap_or(value))).collect();
        let name = format!("{target} {shown:?}");
        ensure!(seen.status == 200 && seen.body == b"hi", "{name}: {seen:?}");
        ensure!(seen.ours().is_empty() && seen.header("set-cookie").is_empty(), "{name}: {seen:?}");
        let after = (way.counted(outcome).await?, way.responses().await?);
        ensure!(after == (before.0 + 1, before.1 + 1), "{name}: {outcome}: {before:?}, then {after:?}");
        let claims = way.claims("/off", &session.token).await?;
        ensure!(claims["sub"] == "ada" && claims["claims"] == json!({ "cart": ["mine"] }), "{name}: {claims}");
    }
    Ok(())
}

/// The shipped proxy takes no such header; one that does brings it to us.
async fn mebibyte(version: EnvoyVersion) -> Result<()> {
    let value = format!(r#"{{"cart":"{}"}}"#, "x".repeat(1 << 20));
    let wide = |config: &mut EnvoyConfig| {
        let name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let options = json!({
            "@type": format!("type.googleapis.com/{name}"),
            "explicit_http_config": { "http_protocol_options": {} },
            "common_http_protocol_options": { "max_response_headers_kb": 4096 },
        });
        let clusters = config.at("/static_resources/clusters")?.as_array_mut().unwrap();
        for cluster in clusters.iter_mut().filter(|it| it["name"] != "cloakroom") {
            cluster["typed_extension_protocol_options"] = json!({ name: options });
        }
        Ok(())
    };
    for (way, reaches_us) in [(Way::open(version).await?, false), (Way::with(version, wide).await?, true)] {
        let session = way.gate.create_session(&json!({ "subject": "ada", "claims": { "cart": ["mine"] } })).await?;
        for (target, header) in [("/cart", UPDATE), ("/login", CREATE), ("/logout", END)] {
            let before = way.responses().await?;
            way.answers(answer(&[(header, &value)]));
            let seen = way.ask(Wire::Http1, "POST", target, Some(&session.token)).await?;
            ensure!(seen.ours().is_empty() && !seen.contains("xxxxxxxx"), "{target}: it left");
            if reaches_us {
                ensure!(seen.status == 200 && seen.body == b"hi", "{target}: {seen:?}");
                ensure!(way.responses().await? == before + 1, "{target}: not counted");
            } else {
                ensure!(seen.status == 502 || seen.status == 503, "{target}: {seen:?}");
            }
            let claims = way.claims("/off", &session.token).await?;
            ensure!(claims["claims"] == json!({ "cart": ["mine"] }), "{target}: {claims}");
        }
    }
    Ok(())
}

/// Whose session it is comes from the request alone.
async fn another(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let claims = json!({ "cart": ["hers"] });
    let victim = way.gate.create_session(&json!({ "subject": "ada", "claims": claims })).await?;
    let mallory = way.gate.create_session(&json!({ "subject": "mallory" })).await?;
    let sid = &victim.sid;
    for headers in [
        vec![("x-session-update", format!(r#"{{"cart":[],"sid":"{sid}"}}"#))],
        vec![("x-session-update", r#"{"cart":["new"]}"#.to_owned()), ("x-session-id", sid.clone())],
        vec![("x-session-update", r#"{"cart":["new"]}"#.to_owned()), ("x-session-sid", sid.clone())],
        vec![("x-session-update", r#"{"cart":["new"]}"#.to_owned()), ("x-session-jwt", victim.token.clone())],
        vec![("x-session-update", r#"{"cart":["new"]}"#.to_owned()), ("set-cookie", format!("x={}", victim.token))],
        vec![("x-session-end", sid.clone())],
        vec![("x-session-end", format!("current {sid}"))],
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
        way.answers(answer(&headers));
        let seen = way.ask(Wire::Http1, "POST", "/cart/all", Some(&mallory.token)).await?;
        ensure!(seen.status == 200 && seen.ours().is_empty(), "{headers:?}: {seen:?}");
        let hers = way.claims("/off", &victim.token).await?;
        ensure!(hers["claims"] == claims, "{headers:?}: {hers}");
    }
    // A request without a session has none to change, whatever its answer says.
    way.answers(answer(&[("x-session-update", r#"{"cart":[]}"#), ("x-session-id", sid)]));
    ensure!(way.ask(Wire::Http1, "POST", "/login", None).await?.status == 200);
    ensure!(way.claims("/off", &victim.token).await?["claims"] == claims);
    Ok(())
}

async fn conflicts(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let before = way.counted("conflicting_commands").await?;
    let session = way.gate.create_session(&json!({ "subject": "ada" })).await?.token;
    way.answers(answer(&[(UPDATE, r#"{"cart":[1]}"#), (CREATE, r#"{"subject":"eve"}"#)]));
    let seen = way.ask(Wire::Http1, "POST", "/cart/all", Some(&session)).await?;
    ensure!(seen.status == 200 && seen.header("set-cookie").is_empty() && seen.ours().is_empty(), "{seen:?}");
    ensure!(way.claims("/off", &session).await?["claims"]["cart"].is_null());
    ensure!(way.counted("conflicting_commands").await? == before + 1);
    // Whoever asked to be logged out must be.
    way.answers(answer(&[(UPDATE, r#"{"cart":[1]}"#), (END, "current"), (CREATE, "nonsense")]));
    let seen = way.ask(Wire::Http1, "POST", "/cart/all", Some(&session)).await?;
    ensure!(seen.status == 200 && seen.ours().is_empty(), "{seen:?}");
    ensure!(way.counted("conflicting_commands").await? == before + 2);
    ensure!(way.ask(Wire::Http1, "GET", "/off", Some(&session)).await?.status == 401);
    Ok(())
}
