//! What a node of a cluster is made of, besides the programs of Kubernetes: what runs containers, connects them, and tells names.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::kube::{go_in, on_this_machine, required};
use super::{install, install_from_debian, on_path, run, say, unpack_from_debian, workspace};

/// The module whose version is that of the program; its go.sum pins each file.
const NODE: &str = include_str!("../../tools/node/go.mod");

/// containerd and what it starts.
pub struct Containerd {
    /// The folder with `containerd`, `ctr` and the shims.
    pub programs: PathBuf,
    /// The folder with `runc`.
    pub runc: PathBuf,
}

/// A containerd with runc.
///
/// # Errors
/// When it is not there and cannot be installed.
pub fn containerd() -> Result<Containerd> {
    let folder_of = |program: &str| on_path(program).and_then(|it| Some(it.parent()?.to_owned()));
    if let (Some(programs), Some(runc)) = (folder_of("containerd"), folder_of("runc"))
        && programs.join("ctr").is_file()
    {
        return Ok(Containerd { programs, runc });
    }
    // Unpacked only: the installation would start a service.
    let folder = install("containerd", |folder| {
        for package in ["containerd", "runc"] {
            unpack_from_debian(package, package, "PATH", folder)?;
        }
        let works =
            |program: &Path| Command::new(program).arg("--version").output().is_ok_and(|it| it.status.success());
        if !works(&folder.join(RUNC)) {
            install_from_debian("the library of runc", &["libseccomp2"], "PATH")?;
        }
        ensure!(works(&folder.join(RUNC)), "the package runc brought a program that does not start");
        Ok(())
    })?;
    let runc = folder.join(RUNC);
    Ok(Containerd { programs: folder.join("usr/bin"), runc: runc.parent().context("a folder")?.to_owned() })
}

const RUNC: &str = "usr/sbin/runc";

/// The folder with the plugins that connect containers to a network.
///
/// # Errors
/// When they are not there and cannot be installed.
pub fn cni_plugins() -> Result<PathBuf> {
    let usual = ["/opt/cni/bin", "/usr/lib/cni"].map(Path::new);
    let complete = |folder: &&Path| ["bridge", "host-local", "loopback"].iter().all(|it| folder.join(it).is_file());
    if let Some(found) = usual.iter().copied().find(|it| complete(it)) {
        return Ok(found.to_owned());
    }
    // Unpacked only: the package would bring iptables, which nothing here needs.
    let package = "containernetworking-plugins";
    let folder = install("cni-plugins", |folder| unpack_from_debian("CNI plugins", package, "PATH", folder))?;
    Ok(folder.join("usr/lib/cni"))
}

/// `nft`, by which kube-proxy speaks to the kernel.
///
/// # Errors
/// When it is not there and cannot be installed.
pub fn nft() -> Result<PathBuf> {
    from_package("nft", "nftables")
}

/// `ip`.
///
/// # Errors
/// When it is not there and cannot be installed.
pub fn ip() -> Result<PathBuf> {
    from_package("ip", "iproute2")
}

/// A program of a package whose installation starts nothing.
fn from_package(program: &str, package: &str) -> Result<PathBuf> {
    if let Some(found) = on_path(program) {
        return Ok(found);
    }
    install_from_debian(program, &[package], "PATH")?;
    on_path(program).with_context(|| format!("the package {package} brought no program `{program}`"))
}

/// A CoreDNS that knows the names of a cluster; the variable `COREDNS` names another binary.
///
/// # Errors
/// When it is not there and cannot be built.
pub fn coredns() -> Result<PathBuf> {
    if let Some(found) = on_this_machine("COREDNS", "coredns")? {
        return Ok(found);
    }
    let version = required(NODE, "github.com/coredns/coredns")?;
    let folder = install(&format!("coredns-{version}"), |folder| {
        say(&format!("CoreDNS {version}: building from its Go module (two minutes, once)"));
        build("coredns", folder)
    })
    .with_context(|| format!("CoreDNS {version} (or set COREDNS to a binary)"))?;
    Ok(folder.join("coredns"))
}

/// A static program that waits until it is told to end.
///
/// # Errors
/// When it is not there and cannot be built.
pub fn pause() -> Result<PathBuf> {
    Ok(install("pause", |folder| build("pause", folder))?.join("pause"))
}

fn build(program: &str, folder: &Path) -> Result<()> {
    let mut go = go_in(&workspace().join("e2e/tools/node"))?;
    go.env("CGO_ENABLED", "0").args(["build", "-trimpath", "-ldflags", "-s -w", "-o"]).arg(folder.join(program));
    run(go.arg(format!("./{program}")))
}
