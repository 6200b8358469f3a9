//! Envoy with the configuration that users copy.

mod config;
mod gate_address;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub use self::config::{EnvoyConfig, SHIPPED, TlsFiles};
pub use self::gate_address::GateAddress;
use crate::process::{Output, Process};
use crate::tools::{self, EnvoyVersion};

/// `envoy --mode validate`.
///
/// # Errors
/// What Envoy says.
pub fn validate(version: EnvoyVersion, config: &EnvoyConfig) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("envoy.json");
    std::fs::write(&file, config.render())?;
    let mut envoy = std::process::Command::new(tools::envoy(version)?);
    let answer = envoy.args(["--mode", "validate", "--log-level", "error", "-c"]).arg(&file).output()?;
    ensure!(answer.status.success(), "Envoy {}: {}", version.number(), String::from_utf8_lossy(&answer.stderr));
    Ok(())
}

/// A running Envoy.
pub struct Envoy {
    process: Process,
    folder: tempfile::TempDir,
    admin: SocketAddr,
    ingress: SocketAddr,
}

impl Envoy {
    /// Starts Envoy and waits until it serves.
    ///
    /// # Errors
    /// When it does not come up; the error has its output.
    pub async fn spawn(version: EnvoyVersion, config: &EnvoyConfig) -> Result<Self> {
        let binary = tokio::task::spawn_blocking(move || tools::envoy(version)).await??;
        let folder = tempfile::tempdir()?;
        let (file, admin_file) = (folder.path().join("envoy.json"), folder.path().join("admin"));
        std::fs::write(&file, config.render())?;
        let path = |path: &Path| path.as_os_str().to_owned();
        let mut arguments = vec!["-c".into(), path(&file), "--admin-address-path".into(), path(&admin_file)];
        arguments.extend(["--disable-hot-restart", "--concurrency", "2", "--log-level", "warn"].map(Into::into));
        let process = Process::spawn(&format!("envoy {}", version.number()), &binary, arguments)?;

        let admin_address = || std::fs::read_to_string(&admin_file).ok()?.trim().parse::<SocketAddr>().ok();
        process.wait_until(START, "admin address", async || admin_address().is_some()).await?;
        let admin = admin_address().context("the admin address of Envoy")?;
        let ready = async || get(admin, "/ready").await.is_ok_and(|answer| answer.contains("LIVE"));
        process.wait_until(START, "readiness", ready).await?;

        let listeners: Value = serde_json::from_str(&get(admin, "/listeners?format=json").await?)?;
        let bound = &listeners["listener_statuses"][0]["local_address"]["socket_address"];
        let address = bound["address"].as_str().context("Envoy names no address")?.parse()?;
        let port = u16::try_from(bound["port_value"].as_u64().context("Envoy names no port")?)?;
        Ok(Self { process, folder, admin, ingress: SocketAddr::new(address, port) })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.ingress
    }

    /// The admin interface.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// What the admin interface says under a path, as text.
    ///
    /// # Errors
    /// When it does not answer 200.
    pub async fn admin(&self, path: &str) -> Result<String> {
        get(self.admin, path).await
    }

    /// A counter or gauge by its full name; 0 when Envoy has not made it yet.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn stat(&self, name: &str) -> Result<u64> {
        let all = self.admin("/stats?usedonly").await?;
        let line = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        Ok(line.and_then(|value| value.trim().parse().ok()).unwrap_or(0))
    }

    /// Its output: the access log, one JSON object a line, and warnings.
    pub fn output(&self) -> Output {
        self.process.output()
    }

    /// The process, to measure or to end it.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its folder, with the configuration as rendered.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// A start on a busy machine.
const START: Duration = Duration::from_secs(60);

async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    let answer = crate::http1::exchange(address, request.as_bytes()).await?;
    ensure!(answer.status() == 200, "{path}: {}", answer.text());
    Ok(answer.text())
}
