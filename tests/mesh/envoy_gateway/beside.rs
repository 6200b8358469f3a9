//! A gate beside the proxy of a Gateway, reached by a socket file.

use anyhow::{Result, ensure};
use e2e::network;
use e2e::process::Signal;
use serde_json::json;

use super::objects::exchange;
use super::square::{Place, Square, prepare};
use crate::town::{PATIENCE, claims};

#[test]
fn p07_only_the_gate_speaks_for_identity() {
    prepare().and_then(|()| network::alone(identity)).unwrap();
}

#[test]
fn p11_the_way_back_changes_sessions_and_shows_nothing() {
    prepare().and_then(|()| network::alone(way_back)).unwrap();
}

#[test]
fn p02_a_hung_gate_is_no_entry() {
    prepare().and_then(|()| network::alone(hung)).unwrap();
}

/// Names that a common server takes for the header of the JWT.
const SPELLINGS: [&str; 6] =
    ["x-session-jwt", "X-Session-JWT", "x_session_jwt", "X.Session.Jwt", "x-session_jwt", "x~session!jwt"];

async fn identity() -> Result<()> {
    let square = Square::wired(Place::Beside, true).await?;
    let cookie = square.log_in().await?;

    ensure!(square.send("GET", "/x", &[]).await?.status() == 401);
    ensure!(square.shop.take().is_empty());
    let answer = square.send("GET", "/x", &[&cookie]).await?;
    ensure!(answer.status() == 200, "{answer:?}");
    let seen = square.arrived()?;
    let claims = claims(&seen)?;
    ensure!(claims["sub"] == "ada" && claims["iss"] == "https://cloakroom.example/ns/shop", "{claims}");
    ensure!(claims["aud"] == "shop/shop", "{claims}");
    ensure!(seen.0.header("cookie") == ["a=1"], "{seen:?}");

    for name in SPELLINGS {
        let forged = format!("{name}: forged");
        for (path, lines, want) in [
            ("/x", &[&*cookie, &forged][..], 1),
            ("/open", &[&forged], 0),
            ("/open", &[&*cookie, &forged], 0),
            // Its own SecurityPolicy takes the place of the Gateway's: nobody is asked.
            ("/unchecked", &[&forged], 0),
        ] {
            let answer = square.send("GET", path, lines).await?;
            if name.contains('_') {
                // Envoy Gateway's own default.
                ensure!(answer.status() == 400 && square.shop.take().is_empty(), "{name} {path}: {answer:?}");
                continue;
            }
            ensure!(answer.status() == 200, "{name} {path}: {answer:?}");
            let seen = square.arrived()?;
            let found = seen.header_readings("x-session-jwt").len();
            ensure!(found == want && !seen.contains("forged"), "{name} {path}: {seen:?}");
        }
    }
    // By which host a client came, it does not say.
    let hosts = ["X-Forwarded-Host: evil.example", "Forwarded: host=evil.example", "X-Original-Host: evil.example"];
    square.send("GET", "/unchecked", &hosts).await?;
    ensure!(!square.arrived()?.contains("evil.example"));

    // Repeated lines come to the gate joined by commas: one reading or none.
    let answer = square.send("GET", "/x", &["Cookie: b=2", &cookie]).await?;
    match answer.status() {
        200 => ensure!(!square.arrived()?.contains("ckr_")),
        status => ensure!(status == 400, "{answer:?}"),
    }
    underscores(&square, &cookie).await
}

/// Where somebody lets names with underscores pass, ours are taken off in that spelling, too.
async fn underscores(square: &Square, cookie: &str) -> Result<()> {
    let (headers, early) = ("  headers:\n", "    earlyRequestHeaders:\n");
    let allowed = format!("{headers}    withUnderscoresAction: Allow\n{early}");
    square.gateway.replace(&exchange(&square.objects, &format!("{headers}{early}"), &allowed)?)?;
    let passes = async || square.send("GET", "/open", &["x_other: 1"]).await.is_ok_and(|answer| answer.status() == 200);
    square.gateway.process().wait_until(PATIENCE, "underscores", passes).await?;
    square.shop.take();
    for name in SPELLINGS {
        let forged = format!("{name}: forged");
        for (path, lines, want) in
            [("/x", &[cookie, &forged][..], 1), ("/open", &[&forged], 0), ("/unchecked", &[&forged], 0)]
        {
            let answer = square.send("GET", path, lines).await?;
            ensure!(answer.status() == 200, "{name} {path}: {answer:?}");
            let seen = square.arrived()?;
            let found = seen.header_readings("x-session-jwt").len();
            ensure!(found == want && !seen.contains("forged"), "{name} {path}: {seen:?}");
        }
    }
    Ok(())
}

async fn way_back() -> Result<()> {
    let square = Square::wired(Place::Beside, true).await?;
    let answer = square.send("POST", "/login", &[]).await?;
    ensure!(answer.status() == 200 && answer.header("x-session-create").is_empty(), "{answer:?}");
    let cookies = answer.header("set-cookie");
    ensure!(cookies.len() == 3 && cookies.iter().any(|it| it == "app=1"), "{cookies:?}");
    let ours = cookies.iter().find(|it| it.starts_with("__Host-session=ckr_"));
    let cookie = format!("Cookie: {}", ours.map_or("", |it| it.split(';').next().unwrap_or_default()));
    square.shop.take();

    let answer = square.send("GET", "/cart", &[&cookie]).await?;
    ensure!(answer.status() == 200 && answer.header("x-session-update").is_empty(), "{answer:?}");
    square.shop.take();
    square.send("GET", "/x", &[&cookie]).await?;
    let claims = claims(&square.arrived()?)?;
    ensure!(claims["claims"]["cart"] == json!(["tea"]), "{claims}");

    for path in ["/cart/careless", "/open/careless", "/unchecked/careless", "/careless"] {
        let answer = square.send("GET", path, &[&cookie]).await?;
        ensure!(answer.status() == 200, "{path}: {answer:?}");
        let head = String::from_utf8_lossy(&answer.head).to_ascii_lowercase();
        ensure!(!head.contains("session"), "{path}: {head}");
    }

    let answer = square.send("POST", "/logout", &[&cookie]).await?;
    ensure!(answer.status() == 200 && answer.header("x-session-end").is_empty(), "{answer:?}");
    ensure!(answer.header("set-cookie").iter().any(|it| it.contains("Max-Age=0")), "{answer:?}");
    ensure!(square.send("GET", "/x", &[&cookie]).await?.status() == 401);
    Ok(())
}

/// The gate is there and does not answer: the times are those that the chart says.
async fn hung() -> Result<()> {
    let square = Square::wired(Place::Beside, false).await?;
    let cookie = square.log_in().await?;
    let process = square.gate.process();
    process.stop().await?;
    for path in ["/x", "/open", "/cart"] {
        let answer = square.send("GET", path, &[&cookie]).await?;
        // The way back waits, too, and its timeout has a status of its own.
        ensure!(answer.status() == 504, "{path}: {answer:?}");
        ensure!(square.shop.take().is_empty());
    }
    // Nobody asks before the service gets it, and its answer does not leave unread.
    let answer = square.send("GET", "/unchecked", &[]).await?;
    ensure!(answer.status() == 504 && square.shop.take().len() == 1, "{answer:?}");
    let without = square.objects.split("---\n").filter(|it| !it.contains("kind: EnvoyExtensionPolicy"));
    square.gateway.replace(&without.collect::<Vec<_>>().join("---\n"))?;
    square.until("503 without the way back", 503, "/x").await?;
    process.signal(Signal::CONT);
    let again = async || square.send("GET", "/x", &[&cookie]).await.is_ok_and(|it| it.status() == 200);
    process.wait_until(PATIENCE, "an answer", again).await
}
