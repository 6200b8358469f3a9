//! Requests to a route of the user's, as a client would send them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use aws_lc_rs::rand;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, Response, Url, redirect};
use serde_json::Value;
use zeroize::Zeroizing;

use super::probe::{Answer, Heard, Probe, spellings};

/// Longer than any proxy should wait for the gate, and short enough to be waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// More of a body is not read.
const MAX_BODY: usize = 1 << 20;
const CONTROL: &str = "x-cloakroom-doctor";

/// Which route, and how.
pub struct Route {
    /// Its address.
    pub url: Url,
    /// Where to connect, whatever the address says.
    pub address: Option<SocketAddr>,
    /// Whom TLS trusts, PEM; the system's certificates unless told.
    pub ca: Option<PathBuf>,
    /// The access token of a session that may enter.
    pub token: Option<Zeroizing<String>>,
    /// See [`Probe::is_public`].
    pub is_public: bool,
    /// See [`Probe::is_echo`].
    pub is_echo: bool,
    /// The header of session JWTs.
    pub header: String,
}

/// Sends the requests.
///
/// # Errors
/// When none can be sent: the address, a file or the header's name is wrong.
pub async fn probe(route: &Route) -> anyhow::Result<Probe> {
    let client = client(route)?;
    let (control, forged_value) = (mark("seen")?, mark("forged")?);
    let send = async |credential: bool, forged: Option<&str>| -> anyhow::Result<Heard> {
        let mut request = client.get(route.url.clone()).header(CONTROL, &control);
        if let Some(token) = route.token.as_ref().filter(|_| credential) {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.as_str())).context("the token")?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(name) = forged {
            let name = HeaderName::from_bytes(name.as_bytes()).with_context(|| format!("{name:?} is no header"))?;
            request = request.header(name, &forged_value);
        }
        let began = Instant::now();
        Ok(match request.send().await {
            Ok(response) => read(response, began).await,
            Err(error) => Err(reason(&error)),
        })
    };
    let plain = send(false, None).await?;
    let session = match &route.token {
        Some(token) => Some((send(true, None).await?, token.as_str().to_owned())),
        None => None,
    };
    let mut forged = Vec::new();
    // Where nothing answers, more of it tells nothing.
    if plain.is_ok() {
        for spelling in spellings(&route.header) {
            let heard = send(true, Some(&spelling)).await?;
            forged.push((spelling, heard));
        }
    }
    Ok(Probe {
        url: route.url.to_string(),
        is_public: route.is_public,
        is_echo: route.is_echo,
        header: route.header.clone(),
        control,
        forged_value,
        plain,
        session,
        forged,
    })
}

fn client(route: &Route) -> anyhow::Result<Client> {
    let host = route.url.host_str().with_context(|| format!("--url: {} names no host", route.url))?;
    if !matches!(route.url.scheme(), "http" | "https") {
        return Err(anyhow!("--url: {} is not an address like https://shop.example/cart", route.url));
    }
    let mut builder = Client::builder().redirect(redirect::Policy::none()).connect_timeout(PATIENCE).timeout(PATIENCE);
    if let Some(address) = route.address {
        builder = builder.no_proxy().resolve(host, address);
    }
    if let Some(file) = &route.ca {
        let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let authorities = Certificate::from_pem_bundle(&pem);
        let authorities = authorities.with_context(|| format!("{} holds no certificate in PEM", file.display()))?;
        builder = builder.tls_certs_only(authorities);
    } else if route.url.scheme() == "http" {
        builder = builder.tls_certs_only([]);
    }
    Ok(builder.build()?)
}

/// A value that nothing else has.
fn mark(what: &str) -> anyhow::Result<String> {
    let mut bytes = [0; 8];
    rand::fill(&mut bytes).map_err(|_| anyhow!("the system has no randomness"))?;
    Ok(format!("{what}-{:016x}", u64::from_be_bytes(bytes)))
}

async fn read(mut response: Response, began: Instant) -> Heard {
    let status = response.status().as_u16();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let mut body = Vec::new();
    while body.len() < MAX_BODY {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(MAX_BODY - body.len())]),
            Ok(None) => break,
            Err(error) => return Err(reason(&error)),
        }
    }
    Ok(Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned(), took: began.elapsed() })
}

/// An error with its causes, without the address.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("nothing came within {PATIENCE:?}");
    }
    let mut words = Vec::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    words.pop().unwrap_or_else(|| "it cannot be reached".to_owned())
}

/// A key set, from an address of the install's own.
pub(super) async fn key_set(url: &str) -> Result<Value, String> {
    let client = Client::builder().no_proxy().tls_certs_only([]).redirect(redirect::Policy::none()).timeout(PATIENCE);
    let client = client.build().map_err(|error| reason(&error))?;
    let answer = client.get(url).send().await.map_err(|error| format!("{url}: {}", reason(&error)))?;
    let status = answer.status();
    if !status.is_success() {
        return Err(format!("{url} answers {status}"));
    }
    answer.json().await.map_err(|_| format!("{url} answers with no key set"))
}
