//! A shop that shows what it knows about the visitor: the claims of the session JWT, and the headers that reached it. It keeps the
//! cart in the session, and so needs no store of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use axum::Json;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Service;
use super::html::{escape, page};
use super::identity::{HEADER, Identity, Verifier};

/// What is sold.
const STOCK: [&str; 3] = ["tea", "cup", "pot"];

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
    /// When the address is taken.
    pub async fn spawn(address: SocketAddr, verifier: Verifier) -> Result<Self> {
        let requests = Arc::new(AtomicUsize::new(0));
        let front = Front { verifier: Arc::new(verifier), requests: Arc::clone(&requests) };
        let router = axum::Router::new().route("/cart", post(add).fallback(show)).fallback(show).with_state(front);
        let service = Service::serve(address, router).await?;
        Ok(Self { service, requests })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.service.address()
    }

    /// How many requests have reached it.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Front {
    async fn see(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Seen, Response> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let identity = self.verifier.identity(headers).await.map_err(|error| {
            (StatusCode::UNAUTHORIZED, format!("the session JWT does not verify: {error:#}\n")).into_response()
        })?;
        let lines = headers.iter().filter(|(name, _)| name.as_str() != HEADER);
        Ok(Seen {
            method: method.to_string(),
            path: uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            identity,
            headers: lines
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect(),
        })
    }
}

async fn show(State(front): State<Front>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    match front.see(&method, &uri, &headers).await {
        Ok(seen) if wants_page(&headers) => as_page(&seen),
        Ok(seen) => as_json(seen),
        Err(refusal) => refusal,
    }
}

#[derive(Deserialize)]
struct Choice {
    item: String,
}

/// Puts one more of an item into the cart, which is a claim of the session.
async fn add(
    State(front): State<Front>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    Form(choice): Form<Choice>,
) -> Response {
    let seen = match front.see(&method, &uri, &headers).await {
        Ok(seen) => seen,
        Err(refusal) => return refusal,
    };
    let Some(identity) = &seen.identity else {
        return (StatusCode::UNAUTHORIZED, "a stranger has no cart\n").into_response();
    };
    if !STOCK.contains(&choice.item.as_str()) {
        return (StatusCode::NOT_FOUND, "not sold here\n").into_response();
    }
    let update = [("x-session-update", one_more(identity, &choice.item).to_string())];
    let answer = if wants_page(&headers) { Redirect::to("/cart").into_response() } else { as_json(seen) };
    (update, answer).into_response()
}

/// A merge patch (RFC 7396): it names this item alone, so that another item that is added at the same time stays.
fn one_more(identity: &Identity, item: &str) -> Value {
    let had = identity.claim("cart").and_then(|cart| cart.get(item)?.as_u64()).unwrap_or(0);
    json!({ "cart": { item: had.saturating_add(1) } })
}

fn wants_page(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|it| it.as_bytes().starts_with(b"text/html"))
}

fn as_json(seen: Seen) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(seen)).into_response()
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
            let items: String = STOCK
                .iter()
                .map(|item| format!("<button id=\"{item}\" name=\"item\" value=\"{item}\">{item}</button> "))
                .collect();
            format!(
                "<p>Hello, <b id=\"subject\">{}</b>. cloakroom told this service who you are:</p><table id=\"claims\">{rows}</table>\
                 <form method=\"post\" action=\"/cart\">Put into the cart: {items}</form>\
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cart_counts_each_item() {
        let identity: Identity = serde_json::from_value(json!({
            "iss": "i", "sub": "bob", "aud": "shop", "sid": "s", "exp": 1, "iat": 0,
            "claims": { "cart": { "tea": 2 } },
        }))
        .expect("an identity");
        assert_eq!(one_more(&identity, "tea"), json!({ "cart": { "tea": 3 } }));
        assert_eq!(one_more(&identity, "cup"), json!({ "cart": { "cup": 1 } }));
    }
}
