//! The story of a session, one request after the other, each checked: what the client sent, what it got, and what the
//! service saw.

use anyhow::{Context, Result};
use e2e::services::identity::Identity;
use e2e::services::shop::Seen;
use e2e::stage::Stage;
use reqwest::header::{ACCEPT, CACHE_CONTROL, HeaderMap, HeaderName, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::terminal;

/// What a browser says when a person follows a link.
const BROWSER: [(&str, &str); 3] = [
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-site", "none"),
];

struct Story<'a> {
    stage: &'a Stage,
    client: Client,
    chapter: usize,
    missed: usize,
}

/// One answer, and what the shop said it saw, if the request reached it.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
    seen: Option<Seen>,
}

impl Answer {
    fn header(&self, name: impl reqwest::header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default()
    }

    /// The new ticket as the browser will send it, `__Host-session=ckr_…`, and what the browser is told about it.
    fn cookie(&self) -> (&str, &str) {
        let line = self.header(SET_COOKIE);
        line.split_once(';').unwrap_or((line, ""))
    }

    fn identity(&self) -> Option<&Identity> {
        self.seen.as_ref()?.identity.as_ref()
    }

    fn subject(&self) -> Option<&str> {
        Some(self.identity()?.sub.as_str())
    }

    /// What the shop saw in the header of this name.
    fn seen_in(&self, wanted: &str) -> String {
        let headers = self.seen.iter().flat_map(|seen| &seen.headers);
        headers.filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).collect()
    }
}

/// Tells it; says how many checks did not hold.
pub(crate) async fn tell(stage: &Stage) -> Result<usize> {
    let mut story = Story { stage, client: stage.client()?, chapter: 0, missed: 0 };
    story.strangers().await?;
    let bob = story.log_in().await?;
    story.bob(&bob).await?;
    story.cart(&bob).await?;
    let ada = story.planted().await?;
    story.ada(&ada).await?;
    let app = story.exchange().await?;
    story.log_out(&bob, &ada).await?;
    story.operator(&app).await?;
    Ok(story.missed)
}

impl Story<'_> {
    async fn strangers(&mut self) -> Result<()> {
        self.chapter("A program without a ticket is refused; the shop never hears of it.");
        let answer = self.send(Method::GET, "/cart", &[], None).await?;
        self.check(answer.status == 401, "401");
        self.check(
            answer.header(WWW_AUTHENTICATE).starts_with("Bearer"),
            "it is told what is missing (WWW-Authenticate)",
        );
        self.check(answer.seen.is_none(), "the shop saw nothing");

        self.chapter("A person's browser is sent to the log-in page instead.");
        let answer = self.send(Method::GET, "/cart", &BROWSER, None).await?;
        self.check(answer.status.is_redirection(), "a redirect");
        let to = answer.header(LOCATION).to_owned();
        self.check(to.starts_with("/login?return_to="), "to /login, which is told where to return");
        let page = self.send(Method::GET, &to, &BROWSER, None).await?;
        self.check(
            page.status == 200 && page.text.contains("name=\"password\""),
            "the page asks for name and password",
        );
        self.check(page.text.contains("value=\"/cart\""), "and it remembers the cart");

        self.chapter("The front page is open to strangers: a forged identity is gone before anybody looks.");
        let answer =
            self.send(Method::GET, "/", &[("x-session-jwt", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.")], None).await?;
        self.check(answer.status == 200 && answer.seen.is_some(), "200 from the shop");
        self.check(answer.subject().is_none(), "the shop sees a stranger");
        Ok(())
    }

    /// Sends the log-in form, from a browser that has these cookies.
    async fn enter(&mut self, form: &str, cookies: Option<&str>) -> Result<Answer> {
        let mut headers = vec![("sec-fetch-site", "same-origin")];
        headers.extend(cookies.map(|it| ("cookie", it)));
        self.send(Method::POST, "/login", &headers, Some(form)).await
    }

    async fn log_in(&mut self) -> Result<String> {
        self.chapter(
            "bob logs in. The service answers with x-session-create; the browser gets a ticket that means nothing.",
        );
        let answer = self.enter("user=bob&password=builder&return_to=%2Fcart", None).await?;
        self.check(answer.status == 303 && answer.header(LOCATION) == "/cart", "on to the cart");
        let (cookie, attributes) = answer.cookie();
        self.check(cookie.starts_with("__Host-session=ckr_"), "an opaque token in a __Host- cookie");
        let kept = ["Secure", "HttpOnly", "SameSite=Lax", "Path=/"];
        self.check(kept.iter().all(|it| attributes.contains(it)), "Secure, HttpOnly, SameSite=Lax, for this host only");
        self.check(answer.header(CACHE_CONTROL) == "no-store", "no cache keeps it (Cache-Control: no-store)");
        self.check(internal(&answer.headers).is_none(), "and x-session-create stayed inside");
        Ok(cookie.to_owned())
    }

    async fn bob(&mut self, cookie: &str) -> Result<()> {
        let cookies = format!("theme=dark; {cookie}; lang=en");
        self.chapter("bob's cart. The shop gets a signed JWT for this one service, and no ticket.");
        let answer = self.send(Method::GET, "/cart", &[("cookie", &cookies)], None).await?;
        self.check(answer.status == 200, "200");
        self.check(
            answer.subject() == Some("bob"),
            "the JWT verifies with the keys that cloakroom serves, and names bob",
        );
        let identity = answer.identity().context("the shop saw nobody")?;
        for (name, value) in serde_json::to_value(identity)?.as_object().into_iter().flatten() {
            terminal::line(&format!("     | {name:<9} {value}"));
        }
        self.check(
            identity.aud == "shop" && identity.iss.ends_with("/ns/shop"),
            "for the audience shop, by this namespace's issuer",
        );
        self.check(identity.exp <= identity.iat + 60, "good for at most 60 s");
        self.check(identity.roles == ["customer"], "with bob's roles");
        self.check(
            answer.seen_in("cookie") == "theme=dark; lang=en",
            "the ticket was taken off; bob's other cookies passed untouched",
        );

        self.chapter("bob knocks at /admin.");
        let answer = self.send(Method::GET, "/admin", &[("cookie", cookie)], None).await?;
        self.check(answer.status == 403, "403: the rule wants the role admin");
        self.check(answer.seen.is_none(), "the shop saw nothing");

        self.chapter("bob brings a JWT of his own making, in three spellings.");
        for name in ["x-session-jwt", "X-Session-JWT", "x.session.jwt"] {
            let forged =
                [("cookie", cookie), (name, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEiLCJyb2xlcyI6WyJhZG1pbiJdfQ.")];
            let answer = self.send(Method::GET, "/cart", &forged, None).await?;
            let odd = answer.seen.iter().flat_map(|seen| &seen.headers).any(|(it, _)| it.starts_with("x.session"));
            self.check(answer.subject() == Some("bob") && !odd, &format!("{name}: gone, and bob is still bob"));
        }
        Ok(())
    }

    async fn cart(&mut self, cookie: &str) -> Result<()> {
        self.chapter("bob puts tea into his cart. The shop answers with x-session-update: the session keeps the cart.");
        let headers = [("cookie", cookie), ("sec-fetch-site", "same-origin")];
        let answer = self.send(Method::POST, "/cart", &headers, Some("item=tea")).await?;
        self.check(answer.status == 200, "200");
        self.check(answer.identity().is_some_and(|it| it.claim("cart").is_none()), "his JWT had no cart yet");
        self.check(internal(&answer.headers).is_none(), "x-session-update stayed inside");
        let answer = self.send(Method::GET, "/cart", &[("cookie", cookie)], None).await?;
        let claim = |name: &str| answer.identity().and_then(|it| it.claim(name)).cloned().unwrap_or_default();
        terminal::line(&format!("     | claims    cart {}, tier {}", claim("cart"), claim("tier")));
        self.check(claim("cart") == json!({ "tea": 1 }), "the next request's JWT carries the cart");
        self.check(claim("tier") == "silver", "and the claims that the log-in gave");
        Ok(())
    }

    async fn planted(&mut self) -> Result<String> {
        self.chapter("bob plants a ticket of his own in ada's browser, and waits for her to log in with it.");
        let planted = self.enter("user=bob&password=builder", None).await?.cookie().0.to_owned();
        let answer = self.send(Method::GET, "/cart", &[("cookie", &planted)], None).await?;
        self.check(answer.subject() == Some("bob"), "so far it makes her bob");
        let answer = self.enter("user=ada&password=lovelace&return_to=%2Fcart", Some(&planted)).await?;
        let ada = answer.cookie().0.to_owned();
        self.check(ada.starts_with("__Host-session=ckr_") && ada != planted, "her log-in gives her another one");
        let answer = self.send(Method::GET, "/cart", &[("cookie", &planted)], None).await?;
        self.check(answer.status == 401 && answer.seen.is_none(), "the planted one is dead");
        Ok(ada)
    }

    async fn ada(&mut self, cookie: &str) -> Result<()> {
        self.chapter("ada has the role: /admin opens.");
        let answer = self.send(Method::GET, "/admin", &[("cookie", cookie)], None).await?;
        self.check(answer.status == 200 && answer.subject() == Some("ada"), "200, and the shop knows it is ada");

        self.chapter("Another site makes ada's browser post to the shop.");
        let headers = [("cookie", cookie), ("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")];
        let answer = self.send(Method::POST, "/cart", &headers, Some("item=tea")).await?;
        self.check(answer.status == 403 && answer.seen.is_none(), "403; the shop saw nothing");
        Ok(())
    }

    /// The ticket of a program.
    async fn exchange(&mut self) -> Result<String> {
        self.chapter("bob's app asks a service that issues JWTs and knows nothing of cloakroom. JWT in, ticket out.");
        let answer = self.send(Method::POST, "/exchange", &[], Some("user=bob&password=builder")).await?;
        terminal::detail(&format!("     < {}", without_secret(&answer.text)));
        let body: Value = serde_json::from_str(&answer.text).unwrap_or_default();
        let ticket = body["access_token"].as_str().unwrap_or_default().to_owned();
        self.check(answer.status == 200 && ticket.starts_with("ckr_"), "access_token is an opaque token");
        self.check(body["token_type"] == "Bearer", "the rest of the body is the service's");
        self.check(!answer.text.contains("eyJ") && internal(&answer.headers).is_none(), "no JWT, no header of ours");
        self.check(answer.header(CACHE_CONTROL) == "no-store", "no cache keeps it");
        let bearer = format!("Bearer {ticket}");
        let answer = self.send(Method::GET, "/cart", &[("authorization", &bearer)], None).await?;
        self.check(answer.status == 200 && answer.subject() == Some("bob"), "with it the app is bob to the shop");
        let identity = answer.identity();
        self.check(identity.is_some() && answer.seen_in("authorization").is_empty(), "the ticket was taken off");
        self.check(
            identity.is_some_and(|it| it.roles == ["customer"] && it.claim("tier") == Some(&json!("silver"))),
            "the session has the roles of the service's JWT, and the claim that the policy keeps",
        );
        self.check(
            identity.is_some_and(|it| it.claim("cart").is_none()),
            "it is a session of its own: the cart is empty",
        );
        Ok(bearer)
    }

    async fn log_out(&mut self, bob: &str, ada: &str) -> Result<()> {
        self.chapter("bob logs out of his browser. The service answers with x-session-end.");
        let headers = [("cookie", bob), ("sec-fetch-site", "same-origin")];
        let answer = self.send(Method::POST, "/logout", &headers, None).await?;
        self.check(answer.status == 303 && internal(&answer.headers).is_none(), "back to the front page");
        let (cookie, attributes) = answer.cookie();
        self.check(cookie == "__Host-session=" && attributes.contains("Max-Age=0"), "his browser forgets the ticket");

        self.chapter("Somebody kept a copy of bob's ticket.");
        let answer = self.send(Method::GET, "/cart", &[("cookie", bob)], None).await?;
        self.check(answer.status == 401 && answer.seen.is_none(), "401 on the very next request");
        let answer = self.send(Method::GET, "/cart", &[("cookie", ada)], None).await?;
        self.check(answer.status == 200 && answer.subject() == Some("ada"), "ada is not disturbed");
        Ok(())
    }

    async fn operator(&mut self, app: &str) -> Result<()> {
        self.chapter("bob lost the phone with the app. An operator looks which sessions he has, and ends them.");
        let list = self.session(&["list", "--subject", "bob"])?;
        self.check(list.lines().count() == 2, "one session is left: the app's");
        self.session(&["revoke-subject", "bob"])?;
        let answer = self.send(Method::GET, "/cart", &[("authorization", app)], None).await?;
        self.check(answer.status == 401 && answer.seen.is_none(), "401 for the app");
        Ok(())
    }

    /// `cloakroom session …`, as an operator calls it.
    fn session(&self, arguments: &[&str]) -> Result<String> {
        terminal::detail(&format!("     $ cloakroom session {}", arguments.join(" ")));
        let api = format!("http://{}", self.stage.gate.sessions());
        let whole = [&["session", "--api", &api, "--api-token-file", "admin.token"], arguments].concat();
        let answer = self.stage.gate.command(&whole)?;
        for line in answer.lines() {
            terminal::line(&format!("     | {line}"));
        }
        Ok(answer)
    }

    fn chapter(&mut self, title: &str) {
        self.chapter += 1;
        terminal::heading(&format!("{:>3}. {title}", self.chapter));
    }

    fn check(&mut self, held: bool, what: &str) {
        if held {
            terminal::good(what);
        } else {
            self.missed += 1;
            terminal::bad(what);
        }
    }

    /// Sends a request to Envoy and prints both sides of it.
    async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        form: Option<&str>,
    ) -> Result<Answer> {
        let before = self.stage.shop.requests();
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.stage.origin()));
        if !headers.iter().any(|(name, _)| *name == ACCEPT.as_str()) {
            request = request.header(ACCEPT, "*/*");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut line = format!("     > {method} {path}");
        for (name, value) in headers {
            line += &format!("\n     > {name}: {}", shortened(&without_secret(value)));
        }
        if let Some(form) = form {
            line += &format!("\n     > {form}");
            request = request.header("content-type", "application/x-www-form-urlencoded").body(form.to_owned());
        }
        terminal::detail(&line);
        let answer = request.send().await.with_context(|| format!("{path}: Envoy does not answer"))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = answer.text().await?;
        let mut line = format!("     < {status}");
        for name in [LOCATION, WWW_AUTHENTICATE, SET_COOKIE] {
            for value in headers.get_all(&name) {
                line += &format!("\n     < {name}: {}", without_secret(&String::from_utf8_lossy(value.as_bytes())));
            }
        }
        terminal::detail(&line);
        if let Some(name) = internal(&headers) {
            self.check(false, &format!("{name} reached the client"));
        }
        let reached = self.stage.shop.requests() > before;
        let seen: Option<Seen> = reached.then(|| serde_json::from_str(&text).ok()).flatten();
        match &seen {
            Some(Seen { identity: Some(identity), .. }) => {
                terminal::detail(&format!("     the shop saw {} ({})", identity.sub, identity.roles.join(", ")));
            }
            Some(_) => terminal::detail("     the shop saw a stranger"),
            None => {}
        }
        Ok(Answer { status, headers, text, seen })
    }
}

/// A header that services and cloakroom speak by, in any spelling: no client may see one.
fn internal(headers: &HeaderMap) -> Option<&str> {
    let plain = |name: &str| name.replace(|sign: char| !sign.is_ascii_alphanumeric(), "-");
    headers.keys().map(HeaderName::as_str).find(|name| plain(name).starts_with("x-session-"))
}

/// A text whose tickets are cut short: this is printed.
fn without_secret(text: &str) -> String {
    let mut parts = text.split("ckr_");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|sign: char| !sign.is_ascii_alphanumeric() && !"-_.".contains(sign)).unwrap_or(part.len());
        let (token, rest) = part.split_at(end);
        shown += &format!("ckr_{}…{rest}", token.get(..4).unwrap_or_default());
    }
    shown
}

fn shortened(value: &str) -> String {
    let start: String = value.chars().take(57).collect();
    if start.len() < value.len() { start + "…" } else { start }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn tickets_are_not_printed() {
        let line = without_secret("a=1; __Host-session=ckr_AbCdEfGhI.j-K_l; Path=/");
        assert_eq!(line, "a=1; __Host-session=ckr_AbCd…; Path=/");
        assert_eq!(without_secret(r#"{"access_token":"ckr_AbCdEf"}"#), r#"{"access_token":"ckr_AbCd…"}"#);
    }

    #[test]
    fn internal_headers_are_found_in_any_spelling() {
        for (name, found) in
            [("x-session-create", true), ("x_session.jwt", true), ("x-sessions", false), ("set-cookie", false)]
        {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static("1"))]);
            assert_eq!(internal(&headers).is_some(), found, "{name}");
        }
    }
}
