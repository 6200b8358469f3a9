//! A network of a test's own (network_namespaces(7)): every port is free, every address is loopback, and nobody else is there.
//!
//! For programs that bind fixed ports, or all addresses. It needs root.

use std::io::{BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Runs `work` on a runtime whose threads, and the processes that they start, are in a new network with nothing but loopback. It is
/// gone when the last of them is: nothing has to be taken down, also after a crash.
///
/// Whatever must be downloaded has to be there before.
///
/// # Errors
/// Those of `work`, and when there can be no such network: without root, or without iproute2.
pub fn alone<T: Send + 'static>(work: impl AsyncFnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let thread = std::thread::Builder::new().name("network".to_owned()).spawn(move || {
        enter()?;
        // Its threads are started by this one, and are where it is.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(work())
    })?;
    match thread.join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Moves the calling thread into a new network.
fn enter() -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "a network of its own needs root: run this test as root");
    // Who makes a network is in it; this one only holds it until we are, too.
    let mut maker = Command::new("unshare");
    maker.args(["--net", "--", "sh", "-c", "ip link set lo up && echo up && exec cat"]);
    maker.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut maker = maker.spawn().context("cannot start unshare (util-linux)")?;
    let mut line = String::new();
    let read = maker.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
    let entered = match read {
        Some(Ok(_)) if line == "up\n" => std::fs::File::open(format!("/proc/{}/ns/net", maker.id()))
            .map_err(anyhow::Error::from)
            .and_then(|network| Ok(move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?)),
        _ => Err(anyhow!("no network could be made: is iproute2 installed (`ip`)?")),
    };
    // `cat` ends with its input.
    drop(maker.stdin.take());
    maker.wait()?;
    entered
}
