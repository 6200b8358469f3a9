//! The story of a session, one request after the other, each checked: what the client sent, what it got, and what the
//! service saw.

use anyhow::{Context, Result};
use e2e::services::shop::Seen;
use e2e::stage::Stage;
use reqwest::header::{ACCEPT, COOKIE, LOCATION, SET_COOKIE, WWW_AUTHENTICATE};
use reqwest::{Client, Method, StatusCode};
use serde_json::json;

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
    headers: reqwest::header::HeaderMap,
    text: String,
    seen: Option<Seen>,
}

impl Answer {
    fn header(&self, name: impl reqwest::header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default()
    }

    fn subject(&self) -> Option<&str> {
        Some(self.seen.as_ref()?.identity.as_ref()?.sub.as_str())
    }

    fn cookies_seen(&self) -> String {
        let headers = self.seen.iter().flat_map(|seen| &seen.headers);
        headers.filter(|(name, _)| name == "cookie").map(|(_, value)| value.as_str()).collect()
    }
}

/// Tells it; says how many checks did not hold.
pub(crate) async fn tell(stage: &Stage) -> Result<usize> {
    let mut story = Story { stage, client: stage.client()?, chapter: 0, missed: 0 };
    story.strangers().await?;
    let bob = story.log_in("bob", "builder").await?;
    story.bob(&bob).await?;
    let ada = story.log_in("ada", "lovelace").await?;
    story.ada(&ada).await?;
    story.log_out(&bob, &ada).await?;
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

    /// The cookie of a new session: `__Host-session=ckr_…`.
    async fn log_in(&mut self, user: &str, password: &str) -> Result<String> {
        self.chapter(&format!(
            "{user} logs in. The log-in service makes a session; the browser gets a ticket that means nothing."
        ));
        let form = format!("user={user}&password={password}&return_to=%2Fcart");
        let answer = self.send(Method::POST, "/login", &[("sec-fetch-site", "same-origin")], Some(form)).await?;
        self.check(answer.status == 303 && answer.header(LOCATION) == "/cart", "on to the cart");
        let line = answer.header(SET_COOKIE).to_owned();
        let (cookie, attributes) = line.split_once(';').unwrap_or((&line, ""));
        self.check(cookie.starts_with("__Host-session=ckr_"), "an opaque token in a __Host- cookie");
        let kept = ["Secure", "HttpOnly", "SameSite=Lax", "Path=/"];
        self.check(kept.iter().all(|it| attributes.contains(it)), "Secure, HttpOnly, SameSite=Lax, for this host only");
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
        let identity = answer.seen.as_ref().and_then(|seen| seen.identity.clone()).context("the shop saw nobody")?;
        for (name, value) in serde_json::to_value(&identity)?.as_object().into_iter().flatten() {
            terminal::line(&format!("     | {name:<9} {value}"));
        }
        self.check(
            identity.aud == "shop" && identity.iss.ends_with("/ns/shop"),
            "for the audience shop, by this namespace's issuer",
        );
        self.check(identity.exp <= identity.iat + 60, "good for at most 60 s");
        self.check(identity.roles == ["customer"], "with bob's roles");
        self.check(
            answer.cookies_seen() == "theme=dark; lang=en",
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

        self.chapter("bob's session changes while he is here: the next JWT knows.");
        let sid = identity.sid;
        let patch = json!({ "claims": { "tier": "platinum" } });
        let (status, _) = self.stage.gate.api(Method::PATCH, &format!("/v1/sessions/{sid}"), Some(&patch)).await?;
        terminal::detail(&format!("     PATCH /v1/sessions/{sid} {patch} -> {status} (session API)"));
        self.check(status == 200, "the session API says it is done");
        let answer = self.send(Method::GET, "/cart", &[("cookie", cookie)], None).await?;
        let tier = answer.seen.and_then(|seen| Some(seen.identity?.others.get("claims")?.get("tier")?.clone()));
        self.check(tier == Some(json!("platinum")), "the shop sees tier platinum");
        Ok(())
    }

    async fn ada(&mut self, cookie: &str) -> Result<()> {
        self.chapter("ada has the role: /admin opens.");
        let answer = self.send(Method::GET, "/admin", &[("cookie", cookie)], None).await?;
        self.check(answer.status == 200 && answer.subject() == Some("ada"), "200, and the shop knows it is ada");

        self.chapter("Another site makes ada's browser post to the shop.");
        let headers = [("cookie", cookie), ("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")];
        let answer = self.send(Method::POST, "/cart", &headers, Some("item=1".to_owned())).await?;
        self.check(answer.status == 403 && answer.seen.is_none(), "403; the shop saw nothing");
        Ok(())
    }

    async fn log_out(&mut self, bob: &str, ada: &str) -> Result<()> {
        self.chapter("bob logs out.");
        let headers = [("cookie", bob), ("sec-fetch-site", "same-origin")];
        let answer = self.send(Method::POST, "/logout", &headers, None).await?;
        self.check(answer.status == 303, "the log-in service ended the session");
        let line = answer.header(SET_COOKIE);
        self.check(
            line.starts_with("__Host-session=;") && line.contains("Max-Age=0"),
            "his browser forgets the ticket",
        );

        self.chapter("Somebody kept a copy of bob's ticket.");
        let answer = self.send(Method::GET, "/cart", &[("cookie", bob)], None).await?;
        self.check(answer.status == 401 && answer.seen.is_none(), "401 on the very next request");
        let answer = self.send(Method::GET, "/cart", &[("cookie", ada)], None).await?;
        self.check(answer.status == 200 && answer.subject() == Some("ada"), "ada is not disturbed");
        Ok(())
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
    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], form: Option<String>) -> Result<Answer> {
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
            let value = if *name == COOKIE.as_str() { without_secret(value) } else { shortened(value) };
            line += &format!("\n     > {name}: {value}");
        }
        if let Some(form) = form {
            line += &format!("\n     > {form}");
            request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
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

/// A cookie's line, with the ticket cut short: this is printed.
fn without_secret(line: &str) -> String {
    line.split("; ")
        .map(|part| match part.split_once("ckr_") {
            Some((before, token)) => format!("{before}ckr_{}…", token.get(..4).unwrap_or_default()),
            None => part.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("; ")
}

fn shortened(value: &str) -> String {
    if value.len() > 60 { format!("{}…", value.get(..57).unwrap_or(value)) } else { value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::without_secret;

    #[test]
    fn tickets_are_not_printed() {
        let line = without_secret("a=1; __Host-session=ckr_AbCdEfGhIjKl; Path=/");
        assert_eq!(line, "a=1; __Host-session=ckr_AbCd…; Path=/");
    }
}
