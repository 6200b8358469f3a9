//! Asks a gate as Envoy does, without an Envoy: for tests and benchmarks that are about the sessions behind the gate.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use prost::Message as _;
use tonic::transport::{Channel, Endpoint};

use crate::envoy::GateAddress;

/// A connection to a gate. Clones share it.
#[derive(Clone)]
pub struct Checker(AuthorizationClient<Channel>);

/// A check's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status that the client would see, 200 when the request may pass.
    pub status: u16,
    /// The session JWT; `None` without one.
    pub jwt: Option<String>,
    /// The session JWT's claims, not verified; `None` without one.
    pub claims: Option<serde_json::Value>,
    /// The cookies that the client would be told to keep or to delete, as in `Set-Cookie`.
    pub cookies: Vec<String>,
}

impl Checker {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(gate: &GateAddress) -> Result<Self> {
        let url = match gate {
            GateAddress::Unix(path) => format!("unix://{}", path.display()),
            GateAddress::Tcp(address) => format!("http://{address}"),
        };
        let channel = Endpoint::try_from(url)?.connect().await.context("the gate is not to be reached")?;
        Ok(Self(AuthorizationClient::new(channel)))
    }

    /// A `GET` of `path` at `host` with this access token as a cookie.
    ///
    /// # Errors
    /// When it is not answered.
    pub async fn get(&self, host: &str, path: &str, token: &str) -> Result<Answer> {
        let headers = HashMap::from([("cookie".to_owned(), format!("__Host-session={token}"))]);
        let request = HttpRequest { headers, ..get(host, path) };
        read(self.0.clone().check(check(request)).await?.into_inner())
    }
}

/// The encoded check of a browser's `GET` with this access token: eleven headers, the token in a cookie beside another.
pub fn browsers_check(host: &str, path: &str, token: &str) -> Bytes {
    let headers = [
        (":authority", host),
        (":path", path),
        (":method", "GET"),
        (":scheme", "https"),
        ("accept", "application/json"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"),
        ("accept-language", "en-GB,en;q=0.9"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "6d1f3f0a-5f0e-4e7a-9d43-1d2f5b1c8a11"),
        ("sec-fetch-site", "same-origin"),
        ("cookie", &format!("theme=dark; __Host-session={token}")),
    ];
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    check(HttpRequest { id: "1234567890".to_owned(), headers, size: -1, ..get(host, path) }).encode_to_vec().into()
}

/// The status that an encoded answer gives the client, 200 when the request may pass.
///
/// # Errors
/// When it is no answer.
pub fn status(answer: Bytes) -> Result<u16> {
    Ok(match CheckResponse::decode(answer)?.http_response.context("an answer without HTTP")? {
        HttpResponse::OkResponse(_) => 200,
        HttpResponse::DeniedResponse(denied) => u16::try_from(denied.status.map_or(403, |it| it.code))?,
        HttpResponse::ErrorResponse(_) => anyhow::bail!("an error in the place of a decision"),
    })
}

fn get(host: &str, path: &str) -> HttpRequest {
    HttpRequest {
        method: "GET".to_owned(),
        host: host.to_owned(),
        path: path.to_owned(),
        scheme: "https".to_owned(),
        protocol: "HTTP/1.1".to_owned(),
        ..HttpRequest::default()
    }
}

fn check(request: HttpRequest) -> CheckRequest {
    let request = Request { http: Some(request), ..Request::default() };
    CheckRequest { attributes: Some(AttributeContext { request: Some(request), ..AttributeContext::default() }) }
}

fn read(answer: CheckResponse) -> Result<Answer> {
    match answer.http_response.context("an answer without HTTP")? {
        HttpResponse::OkResponse(ok) => {
            let headers = ok.headers.into_iter().filter_map(|it| it.header);
            let jwt = headers.into_iter().find(|it| it.key == "x-session-jwt").map(|it| it.value);
            let claims = jwt.as_deref().map(claims).transpose()?;
            Ok(Answer { status: 200, jwt, claims, cookies: cookies(ok.response_headers_to_add) })
        }
        HttpResponse::DeniedResponse(denied) => {
            let code = denied.status.map_or(403, |it| it.code);
            Ok(Answer { status: u16::try_from(code)?, jwt: None, claims: None, cookies: cookies(denied.headers) })
        }
        HttpResponse::ErrorResponse(_) => anyhow::bail!("an error in the place of a decision"),
    }
}

fn cookies(headers: Vec<HeaderValueOption>) -> Vec<String> {
    let headers = headers.into_iter().filter_map(|it| it.header);
    headers.filter(|it| it.key.eq_ignore_ascii_case("set-cookie")).map(text).collect()
}

/// A header's value, wherever of its two places it stands.
fn text(header: HeaderValue) -> String {
    match header.raw_value.is_empty() {
        true => header.value,
        false => String::from_utf8_lossy(&header.raw_value).into_owned(),
    }
}

fn claims(jwt: &str) -> Result<serde_json::Value> {
    use base64::Engine as _;
    let payload = jwt.split('.').nth(1).context("no JWT")?;
    Ok(serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload)?)?)
}
