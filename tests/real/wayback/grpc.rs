//! gRPC: commands in the headers of an answer, also of one that is nothing but headers ("Trailers-Only"), and nothing of ours in
//! either.

use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};
use e2e::gate::GateOptions;
use e2e::tools::EnvoyVersion;
use http::{HeaderMap, Method};
use serde_json::json;

use super::disk::{self, Disk};
use super::way::{Seen, Way};
use crate::attacks_headers::{OURS, spellings};
use crate::http2_peers::{Answer, EMPTY_MESSAGE, Reply, Service, call, fields};
use crate::on_every_envoy;

on_every_envoy! {
    p11_nothing_of_ours_leaves_in_grpc_answers => leaks;
    grpc_answers_change_sessions => commands;
    p11_a_grpc_answer_with_a_jwt_that_does_not_verify_is_unavailable => held_back;
    p20_a_grpc_change_that_cannot_be_written_is_unavailable => not_written;
    p11_a_jwt_in_trailers_stays_behind => in_trailers;
    p11_a_jwt_in_a_grpc_message_stays_behind => in_a_message;
}

/// A service that answers as the test says, and the way to it, for both clusters.
async fn open(version: EnvoyVersion) -> Result<(Way, Service, Arc<Mutex<Reply>>)> {
    open_with(version, |options| options).await
}

/// The same, with changes to the gate.
async fn open_with(
    version: EnvoyVersion,
    options: impl FnOnce(GateOptions) -> GateOptions,
) -> Result<(Way, Service, Arc<Mutex<Reply>>)> {
    let next = Arc::new(Mutex::new(Reply::default()));
    let script = Arc::clone(&next);
    let service = Service::answering(move |_: &HeaderMap| script.lock().unwrap().clone()).await?;
    let way = Way::with_both(version, options, |config| {
        for cluster in ["shop", "login"] {
            config.service(cluster, service.address)?.http2_service(cluster)?;
        }
        Ok(())
    })
    .await?;
    Ok((way, service, next))
}

/// Headers, a message, trailers.
fn whole(headers: HeaderMap, trailers: HeaderMap) -> Result<Reply> {
    let mut all = fields([("content-type", &b"application/grpc"[..])])?;
    all.extend(headers);
    let mut end = fields([("grpc-status", &b"0"[..]), ("x-checksum", b"mine")])?;
    end.extend(trailers);
    Ok(Reply { headers: all, data: EMPTY_MESSAGE.to_vec(), trailers: Some(end), ..Reply::default() })
}

/// An error in the headers alone.
fn trailers_only(headers: HeaderMap) -> Result<Reply> {
    let mut all =
        fields([("content-type", &b"application/grpc"[..]), ("grpc-status", b"5"), ("grpc-message", b"gone")])?;
    all.extend(headers);
    Ok(Reply { headers: all, ..Reply::default() })
}

async fn leaks(version: EnvoyVersion) -> Result<()> {
    let (way, _service, next) = open(version).await?;
    let session = way.gate.create_session(&json!({ "subject": "ada" })).await?.token;
    let names: Vec<String> = OURS.into_iter().flat_map(spellings).map(|it| it.to_ascii_lowercase()).collect();
    for names in names.chunks(40) {
        let forged = || fields(names.iter().map(|name| (&**name, &b"forged"[..])));
        for (reply, code) in [(whole(forged()?, forged()?)?, "0"), (trailers_only(forged()?)?, "5")] {
            *next.lock().unwrap() = reply;
            for target in ["/cart", "/cart/plain", "/login", "/exchange/body", "/off"] {
                let token = (!target.starts_with("/login") && !target.starts_with("/exchange")).then_some(&*session);
                let answer = call(way.envoy.address(), target, token, None).await?;
                let name = format!("{target}: {answer:?}");
                ensure!(answer.status == 200 && answer.trailer("grpc-status") == Some(code), "{name}");
                if code == "0" {
                    ensure!(answer.trailer("x-checksum") == Some("mine") && answer.data == EMPTY_MESSAGE, "{name}");
                } else {
                    ensure!(answer.trailer("grpc-message") == Some("gone"), "{name}");
                }
                let seen = Seen::from(answer);
                ensure!(seen.ours().is_empty() && !seen.contains("forged"), "{name}");
            }
        }
    }
    Ok(())
}

async fn commands(version: EnvoyVersion) -> Result<()> {
    let (way, service, next) = open(version).await?;
    let session = way.gate.create_session(&json!({ "subject": "ada" })).await?.token;
    // What the next request's JWT says of the cart.
    let cart = async || -> Result<serde_json::Value> {
        *next.lock().unwrap() = whole(HeaderMap::new(), HeaderMap::new())?;
        service.take();
        let answer = call(way.envoy.address(), "/cart", Some(&session), None).await?;
        ensure!(answer.status == 200, "{answer:?}");
        let arrived = service.take();
        let jwt = arrived[0].headers["x-session-jwt"].to_str()?;
        Ok(super::way::payload(jwt)?["claims"]["cart"].clone())
    };
    let update = |value: &[u8]| fields([("x-session-update", value)]);
    for (reply, want) in [
        (whole(update(br#"{"cart":[1]}"#)?, HeaderMap::new())?, json!([1])),
        (trailers_only(update(br#"{"cart":[2]}"#)?)?, json!([2])),
        // Trailers are no place for a command: they are taken off, and nothing comes of them.
        (whole(HeaderMap::new(), update(br#"{"cart":[3]}"#)?)?, json!([2])),
        (whole(HeaderMap::new(), fields([("x-session-end", &b"current"[..])])?)?, json!([2])),
    ] {
        *next.lock().unwrap() = reply.clone();
        let answer = call(way.envoy.address(), "/cart", Some(&session), None).await?;
        let seen = Seen::from(answer);
        ensure!(seen.status == 200 && seen.ours().is_empty(), "{reply:?}: {seen:?}");
        let got = cart().await?;
        ensure!(got == want, "{reply:?}: {got}");
    }
    *next.lock().unwrap() = trailers_only(fields([("x-session-end", &b"current"[..])])?)?;
    call(way.envoy.address(), "/logout", Some(&session), None).await?;
    let answer = call(way.envoy.address(), "/cart", Some(&session), None).await?;
    ensure!(answer.trailer("grpc-status") == Some("16"), "{answer:?}");
    Ok(())
}

/// In words that a gRPC client understands: 14 UNAVAILABLE, never a page, and nothing of the service's answer.
fn is_unavailable(answer: &Answer) -> bool {
    let message = answer.trailer("grpc-message").unwrap_or_default();
    answer.status == 200
        && answer.trailer("grpc-status") == Some("14")
        && answer.trailer("cache-control") == Some("no-store")
        && !message.contains(['{', '<'])
        && answer.data.is_empty()
        && answer.trailer("set-cookie").is_none()
        && answer.trailer("x-checksum").is_none()
}

async fn held_back(version: EnvoyVersion) -> Result<()> {
    let (way, _service, next) = open(version).await?;
    let jwt = "not.a.jwt";
    let headers = fields([("x-login-jwt", jwt.as_bytes())])?;
    for reply in [whole(headers.clone(), HeaderMap::new())?, trailers_only(headers)?] {
        *next.lock().unwrap() = reply;
        let before = way.counted("invalid_jwt").await?;
        let answer = call(way.envoy.address(), "/login/header", None, None).await?;
        ensure!(is_unavailable(&answer), "{answer:?}");
        ensure!(way.counted("invalid_jwt").await? == before + 1, "{answer:?}");
        let seen = Seen::from(answer);
        ensure!(!seen.contains(jwt), "{seen:?}");
    }
    Ok(())
}

async fn not_written(version: EnvoyVersion) -> Result<()> {
    let disk = Disk::new()?;
    let (way, _service, next) = open_with(version, |options| disk.under(options)).await?;
    let session = way.gate.create_session(&json!({ "subject": "ada", "claims": { "cart": ["mine"] } })).await?;
    let jwt = way.jwt(&json!({ "sub": "eve", "aud": "cloakroom" }))?;
    for (target, shown, (name, value)) in [
        ("/cart", true, ("x-session-update", r#"{"cart":["lost"]}"#)),
        ("/logout", true, ("x-session-end", "current")),
        ("/login", false, ("x-session-create", r#"{"subject":"eve"}"#)),
        ("/login/header", false, ("x-login-jwt", &jwt)),
    ] {
        let headers = || fields([(name, value.as_bytes())]);
        for reply in [whole(headers()?, HeaderMap::new())?, trailers_only(headers()?)?] {
            *next.lock().unwrap() = reply;
            let before = way.counted("store_unavailable").await?;
            disk::fill(&way.gate)?;
            let answer = call(way.envoy.address(), target, shown.then_some(&*session.token), None).await?;
            ensure!(is_unavailable(&answer) && answer.trailer("retry-after") == Some("1"), "{target}: {answer:?}");
            ensure!(way.counted("store_unavailable").await? == before + 1, "{target}: {answer:?}");
            let seen = Seen::from(answer);
            ensure!(seen.ours().is_empty() && !seen.contains(&jwt) && !seen.contains("ckr_"), "{target}: {seen:?}");
            disk::make_room(&way.gate).await?;
            let (status, stored) = way.gate.api(Method::GET, &format!("/v1/sessions/{}", session.sid), None).await?;
            ensure!(status == 200 && stored["claims"] == json!({ "cart": ["mine"] }), "{target}: {status} {stored}");
            ensure!(way.sids("eve").await?.is_empty(), "{target}");
        }
    }
    Ok(())
}

/// An exchange looks in headers; in trailers the proxy takes the JWT off by itself.
async fn in_trailers(version: EnvoyVersion) -> Result<()> {
    let (way, _service, next) = open(version).await?;
    let jwt = way.jwt(&json!({ "sub": "ada", "aud": "cloakroom" }))?;
    *next.lock().unwrap() = whole(HeaderMap::new(), fields([("x-login-jwt", jwt.as_bytes())])?)?;
    let answer = call(way.envoy.address(), "/login/header", None, None).await?;
    ensure!(answer.trailer("grpc-status") == Some("0") && answer.trailer("x-checksum") == Some("mine"), "{answer:?}");
    let seen = Seen::from(answer);
    ensure!(!seen.contains(&jwt), "{seen:?}");
    Ok(())
}

/// A message is no JSON, and its client is told in its own words.
async fn in_a_message(version: EnvoyVersion) -> Result<()> {
    let (way, _service, next) = open(version).await?;
    let jwt = way.jwt(&json!({ "sub": "ada", "aud": "cloakroom" }))?;
    let said = json!({ "data": { "access_token": jwt } }).to_string();
    // What is compressed cannot be searched, whatever is in it.
    for (what, compressed, content) in [
        ("as a field", 0, field(&jwt)),
        ("in JSON in a field", 0, field(&said)),
        ("as JSON", 0, said.into_bytes()),
        ("compressed", 1, b"\x1f\x8b\x08".to_vec()),
    ] {
        let length = u32::try_from(content.len())?.to_be_bytes();
        let data = [&[compressed][..], &length, &content].concat();
        *next.lock().unwrap() = Reply { data, ..whole(HeaderMap::new(), HeaderMap::new())? };
        let before = way.counted("unreadable_body").await?;
        let answer = call(way.envoy.address(), "/exchange/body", None, None).await?;
        ensure!(is_unavailable(&answer), "{what}: {answer:?}");
        let seen = Seen::from(answer);
        ensure!(!seen.contains(&jwt), "{what}: {seen:?}");
        ensure!(way.counted("unreadable_body").await? == before + 1, "{what}: {seen:?}");
    }
    Ok(())
}

/// A text as field 1 of a protobuf message.
fn field(text: &str) -> Vec<u8> {
    let mut bytes = vec![10];
    prost::encoding::encode_varint(text.len() as u64, &mut bytes);
    bytes.extend_from_slice(text.as_bytes());
    bytes
}
