//! Streams that break off: clients that go away and services that stop, at every phase.

use std::sync::Arc;

use anyhow::{Result, ensure};
use e2e::http1::Connection;
use e2e::http2;
use e2e::process::wait_until;
use e2e::sloppy::Act;
use e2e::tools::EnvoyVersion;
use serde_json::json;
use tokio::sync::Notify;

use super::PATIENCE;
use super::faults::{arrived, clean, telling, works_again};
use super::way::{Way, Wire};
use crate::attacks::HOST;
use crate::on_every_envoy;

on_every_envoy! {
    nothing_is_left_of_broken_streams => resets;
}

/// A client that waits for its answer.
enum Client {
    Http1(Connection),
    Http2(http2::Waiting),
}

async fn waiting(way: &Way, target: &str, cookie: &str) -> Result<http2::Waiting> {
    let fields =
        [(":method", "POST"), (":scheme", "http"), (":authority", HOST), (":path", target), ("cookie", cookie)];
    let fields: Vec<http2::Field<'_>> =
        fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    http2::Waiting::send(way.envoy.address(), &fields).await
}

/// The gauge falls back to nothing.
async fn resets(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let token = way.gate.create_session(&json!({ "subject": "ada" })).await?.token;
    let cookie = format!("__Host-session={token}");
    let never = || Act::Await(Arc::new(Notify::new()));
    let half = |target: &str| {
        let all = telling(target);
        Act::Send(all[..all.len() - 1].to_vec())
    };
    // What the service does, where, and whether a stream is open while the client waits.
    let rows: Vec<(&str, &str, Vec<Act>, bool)> = vec![
        ("held before its headers", "/cart", vec![never()], false),
        ("held before its headers", "/exchange/body", vec![never()], false),
        ("held in its head", "/cart", vec![Act::Send(b"HTTP/1.1 200 OK\r\nx-ses".to_vec()), never()], false),
        ("held in its body", "/exchange/body", vec![half("/exchange/body"), never()], true),
    ];
    for (what, target, acts, open) in rows {
        for round in 0..12 {
            way.answers(acts.clone());
            way.service.take();
            let client = match round % 3 {
                0 => Client::Http2(waiting(&way, target, &cookie).await?),
                _ => Client::Http1(way.sent("POST", target, &[("cookie", &cookie)]).await?),
            };
            arrived(&way).await?;
            if open {
                let waits = async || way.streams().await.is_ok_and(|open| open == 1);
                wait_until(PATIENCE, "stream of a client that waits", waits).await?;
            }
            // The connection in order, and not; and the stream alone.
            let kept = match client {
                Client::Http2(mut waiting) => {
                    waiting.cancel().await?;
                    Some(waiting)
                }
                Client::Http1(connection) if round % 3 == 1 => {
                    drop(connection);
                    None
                }
                Client::Http1(connection) => {
                    connection.reset()?;
                    None
                }
            };
            let gone = async || way.streams().await.is_ok_and(|open| open == 0);
            wait_until(PATIENCE, &format!("end of the stream of a client that went away ({what}, {target})"), gone)
                .await?;
            drop(kept);
        }
    }
    for target in ["/cart", "/login", "/exchange/body"] {
        for acts in [
            vec![Act::Reset],
            vec![Act::Close],
            vec![Act::Send(b"HTTP/1.1 200 OK\r\nx-ses".to_vec()), Act::Reset],
            vec![Act::Send(b"nonsense\r\n\r\n".to_vec()), Act::Close],
            vec![half(target), Act::Reset],
            vec![half(target), Act::Close],
        ] {
            for wire in Wire::ALL {
                way.answers(acts.clone());
                // A cut off answer may be an error to the client.
                if let Ok(seen) = way.ask_with(wire, "POST", target, &[("cookie", &cookie)]).await {
                    ensure!(clean(&seen), "{target} {acts:?}: {seen:?}");
                }
            }
        }
        let gone = async || way.streams().await.is_ok_and(|open| open == 0);
        wait_until(PATIENCE, &format!("end of the streams of a service that broke off ({target})"), gone).await?;
    }
    // Envoy's own answers, too.
    for target in ["/cart", "/logout"] {
        ensure!(way.ask(Wire::Http1, "POST", target, None).await?.status == 401);
    }
    wait_until(PATIENCE, "end of all streams", async || way.streams().await.is_ok_and(|open| open == 0)).await?;
    works_again(&way, &token).await
}
