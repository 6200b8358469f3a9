//! The real gate, with its real configuration: policies, keys, embedded store.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use e2e::measure::Usage;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use prost::Message as _;
use serde_json::{Value, json};

use super::writes::Writes;

const BINARY: &str = env!("CARGO_BIN_EXE_cloakroom");

/// A number of rules over a number of hosts: per host path prefixes with methods and roles, as an install grows them.
pub(crate) struct Policies {
    rules: usize,
    hosts: usize,
}

impl Policies {
    pub(crate) fn rules(rules: usize, hosts: usize) -> Self {
        Self { rules, hosts }
    }

    pub(crate) fn count(&self) -> usize {
        self.rules
    }

    /// A host and path that one of the rules in the middle judges.
    pub(crate) fn hot(&self) -> (String, String) {
        let per_host = self.rules / self.hosts;
        (format!("h{}.example", self.hosts / 2), format!("/area-{}/orders/7", per_host / 2))
    }

    fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut text = String::new();
        for host in 0..self.hosts {
            write!(
                text,
                "---\napiVersion: cloakroom.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{ name: p{host}, namespace: bench }}\n\
                 spec:\n  hosts: [h{host}.example]\n  rules:\n"
            )?;
            for rule in 0..self.rules / self.hosts {
                writeln!(
                    text,
                    "  - matches: [{{ path: {{ type: PathPrefix, value: /area-{rule} }} }}]\n    require: {{ roles: [customer] }}"
                )?;
            }
            if text.len() > 200_000 {
                std::fs::write(folder.join(format!("policies-{host}.yaml")), std::mem::take(&mut text))?;
            }
        }
        std::fs::write(folder.join("policies-rest.yaml"), text)?;
        Ok(())
    }
}

/// A session, for requests.
pub(crate) struct Session {
    pub(crate) token: String,
}

/// A running gate; ends with the benchmark.
pub(crate) struct Gate {
    child: Option<Child>,
    folder: tempfile::TempDir,
    api: String,
    http: reqwest::Client,
    hot: (String, String),
}

impl Gate {
    pub(crate) async fn start(policies: &Policies) -> anyhow::Result<Self> {
        Self::start_with(policies, None).await
    }

    /// One whose write calls are counted, until it is started again.
    pub(crate) async fn counted(policies: &Policies, writes: &Writes) -> anyhow::Result<Self> {
        Self::start_with(policies, Some(writes)).await
    }

    async fn start_with(policies: &Policies, writes: Option<&Writes>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        policies.write(&folder.path().join("policies"))?;
        let api_token = folder.path().join("api.token");
        std::fs::write(&api_token, "benchmark-token-benchmark-token-benchmark")?;
        std::fs::set_permissions(&api_token, std::fs::Permissions::from_mode(0o600))?;
        std::fs::write(
            folder.path().join("cloakroom.yaml"),
            "listen: { grpc: 'unix:gate.sock', http: '127.0.0.1:0', health: '127.0.0.1:0', admin: '127.0.0.1:0', sessions: '127.0.0.1:0' }\n\
             jwt: { issuer: 'https://cloakroom.example' }\napi: { tokenFile: api.token }\nsessions: { view: { maxBytes: 256Mi } }\n\
             shutdown: { settle: 0s }\ntelemetry: { log: warn, decisions: none }\n",
        )?;
        let keys = Command::new(BINARY)
            .args(["keys", "generate", "--dir", "keys", "--token-key", "token.key"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .status()?;
        ensure!(keys.success(), "keys generate failed");
        let mut gate =
            Self { child: None, folder, api: String::new(), http: reqwest::Client::new(), hot: policies.hot() };
        gate.spawn(writes).await?;
        Ok(gate)
    }

    /// The same gate anew: its view is empty, its store is not.
    pub(crate) async fn restart(mut self) -> anyhow::Result<Self> {
        self.end();
        self.spawn(None).await?;
        Ok(self)
    }

    async fn spawn(&mut self, writes: Option<&Writes>) -> anyhow::Result<()> {
        let addresses = self.folder.path().join("addresses.json");
        let _ = std::fs::remove_file(&addresses);
        let mut command = Command::new(BINARY);
        command.args(["serve", "--config", "cloakroom.yaml", "--addresses", "addresses.json"]);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        if let Some(writes) = writes {
            writes.count(&mut command);
        }
        self.child = Some(command.spawn()?);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while !addresses.exists() {
            ensure!(tokio::time::Instant::now() < deadline, "the gate did not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let addresses: Value = serde_json::from_slice(&std::fs::read(addresses)?)?;
        self.api = format!("http://{}", addresses["sessions"].as_str().context("no session API")?);
        Ok(())
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("gate.sock")
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage::of(self.child.as_ref().expect("running").id())
    }

    /// Makes a session whose claims have about `bytes` bytes.
    pub(crate) async fn create_session(&self, n: usize, bytes: usize, role: &str) -> anyhow::Result<Session> {
        create(&self.http, &self.api, n, bytes, role).await
    }

    /// Makes many, 64 at a time.
    pub(crate) async fn create_sessions(
        &self,
        from: usize,
        count: usize,
        bytes: usize,
        role: &'static str,
    ) -> anyhow::Result<Vec<String>> {
        let mut running = tokio::task::JoinSet::new();
        let mut tokens = Vec::with_capacity(count);
        for n in from..from + count {
            if running.len() >= 64 {
                tokens.push(running.join_next().await.context("one runs")???);
            }
            let (http, api) = (self.http.clone(), self.api.clone());
            running.spawn(async move { create(&http, &api, n, bytes, role).await.map(|session| session.token) });
        }
        while let Some(done) = running.join_next().await {
            tokens.push(done??);
        }
        Ok(tokens)
    }

    /// A CheckRequest as Envoy sends it for a browser's request: eleven headers, the token in a cookie beside another.
    pub(crate) fn request(&self, token: &str, (host, path): (String, String)) -> Bytes {
        let headers = [
            (":authority", host.as_str()),
            (":path", path.as_str()),
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
        let http = HttpRequest {
            id: "1234567890".to_owned(),
            method: "GET".to_owned(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            path,
            host: host.clone(),
            scheme: "https".to_owned(),
            protocol: "HTTP/1.1".to_owned(),
            size: -1,
            ..Default::default()
        };
        let attributes = AttributeContext {
            request: Some(Request { http: Some(http), ..Default::default() }),
            ..Default::default()
        };
        CheckRequest { attributes: Some(attributes) }.encode_to_vec().into()
    }

    /// How many bytes the JWT has that this session gets.
    pub(crate) async fn jwt_bytes(&self, session: &Session) -> anyhow::Result<usize> {
        let channel = super::load::connect(&self.socket()).await?;
        let answer = super::load::ask(&channel, self.request(&session.token, self.hot.clone())).await?;
        let answer = CheckResponse::decode(answer)?;
        let Some(HttpResponse::OkResponse(ok)) = answer.http_response else {
            anyhow::bail!("the gate refused the benchmark's own request: {answer:?}");
        };
        let header = ok.headers.into_iter().filter_map(|it| it.header).find(|it| it.key == "x-session-jwt");
        Ok(header.context("no JWT in the answer")?.value.len())
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.end();
    }
}

async fn create(http: &reqwest::Client, api: &str, n: usize, bytes: usize, role: &str) -> anyhow::Result<Session> {
    let body = json!({
        "subject": format!("user-{n}"), "roles": [role], "scopes": ["orders"], "amr": ["pwd"],
        "claims": { "tenant": "gold", "filling": "x".repeat(bytes.saturating_sub(40)) },
    });
    let answer = http
        .post(format!("{api}/v1/sessions"))
        .bearer_auth("benchmark-token-benchmark-token-benchmark")
        .json(&body)
        .send()
        .await?;
    let status = answer.status();
    let answer: Value = answer.json().await?;
    ensure!(status == 201, "creating a session: {status} {answer}");
    Ok(Session { token: answer["token"].as_str().context("no token")?.to_owned() })
}
