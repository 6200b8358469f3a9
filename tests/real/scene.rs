//! The whole loop: client, Envoy, cloakroom, services.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use e2e::browser::Browser;
use e2e::envoy::{Envoy, EnvoyConfig};
use e2e::gate::{Cloakroom, GateOptions, Listen};
use e2e::http1::exchange;
use e2e::sloppy::Sloppy;
use e2e::stage::{Stage, example_policies};
use e2e::tools::EnvoyVersion;
use serde_json::json;

use crate::on_each_envoy;

/// How long a test waits for something that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test.
pub(crate) fn cloakroom() -> PathBuf {
    env!("CARGO_BIN_EXE_cloakroom").into()
}

on_each_envoy! {
    p1_a_stranger_is_refused => stranger;
    p7_a_session_becomes_a_jwt_and_the_token_stays_behind => session;
    p17_a_revoked_session_is_refused_at_once => revoked;
}

/// Over both ways to the gate, and both encodings of headers.
async fn each_way(version: EnvoyVersion) -> Result<Vec<(Cloakroom, Envoy, Sloppy)>> {
    let mut ways = Vec::new();
    for (listen, raw) in [(Listen::Unix, true), (Listen::Loopback, false)] {
        let options = GateOptions { listen, policies: example_policies()?, ..GateOptions::new(cloakroom()) };
        let gate = Cloakroom::spawn(options).await?;
        let shop = Sloppy::spawn().await?;
        let mut config = EnvoyConfig::shipped()?;
        config.plain()?.patient()?.gate(&gate.grpc()?)?.service("shop", shop.address())?;
        if !raw {
            config.headers_as_map()?;
        }
        ways.push((gate, Envoy::spawn(version, &config).await?, shop));
    }
    Ok(ways)
}

async fn stranger(version: EnvoyVersion) -> Result<()> {
    for (_gate, envoy, shop) in each_way(version).await? {
        let answer = exchange(envoy.address(), b"GET /cart HTTP/1.1\r\nHost: shop.localhost\r\n\r\n").await?;
        assert_eq!(answer.status(), 401, "{}", answer.text());
        assert!(answer.header("www-authenticate")[0].starts_with("Bearer"), "{answer:?}");
        assert_eq!(answer.header("content-type"), ["application/problem+json"]);
        assert!(shop.take().is_empty());
    }
    Ok(())
}

async fn session(version: EnvoyVersion) -> Result<()> {
    for (gate, envoy, shop) in each_way(version).await? {
        let session = gate.create_session(&json!({ "subject": "bob" })).await?;
        let request = format!(
            "GET /cart HTTP/1.1\r\nHost: shop.localhost\r\nCookie: a=1; __Host-session={}; b=\"2\"\r\n\r\n",
            session.token
        );
        let answer = exchange(envoy.address(), request.as_bytes()).await?;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let seen = &shop.take()[0];
        assert_eq!(seen.header_readings("x-session-jwt").len(), 1, "{seen:?}");
        assert_eq!(seen.0.header("x-session-jwt")[0].split('.').count(), 3);
        assert_eq!(seen.0.header("cookie"), ["a=1; b=\"2\""]);
        assert!(!seen.contains(&session.token));
    }
    Ok(())
}

async fn revoked(version: EnvoyVersion) -> Result<()> {
    for (gate, envoy, shop) in each_way(version).await? {
        let session = gate.create_session(&json!({ "subject": "bob" })).await?;
        let request =
            format!("GET /cart HTTP/1.1\r\nHost: shop.localhost\r\nAuthorization: Bearer {}\r\n\r\n", session.token);
        assert_eq!(exchange(envoy.address(), request.as_bytes()).await?.status(), 200);
        gate.revoke_session(&session.sid).await?;
        assert_eq!(exchange(envoy.address(), request.as_bytes()).await?.status(), 401);
        assert_eq!(shop.take().len(), 1);
    }
    Ok(())
}

/// What the demo tells a person to do, done by a browser.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_logs_in_and_out_with_a_browser() -> Result<()> {
    let stage = Stage::set(cloakroom(), EnvoyVersion::Newest, 0).await?;
    let (origin, certificates) = (stage.origin(), stage.certificates.clone());
    tokio::task::spawn_blocking(move || {
        let mut browser = Browser::spawn(&certificates)?;
        // Asked for the cart, a stranger lands on the log-in page, and back at the cart.
        browser.open(&format!("{origin}/cart"))?;
        browser.until("location.pathname === '/login'")?;
        browser.type_into("#user", "bob")?;
        browser.type_into("#password", "builder")?;
        browser.click("#submit")?;
        browser.until("location.pathname === '/cart' && document.querySelector('#subject')?.innerText === 'bob'")?;
        let cookies = browser.cookies()?;
        assert_eq!(cookies.len(), 1);
        assert_eq!(cookies[0]["name"], "__Host-session");
        assert_eq!((&cookies[0]["httpOnly"], &cookies[0]["secure"]), (&json!(true), &json!(true)));
        // No script of a page sees it.
        assert_eq!(browser.evaluate("document.cookie")?, "");
        let page = browser.text()?;
        assert!(!page.contains("ckr_") && page.contains("customer"), "{page}");
        // The shop keeps the cart in the session by its answer, and the page after the redirect has it.
        browser.click("#tea")?;
        browser.until("document.querySelector('#claims')?.innerText.includes('\"cart\":{\"tea\":1}') === true")?;

        browser.click("#logout")?;
        browser.until("location.pathname === '/' && document.querySelector('#login') !== null")?;
        assert!(browser.cookies()?.is_empty());
        browser.open(&format!("{origin}/cart"))?;
        browser.until("location.pathname === '/login'")
    })
    .await??;
    Ok(())
}
