//! Where the API server keeps its objects.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::PATIENCE;
use crate::port::Port;
use crate::process::Process;
use crate::tools;

/// A running etcd on loopback, in a folder that it does not own.
pub struct Etcd {
    process: Process,
    port: Port,
    folder: PathBuf,
    client: reqwest::Client,
}

impl Etcd {
    pub(super) async fn spawn(folder: &Path) -> Result<Self> {
        let port = Port::reserve()?;
        let process = start(folder, port.address())?;
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let etcd = Self { process, port, folder: folder.to_owned(), client };
        etcd.answers().await?;
        Ok(etcd)
    }

    /// Where it listens, now and after every restart.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The process, to measure it, to stop it or to read its log.
    pub fn process(&self) -> &Process {
        &self.process
    }

    pub(super) async fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = start(&self.folder, self.port.address())?;
        self.answers().await
    }

    /// Forgets every revision before a new one, and returns that.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) async fn compact(&self) -> Result<u64> {
        // Base64, as all bytes in etcd's JSON. A revision of its own, so that what others have seen last is before it.
        let put = self.call("kv/put", &json!({ "key": "ZTJl", "value": "" })).await?;
        let revision = put["header"]["revision"].as_str().context("etcd tells no revision")?;
        self.call("kv/compaction", &json!({ "revision": revision, "physical": true })).await?;
        Ok(revision.parse()?)
    }

    async fn call(&self, method: &str, body: &Value) -> Result<Value> {
        let request = self.client.post(format!("http://{}/v3/{method}", self.address())).json(body);
        let answer = request.send().await.with_context(|| format!("etcd {method}"))?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "etcd {method}: {status} {text}");
        Ok(serde_json::from_str(&text)?)
    }

    async fn answers(&self) -> Result<()> {
        let answers = async || self.call("kv/range", &json!({ "key": "ZTJl" })).await.is_ok();
        self.process.wait_until(PATIENCE, "answer of etcd", answers).await
    }
}

fn start(folder: &Path, address: SocketAddr) -> Result<Process> {
    let program = tools::etcd()?;
    let client_url = format!("http://{address}");
    // Nobody calls it as a peer, so that port may be another one after each start.
    let peer_url = "http://127.0.0.1:0";
    let mut arguments = vec![
        format!("--data-dir={}", folder.display()),
        format!("--listen-client-urls={client_url}"),
        format!("--advertise-client-urls={client_url}"),
        format!("--listen-peer-urls={peer_url}"),
    ];
    // A crash of the machine is none of our tests. etcd 3.4 has no such flag.
    let help = Command::new(&program).arg("--help").output().context("cannot start etcd")?;
    let help = [help.stdout, help.stderr].concat();
    if String::from_utf8_lossy(&help).contains("--unsafe-no-fsync") {
        arguments.push("--unsafe-no-fsync".to_owned());
    }
    Process::spawn("etcd", &program, arguments)
}
