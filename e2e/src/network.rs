//! A network for one test: its own loopback and nothing else. What runs in it may bind any port on every address, as control
//! planes with fixed ports do, and can reach nobody outside. Files, and so socket files, are shared with everybody.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::Process;

const PATIENCE: Duration = Duration::from_secs(30);

/// Runs an async test in a network of its own, on a thread that is in it. Threads and processes that it starts are in it, too,
/// and with the last of them it is gone.
///
/// # Errors
/// Those of the test; and when no network can be made, which needs root.
pub fn alone<F: Future<Output = Result<()>>>(test: impl FnOnce() -> F + Send) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "a network of its own needs root: run this test as root");
    let holder = Process::spawn("network", Path::new("unshare"), ["--net", "sh", "-c", HOLD])?;
    let began = Instant::now();
    while !holder.output().contains(UP) {
        if let Some(status) = holder.ended() {
            bail!("no network of its own ({status}); it needs unshare and ip (iproute2): {}", holder.output().tail(10));
        }
        ensure!(began.elapsed() < PATIENCE, "no network of its own within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    let network = File::open(format!("/proc/{}/ns/net", holder.pid())).context("the network of a process")?;
    std::thread::scope(|threads| {
        let inside = threads.spawn(|| {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            // On this thread alone: workers of another runtime would be in the network that they were started in.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(test())
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

const UP: &str = "loopback is up";
const HOLD: &str = "ip link set lo up && echo loopback is up && exec sleep infinity";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::exchange;
    use crate::sloppy::Sloppy;

    #[test]
    fn two_networks_have_the_same_address_twice() {
        let bind = || async {
            let listener = tokio::net::TcpListener::bind("0.0.0.0:18000").await?;
            let other = std::thread::spawn(|| {
                alone(|| async {
                    tokio::net::TcpListener::bind("0.0.0.0:18000").await?;
                    Ok(())
                })
            });
            other.join().expect("no panic")?;
            drop(listener);
            Ok(())
        };
        alone(bind).expect("nobody else is there");
    }

    #[test]
    fn what_a_test_starts_is_in_its_network() {
        let serve = || async {
            let shop = Sloppy::spawn().await?;
            assert_eq!(exchange(shop.address(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?.status(), 200);
            let links = std::process::Command::new("ip").args(["-brief", "link"]).output()?;
            let links = String::from_utf8_lossy(&links.stdout).into_owned();
            assert!(links.lines().all(|link| link.starts_with("lo")), "{links}");
            Ok(())
        };
        alone(serve).expect("it answers");
    }
}
