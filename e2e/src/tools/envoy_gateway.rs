//! Envoy Gateway: its control plane, and egctl.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::kube::{go_in, required};
use super::{from_environment, install, run, say, workspace};

/// The module whose version is that of the programs; its go.sum pins each file.
const MODULE: &str = include_str!("../../tools/envoy-gateway/go.mod");
const NAME: &str = "github.com/envoyproxy/gateway";

/// The control plane of Envoy Gateway; the variable `ENVOY_GATEWAY` names another binary.
///
/// # Errors
/// When it is not there and cannot be built.
pub fn envoy_gateway() -> Result<PathBuf> {
    built("envoy-gateway", "ENVOY_GATEWAY")
}

/// egctl, which translates objects without a cluster; the variable `EGCTL` names another binary.
///
/// # Errors
/// When it is not there and cannot be built.
pub fn egctl() -> Result<PathBuf> {
    built("egctl", "EGCTL")
}

fn built(program: &str, variable: &str) -> Result<PathBuf> {
    if let Some(chosen) = from_environment(variable)? {
        return Ok(chosen);
    }
    let version = required(MODULE, NAME)?;
    let folder = install(&format!("{program}-{version}"), |folder| {
        build(program, version, &folder.join(program)).context("cannot build it from its Go module")
    })
    .with_context(|| format!("{program} {version} (or set {variable} to a binary)"))?;
    Ok(folder.join(program))
}

fn build(program: &str, version: &str, binary: &Path) -> Result<()> {
    let mut go = go_in(&workspace().join("e2e/tools/envoy-gateway"))?;
    say(&format!("{program} {version}: downloading and building (10 to 20 minutes on two processors, once)"));
    go.env("CGO_ENABLED", "0").args(["build", "-trimpath", "-ldflags", "-s -w", "-o"]).arg(binary);
    run(go.arg(format!("{NAME}/cmd/{program}")))?;
    let answer = Command::new(binary).arg("--help").output()?;
    ensure!(answer.status.success(), "what was built does not run: {}", String::from_utf8_lossy(&answer.stderr));
    Ok(())
}

/// A folder with the definitions of Envoy Gateway's kinds.
///
/// # Errors
/// When they are not there and cannot be downloaded.
pub fn envoy_gateway_crds() -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Downloaded {
        #[serde(rename = "Dir")]
        folder: PathBuf,
    }
    let version = required(MODULE, NAME)?;
    install(&format!("envoy-gateway-crds-{version}"), |folder| {
        say(&format!("Envoy Gateway {version}: downloading its Go module"));
        let mut go = go_in(&workspace().join("e2e/tools/envoy-gateway"))?;
        let answer = go.args(["mod", "download", "-json", NAME]).stderr(Stdio::inherit()).output()?;
        let told = String::from_utf8_lossy(&answer.stdout);
        ensure!(answer.status.success(), "go mod download: {told}");
        let downloaded: Downloaded = serde_json::from_str(&told).context("what go mod download tells")?;
        for entry in fs::read_dir(downloaded.folder.join("charts/gateway-helm/charts/crds/crds/generated"))? {
            let entry = entry?;
            fs::copy(entry.path(), folder.join(entry.file_name()))?;
        }
        Ok(())
    })
    .with_context(|| format!("the definitions of Envoy Gateway {version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_module() {
        assert_eq!(required(MODULE, NAME).expect("required"), "v1.9.1");
    }
}
