//! A shop that shows what it knows about the visitor: the claims of the session JWT, and the headers that reached it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Service;
use super::html::{escape, page};
use super::identity::{HEADER, Identity, Verifier};

/// A running shop.
pub struct Shop {
    service: Service,
    requests: Arc<AtomicUsize>,
}

/// What the shop saw of a request, as it tells those who ask for JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Whose request it is; nobody's when anonymous.
    pub identity: Option<Identity>,
    /// All header lines but the JWT itself, which is nobody else's to see.
    pub headers: Vec<(String, String)>,
}

#[derive(Clone)]
struct Front {
    verifier: Arc<Verifier>,
    requests: Arc<AtomicUsize>,
}

impl Shop {
    /// Starts it.
    ///
    /// # Errors
    /// When loopback has no port left.
    pub async fn spawn(verifier: Verifier) -> Result<Self> {
        let requests = Arc::new(AtomicUsize::new(0));
        let front = Front { verifier: Arc::new(verifier), requests: Arc::clone(&requests) };
        let service = Service::serve(axum::Router::new().fallback(show).with_state(front)).await?;
        Ok(Self { service, requests })
    }

    /// Where it listens.
    pub fn address(&self) -> std::net::SocketAddr {
        self.service.address()
    }

    /// How many requests have reached it.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

async fn show(State(front): State<Front>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    front.requests.fetch_add(1, Ordering::Relaxed);
    let identity = match front.verifier.identity(&headers).await {
        Ok(identity) => identity,
        Err(error) => {
            return (StatusCode::UNAUTHORIZED, format!("the session JWT does not verify: {error:#}\n")).into_response();
        }
    };
    let lines = headers.iter().filter(|(name, _)| name.as_str() != HEADER);
    let seen = Seen {
        method: method.to_string(),
        path: uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        identity,
        headers: lines
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
    };
    let wants_html = headers.get(header::ACCEPT).is_some_and(|it| it.as_bytes().starts_with(b"text/html"));
    if wants_html { as_page(&seen) } else { ([(header::CACHE_CONTROL, "no-store")], Json(seen)).into_response() }
}

fn as_page(seen: &Seen) -> Response {
    let row = |(name, value): (&str, String)| format!("<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(&value));
    let who = match &seen.identity {
        None => "<p>Hello, stranger. <a id=\"login\" href=\"/login?return_to=/cart\">Log in</a></p>".to_owned(),
        Some(identity) => {
            let claims = serde_json::to_value(identity).unwrap_or_default();
            let claims = claims.as_object().into_iter().flatten();
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let rows: String = claims.map(|(name, value)| row((name, text(value)))).collect();
            format!(
                "<p>Hello, <b id=\"subject\">{}</b>. cloakroom told this service who you are:</p><table id=\"claims\">{rows}</table>\
                 <form method=\"post\" action=\"/logout\"><button id=\"logout\">Log out</button></form>",
                escape(&identity.sub)
            )
        }
    };
    let headers: String = seen.headers.iter().map(|(name, value)| row((name, value.clone()))).collect();
    page(
        &escape(&format!("The shop: {}", seen.path)),
        &format!(
            "<nav><a href=\"/\">front</a><a href=\"/cart\">cart</a><a href=\"/admin\">admin</a></nav>{who}\
             <p>The headers of your request, as they reached this service:</p><table>{headers}</table>"
        ),
    )
}
