//! `examples/envoy/envoy.yaml` alone: what it keeps while cloakroom is down, and where the check is switched off.

use anyhow::Result;
use e2e::envoy::{Envoy, EnvoyConfig, GateAddress, validate};
use e2e::http1::exchange;
use e2e::sloppy::Sloppy;
use e2e::tls::Certificates;
use e2e::tools::EnvoyVersion;

use crate::on_every_envoy;

/// Our names, and how CGI and its heirs may have them spelt.
const OURS: [&str; 4] = ["x-session-jwt", "x-session-create", "x-session-update", "x-session-end"];
const SPELLINGS: [fn(&str) -> String; 7] = [
    str::to_owned,
    str::to_ascii_uppercase,
    |name| name.replace('-', "_"),
    |name| name.replace('-', "."),
    |name| name.replacen('-', "_", 1),
    |name| name.replacen('-', "!", 1),
    |name| name.replace('-', "~"),
];

fn forged_lines() -> String {
    let spelt = OURS.iter().flat_map(|name| SPELLINGS.iter().map(move |spelling| spelling(name)));
    spelt.map(|name| format!("{name}: forged\r\n")).collect()
}

fn nobody() -> GateAddress {
    GateAddress::Unix("/nonexistent/gate.sock".into())
}

on_every_envoy! {
    shipped_file_is_valid => valid;
    every_variant_is_valid => variants;
    p7_no_forged_header_passes_an_unchecked_route => unchecked_request;
    p11_no_internal_header_leaves_an_unchecked_route => unchecked_response;
    p2_a_missing_gate_is_503 => missing_gate;
    underscores_are_refused_as_shipped => underscores;
}

async fn valid(version: EnvoyVersion) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut config = EnvoyConfig::shipped()?;
    config.tls(&Certificates::make(folder.path(), &["shop.localhost"])?.server)?;
    validate(version, &config)
}

async fn variants(version: EnvoyVersion) -> Result<()> {
    let mut config = EnvoyConfig::shipped()?;
    config.plain()?.default_normalisation()?.headers_as_map()?.no_static_removal()?;
    config.http1_trailers()?.http2_service("login")?.unchecked("/open")?;
    validate(version, &config)
}

async fn unchecked_request(version: EnvoyVersion) -> Result<()> {
    let shop = Sloppy::spawn().await?;
    let mut config = EnvoyConfig::shipped()?;
    config.plain()?.patient()?.allow_underscores()?.http1_trailers()?.unchecked("/open")?;
    config.gate(&nobody())?.service("shop", shop.address())?;
    let envoy = Envoy::spawn(version, &config).await?;
    let forged = forged_lines();
    let request = format!(
        "POST /open HTTP/1.1\r\nHost: shop.example\r\n{forged}X-Sessions-Count: mine\r\nTE: trailers\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n{forged}X-Checksum: mine\r\n\r\n"
    );
    let answer = exchange(envoy.address(), request.as_bytes()).await?;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let seen = &shop.take()[0];
    for name in OURS {
        assert!(seen.header_readings(name).is_empty(), "{name} reached the service: {seen:?}");
    }
    assert!(!seen.contains("forged"));
    // What is not ours passes, or this test would not see a removal at all.
    assert_eq!(seen.0.header("x-sessions-count"), ["mine"]);
    assert_eq!((seen.0.text().as_str(), seen.0.trailer("x-checksum")), ("hi", vec!["mine".to_owned()]));
    Ok(())
}

async fn unchecked_response(version: EnvoyVersion) -> Result<()> {
    let forged = forged_lines();
    let shop = Sloppy::answering(move |_| {
        format!(
            "HTTP/1.1 103 Early Hints\r\n{forged}\r\n\
             HTTP/1.1 200 OK\r\n{forged}X-Sessions-Count: mine\r\nTrailer: x-checksum\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nhi\r\n0\r\n{forged}X-Checksum: mine\r\n\r\n"
        )
        .into_bytes()
    })
    .await?;
    let mut config = EnvoyConfig::shipped()?;
    config.plain()?.http1_trailers()?.unchecked("/open")?;
    config.gate(&nobody())?.service("shop", shop.address())?;
    let envoy = Envoy::spawn(version, &config).await?;
    let mut client = e2e::http1::Connection::open(envoy.address()).await?;
    client.send(b"GET /open HTTP/1.1\r\nHost: shop.example\r\nTE: trailers\r\n\r\n").await?;
    // Not `response`, which skips interim answers: nothing at all may come before.
    let answer = client.any_response(false).await?;
    assert_eq!(answer.status(), 200);
    for (name, value) in answer.headers.iter().chain(&answer.trailers) {
        let name = String::from_utf8_lossy(name);
        assert_ne!(value, b"forged", "{name} reached the client");
    }
    assert_eq!(answer.header("x-sessions-count"), ["mine"]);
    assert_eq!((answer.text().as_str(), answer.trailer("x-checksum")), ("hi", vec!["mine".to_owned()]));
    Ok(())
}

async fn missing_gate(version: EnvoyVersion) -> Result<()> {
    let shop = Sloppy::spawn().await?;
    let mut config = EnvoyConfig::shipped()?;
    config.plain()?.gate(&nobody())?.service("shop", shop.address())?;
    let envoy = Envoy::spawn(version, &config).await?;
    let answer = exchange(envoy.address(), b"GET /cart HTTP/1.1\r\nHost: shop.example\r\n\r\n").await?;
    assert_eq!(answer.status(), 503);
    assert!(shop.take().is_empty());
    Ok(())
}

async fn underscores(version: EnvoyVersion) -> Result<()> {
    let shop = Sloppy::spawn().await?;
    let mut config = EnvoyConfig::shipped()?;
    config.plain()?.unchecked("/open")?.gate(&nobody())?.service("shop", shop.address())?;
    let envoy = Envoy::spawn(version, &config).await?;
    let request = b"GET /open HTTP/1.1\r\nHost: shop.example\r\nx_session_jwt: forged\r\n\r\n";
    assert_eq!(exchange(envoy.address(), request).await?.status(), 400);
    assert!(shop.take().is_empty());
    Ok(())
}
