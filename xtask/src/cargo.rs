//! Cargo, called for its builds; what it made is read from its messages, so that any target folder is right.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// One message of `--message-format=json` (cargo reference, "External tools").
#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// A program that cargo made.
pub(crate) struct Executable {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its target's name: `cloakroom`, `real`, …
    pub(crate) name: String,
    /// Its target's kind: `lib`, `bin`, `test`.
    pub(crate) kind: String,
    /// Its package's `Cargo.toml`.
    pub(crate) manifest: PathBuf,
    /// Whether it is a program of tests. Cargo also builds the programs that those start.
    pub(crate) is_test: bool,
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(e2e::tools::workspace());
    cargo
}

/// Builds, showing cargo's progress, and lists the programs made.
pub(crate) fn build<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<Vec<Executable>> {
    let mut cargo = cargo();
    cargo.args(arguments);
    run(cargo)
}

/// [`build`] by a command that has its arguments.
pub(crate) fn run(mut cargo: Command) -> Result<Vec<Executable>> {
    cargo.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let mut child = cargo.spawn().context("cannot start cargo")?;
    let mut made = Vec::new();
    for line in BufReader::new(child.stdout.take().context("cargo has no output")?).lines() {
        let line = line?;
        let Ok(message) = serde_json::from_str::<Message>(&line) else {
            continue;
        };
        if message.reason != "compiler-artifact" {
            continue;
        }
        if let (Some(path), Some(target), Some(manifest)) = (message.executable, message.target, message.manifest_path)
        {
            let is_test = message.profile.is_some_and(|it| it.test);
            made.push(Executable { path, name: target.name, kind: target.kind.join(","), manifest, is_test });
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "cargo {status}");
    Ok(made)
}

/// Builds the program itself.
pub(crate) fn build_cloakroom() -> Result<PathBuf> {
    let made = build(["build", "--package", "cloakroom", "--bin", "cloakroom"])?;
    let binary = made.into_iter().find(|it| it.name == "cloakroom").context("cargo made no program `cloakroom`")?;
    Ok(binary.path)
}
