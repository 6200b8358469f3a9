//! What the attack tests share: the rules under attack, everyone who may attack, the proxies in every setting, and the judge.
//!
//! The judge knows nothing of our code. It takes a request as it arrived at the service, reads it in every way that careless
//! servers do, asks the rules, written down once more in the plainest way, what each reading needs, and compares that with what
//! the client had.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use anyhow::Result;
use e2e::envoy::{Envoy, EnvoyConfig};
use e2e::gate::{Cloakroom, CreatedSession, GateOptions};
use e2e::http1::Connection;
use e2e::http2;
use e2e::sloppy::{SeenRequest, Sloppy, path_readings, query_readings};
use e2e::tools::EnvoyVersion;
use futures_util::StreamExt as _;
use serde_json::json;

use crate::scene::cloakroom;

/// The host that all attacks aim at.
pub(crate) const HOST: &str = "shop.example";

/// The rules. `need` says the same once more.
const POLICY: &str = "
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: shop, namespace: shop }
spec:
  hosts: [shop.example]
  allowedOrigins: ['https://partner.example']
  rules:
  - { name: public, matches: [{ path: { type: PathPrefix, value: /public } }], access: Public }
  - { name: report, matches: [{ path: { type: PathPrefix, value: /public/report }, queryParams: [{ name: full, value: '1' }] }], require: { roles: [admin] } }
  - { name: brief, matches: [{ path: { type: PathPrefix, value: /brief }, queryParams: [{ name: part, value: '1' }] }], access: Public }
  - { name: hello, matches: [{ path: { type: Exact, value: /hello } }], access: Public }
  - { name: items, matches: [{ path: { type: PathPrefix, value: /items }, method: GET }], access: Public }
  - { name: closed, matches: [{ path: { type: PathPrefix, value: /closed } }], access: Deny }
  - { name: admin, matches: [{ path: { type: PathPrefix, value: /admin } }], require: { roles: [admin] } }
  - { name: deletes, matches: [{ path: { type: PathPrefix, value: / }, method: DELETE }], require: { roles: [admin] } }
  - { name: optional, matches: [{ path: { type: PathPrefix, value: /maybe } }], authenticate: [{ session: {} }, { anonymous: {} }] }
---
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: open, namespace: shop }
spec: { hosts: [open.example], rules: [{ name: all, access: Public }] }
";

/// Who sends a request: what they may do grows with the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Nobody,
    Customer,
    Admin,
}

/// What the rules need of whoever sends `method path` with these parameters; `None` where nobody is let in. Letter case counts:
/// readings that fold it come one by one.
pub(crate) fn need(method: &str, path: &str, parameters: &BTreeSet<(String, String)>) -> Option<Who> {
    let has = |name: &str, value: &str| parameters.contains(&(name.to_owned(), value.to_owned()));
    let under = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    match method {
        _ if under("/public/report") && has("full", "1") => Some(Who::Admin),
        // Whoever finds another value finds no part.
        _ if under("/brief")
            && parameters.iter().all(|(name, value)| name != "part" || value == "1")
            && has("part", "1") =>
        {
            Some(Who::Nobody)
        }
        _ if path == "/hello" || under("/public") || under("/maybe") => Some(Who::Nobody),
        _ if under("/closed") => None,
        _ if under("/admin") => Some(Who::Admin),
        "GET" | "HEAD" if under("/items") => Some(Who::Nobody),
        "DELETE" => Some(Who::Admin),
        _ => Some(Who::Customer),
    }
}

/// A reading of this request that whoever sent it was not allowed, if a careless server has one.
pub(crate) fn offence(seen: &SeenRequest, who: Who) -> Option<String> {
    let hosts = seen.header_readings("host");
    if !hosts.is_empty() && hosts.iter().all(|host| host.split(':').next() == Some("open.example")) {
        return None;
    }
    let mut methods = BTreeSet::new();
    let mut targets = vec![seen.target()];
    let sent = String::from_utf8_lossy(&seen.0.start).split(' ').next().unwrap_or_default().to_owned();
    let overriding = ["x-http-method-override", "x-http-method", "x-method-override"];
    let named = overriding.iter().flat_map(|name| seen.header_readings(name));
    for method in named.chain([sent]) {
        // Joined lines may be read as any of them.
        for method in method.split(',').map(str::trim) {
            methods.extend([method.to_owned(), method.to_ascii_uppercase()]);
        }
    }
    for value in ["x-original-url", "x-rewrite-url"].iter().flat_map(|name| seen.header_readings(name)) {
        targets.extend(value.split(',').map(|part| part.trim().to_owned()).chain([value.clone()]));
    }
    let parameters = targets.iter().flat_map(|target| query_readings(target)).collect();
    for path in targets.iter().flat_map(|target| path_readings(target)) {
        for method in &methods {
            if need(method, &path, &parameters).is_none_or(|need| who < need) {
                return Some(format!("{who:?} is served what may be read as {method} {path}: {seen:?}"));
            }
        }
    }
    None
}

/// How a proxy is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) version: EnvoyVersion,
    /// Paths are normalised and underscores refused, as in the shipped file; otherwise as Envoy does by itself.
    pub(crate) strict: bool,
    /// Headers reach the gate as lines; otherwise as a map.
    pub(crate) raw: bool,
}

impl Setting {
    /// All there are of one release.
    pub(crate) fn all(version: EnvoyVersion) -> [Self; 4] {
        [(true, true), (true, false), (false, true), (false, false)].map(|(strict, raw)| Self { version, strict, raw })
    }

    /// The shipped file on plain TCP in this setting.
    pub(crate) fn config(self) -> Result<EnvoyConfig> {
        let mut config = EnvoyConfig::shipped()?;
        config.plain()?;
        // How long Envoy waits for the client to close a connection that is broken: a second each adds up.
        config.connection_manager()?["delayed_close_timeout"] = json!("0.02s");
        if !self.strict {
            config.default_normalisation()?;
        }
        if !self.raw {
            config.headers_as_map()?;
        }
        Ok(config)
    }
}

/// The gate and those who come to it.
pub(crate) struct Town {
    pub(crate) gate: Cloakroom,
    pub(crate) customer: CreatedSession,
    pub(crate) admin: CreatedSession,
}

impl Town {
    pub(crate) async fn found() -> Result<Self> {
        Self::with(|options| options).await
    }

    pub(crate) async fn with(change: impl FnOnce(GateOptions) -> GateOptions) -> Result<Self> {
        let options = change(GateOptions::new(cloakroom()).policy("attacked.yaml", POLICY));
        let gate = Cloakroom::spawn(options).await?;
        let customer = gate.create_session(&json!({ "subject": "bob" })).await?;
        let admin = gate.create_session(&json!({ "subject": "ada", "roles": ["admin"] })).await?;
        Ok(Self { gate, customer, admin })
    }

    /// What somebody shows.
    pub(crate) fn token(&self, who: Who) -> Option<&str> {
        match who {
            Who::Nobody => None,
            Who::Customer => Some(&self.customer.token),
            Who::Admin => Some(&self.admin.token),
        }
    }

    /// A proxy in this setting before this gate, and the service behind it.
    pub(crate) async fn wall(&self, setting: Setting) -> Result<Wall> {
        self.wall_with(setting, |_| Ok(())).await
    }

    /// The same, with changes to the proxy's configuration.
    pub(crate) async fn wall_with(
        &self,
        setting: Setting,
        change: impl FnOnce(&mut EnvoyConfig) -> Result<()>,
    ) -> Result<Wall> {
        self.wall_before(setting, Sloppy::spawn().await?, change).await
    }

    /// The same, before this service.
    pub(crate) async fn wall_before(
        &self,
        setting: Setting,
        shop: Sloppy,
        change: impl FnOnce(&mut EnvoyConfig) -> Result<()>,
    ) -> Result<Wall> {
        let mut config = setting.config()?;
        config
            .patient()?
            .gate(&self.gate.grpc()?)?
            .service("shop", shop.address())?
            .service("login", shop.address())?;
        change(&mut config)?;
        Ok(Wall { envoy: Envoy::spawn(setting.version, &config).await?, shop, setting })
    }

    /// A wall in every setting of a release.
    pub(crate) async fn walls(&self, version: EnvoyVersion) -> Result<Vec<Wall>> {
        futures_util::future::try_join_all(Setting::all(version).map(|setting| self.wall(setting))).await
    }
}

/// One proxy, and the service behind it.
pub(crate) struct Wall {
    pub(crate) setting: Setting,
    pub(crate) envoy: Envoy,
    pub(crate) shop: Sloppy,
}

/// Over what a shot goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Http1,
    Http2,
}

/// One request to be sent.
#[derive(Clone)]
pub(crate) struct Shot {
    pub(crate) wire: Wire,
    pub(crate) who: Who,
    pub(crate) method: String,
    pub(crate) target: Vec<u8>,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
}

impl Shot {
    pub(crate) fn get(who: Who, target: impl Into<Vec<u8>>) -> Self {
        Self { wire: Wire::Http1, who, method: "GET".into(), target: target.into(), fields: Vec::new() }
    }

    pub(crate) fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    pub(crate) fn field(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn over(mut self, wire: Wire) -> Self {
        self.wire = wire;
        self
    }

    /// For a message of a failing test.
    pub(crate) fn describe(&self) -> String {
        let mut text = format!("{:?} {:?} {} {}", self.wire, self.who, self.method, self.target.escape_ascii());
        for (name, value) in &self.fields {
            let _ = write!(text, " [{name}: {}]", value.escape_ascii());
        }
        text
    }

    async fn fire(&self, wall: &Wall, token: Option<&str>, case: usize) -> Option<u16> {
        let case = case.to_string();
        let cookie = token.map(|token| format!("__Host-session={token}"));
        match self.wire {
            Wire::Http1 => {
                let mut bytes = [self.method.as_bytes(), b" ", &self.target, b" HTTP/1.1\r\n"].concat();
                let mut line = |name: &str, value: &[u8]| {
                    bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
                };
                if !self.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
                    line("Host", HOST.as_bytes());
                }
                line("X-Case", case.as_bytes());
                if let Some(cookie) = &cookie {
                    line("Cookie", cookie.as_bytes());
                }
                self.fields.iter().for_each(|(name, value)| line(name, value));
                bytes.extend(b"\r\n");
                // No body is read: Envoy keeps a broken connection open for a second, and its 400 has no length.
                let mut connection = Connection::open(wall.envoy.address()).await.ok()?;
                connection.send(&bytes).await.ok()?;
                connection.response(true).await.ok().map(|answer| answer.status())
            }
            Wire::Http2 => {
                let mut fields: Vec<http2::Field<'_>> = vec![
                    (b":method", self.method.as_bytes()),
                    (b":scheme", b"http"),
                    (b":authority", HOST.as_bytes()),
                    (b":path", &self.target),
                    (b"x-case", case.as_bytes()),
                ];
                if let Some(cookie) = &cookie {
                    fields.push((b"cookie", cookie.as_bytes()));
                }
                let named = self.fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.as_slice()));
                let named: Vec<(String, &[u8])> = named.collect();
                fields.extend(named.iter().map(|(name, value)| (name.as_bytes(), *value)));
                http2::exchange(wall.envoy.address(), &fields, None).await.ok().flatten()
            }
        }
    }
}

/// What came of a list of shots.
pub(crate) struct Outcome {
    /// The status of each; `None` where the connection was closed without one.
    pub(crate) statuses: Vec<Option<u16>>,
    /// What arrived of each at the service.
    pub(crate) arrived: HashMap<usize, Vec<SeenRequest>>,
    /// What arrived and is none of them.
    pub(crate) strangers: Vec<SeenRequest>,
}

impl Wall {
    /// Fires them all.
    pub(crate) async fn fire(&self, town: &Town, shots: &[Shot]) -> Outcome {
        let each = shots.iter().enumerate().map(|(case, shot)| shot.fire(self, town.token(shot.who), case));
        let statuses = futures_util::stream::iter(each).buffered(16).collect().await;
        let (mut arrived, mut strangers) = (HashMap::<usize, Vec<SeenRequest>>::new(), Vec::new());
        for seen in self.shop.take() {
            let case = seen.0.header("x-case");
            match case.first().and_then(|it| it.parse().ok()).filter(|case| *case < shots.len()) {
                Some(case) if seen.0.header("x-case").len() == 1 => arrived.entry(case).or_default().push(seen),
                _ => strangers.push(seen),
            }
        }
        Outcome { statuses, arrived, strangers }
    }

    /// Fires them all and judges what arrived: no reading may be one that the sender was not allowed.
    pub(crate) async fn attack(&self, town: &Town, shots: &[Shot]) -> Result<Outcome> {
        let outcome = self.fire(town, shots).await;
        let mut offences: Vec<String> = Vec::new();
        for (case, seen) in outcome.arrived.iter().flat_map(|(case, all)| all.iter().map(move |seen| (*case, seen))) {
            let shot = &shots[case];
            offences.extend(offence(seen, shot.who).map(|it| format!("{}: {it}", shot.describe())));
            if let Some(token) = town.token(shot.who).filter(|token| seen.contains(token)) {
                offences.push(format!("{}: the token {token} arrived", shot.describe()));
            }
        }
        // Nobody can tell who sent these.
        offences.extend(outcome.strangers.iter().filter_map(|seen| offence(seen, Who::Nobody)));
        let setting = self.setting;
        anyhow::ensure!(offences.is_empty(), "{setting:?}: {} offences:\n{}", offences.len(), offences.join("\n"));
        Ok(outcome)
    }
}

/// A judge that lets everything pass would make every test here pass.
#[test]
fn the_judge_finds_what_is_wrong() {
    let seen = |head: &str| {
        let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        let headers = fields.map(|(name, value)| (name.into(), value.into())).collect();
        let start = head.split("\r\n").next().unwrap().into();
        SeenRequest(e2e::http1::Message { start, head: head.into(), headers, ..Default::default() })
    };
    for (head, allowed) in [
        ("GET /public/x HTTP/1.1\r\n\r\n", Who::Nobody),
        ("GET /public/x?q=/../admin HTTP/1.1\r\n\r\n", Who::Nobody),
        ("GET /items/1 HTTP/1.1\r\n\r\n", Who::Nobody),
        ("POST /items/1 HTTP/1.1\r\n\r\n", Who::Customer),
        ("GET /items/1 HTTP/1.1\r\nX-HTTP-Method-Override: POST\r\n\r\n", Who::Customer),
        ("GET /items/1 HTTP/1.1\r\nX_Http_Method: delete\r\n\r\n", Who::Admin),
        ("GET /public HTTP/1.1\r\nX-Original-URL: /admin\r\n\r\n", Who::Admin),
        ("GET /public/..%252fadmin HTTP/1.1\r\n\r\n", Who::Admin),
        ("GET /public/report?full=2 HTTP/1.1\r\n\r\n", Who::Nobody),
        ("GET /public/report?full=1 HTTP/1.1\r\n\r\n", Who::Admin),
        ("GET /public/report%3Ffull=1 HTTP/1.1\r\n\r\n", Who::Admin),
        ("GET /brief?part=1 HTTP/1.1\r\n\r\n", Who::Nobody),
        ("GET /brief?part=1&part=2 HTTP/1.1\r\n\r\n", Who::Customer),
        ("GET /Admin HTTP/1.1\r\n\r\n", Who::Admin),
        ("delete /x HTTP/1.1\r\n\r\n", Who::Admin),
    ] {
        for who in [Who::Nobody, Who::Customer, Who::Admin] {
            assert_eq!(offence(&seen(head), who).is_none(), who >= allowed, "{who:?}: {head}");
        }
    }
    assert!(offence(&seen("GET /public/..%2fclosed HTTP/1.1\r\n\r\n"), Who::Admin).is_some());
}
