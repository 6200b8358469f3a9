//! `cargo xtask cluster`: a cluster to try things in.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Subcommand;
use e2e::cluster::{self, Cluster, Life};

use crate::terminal;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Starts it, and returns when its node is ready.
    Up,
    /// Takes it away, also what a crash has left of it.
    Down,
    /// Is the node. `up` calls it.
    #[command(hide = true)]
    Node {
        /// Where its files are.
        folder: PathBuf,
    },
}

pub(crate) fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Up => up(),
        Command::Down => {
            let found = cluster::down()?;
            terminal::line(if found { "The cluster is gone." } else { "There is no cluster." });
            Ok(ExitCode::SUCCESS)
        }
        Command::Node { folder } => {
            cluster::run_node(folder)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn up() -> Result<ExitCode> {
    if let Some(cluster) = cluster::running()? {
        terminal::line("The cluster is up already.");
        next(&cluster);
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let began = Instant::now();
    let cluster = runtime.block_on(start(Life::UntilDown))?;
    terminal::line(&format!("The node is ready after {:.0} s.", began.elapsed().as_secs_f64()));
    next(&cluster);
    Ok(ExitCode::SUCCESS)
}

/// Starts it with this very program as its first process.
pub(crate) async fn start(life: Life) -> Result<Cluster> {
    let own = std::env::current_exe().context("where this program is")?;
    let node = [own.display().to_string(), "cluster".to_owned(), "node".to_owned()];
    cluster::up(&node, life).await
}

fn next(cluster: &Cluster) {
    terminal::line(&format!("  export KUBECONFIG={}", cluster.kubeconfig().display()));
    terminal::line("  kubectl get pods --all-namespaces");
    terminal::line("  cargo xtask e2e            # installs cloakroom in it and tells the story");
    terminal::line("  cargo xtask cluster down\n");
    terminal::line(&format!("Logs: {}", cluster.logs().display()));
}
