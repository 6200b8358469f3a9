//! What a change must pass.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::{cargo, terminal};

/// Checks licences, sources and banned crates.
const CARGO_DENY: &str = "0.20.2";

#[derive(Args)]
pub(crate) struct Options {
    /// Everything but the demo and the tests.
    #[arg(long)]
    without_tests: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut steps: Vec<(&str, Command)> = vec![
        ("format", command(&["fmt", "--all", "--check"])),
        ("lints", command(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"])),
        ("documentation", {
            let mut doc = command(&["doc", "--workspace", "--no-deps", "--document-private-items"]);
            doc.env("RUSTDOCFLAGS", "--deny warnings");
            doc
        }),
        ("chart", command(&["xtask", "chart", "--check"])),
        ("dependencies", {
            let mut deny = Command::new(cargo_deny()?);
            deny.current_dir(e2e::tools::workspace()).args(["--workspace", "check", "bans", "licenses", "sources"]);
            deny
        }),
    ];
    if !options.without_tests {
        steps.push(("demo", command(&["xtask", "demo", "--once"])));
        steps.push(("tests", command(&["xtask", "test"])));
    }
    let mut failed = Vec::new();
    let mut times = Vec::new();
    for (name, mut step) in steps {
        terminal::heading(name);
        let began = Instant::now();
        let status = step.status().with_context(|| format!("cannot start the step {name}"))?;
        let mark = if status.success() { "ok" } else { "FAILED" };
        times.push(format!("{name} {mark} ({:.0} s)", began.elapsed().as_secs_f64()));
        terminal::line(times.last().map_or("", String::as_str));
        if !status.success() {
            failed.push(name);
        }
    }
    terminal::heading(&times.join(", "));
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(ExitCode::SUCCESS)
}

fn command(arguments: &[&str]) -> Command {
    let mut cargo = cargo::cargo();
    cargo.args(arguments);
    cargo
}

/// cargo-deny, built once (some minutes) under `target/tools`.
fn cargo_deny() -> Result<PathBuf> {
    let folder = e2e::tools::install(&format!("cargo-deny-{CARGO_DENY}"), |folder| {
        terminal::line(&format!("building cargo-deny {CARGO_DENY}, once; this takes some minutes"));
        let mut install = command(&["install", "--locked", "--no-track", "--debug"]);
        // Not the workspace's target folder: another lock, and thrown away afterwards.
        let built = e2e::tools::root()?.join(".cargo-deny-build");
        install.arg(format!("cargo-deny@{CARGO_DENY}")).arg("--root").arg(folder).arg("--target-dir").arg(&built);
        let status = install.status()?;
        std::fs::remove_dir_all(built).ok();
        ensure!(status.success(), "cargo install cargo-deny: {status}");
        Ok(())
    })?;
    Ok(folder.join("bin/cargo-deny"))
}
