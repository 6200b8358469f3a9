//! Envoy Gateway without a cluster: objects from a file, and an Envoy of this machine for each Gateway. And egctl, which says what
//! Envoy Gateway would make of objects.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::process::{Output, Process};
use crate::tools::{self, EnvoyVersion};

/// A start on a busy machine.
const START: Duration = Duration::from_secs(120);

/// The class whose Gateways it runs, with an Envoy of this machine.
pub const CLASS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: envoy }
spec:
  controllerName: gateway.envoyproxy.io/gatewayclass-controller
  parametersRef: { group: gateway.envoyproxy.io, kind: EnvoyProxy, name: here, namespace: envoy-gateway-system }
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: { name: here, namespace: envoy-gateway-system }
spec: { provider: { type: Host, host: { envoyVersion: 1.40.0 } } }
";

/// The running control plane, and the Envoy that it runs, which the kernel ends with it. It binds fixed ports on every address, so it wants a network of its own
/// ([`crate::network::alone`]).
pub struct EnvoyGateway {
    process: Process,
    folder: tempfile::TempDir,
}

impl EnvoyGateway {
    /// Starts it with these objects, as YAML; [`CLASS`] is added. It is ready when a Gateway answers, which the caller waits for.
    ///
    /// # Errors
    /// When it does not come up; the error has its output.
    pub async fn spawn(objects: &str) -> Result<Self> {
        let binaries = || anyhow::Ok((tools::envoy_gateway()?, tools::envoy(EnvoyVersion::Newest)?));
        let (program, envoy) = tokio::task::spawn_blocking(binaries).await??;
        let folder = tempfile::Builder::new().prefix("eg-").tempdir()?;
        let path = |name: &str| folder.path().join(name);
        // Where it looks for an Envoy before it downloads one.
        let version = path("data/envoy-versions").join(EnvoyVersion::Newest.number()).join("bin");
        std::fs::create_dir_all(&version)?;
        std::os::unix::fs::symlink(envoy, version.join("envoy"))?;
        std::fs::create_dir(path("objects"))?;
        std::fs::write(path("objects/all.yaml"), format!("{CLASS}---\n{objects}"))?;
        std::fs::write(path("envoy-gateway.yaml"), format!("{:#}", configuration(folder.path())))?;

        let mut certificates = Command::new(&program);
        certificates.args(["certgen", "--local", "--config-home"]).arg(path("config"));
        let made = certificates.output().with_context(|| format!("cannot start {}", program.display()))?;
        ensure!(made.status.success(), "envoy-gateway certgen: {}", String::from_utf8_lossy(&made.stderr));

        let configuration = path("envoy-gateway.yaml");
        let arguments = [Path::new("server"), Path::new("--config-path"), &configuration];
        let process = Process::spawn("envoy-gateway", &program, arguments)?;
        let request = b"GET /readyz HTTP/1.1\r\nHost: health\r\nConnection: close\r\n\r\n";
        let ready = async || crate::http1::exchange(READY, request).await.is_ok_and(|answer| answer.status() == 200);
        process.wait_until(START, "readiness", ready).await?;
        Ok(Self { process, folder })
    }

    /// Other objects in the place of those it has. A field that an object of the same name had before stays, unless it has another
    /// value.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn replace(&self, objects: &str) -> Result<()> {
        // Whole at once: it reads the file as soon as it changes.
        let (file, next) = (self.folder.path().join("objects/all.yaml"), self.folder.path().join("next"));
        std::fs::write(&next, format!("{CLASS}---\n{objects}"))?;
        Ok(std::fs::rename(next, file)?)
    }

    /// Its output, and that of its Envoy.
    pub fn output(&self) -> Output {
        self.process.output()
    }

    /// The process, to wait with.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// Its own probes, fixed.
const READY: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8081);

fn configuration(folder: &Path) -> Value {
    let path = |name: &str| folder.join(name);
    json!({
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyGateway",
        "gateway": { "controllerName": "gateway.envoyproxy.io/gatewayclass-controller" },
        "provider": { "type": "Custom", "custom": {
            "resource": { "type": "File", "file": { "paths": [path("objects")] } },
            "infrastructure": { "type": "Host", "host": {
                "configHome": path("config"), "dataHome": path("data"), "stateHome": path("state"), "runtimeDir": path("run"),
            } },
        } },
        "extensionApis": { "enableBackend": true, "enableEnvoyPatchPolicy": true },
        "logging": { "level": { "default": "info" } },
    })
}

/// What Envoy Gateway makes of objects, as egctl tells it.
pub struct Translated {
    /// The objects, each with its status.
    objects: Value,
    /// What goes to the proxies: messages of Envoy's configuration dump.
    xds: Value,
}

/// Translates objects, as YAML, as Envoy Gateway would in a cluster. [`CLASS`] need not be among them.
///
/// # Errors
/// When egctl refuses them.
pub fn translate(objects: &str) -> Result<Translated> {
    const CLASS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: envoy }
spec: { controllerName: gateway.envoyproxy.io/gatewayclass-controller }
";
    let egctl = tools::egctl()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("objects.yaml");
    std::fs::write(&file, format!("{CLASS}---\n{objects}"))?;
    let ask = |to: &str| run(&egctl, &file, to);
    Ok(Translated { objects: ask("gateway-api")?, xds: ask("xds")? })
}

fn run(egctl: &PathBuf, file: &Path, to: &str) -> Result<Value> {
    let mut command = Command::new(egctl);
    command.args([
        "x",
        "translate",
        "--from",
        "gateway-api",
        "--to",
        to,
        "--type",
        "all",
        "--output",
        "json",
        "--file",
    ]);
    let answer = command.arg(file).output().with_context(|| format!("cannot start {}", egctl.display()))?;
    ensure!(answer.status.success(), "egctl: {}", String::from_utf8_lossy(&answer.stderr));
    serde_json::from_slice(&answer.stdout).context("what egctl tells")
}

impl Translated {
    /// Every condition that is not `True`, with the object that has it: none is what one wants.
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        doubts_in(&self.objects, "", &mut doubts);
        doubts
    }

    /// How many conditions are `True`.
    pub fn assents(&self) -> usize {
        all(&self.objects, &|it| it["status"] == "True" && it["type"].is_string()).len()
    }

    /// Every part of the proxies' configuration with this `@type`, by the last words of its name.
    pub fn typed(&self, name: &str) -> Vec<&Value> {
        all(&self.xds, &|it| it["@type"].as_str().is_some_and(|found| found.ends_with(name)))
    }

    /// The whole of the proxies' configuration.
    pub fn xds(&self) -> &Value {
        &self.xds
    }
}

/// Every value within `it` for which `wanted` holds, in the order of the document.
fn all<'a>(it: &'a Value, wanted: &impl Fn(&Value) -> bool) -> Vec<&'a Value> {
    let mut found: Vec<&Value> = if wanted(it) { vec![it] } else { Vec::new() };
    match it {
        Value::Array(items) => found.extend(items.iter().flat_map(|item| all(item, wanted))),
        Value::Object(fields) => found.extend(fields.values().flat_map(|field| all(field, wanted))),
        _ => {}
    }
    found
}

fn doubts_in(it: &Value, owner: &str, doubts: &mut Vec<String>) {
    match it {
        Value::Array(items) => items.iter().for_each(|item| doubts_in(item, owner, doubts)),
        Value::Object(fields) => {
            let named = it.pointer("/metadata/name").and_then(Value::as_str);
            let owner =
                named.map_or_else(|| owner.to_owned(), |name| format!("{} {name}", it["kind"].as_str().unwrap_or("?")));
            if it["type"].is_string() && it["status"].is_string() && it["status"] != "True" {
                doubts.push(format!("{owner}: {} is {}: {} {}", it["type"], it["status"], it["reason"], it["message"]));
            }
            fields.values().for_each(|field| doubts_in(field, &owner, doubts));
        }
        _ => {}
    }
}
