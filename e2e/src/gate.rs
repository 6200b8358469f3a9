//! cloakroom itself, as users run it: the real binary with a configuration file, keys and policies in a folder.

mod options;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

pub use self::options::{GateOptions, ISSUER, Listen, Store};
use self::options::{config, merge};
use crate::envoy::GateAddress;
use crate::process::{Output, Process};

/// The addresses it bound, as it wrote them.
#[derive(Clone, Debug, Deserialize)]
struct Bound {
    grpc: String,
    http: SocketAddr,
    health: SocketAddr,
    admin: SocketAddr,
    sessions: SocketAddr,
}

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
    fn random_texts_differ() {
        let one = random_text().expect("the kernel has random numbers");
        assert_eq!(one.len(), 64);
        assert_ne!(one, random_text().expect("the kernel has random numbers"));
    }
}
