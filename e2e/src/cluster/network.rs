//! The network of the cluster: everything is inside of the node's namespace, but for one link by which this machine reaches it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::wait_until;
use crate::tools;

/// All addresses of the cluster. This machine has a route to them while it is up.
const ALL: &str = "10.213.0.0/16";
/// Those of pods. The node has the first.
pub(super) const PODS: &str = "10.213.0.0/24";
/// The node, the API server and the names' server.
pub(super) const NODE: &str = "10.213.0.1";
/// Those of services.
pub(super) const SERVICES: &str = "10.213.128.0/20";
/// The first service: the API server's.
pub(super) const API_SERVICE: &str = "10.213.128.1";
/// The bridge between the pods.
pub(super) const BRIDGE: &str = "cloakroom-pods";

/// The link, at this end and at the node's.
const LINK: (&str, &str) = ("cloakroom0", "up0");
const LINK_ADDRESSES: (&str, &str) = ("10.213.255.1", "10.213.255.2");

/// Whose the link is: the folder of a cluster.
pub(super) fn owner() -> Result<Option<PathBuf>> {
    match fs::read_to_string(format!("/sys/class/net/{}/ifalias", LINK.0)) {
        Ok(alias) => Ok(Some(PathBuf::from(alias.trim_end()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("the link {}", LINK.0)),
    }
}

/// Makes the link to the namespace of a process, as soon as that has one of its own.
pub(super) async fn connect(folder: &Path, process: u32) -> Result<()> {
    let ours = fs::read_link("/proc/self/ns/net")?;
    let theirs = async || fs::read_link(format!("/proc/{process}/ns/net")).is_ok_and(|it| it != ours);
    wait_until(Duration::from_secs(30), "network namespace", theirs).await?;
    let process = process.to_string();
    let alias = folder.display().to_string();
    ip(&["link", "add", LINK.0, "type", "veth", "peer", "name", LINK.1, "netns", &process])?;
    ip(&["link", "set", LINK.0, "alias", &alias, "up"])?;
    ip(&["address", "add", &format!("{}/30", LINK_ADDRESSES.0), "dev", LINK.0])?;
    ip(&["route", "add", ALL, "via", LINK_ADDRESSES.1, "dev", LINK.0])
        .with_context(|| format!("this machine has another network at {ALL}"))
}

/// Removes the link. The kernel removes the namespace, and all that is in it, with the last of its processes.
pub(super) fn disconnect() -> Result<()> {
    match ip(&["link", "delete", LINK.0]) {
        // The namespace went a moment before.
        Err(_) if owner()?.is_none() => Ok(()),
        other => other,
    }
}

/// Inside of the namespace: addresses, the bridge, and the way out.
pub(super) fn prepare_node() -> Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    ip(&["address", "add", &format!("{}/30", LINK_ADDRESSES.1), "dev", LINK.1])?;
    ip(&["link", "set", LINK.1, "up"])?;
    ip(&["route", "add", "default", "via", LINK_ADDRESSES.0])?;
    ip(&["link", "add", BRIDGE, "type", "bridge"])?;
    ip(&["address", "add", &format!("{NODE}/24"), "dev", BRIDGE])?;
    ip(&["link", "set", BRIDGE, "up"])?;
    // Of this namespace alone.
    Ok(fs::write("/proc/sys/net/ipv4/ip_forward", "1")?)
}

fn ip(arguments: &[&str]) -> Result<()> {
    let answer = Command::new(tools::ip()?).args(arguments).stdin(Stdio::null()).output().context("cannot start ip")?;
    let words = String::from_utf8_lossy(&answer.stderr);
    ensure!(answer.status.success(), "ip {}: {}", arguments.join(" "), words.trim());
    Ok(())
}
