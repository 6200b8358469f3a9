//! cloakroom itself, as users run it: the real binary with a configuration file, keys and policies in a folder.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::envoy::GateAddress;
use crate::process::{Output, Process};

/// Where the proxy reaches the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// By a socket file.
    Unix,
    /// On loopback.
    Loopback,
}

/// Where sessions are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// In memory: gone with the process.
    Memory,
    /// In one file.
    Embedded,
    /// In Redis: the value of `sessions.store`, as in `{ "kind": "redis", "redis": { "url": … } }`.
    Redis(Value),
}

/// How to run it.
#[derive(Clone, Debug)]
pub struct GateOptions {
    /// The binary: `env!("CARGO_BIN_EXE_cloakroom")` in tests of the root package.
    pub binary: PathBuf,
    /// Where it listens for the proxy.
    pub listen: Listen,
    /// Its store.
    pub store: Store,
    /// Policy files: name and content.
    pub policies: Vec<(String, String)>,
    /// The algorithm of the signing key, as in JWS.
    pub algorithm: String,
    /// Put over the configuration file, as a JSON merge patch (RFC 7396).
    pub config: Value,
}

impl GateOptions {
    /// A socket file, the memory store, an ES256 key, no policies.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            listen: Listen::Unix,
            store: Store::Memory,
            policies: Vec::new(),
            algorithm: "ES256".to_owned(),
            config: json!({}),
        }
    }

    /// With one more policy file.
    #[must_use]
    pub fn policy(mut self, name: &str, content: impl Into<String>) -> Self {
        self.policies.push((name.to_owned(), content.into()));
        self
    }

    /// With the keys of another gate: one that shares its sessions.
    #[must_use]
    pub fn with_keys_of(mut self, gate: &Cloakroom) -> Self {
        let file = |name: &str| gate.folder().join(name);
        merge(
            &mut self.config,
            &json!({ "token": { "keyFile": file("token.key") }, "jwt": { "keysDir": file("keys") } }),
        );
        self
    }
}

/// The addresses it bound, as it wrote them.
#[derive(Clone, Debug, Deserialize)]
struct Bound {
    grpc: String,
    http: SocketAddr,
    health: SocketAddr,
    admin: SocketAddr,
    sessions: SocketAddr,
}

/// The issuer before `/ns/<namespace>`.
pub const ISSUER: &str = "https://cloakroom.example";

/// A start on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A running cloakroom.
pub struct Cloakroom {
    process: Process,
    binary: PathBuf,
    folder: tempfile::TempDir,
    bound: Bound,
    api_token: String,
    client: reqwest::Client,
}

/// A session as the API answered when it was made. No `Debug`: it holds the token.
#[derive(Clone, Deserialize)]
pub struct CreatedSession {
    /// Its id.
    pub sid: String,
    /// Its access token, this once.
    pub token: String,
    /// The record.
    pub session: Value,
}

impl Cloakroom {
    /// Writes the folder, makes keys with the binary, starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up; the error has its output.
    pub async fn spawn(options: GateOptions) -> Result<Self> {
        let gate = Self::begin(options).await?;
        gate.process.wait_until(START, "readiness", async || gate.is_ready().await).await?;
        Ok(gate)
    }

    /// [`Cloakroom::spawn`] without the wait until it is ready: what it needs may be away.
    ///
    /// # Errors
    /// When it does not come up; the error has its output.
    pub async fn begin(options: GateOptions) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("cloakroom-").tempdir()?;
        let file = |name: &str| folder.path().join(name);
        std::fs::create_dir(file("policies"))?;
        for (name, content) in &options.policies {
            std::fs::write(file("policies").join(name), content)?;
        }
        let api_token = random_text()?;
        std::fs::write(file("admin.token"), &api_token)?;
        std::fs::set_permissions(file("admin.token"), std::fs::Permissions::from_mode(0o600))?;
        let mut config = config(folder.path(), &options);
        merge(&mut config, &options.config);
        // JSON is YAML.
        std::fs::write(file("cloakroom.yaml"), format!("{config:#}"))?;

        let mut keys = Command::new(&options.binary);
        keys.args(["keys", "generate", "--algorithm", &options.algorithm]);
        keys.arg("--dir").arg(file("keys")).arg("--token-key").arg(file("token.key"));
        let made = keys.output().with_context(|| format!("cannot start {}", options.binary.display()))?;
        ensure!(made.status.success(), "cloakroom keys generate: {}", String::from_utf8_lossy(&made.stderr));

        let (process, bound) = start(&options.binary, folder.path()).await?;
        // Requests to itself need no proxy, whatever the environment says.
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { process, binary: options.binary, folder, bound, api_token, client })
    }

    /// Ends it (`SIGKILL`) and starts it again on the same folder, on new ports.
    ///
    /// # Errors
    /// When it does not come up again.
    pub async fn crash_and_restart(&mut self) -> Result<()> {
        self.crash_and_begin().await?;
        self.process.wait_until(START, "readiness", async || self.is_ready().await).await
    }

    /// [`Cloakroom::crash_and_restart`] without the wait until it is ready: what it needs may be away.
    ///
    /// # Errors
    /// When it does not come up again.
    pub async fn crash_and_begin(&mut self) -> Result<()> {
        self.process.kill()?;
        (self.process, self.bound) = start(&self.binary, self.folder.path()).await?;
        Ok(())
    }

    /// Whether it says that it is ready for requests.
    pub async fn is_ready(&self) -> bool {
        let request = b"GET /readyz HTTP/1.1\r\nHost: health\r\nConnection: close\r\n\r\n";
        crate::http1::exchange(self.bound.health, request).await.is_ok_and(|answer| answer.status() == 200)
    }

    /// Where the proxy reaches it.
    ///
    /// # Errors
    /// When it wrote no address.
    pub fn grpc(&self) -> Result<GateAddress> {
        GateAddress::parse(&self.bound.grpc)
    }

    /// JWKS and discovery.
    pub fn http(&self) -> SocketAddr {
        self.bound.http
    }

    /// `/livez`, `/readyz`, `/metrics`.
    pub fn health(&self) -> SocketAddr {
        self.bound.health
    }

    /// `explain` and the policy dump.
    pub fn admin(&self) -> SocketAddr {
        self.bound.admin
    }

    /// The session API.
    pub fn sessions(&self) -> SocketAddr {
        self.bound.sessions
    }

    /// The JWKS's address.
    pub fn jwks_url(&self) -> String {
        format!("http://{}/.well-known/jwks.json", self.bound.http)
    }

    /// What callers of the session API show.
    pub fn api_token(&self) -> &str {
        &self.api_token
    }

    /// Its folder: `cloakroom.yaml`, `policies`, `keys`, `token.key`, `admin.token`, `sessions.redb`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its logs.
    pub fn output(&self) -> Output {
        self.process.output()
    }

    /// The process, to measure or to end it.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Writes a policy file whole, by rename, as good tools do.
    ///
    /// # Errors
    /// When the folder is gone.
    pub fn write_policy(&self, name: &str, content: &str) -> Result<()> {
        let folder = self.folder.path().join("policies");
        let partial = self.folder.path().join("policy.partial");
        std::fs::write(&partial, content)?;
        Ok(std::fs::rename(partial, folder.join(name))?)
    }

    /// Runs another command of the binary and gives its standard output.
    ///
    /// # Errors
    /// When it fails; the error has what it wrote.
    pub fn command(&self, arguments: &[&str]) -> Result<String> {
        let answer = Command::new(&self.binary).args(arguments).current_dir(self.folder.path()).output()?;
        ensure!(answer.status.success(), "cloakroom {arguments:?}: {}", String::from_utf8_lossy(&answer.stderr));
        Ok(String::from_utf8(answer.stdout)?)
    }

    /// Calls the session API.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn api(&self, method: http::Method, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let request = self.client.request(method, format!("http://{}{path}", self.bound.sessions));
        let request = request.bearer_auth(&self.api_token);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = request.send().await.context("the session API")?;
        let (status, text) = (answer.status().as_u16(), answer.text().await?);
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// Makes a session. `body` is that of `POST /v1/sessions`.
    ///
    /// # Errors
    /// When the API does not answer 201.
    pub async fn create_session(&self, body: &Value) -> Result<CreatedSession> {
        let (status, answer) = self.api(http::Method::POST, "/v1/sessions", Some(body)).await?;
        ensure!(status == 201, "the session API answers {status} to a create: {}", answer["detail"]);
        Ok(serde_json::from_value(answer)?)
    }

    /// Revokes a session.
    ///
    /// # Errors
    /// When the API does not say that it is done.
    pub async fn revoke_session(&self, sid: &str) -> Result<()> {
        let (status, answer) = self.api(http::Method::DELETE, &format!("/v1/sessions/{sid}"), None).await?;
        ensure!((200..300).contains(&status), "the session API answers {status} to a revoke: {answer}");
        Ok(())
    }

    /// Its metrics, in the text format of Prometheus.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<String> {
        Ok(self.client.get(format!("http://{}/metrics", self.bound.health)).send().await?.text().await?)
    }
}

async fn start(binary: &Path, folder: &Path) -> Result<(Process, Bound)> {
    let addresses = folder.join("addresses.json");
    std::fs::remove_file(&addresses).ok();
    let path = |path: &Path| path.as_os_str().to_owned();
    let arguments = [
        "serve".into(),
        "--config".into(),
        path(&folder.join("cloakroom.yaml")),
        "--addresses".into(),
        path(&addresses),
    ];
    let process = Process::spawn("cloakroom", binary, arguments)?;
    let written = || serde_json::from_slice::<Bound>(&std::fs::read(&addresses).ok()?).ok();
    process.wait_until(START, "file of addresses", async || written().is_some()).await?;
    let bound = written().context("the addresses of cloakroom")?;
    Ok((process, bound))
}

fn config(folder: &Path, options: &GateOptions) -> Value {
    let file = |name: &str| folder.join(name);
    let grpc = match options.listen {
        Listen::Unix => format!("unix://{}", file("gate.sock").display()),
        Listen::Loopback => "127.0.0.1:0".to_owned(),
    };
    let store = match &options.store {
        Store::Memory => json!({ "kind": "memory" }),
        Store::Embedded => json!({ "kind": "embedded", "path": file("sessions.redb") }),
        Store::Redis(store) => store.clone(),
    };
    let loopback = "127.0.0.1:0";
    json!({
        "realm": "shop",
        "listen": { "grpc": grpc, "http": loopback, "health": loopback, "admin": loopback, "sessions": loopback },
        "token": { "keyFile": file("token.key") },
        "sessions": { "store": store },
        "jwt": { "algorithm": options.algorithm, "keysDir": file("keys"), "issuer": ISSUER },
        "policies": { "dir": file("policies") },
        "api": { "tokenFile": file("admin.token") },
        // Longer than users wait, so that a busy machine is not taken for a store that does not answer.
        "check": { "timeout": "5s" },
        "response": { "timeout": "5s" },
    })
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, change) in changes {
        if change.is_null() {
            target.as_object_mut().map(|it| it.remove(key));
        } else {
            merge(&mut target[key.as_str()], change);
        }
    }
}

/// 32 bytes of the kernel's random numbers, in hexadecimal digits.
fn random_text() -> Result<String> {
    use std::io::Read as _;
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_changes_adds_and_removes() {
        let mut config = json!({ "a": { "b": 1, "c": 2 }, "d": 3 });
        merge(&mut config, &json!({ "a": { "b": 7, "c": null }, "e": { "f": 4 } }));
        assert_eq!(config, json!({ "a": { "b": 7 }, "d": 3, "e": { "f": 4 } }));
    }

    #[test]
    fn a_redis_store_is_written_as_given() {
        let store = json!({ "kind": "redis", "redis": { "url": "redis://127.0.0.1:6379/0" } });
        let options = GateOptions { store: Store::Redis(store.clone()), ..GateOptions::new("cloakroom") };
        assert_eq!(config(Path::new("/folder"), &options)["sessions"]["store"], store);
    }

    #[test]
    fn random_texts_differ() {
        let one = random_text().expect("the kernel has random numbers");
        assert_eq!(one.len(), 64);
        assert_ne!(one, random_text().expect("the kernel has random numbers"));
    }
}
