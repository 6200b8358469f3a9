//! What clients are told, and what nobody is: refusals that tell nothing apart (P37), each in its client's own form, and no secret
//! in any log or metric (P31).

use anyhow::{Context as _, Result, ensure};
use e2e::gate::Store;
use e2e::http1::{Message, exchange};
use e2e::process::wait_until;
use e2e::tools::EnvoyVersion;
use serde_json::json;

use super::{PATIENCE, first_wall, get, status};
use crate::attacks::{HOST, Setting, Town, Wall};
use crate::on_each_envoy;

on_each_envoy! {
    p37_tokens_that_do_not_count_look_alike => look_alike;
    p37_each_client_is_refused_in_its_own_form => forms;
    p31_no_secret_is_logged_at_any_level => logs;
}

/// An answer without what differs from one to the next by itself.
fn told(answer: &Message) -> String {
    let head = String::from_utf8_lossy(&answer.head).into_owned();
    let lines =
        head.lines().filter(|line| !line.starts_with("date:") && !line.starts_with("x-envoy-upstream-service-time:"));
    format!("{}\n\n{}", lines.collect::<Vec<_>>().join("\n"), answer.text())
}

async fn bearer(wall: &Wall, target: &str, token: &str) -> Result<Message> {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n\r\n");
    exchange(wall.envoy.address(), request.as_bytes()).await
}

async fn look_alike(version: EnvoyVersion) -> Result<()> {
    let mut town = Town::with(|mut options| {
        options.store = Store::Embedded;
        options
    })
    .await?;
    let wall = first_wall(&town, version).await?;
    let revoked = town.gate.create_session(&json!({ "subject": "a" })).await?;
    // Lies unused for a second while the next one lives for more than two.
    let idle = town.gate.create_session(&json!({ "subject": "c", "idle": "1s" })).await?;
    let expired = town.gate.create_session(&json!({ "subject": "b", "absolute": "3s", "idle": "3s" })).await?;
    let unknown = town.gate.create_session(&json!({ "subject": "d" })).await?.token;
    town.gate.revoke_session(&revoked.sid).await?;
    wait_until(PATIENCE, "end", async || status(&wall, "/x", &expired.token).await == 401).await?;
    let mut tampered = town.customer.token.clone().into_bytes();
    let at = tampered.len() - 20;
    tampered[at] = if tampered[at] == b'A' { b'B' } else { b'A' };
    let tampered = String::from_utf8(tampered)?;
    let mixed = format!("{}{}", &town.customer.token[..30], &town.admin.token[30..]);
    let (invented, short) = (format!("ckr_{}", "A".repeat(59)), "ckr_short".to_owned());
    let known = [&revoked.token, &expired.token, &idle.token, &tampered, &mixed, &invented, &short];
    let mut answers = Vec::new();
    for token in known {
        answers.push((told(&get(&wall, "/x", token).await?), told(&bearer(&wall, "/x", token).await?)));
    }
    let metrics = town.gate.metrics().await?;
    for reason in ["revoked_session", "expired_session", "idle_session", "invalid_token"] {
        let counted = metrics.lines().any(|line| line.contains(&format!("\"{reason}\"")) && !line.ends_with(" 0"));
        ensure!(counted, "{reason} did not occur: {answers:#?}");
    }
    // The store forgets all: what was good is unknown now, its tag still being right.
    std::fs::remove_file(town.gate.folder().join("sessions.redb"))?;
    town.gate.crash_and_restart().await?;
    wait_until(PATIENCE, "answer after the restart", async || status(&wall, "/x", &unknown).await == 401).await?;
    answers.push((told(&get(&wall, "/x", &unknown).await?), told(&bearer(&wall, "/x", &unknown).await?)));
    for (cookie, bearer) in &answers[1..] {
        ensure!(*cookie == answers[0].0, "{cookie}\n{}", answers[0].0);
        ensure!(*bearer == answers[0].1, "{bearer}\n{}", answers[0].1);
    }
    ensure!(answers[0].0.contains("HTTP/1.1 401") && answers[0].0.contains("problem+json"), "{}", answers[0].0);
    ensure!(wall.shop.take().iter().all(|seen| !seen.0.header("x-session-jwt").is_empty()));
    Ok(())
}

async fn forms(version: EnvoyVersion) -> Result<()> {
    let town = Town::found().await?;
    let wall = first_wall(&town, version).await?;
    let browser = "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\nSec-Fetch-Mode: navigate\r\n";
    for (target, token, client, wanted, content_type) in [
        ("/x", "", "", 401, "application/problem+json"),
        ("/x", "", "Accept: */*\r\n", 401, "application/problem+json"),
        ("/x", "", "Accept: text/html\r\nSec-Fetch-Mode: cors\r\n", 401, "application/problem+json"),
        ("/x", "", browser, 401, "text/html; charset=utf-8"),
        ("/x", "ckr_nonsense", browser, 401, "text/html; charset=utf-8"),
        ("/admin", &town.customer.token, "", 403, "application/problem+json"),
        ("/admin", &town.customer.token, browser, 403, "text/html; charset=utf-8"),
        ("/closed", "", browser, 403, "text/html; charset=utf-8"),
        ("/Admin", &town.admin.token, "", 400, "application/problem+json"),
        ("/Admin", &town.admin.token, browser, 400, "text/html; charset=utf-8"),
    ] {
        let cookie = if token.is_empty() { String::new() } else { format!("Cookie: __Host-session={token}\r\n") };
        let request = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{cookie}{client}\r\n");
        let answer = exchange(wall.envoy.address(), request.as_bytes()).await?;
        ensure!(answer.status() == wanted, "{request}: {answer:?}");
        ensure!(answer.header("content-type") == [content_type], "{answer:?}");
        ensure!(answer.header("cache-control") == ["no-store"], "{answer:?}");
        ensure!(answer.header("www-authenticate").len() == usize::from(wanted == 401), "{answer:?}");
        if content_type.starts_with("text/html") {
            ensure!(answer.header("content-security-policy")[0].starts_with("default-src 'none'"), "{answer:?}");
        } else {
            let body: serde_json::Value = serde_json::from_str(&answer.text())?;
            ensure!(body["status"] == wanted && body["type"] == "about:blank", "{body}");
        }
        // Nothing of the request or of the rules.
        for inside in ["admin", "closed", "nonsense", "role", "rule", "policy", "cloakroom"] {
            ensure!(!answer.text().to_lowercase().contains(inside), "{inside}: {}", answer.text());
        }
    }
    ensure!(wall.shop.take().is_empty());
    Ok(())
}

async fn logs(version: EnvoyVersion) -> Result<()> {
    let town = Town::with(|mut options| {
        options.config = json!({ "telemetry": { "log": "trace", "decisions": "all" } });
        options
    })
    .await?;
    // In the encoding that the gate can read more from, and the one with a map.
    let mut jwts = Vec::new();
    for setting in &Setting::all(version)[2..] {
        let wall = town.wall(*setting).await?;
        let token = &town.customer.token;
        ensure!(status(&wall, "/x", token).await == 200 && bearer(&wall, "/x", token).await?.status() == 200);
        jwts.extend(wall.shop.take().iter().flat_map(|seen| seen.0.header("x-session-jwt")));
        for target in [
            format!("/x?access_token={token}"),
            format!("/x/{token}"),
            format!("/x;t={token}"),
            format!("/admin/{}", token.replace("ckr_", "%63kr_")),
            format!("/x/{}", jwts[0]),
            format!("/{token}/../x"),
        ] {
            for line in [
                format!("Cookie: __Host-session={token}; __Host-session={token}"),
                format!("Cookie: __Host-session={token}x"),
                format!("Authorization: Bearer {token}, Bearer {token}"),
                format!("Authorization: Bearer {}", jwts[0]),
                format!("X-Session-Jwt: {}", jwts[0]),
                format!("X-Request-Id: {token}"),
                format!("X-Http-Method-Override: {token}"),
                format!("X-Original-Url: /{token}"),
                format!("User-Agent: {token}"),
            ] {
                let request = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{line}\r\n\r\n");
                let answer = exchange(wall.envoy.address(), request.as_bytes()).await?;
                ensure!(!answer.text().contains(token.as_str()), "{answer:?}");
            }
        }
        let request = format!("GET /x HTTP/1.1\r\nHost: {token}.example\r\n\r\n");
        exchange(wall.envoy.address(), request.as_bytes()).await?;
        let request = format!("{token} /x HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        exchange(wall.envoy.address(), request.as_bytes()).await.ok();
        // The proxy's log of the shipped file: no cookie, no query.
        let its_log = wall.envoy.output().lines().join("\n");
        ensure!(its_log.contains("\"status\""), "no access log: {its_log}");
        for secret in ["access_token", "__Host-session", "Bearer"] {
            ensure!(!its_log.contains(secret), "{secret}: {its_log}");
        }
    }
    let api_token = town.gate.api_token().to_owned();
    town.gate.api(http::Method::GET, "/v1/sessions?subject=bob", None).await?;
    town.gate.revoke_session(&town.customer.sid).await?;
    wait_until(PATIENCE, "audit line", async || town.gate.output().contains("revoke")).await?;
    let (logged, metrics) = (town.gate.output().lines(), town.gate.metrics().await?);
    ensure!(logged.len() > 50, "nothing was logged");
    let token = &town.customer.token;
    let signature = jwts[0].rsplit('.').next().context("a JWT")?.to_owned();
    for secret in [&token[4..], &token[30..], &town.admin.token[30..], &signature, &api_token] {
        let line = logged.iter().find(|line| line.contains(secret));
        ensure!(line.is_none(), "{secret} was logged: {line:?}");
        ensure!(!metrics.contains(secret), "{secret} is in a metric");
    }
    Ok(())
}
