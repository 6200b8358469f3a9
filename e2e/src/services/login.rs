//! A log-in service. It knows two people, and says by a header of its response whose session cloakroom is to make or to end: it
//! has no access to sessions itself, and never sees a token. Programs get a JWT that the service signs by itself.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use axum::Json;
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;

use super::Service;
use super::html::{escape, page};
use crate::issuer::Issuer;

/// `iss` and `aud` of the JWTs that it signs, as in `examples/policies/shop.yaml`.
pub const ISSUER: &str = "https://login.shop.localhost";
const AUDIENCE: &str = "shop.localhost";

/// Somebody who can log in. A real service asks a directory.
struct Person {
    name: &'static str,
    password: &'static str,
    roles: &'static [&'static str],
    tier: &'static str,
}

const PEOPLE: [Person; 2] = [
    Person { name: "ada", password: "lovelace", roles: &["customer", "admin"], tier: "gold" },
    Person { name: "bob", password: "builder", roles: &["customer"], tier: "silver" },
];

/// Starts it.
///
/// # Errors
/// When the address is taken.
pub async fn spawn(address: SocketAddr, issuer: Issuer) -> Result<Service> {
    let router = axum::Router::new()
        .route("/login", get(form).post(log_in))
        .route("/logout", post(log_out))
        .route("/exchange", post(issue))
        .with_state(Arc::new(issuer));
    Service::serve(address, router).await
}

#[derive(Deserialize)]
struct Wish {
    #[serde(default)]
    return_to: String,
}

#[derive(Deserialize)]
struct Entry {
    user: String,
    password: String,
    #[serde(default)]
    return_to: String,
}

impl Entry {
    fn person(&self) -> Option<&'static Person> {
        PEOPLE.iter().find(|person| person.name == self.user && person.password == self.password)
    }
}

async fn form(headers: HeaderMap, Query(wish): Query<Wish>) -> Response {
    form_page(&ReturnTo::parse(&wish.return_to, &host(&headers)), "")
}

fn form_page(return_to: &ReturnTo, error: &str) -> Response {
    page(
        "Log in",
        &format!(
            "<p class=\"error\">{}</p><form method=\"post\" action=\"/login\">\
             <input type=\"hidden\" name=\"return_to\" value=\"{}\">\
             <label>Name <input id=\"user\" name=\"user\" autocomplete=\"username\" required autofocus></label>\
             <label>Password <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label>\
             <button id=\"submit\">Log in</button></form>\
             <p>Try <b>ada</b> with <b>lovelace</b> (an administrator) or <b>bob</b> with <b>builder</b> (a customer).</p>",
            escape(error),
            escape(&return_to.0)
        ),
    )
}

async fn log_in(headers: HeaderMap, Form(entry): Form<Entry>) -> Response {
    let host = host(&headers);
    // Without this a stranger's page could log its visitor in as somebody else (login CSRF, RFC 9700 §4.7).
    if !from_own_pages(&headers, &host) {
        return (StatusCode::FORBIDDEN, "the log-in form belongs on this site\n").into_response();
    }
    let return_to = ReturnTo::parse(&entry.return_to, &host);
    let Some(person) = entry.person() else {
        return (StatusCode::UNAUTHORIZED, form_page(&return_to, "No such name, or another password.")).into_response();
    };
    let agent = headers.get(header::USER_AGENT).and_then(|it| it.to_str().ok()).unwrap_or("unknown");
    let session = json!({
        "subject": person.name,
        "roles": person.roles,
        "amr": ["pwd"],
        "claims": { "tier": person.tier },
        "device": { "label": agent.chars().take(100).collect::<String>() },
    });
    // Whose session it is; the cookie is cloakroom's business.
    let headers = [("location", return_to.to_string()), ("x-session-create", session.to_string())];
    (StatusCode::SEE_OTHER, headers).into_response()
}

/// Only who has a session gets here, says the policy; which one it is, cloakroom knows.
async fn log_out() -> Response {
    (StatusCode::SEE_OTHER, [("location", "/"), ("x-session-end", "current")]).into_response()
}

/// A token endpoint (RFC 6749 §3.2) as such services had before there was cloakroom.
async fn issue(State(issuer): State<Arc<Issuer>>, Form(entry): Form<Entry>) -> Response {
    let Some(person) = entry.person() else {
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": "invalid_grant" }))).into_response();
    };
    let claims = json!({ "aud": AUDIENCE, "sub": person.name, "roles": person.roles, "tier": person.tier });
    match issuer.sign(jsonwebtoken::get_current_timestamp(), &claims) {
        Ok(jwt) => Json(json!({ "access_token": jwt, "token_type": "Bearer" })).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": "server_error" }))).into_response(),
    }
}

fn host(headers: &HeaderMap) -> String {
    headers.get(header::HOST).and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned()
}

/// `Sec-Fetch-Site` when the browser says it, else `Origin`; a client with neither is no browser.
fn from_own_pages(headers: &HeaderMap, host: &str) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin" || site == "none";
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    origin
        .to_str()
        .ok()
        .and_then(|it| it.split_once("://"))
        .is_some_and(|(_, it)| without_port(it) == without_port(host))
}

/// The proxy takes the port off the host it passes on.
fn without_port(host: &str) -> &str {
    host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|it| it.is_ascii_digit())).map_or(host, |(name, _)| name)
}

/// Where to go after the log-in: a path of this site, under every browser's reading (WHATWG URL: `\` is `/`, tabs and
/// line ends vanish, two slashes begin a host).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(String);

impl ReturnTo {
    /// Reads a wish: a path, or an address of this very host. Anything else becomes `/`.
    pub fn parse(wish: &str, host: &str) -> Self {
        let own = |rest: &str| {
            let (named, path) = rest.split_at(rest.find('/')?);
            (!host.is_empty() && without_port(named) == without_port(host)).then(|| path.to_owned())
        };
        let path = match wish.strip_prefix("https://") {
            Some(rest) => own(rest).unwrap_or_default(),
            None => wish.to_owned(),
        };
        let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        let on_site = path.starts_with('/') && !path.starts_with("//");
        Self(if plain && on_site { path } else { "/".to_owned() })
    }
}

impl fmt::Display for ReturnTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p16_return_addresses_stay_on_this_site() {
        for (wish, want) in [
            ("/cart", "/cart"),
            ("/cart?x=1&y=%2F#end", "/cart?x=1&y=%2F#end"),
            ("https://shop.localhost/cart", "/cart"),
            ("https://shop.localhost:8443/cart", "/cart"),
            ("", "/"),
            ("cart", "/"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/\t/evil.example", "/"),
            ("/\n/evil.example", "/"),
            ("https://evil.example/", "/"),
            ("https://shop.localhost@evil.example/", "/"),
            ("https://shop.localhost.evil.example/", "/"),
            ("https://shop.localhost//evil.example", "/"),
            ("https://shop.localhost", "/"),
            ("javascript:alert(1)", "/"),
            ("/caf\u{e9}", "/"),
        ] {
            assert_eq!(ReturnTo::parse(wish, "shop.localhost").0, want, "{wish:?}");
        }
    }

    #[test]
    fn forms_are_taken_from_own_pages_only() {
        let asked = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("a value"));
            from_own_pages(&headers, "shop.localhost")
        };
        assert!(asked("sec-fetch-site", "same-origin"));
        assert!(asked("origin", "https://shop.localhost:8443"));
        assert!(from_own_pages(&HeaderMap::new(), "shop.localhost"));
        assert!(!asked("sec-fetch-site", "cross-site"));
        assert!(!asked("sec-fetch-site", "same-site"));
        assert!(!asked("origin", "https://evil.example"));
        assert!(!asked("origin", "null"));
    }
}
