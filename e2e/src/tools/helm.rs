//! Helm, which installs charts: the version that is current, and the one before, which many clusters' owners still have.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::kube::{go_in, kubectl_layer, required};
use super::{from_environment, install, on_path, run, say, workspace};

/// The module whose version is that of Helm 3; its go.sum pins each file.
const HELM_3: &str = include_str!("../../tools/helm3/go.mod");

/// A Helm of version 4; the variable `HELM` names another binary.
///
/// # Errors
/// When it is not there and cannot be installed.
pub fn helm() -> Result<PathBuf> {
    if let Some(found) = on_this_machine("HELM", &["helm"], "v4.")? {
        return Ok(found);
    }
    // It comes beside kubectl.
    let binary = kubectl_layer().context("Helm 4 (or set HELM to a binary)")?.join("helm/helm");
    ensure!(version(&binary).is_some_and(|it| it.starts_with("v4.")), "{} is no Helm 4: set HELM", binary.display());
    Ok(binary)
}

/// A Helm of version 3; the variable `HELM3` names another binary.
///
/// # Errors
/// When it is not there and cannot be built.
pub fn helm3() -> Result<PathBuf> {
    if let Some(found) = on_this_machine("HELM3", &["helm3", "helm"], "v3.")? {
        return Ok(found);
    }
    let number = required(HELM_3, "helm.sh/helm/v3")?;
    let folder = install(&format!("helm-{number}"), |folder| {
        say(&format!("Helm {number}: downloading and building (two minutes on two processors, once)"));
        let mut go = go_in(&workspace().join("e2e/tools/helm3"))?;
        // Otherwise it takes itself for a build that knows no version of Kubernetes and refuses `kubeVersion`.
        go.env("CGO_ENABLED", "0").args(["build", "-trimpath", "-ldflags", &flags(number)?, "-o"]);
        run(go.arg(folder.join("helm")).arg("helm.sh/helm/v3/cmd/helm"))
            .context("cannot build it from its Go module")?;
        let answer = version(&folder.join("helm"));
        ensure!(answer.as_deref() == Some(number), "what was built calls itself {answer:?}");
        Ok(())
    })
    .with_context(|| format!("Helm {number} (or set HELM3 to a binary)"))?;
    Ok(folder.join("helm"))
}

/// What tells the program its own version, and that of the Kubernetes whose client it has: `v0.37.2` of the client is 1.37.
fn flags(number: &str) -> Result<String> {
    let client = required(HELM_3, "k8s.io/client-go")?;
    let minor = client.split('.').nth(1).with_context(|| format!("no version of Kubernetes in {client}"))?;
    let mut flags = format!("-s -w -X helm.sh/helm/v3/internal/version.version={number}");
    for package in ["pkg/lint/rules", "pkg/chartutil"] {
        flags += &format!(" -X helm.sh/helm/v3/{package}.k8sVersionMajor=1");
        flags += &format!(" -X helm.sh/helm/v3/{package}.k8sVersionMinor={minor}");
    }
    Ok(flags)
}

fn on_this_machine(variable: &str, names: &[&str], wanted: &str) -> Result<Option<PathBuf>> {
    if let Some(chosen) = from_environment(variable)? {
        let answer = version(&chosen);
        let fits = answer.as_deref().is_some_and(|it| it.starts_with(wanted));
        ensure!(fits, "{variable} names {}, which is {answer:?} and not {wanted}x", chosen.display());
        return Ok(Some(chosen));
    }
    let found = names.iter().filter_map(|name| on_path(name));
    Ok(found.into_iter().find(|binary| version(binary).is_some_and(|it| it.starts_with(wanted))))
}

/// What a Helm calls itself, such as `v4.1.4`.
fn version(binary: &Path) -> Option<String> {
    let answer = Command::new(binary).args(["version", "--template", "{{.Version}}"]).output().ok()?;
    Some(String::from_utf8_lossy(&answer.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helm_3_knows_the_kubernetes_of_its_client() {
        let flags = flags("v3.1.2").expect("versions");
        assert!(flags.contains("k8sVersionMajor=1 ") && flags.contains("version.version=v3.1.2"), "{flags}");
        let minor = flags.rsplit_once("k8sVersionMinor=").expect("a minor version").1;
        assert!(minor.parse::<u32>().is_ok_and(|it| it >= 29), "{flags}");
    }
}
