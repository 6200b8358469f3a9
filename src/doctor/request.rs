//! Requests to a route of the user's, as a client would send them.

use std::net::{IpAddr, SocketAddr};
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
        url: shown(&route.url),
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
    let url = shown(&route.url);
    let host = route.url.host_str().with_context(|| format!("--url: {url} names no host"))?;
    if !matches!(route.url.scheme(), "http" | "https") {
        return Err(anyhow!("--url: {url} is not an address like https://shop.example/cart"));
    }
    if route.token.is_some() && route.url.scheme() == "http" && !stays_here(host, route.address) {
        return Err(anyhow!(
            "--token-file: {url} is without TLS, and everybody on the way could read the token: name an https address, or one of this \
             machine"
        ));
    }
    // None in between, who would see what is sent.
    let mut builder =
        Client::builder().no_proxy().redirect(redirect::Policy::none()).connect_timeout(PATIENCE).timeout(PATIENCE);
    if let Some(address) = route.address {
        builder = builder.resolve(host, address);
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

/// Whether what is sent there stays on this machine.
fn stays_here(host: &str, address: Option<SocketAddr>) -> bool {
    // An address in the URL is connected to whatever `address` says.
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback(),
        Err(_) => address.map_or_else(|| host == "localhost", |address| address.ip().is_loopback()),
    }
}

/// An address as it may be told: without what may be a secret in it.
pub(super) fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
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
    let url = Url::parse(url).map_err(|error| error.to_string())?;
    let about = shown(&url);
    let client = Client::builder().no_proxy().tls_certs_only([]).redirect(redirect::Policy::none()).timeout(PATIENCE);
    let client = client.build().map_err(|error| reason(&error))?;
    let answer = client.get(url).send().await.map_err(|error| format!("{about}: {}", reason(&error)))?;
    let status = answer.status();
    if !status.is_success() {
        return Err(format!("{about} answers {status}"));
    }
    answer.json().await.map_err(|_| format!("{about} answers with no key set"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p07_an_address_is_told_without_what_may_be_a_secret() {
        for (url, want) in [
            ("https://ada:secret@shop.example/cart?token=secret#x", "https://shop.example/cart"),
            ("http://[::1]:8080", "http://[::1]:8080/"),
        ] {
            assert_eq!(shown(&url.parse().unwrap()), want);
        }
    }

    #[test]
    fn p07_a_token_leaves_the_machine_by_tls_alone() {
        for (url, address, goes) in [
            ("https://shop.example/", None, true),
            ("http://shop.example/", None, false),
            ("http://shop.example/", Some("127.0.0.1:80"), true),
            ("http://shop.example/", Some("192.0.2.1:80"), false),
            ("http://192.0.2.1/", Some("127.0.0.1:80"), false),
            ("http://127.0.0.1/", None, true),
            ("http://[::1]/", None, true),
            ("http://localhost/", None, true),
            ("http://127.evil.example/", None, false),
        ] {
            let route = |token: Option<&str>| Route {
                url: url.parse().unwrap(),
                address: address.map(|it| it.parse().unwrap()),
                ca: None,
                token: token.map(|it| Zeroizing::new(it.to_owned())),
                is_public: false,
                is_echo: false,
                header: "x-session-jwt".to_owned(),
            };
            assert_eq!(client(&route(Some("ckr_x"))).is_ok(), goes, "{url} {address:?}");
            assert!(client(&route(None)).is_ok(), "{url}");
        }
    }
}
