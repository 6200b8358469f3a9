//! Where the programs of a node are. They are found, and installed, before there is a node: it has no way to the Internet.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::tools;

const FILE: &str = "programs.json";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Programs {
    pub(super) etcd: PathBuf,
    pub(super) kube_apiserver: PathBuf,
    pub(super) kube_controller_manager: PathBuf,
    pub(super) kube_scheduler: PathBuf,
    pub(super) kubelet: PathBuf,
    pub(super) kube_proxy: PathBuf,
    pub(super) coredns: PathBuf,
    pub(super) kubectl: PathBuf,
    pub(super) cni_plugins: PathBuf,
    /// The folders with containerd and `ctr`, with runc, and with `nft`.
    containerd: PathBuf,
    runc: PathBuf,
    nft: PathBuf,
}

impl Programs {
    pub(super) fn find() -> Result<Self> {
        let containerd = tools::containerd()?;
        let folder = |program: PathBuf| program.parent().map(Path::to_owned).context("a program lies in a folder");
        tools::ip()?;
        Ok(Self {
            etcd: tools::etcd()?,
            kubectl: tools::kubectl()?,
            cni_plugins: tools::cni_plugins()?,
            containerd: containerd.programs,
            runc: containerd.runc,
            nft: folder(tools::nft()?)?,
            coredns: tools::coredns()?,
            kube_apiserver: tools::kube_apiserver()?,
            kube_controller_manager: tools::kube_controller_manager()?,
            kube_scheduler: tools::kube_scheduler()?,
            kubelet: tools::kubelet()?,
            kube_proxy: tools::kube_proxy()?,
        })
    }

    pub(super) fn read(folder: &Path) -> Result<Self> {
        Ok(serde_json::from_slice(&fs::read(folder.join(FILE))?)?)
    }

    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        Ok(fs::write(folder.join(FILE), serde_json::to_vec(self)?)?)
    }

    pub(super) fn containerd(&self) -> PathBuf {
        self.containerd.join("containerd")
    }

    pub(super) fn ctr(&self) -> PathBuf {
        self.containerd.join("ctr")
    }

    /// `PATH` for those who look for their helpers there.
    pub(super) fn path(&self) -> Result<OsString> {
        let own = [&self.containerd, &self.runc, &self.nft].map(Clone::clone);
        let usual = std::env::var_os("PATH").unwrap_or_default();
        Ok(std::env::join_paths(own.into_iter().chain(std::env::split_paths(&usual)))?)
    }
}
