//! What the tests of the way back share: a gate whose rules grant things, a proxy before it, and a service that answers what it
//! is told.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use e2e::envoy::{Envoy, EnvoyConfig};
use e2e::gate::{Cloakroom, GateOptions};
use e2e::http1::{Connection, Message};
use e2e::issuer::Issuer;
use e2e::process::wait_until;
use e2e::sloppy::{Act, SeenRequest, Sloppy};
use e2e::tools::EnvoyVersion;
use http::Method;
use serde_json::{Value, json};

use crate::attacks::HOST;
use crate::http2_peers;
use crate::scene::{PATIENCE, cloakroom};

/// Who signs the JWTs that are exchanged.
pub(super) const ISSUER: &str = "https://login.example";

/// Below `/login`, `/logout`, `/cart` and `/exchange` the shipped proxy asks for the way back; elsewhere it does not.
fn policy(issuer: &Issuer) -> String {
    let trust = format!(
        "issuer: {ISSUER}, audiences: [cloakroom], algorithms: [ES256], jwks: {{ inline: {} }}, claims: {{ keep: [tier] }}",
        issuer.jwks()
    );
    format!(
        "
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: {{ name: shop, namespace: shop }}
spec:
  hosts: [{HOST}]
  rules:
  - {{ name: login, matches: [{{ path: {{ type: PathPrefix, value: /login }} }}], access: Public, session: {{ create: true }} }}
  - {{ name: open, matches: [{{ path: {{ type: PathPrefix, value: /login/public }} }}], access: Public }}
  - {{ name: logout, matches: [{{ path: {{ type: PathPrefix, value: /logout }} }}], session: {{ end: true }} }}
  - {{ name: cart, matches: [{{ path: {{ type: PathPrefix, value: /cart }} }}], session: {{ writableClaims: [cart, note] }} }}
  - {{ name: all, matches: [{{ path: {{ type: PathPrefix, value: /cart/all }} }}], session: {{ writableClaims: [cart], end: true }} }}
  - {{ name: plain, matches: [{{ path: {{ type: PathPrefix, value: /cart/plain }} }}] }}
  - {{ name: off, matches: [{{ path: {{ type: PathPrefix, value: /off }} }}], session: {{ writableClaims: [cart], end: true }} }}
  - name: by-header
    matches: [{{ path: {{ type: PathPrefix, value: /login/header }} }}]
    access: Public
    session: {{ exchange: {{ header: x-login-jwt, {trust} }} }}
  - name: by-cookie
    matches: [{{ path: {{ type: PathPrefix, value: /login/cookie }} }}]
    access: Public
    session: {{ exchange: {{ cookie: app_jwt, {trust} }} }}
  - name: by-body
    matches: [{{ path: {{ type: PathPrefix, value: /exchange/body }} }}]
    access: Public
    session: {{ exchange: {{ bodyField: data.access_token, {trust} }} }}
  - name: either
    matches: [{{ path: {{ type: PathPrefix, value: /exchange/either }} }}]
    access: Public
    session: {{ create: true, end: true, exchange: {{ bodyField: data.access_token, {trust} }} }}
  - name: by-header-or-out
    matches: [{{ path: {{ type: PathPrefix, value: /login/header/out }} }}]
    access: Public
    session: {{ end: true, exchange: {{ header: x-login-jwt, {trust} }} }}
  # The same where the proxy does not hold the body back.
  - name: unbuffered
    matches: [{{ path: {{ type: PathPrefix, value: /login/body }} }}]
    access: Public
    session: {{ exchange: {{ bodyField: data.access_token, {trust} }} }}
"
    )
}

/// Over what a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Http1,
    Http2,
}

impl Wire {
    pub(super) const ALL: [Self; 2] = [Self::Http1, Self::Http2];
}

/// All that takes part.
pub(super) struct Way {
    pub(super) gate: Cloakroom,
    pub(super) envoy: Envoy,
    pub(super) service: Sloppy,
    pub(super) issuer: Issuer,
    next: Arc<Mutex<Vec<Act>>>,
}

impl Way {
    pub(super) async fn open(version: EnvoyVersion) -> Result<Self> {
        Self::with(version, |_| Ok(())).await
    }

    /// The same, with changes to the proxy's configuration.
    pub(super) async fn with(
        version: EnvoyVersion,
        change: impl FnOnce(&mut EnvoyConfig) -> Result<()>,
    ) -> Result<Self> {
        Self::with_both(version, |options| options, change).await
    }

    /// The same, with changes to the gate's, too.
    pub(super) async fn with_both(
        version: EnvoyVersion,
        options: impl FnOnce(GateOptions) -> GateOptions,
        change: impl FnOnce(&mut EnvoyConfig) -> Result<()>,
    ) -> Result<Self> {
        Self::timed(version, options, |config| change(config.patient()?)).await
    }

    /// The same, as impatient as the shipped file is.
    pub(super) async fn timed(
        version: EnvoyVersion,
        options: impl FnOnce(GateOptions) -> GateOptions,
        change: impl FnOnce(&mut EnvoyConfig) -> Result<()>,
    ) -> Result<Self> {
        let issuer = Issuer::new(ISSUER)?;
        let mut said = GateOptions::new(cloakroom()).policy("way.yaml", policy(&issuer));
        said.config = json!({ "check": { "timeout": "10s" }, "response": { "timeout": "10s" } });
        let gate = Cloakroom::spawn(options(said)).await?;
        let next = Arc::new(Mutex::new(answer(&[])));
        let script = Arc::clone(&next);
        // Where many ask at once, each says by its query what it is to be answered.
        let service = Sloppy::acting(move |request| match request.target().split_once('?') {
            Some((_, "end")) => answer(&[("x-session-end", "current")]),
            Some((_, query)) if query.starts_with("note=") => {
                let patch = json!({ "note": { &query["note=".len()..]: true } });
                answer(&[("x-session-update", &patch.to_string())])
            }
            _ => script.lock().unwrap().clone(),
        })
        .await?;
        let mut config = EnvoyConfig::shipped()?;
        config.plain()?.gate(&gate.grpc()?)?;
        config.service("shop", service.address())?.service("login", service.address())?;
        change(&mut config)?;
        let envoy = Envoy::spawn(version, &config).await?;
        Ok(Self { gate, envoy, service, issuer, next })
    }

    /// What the service does with each request from now on.
    pub(super) fn answers(&self, acts: Vec<Act>) {
        *self.next.lock().unwrap() = acts;
    }

    /// Sends a request with a session cookie, and reads the answer.
    pub(super) async fn ask(&self, wire: Wire, method: &str, target: &str, token: Option<&str>) -> Result<Seen> {
        let cookie = token.map(|token| format!("__Host-session={token}"));
        let fields: Vec<_> = cookie.iter().map(|cookie| ("cookie", &**cookie)).collect();
        self.ask_with(wire, method, target, &fields).await
    }

    /// Sends a request with these fields, and reads the answer. Over HTTP/1.1, interim answers are taken for it, so that a test
    /// sees one that gets through.
    pub(super) async fn ask_with(
        &self,
        wire: Wire,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
    ) -> Result<Seen> {
        match wire {
            Wire::Http1 => {
                let mut connection = self.sent(method, target, fields).await?;
                Ok(connection.any_response(method == "HEAD").await?.into())
            }
            Wire::Http2 => {
                let fields = http2_peers::fields(fields.iter().map(|(name, value)| (*name, value.as_bytes())))?;
                let method = Method::from_bytes(method.as_bytes())?;
                let address = self.envoy.address();
                Ok(http2_peers::send(address, method, target, fields, b"", None).await?.into())
            }
        }
    }

    /// A connection of HTTP/1.1 on which a request was sent.
    pub(super) async fn sent(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Result<Connection> {
        let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("{method} {target} HTTP/1.1\r\nHost: {HOST}\r\nTE: trailers\r\n{lines}\r\n");
        let mut connection = Connection::open(self.envoy.address()).await?;
        connection.send(request.as_bytes()).await?;
        Ok(connection)
    }

    /// The claims of the JWT that the service gets with the next request of a session. The service answers nothing special to it.
    pub(super) async fn claims(&self, target: &str, token: &str) -> Result<Value> {
        let before = std::mem::replace(&mut *self.next.lock().unwrap(), answer(&[]));
        self.service.take();
        let answered = self.ask(Wire::Http1, "GET", target, Some(token)).await?;
        self.answers(before);
        ensure!(answered.status == 200, "{target}: {answered:?}");
        let seen = self.service.take();
        claims_of(seen.first().context("nothing arrived")?)
    }

    /// The ids of a subject's live sessions, as the session API tells them.
    pub(super) async fn sids(&self, subject: &str) -> Result<Vec<String>> {
        let (status, page) = self.gate.api(Method::GET, &format!("/v1/sessions?subject={subject}"), None).await?;
        let sessions = page["sessions"].as_array().filter(|_| status == 200);
        let sessions = sessions.with_context(|| format!("the session API answers {status} to a list: {page}"))?;
        sessions.iter().map(|it| Ok(it["sid"].as_str().context("a session without id")?.to_owned())).collect()
    }

    /// How often a response had this outcome.
    pub(super) async fn counted(&self, outcome: &str) -> Result<u64> {
        let label = format!("outcome=\"{outcome}\"");
        self.metric("cloakroom_responses_total", |line| line.contains(&label)).await
    }

    /// How many responses were read.
    pub(super) async fn responses(&self) -> Result<u64> {
        self.metric("cloakroom_responses_total", |_| true).await
    }

    /// How many are being read.
    pub(super) async fn streams(&self) -> Result<u64> {
        self.metric("cloakroom_ext_proc_streams", |_| true).await
    }

    async fn metric(&self, name: &str, wanted: impl Fn(&str) -> bool) -> Result<u64> {
        let metrics = self.gate.metrics().await?;
        let lines = metrics.lines().filter(|line| line.starts_with(name) && wanted(line));
        let values: Vec<u64> = lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        ensure!(!values.is_empty(), "no metric {name} with such labels:\n{metrics}");
        Ok(values.into_iter().sum())
    }

    /// Puts another policy in the place of the one that is in force.
    pub(super) async fn change_policy(&self, from: &str, to: &str) -> Result<()> {
        let policy = policy(&self.issuer);
        ensure!(policy.contains(from), "the policy does not say {from}");
        let published = || self.gate.output().lines().iter().filter(|line| line.contains("policies published")).count();
        let before = published();
        self.gate.write_policy("way.yaml", &policy.replace(from, to))?;
        wait_until(PATIENCE, "new policy", async || published() > before).await
    }

    /// A JWT of the service's own, valid now unless `claims` say otherwise.
    pub(super) fn jwt(&self, claims: &Value) -> Result<String> {
        self.issuer.sign(now()?, claims)
    }
}

/// In seconds since 1970.
pub(super) fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// The payload of the session JWT on a request that arrived.
pub(super) fn claims_of(seen: &SeenRequest) -> Result<Value> {
    payload(seen.0.header("x-session-jwt").first().with_context(|| format!("no JWT: {seen:?}"))?)
}

/// The payload of a JWT, unverified.
pub(super) fn payload(jwt: &str) -> Result<Value> {
    let payload = jwt.split('.').nth(1).context("no JWT")?;
    Ok(serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload)?)?)
}

/// 200, these headers, and a body.
pub(super) fn answer(headers: &[(&str, &str)]) -> Vec<Act> {
    answer_bytes(&headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect::<Vec<_>>(), b"hi")
}

/// The same, with values of any bytes.
pub(super) fn answer_bytes(headers: &[(&str, &[u8])], body: &[u8]) -> Vec<Act> {
    let mut bytes = b"HTTP/1.1 200 OK\r\n".to_vec();
    for (name, value) in headers {
        bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
    bytes.extend_from_slice(body);
    vec![Act::Send(bytes)]
}

/// An answer as a client got it.
#[derive(Clone, Default)]
pub(super) struct Seen {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) trailers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
}

impl Seen {
    /// The values of a header.
    pub(super) fn header(&self, name: &str) -> Vec<String> {
        self.header_bytes(name).iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// The same, byte for byte.
    pub(super) fn header_bytes(&self, name: &str) -> Vec<Vec<u8>> {
        let named = self.headers.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.clone()).collect()
    }

    /// The names in headers and trailers that some server or page would take for ours.
    pub(super) fn ours(&self) -> Vec<&str> {
        let names = self.headers.iter().chain(&self.trailers).map(|(name, _)| &**name);
        let fold = |name: &str| -> String {
            name.chars().map(|it| if it.is_ascii_alphanumeric() { it.to_ascii_lowercase() } else { '-' }).collect()
        };
        names.filter(|name| fold(name).starts_with("x-session-")).collect()
    }

    /// Whether these bytes are anywhere in it.
    pub(super) fn contains(&self, secret: &str) -> bool {
        let fields = self.headers.iter().chain(&self.trailers);
        let parts = fields.flat_map(|(name, value)| [name.as_bytes(), value]).chain([&*self.body]);
        parts.into_iter().any(|part| part.windows(secret.len()).any(|window| window == secret.as_bytes()))
    }
}

/// As text: a failing test shows it.
impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {}", value.escape_ascii())?;
        }
        writeln!(f, "\n{}", self.body.escape_ascii())?;
        for (name, value) in &self.trailers {
            writeln!(f, "{name}: {} (trailer)", value.escape_ascii())?;
        }
        Ok(())
    }
}

impl From<Message> for Seen {
    fn from(message: Message) -> Self {
        let status = message.status();
        let text = |fields: Vec<(Vec<u8>, Vec<u8>)>| {
            fields.into_iter().map(|(name, value)| (String::from_utf8_lossy(&name).into_owned(), value)).collect()
        };
        Self { status, headers: text(message.headers), trailers: text(message.trailers), body: message.body }
    }
}

impl From<http2_peers::Answer> for Seen {
    fn from(answer: http2_peers::Answer) -> Self {
        let text = |fields: &http::HeaderMap| {
            fields.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
        };
        Self {
            status: answer.status,
            headers: text(&answer.headers),
            trailers: text(&answer.trailers),
            body: answer.data,
        }
    }
}

/// The cookie that the gate set.
pub(super) struct OurCookie {
    pub(super) token: String,
    pub(super) attributes: String,
}

/// The one cookie of ours in an answer: host-bound, and nothing for scripts or other sites (P14).
pub(super) fn our_cookie(seen: &Seen) -> Result<OurCookie> {
    let lines = seen.header("set-cookie");
    let ours: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("__Host-session=")).collect();
    ensure!(ours.len() == 1, "{} cookies of ours: {seen:?}", ours.len());
    let (token, attributes) = ours[0].split_once("; ").context("no attributes")?;
    for needed in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
        ensure!(attributes.split("; ").any(|it| it == needed), "no {needed}: {attributes}");
    }
    ensure!(!attributes.contains("Domain"), "{attributes}");
    Ok(OurCookie { token: token.to_owned(), attributes: attributes.to_owned() })
}
