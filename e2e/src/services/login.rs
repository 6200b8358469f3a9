//! A log-in page. It knows two people, makes their sessions by the session API, and hands out the token as a cookie.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Service;
use super::html::{escape, page};
use super::identity::Verifier;

/// Where the session API is, and what opens it. No `Debug`: it holds a secret.
pub struct SessionApi {
    /// Its address.
    pub address: SocketAddr,
    /// The content of `api.tokenFile`.
    pub token: String,
}

/// The people who can log in: name, password, roles. A real service asks a directory.
const PEOPLE: [(&str, &str, &[&str]); 2] =
    [("ada", "lovelace", &["customer", "admin"]), ("bob", "builder", &["customer"])];

/// The attributes without which a browser refuses a `__Host-` cookie, and those that keep it from scripts and other sites.
const COOKIE: &str = "Path=/; Secure; HttpOnly; SameSite=Lax";

struct Desk {
    api: SessionApi,
    verifier: Verifier,
    client: reqwest::Client,
}

/// Starts it.
///
/// # Errors
/// When loopback has no port left.
pub async fn spawn(api: SessionApi, verifier: Verifier) -> Result<Service> {
    let desk = Desk { api, verifier, client: reqwest::Client::builder().no_proxy().build()? };
    let router = axum::Router::new()
        .route("/login", get(form).post(log_in))
        .route("/logout", post(log_out))
        .with_state(Arc::new(desk));
    Service::serve(router).await
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

async fn log_in(State(desk): State<Arc<Desk>>, headers: HeaderMap, Form(entry): Form<Entry>) -> Response {
    let host = host(&headers);
    // Without this a stranger's page could log its visitor in as somebody else (login CSRF, RFC 9700 §4.7).
    if !from_own_pages(&headers, &host) {
        return (StatusCode::FORBIDDEN, "the log-in form belongs on this site\n").into_response();
    }
    let return_to = ReturnTo::parse(&entry.return_to, &host);
    let person = PEOPLE.iter().find(|(name, password, _)| *name == entry.user && *password == entry.password);
    let Some((name, _, roles)) = person else {
        return (StatusCode::UNAUTHORIZED, form_page(&return_to, "No such name, or another password.")).into_response();
    };
    let agent = headers.get(header::USER_AGENT).and_then(|it| it.to_str().ok()).unwrap_or_default();
    match desk.create(name, roles, agent).await {
        Ok(token) => redirect(&return_to, &format!("__Host-session={token}; {COOKIE}")),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "no session could be made; try again\n").into_response(),
    }
}

async fn log_out(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    let Ok(Some(identity)) = desk.verifier.identity(&headers).await else {
        return (StatusCode::UNAUTHORIZED, "nobody is logged in\n").into_response();
    };
    match desk.revoke(&identity.sid).await {
        Ok(()) => redirect(&ReturnTo("/".to_owned()), &format!("__Host-session=; {COOKIE}; Max-Age=0")),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the session could not be ended; you are still logged in\n")
            .into_response(),
    }
}

fn redirect(to: &ReturnTo, cookie: &str) -> Response {
    let headers = [(header::LOCATION, to.to_string()), (header::SET_COOKIE, cookie.to_owned())];
    (StatusCode::SEE_OTHER, headers, [(header::CACHE_CONTROL, "no-store")]).into_response()
}

impl Desk {
    async fn create(&self, subject: &str, roles: &[&str], agent: &str) -> Result<String> {
        let agent: String = agent.chars().take(200).collect();
        let mut body = json!({
            "subject": subject,
            "roles": roles,
            "amr": ["pwd"],
            "claims": { "cart": [], "tier": if roles.contains(&"admin") { "gold" } else { "silver" } },
        });
        if !agent.is_empty() {
            body["device"] = json!({ "userAgent": agent });
        }
        let request = self.client.post(format!("http://{}/v1/sessions", self.api.address)).bearer_auth(&self.api.token);
        let answer = request.json(&body).send().await?;
        ensure!(answer.status() == StatusCode::CREATED, "{}", answer.status());
        let answer: Value = answer.json().await?;
        Ok(answer["token"].as_str().context("no token in the answer")?.to_owned())
    }

    async fn revoke(&self, sid: &str) -> Result<()> {
        let request = self.client.delete(format!("http://{}/v1/sessions/{sid}", self.api.address));
        request.bearer_auth(&self.api.token).send().await?.error_for_status()?;
        Ok(())
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
