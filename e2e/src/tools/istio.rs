//! Istio: its control plane, and the definitions of its kinds.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::kube::{go_in, required};
use super::{from_environment, install, run, say, workspace};

/// The module whose version is that of both; its go.sum pins each file.
const ISTIO: &str = include_str!("../../tools/istio/go.mod");
const MODULE: &str = "istio.io/istio";

/// Istio's control plane; the variable `PILOT_DISCOVERY` names another binary.
///
/// # Errors
/// When it is not there and cannot be built.
pub fn pilot_discovery() -> Result<PathBuf> {
    if let Some(chosen) = from_environment("PILOT_DISCOVERY")? {
        return Ok(chosen);
    }
    let version = required(ISTIO, MODULE)?;
    let folder = install(&format!("pilot-discovery-{version}"), |folder| {
        let mut go = go_in(&workspace().join("e2e/tools/istio"))?;
        say(&format!("Istio {version}: downloading 500 MB and building (10 to 20 minutes on two processors, once)"));
        go.env("CGO_ENABLED", "0").args(["build", "-trimpath", "-ldflags", "-s -w", "-o"]);
        run(go.arg(folder.join("pilot-discovery")).arg("istio.io/istio/pilot/cmd/pilot-discovery"))
            .context("cannot build it from its Go module")
    })
    .with_context(|| format!("pilot-discovery {version} (or set PILOT_DISCOVERY to a binary)"))?;
    Ok(folder.join("pilot-discovery"))
}

/// The file with the definitions of Istio's kinds.
///
/// # Errors
/// When it is not there and cannot be downloaded.
pub fn istio_crds() -> Result<PathBuf> {
    const FILE: &str = "crd-all.gen.yaml";
    #[derive(Deserialize)]
    struct Downloaded {
        #[serde(rename = "Dir")]
        folder: PathBuf,
    }
    let version = required(ISTIO, MODULE)?;
    let folder = install(&format!("istio-crds-{version}"), |folder| {
        say(&format!("Istio {version}: downloading its Go module"));
        let mut go = go_in(&workspace().join("e2e/tools/istio"))?;
        let answer = go.args(["mod", "download", "-json", MODULE]).stderr(Stdio::inherit()).output()?;
        let told = String::from_utf8_lossy(&answer.stdout);
        ensure!(answer.status.success(), "go mod download: {told}");
        let downloaded: Downloaded = serde_json::from_str(&told).context("what go mod download tells")?;
        fs::copy(downloaded.folder.join("manifests/charts/base/files").join(FILE), folder.join(FILE))?;
        Ok(())
    })
    .with_context(|| format!("the definitions of Istio {version}"))?;
    Ok(folder.join(FILE))
}
