//! What runs in the pods of `cargo xtask e2e`: the services, a client inside of the cluster, and what lets Envoy end in peace.
#![expect(clippy::print_stdout, reason = "its answers are read by the command that calls it")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use e2e::issuer::Issuer;
use e2e::measure::HttpLoad;
use e2e::services::identity::Verifier;
use e2e::services::login;
use e2e::services::shop::Shop;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        // The shop and the log-in service.
        ["serve", shop, login, jwks, issuer, audience] => {
            let verifier = Verifier::new(jwks, issuer, audience)?;
            let _shop = Shop::spawn(address(shop)?, verifier).await?;
            let _login = login::spawn(address(login)?, Issuer::new(login::ISSUER)?).await?;
            told_to_end().await
        }
        ["wait"] => told_to_end().await,
        ["drain", admin] => drain(admin).await,
        ["request", method, url, rest @ ..] => request(method, url, rest).await,
        ["load", url, clients, requests, headers @ ..] => load(url, clients, requests, headers).await,
        _ => bail!("unknown words {words:?}"),
    }
}

fn address(text: &str) -> Result<SocketAddr> {
    text.parse().with_context(|| format!("{text:?} is no address"))
}

async fn told_to_end() -> Result<()> {
    signal(SignalKind::terminate())?.recv().await;
    Ok(())
}

/// `name: value`, each.
fn header_map(lines: &[&str]) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").with_context(|| format!("{line:?} is no header"))?;
        headers.append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
    }
    Ok(headers)
}

/// Sends one request and tells the answer as JSON. A word without `: ` at the end is a form.
async fn request(method: &str, url: &str, rest: &[&str]) -> Result<()> {
    let (lines, form) = match rest {
        [lines @ .., form] if !form.contains(": ") => (lines, Some(*form)),
        lines => (lines, None),
    };
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let client = client.timeout(Duration::from_secs(20)).build()?;
    let mut request = client.request(method.parse()?, url).headers(header_map(lines)?);
    if let Some(form) = form {
        request = request.header("content-type", "application/x-www-form-urlencoded").body(form.to_owned());
    }
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in answer.headers() {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.entry(name.to_string()).or_default().push(value);
    }
    println!("{}", json!({ "status": status, "headers": headers, "body": answer.text().await? }));
    Ok(())
}

/// Sends load until the number is reached and the input has ended, and tells what became of it as JSON.
async fn load(url: &str, clients: &str, requests: &str, headers: &[&str]) -> Result<()> {
    let load = HttpLoad {
        url: url.to_owned(),
        headers: header_map(headers)?,
        clients: clients.parse()?,
        requests: requests.parse()?,
    };
    let enough = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&enough);
    std::thread::spawn(move || {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
        told.store(true, Ordering::Relaxed);
    });
    println!("{}", serde_json::to_string(&load.send(enough).await?)?);
    Ok(())
}

/// Tells Envoy to finish, and returns when it has, or after a while.
async fn drain(admin: &str) -> Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let post = async |path: &str| client.post(format!("{admin}{path}")).send().await?.error_for_status();
    // Each answer asks its client to close the connection. New ones are still taken: they come until every node knows
    // that this pod is going.
    post("/drain_listeners?graceful&skip_exit").await?;
    let began = Instant::now();
    let mut quiet_since = Instant::now();
    while began.elapsed() < Duration::from_secs(20) && quiet_since.elapsed() < Duration::from_secs(3) {
        let told = client.get(format!("{admin}/stats?filter=^http.ingress.downstream_cx_active$")).send().await?;
        if told.text().await?.trim() != "http.ingress.downstream_cx_active: 0" {
            quiet_since = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
