//! The fuzz targets of `fuzz/`, each for a while. `fuzz/README.md` says what they hold.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use e2e::tools;

use crate::terminal;

/// Builds and starts libFuzzer's programs.
const CARGO_FUZZ: &str = "0.13.2";
/// The compiler's sanitizers and coverage are not in stable releases.
const TOOLCHAIN: &str = "nightly";
/// One input that takes longer, in seconds, is a finding: every target's cost is bounded (P28).
const MAX_INPUT_SECONDS: u64 = 10;
/// A target that holds more, in MiB, is a finding (P32). The sanitizer's own memory counts too.
const MAX_MEMORY: u64 = 2048;

#[derive(Args)]
pub(crate) struct Options {
    /// The target; without a name, each of them in turn.
    target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// What a run of a target came to.
struct Outcome {
    target: String,
    executions: u64,
    covered: u64,
    held: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let known = targets()?;
    let wanted = match &options.target {
        None => known,
        Some(name) => {
            ensure!(known.contains(name), "no fuzz target `{name}`: there are {}", known.join(", "));
            vec![name.clone()]
        }
    };
    let cargo_fuzz = cargo_fuzz()?;
    terminal::heading("Building the fuzz targets; the first time takes some minutes");
    for target in &wanted {
        let status = command(&cargo_fuzz, "build", target)?.status().context("cannot start cargo-fuzz")?;
        ensure!(status.success(), "the fuzz target {target} does not build: {status}");
    }
    let outcomes =
        wanted.iter().map(|target| fuzz(&cargo_fuzz, target, options.seconds)).collect::<Result<Vec<_>>>()?;
    terminal::heading(&format!("Fuzzed for {} s each", options.seconds));
    for Outcome { target, executions, covered, held } in &outcomes {
        let line = format!("{target}: {executions} executions, {covered} edges covered");
        if *held { terminal::good(&line) } else { terminal::bad(&format!("{line}; see above")) }
    }
    Ok(if outcomes.iter().all(|it| it.held) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The names of the targets, sorted.
fn targets() -> Result<Vec<String>> {
    let folder = tools::workspace().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "rs") {
            names.extend(path.file_stem().and_then(|it| it.to_str()).map(str::to_owned));
        }
    }
    names.sort();
    Ok(names)
}

/// Runs a target from what earlier runs found and the seeds of `fuzz/seeds`.
fn fuzz(cargo_fuzz: &Path, target: &str, seconds: u64) -> Result<Outcome> {
    terminal::heading(&format!("{target}, for {seconds} s"));
    let corpus = tools::workspace().join("fuzz/corpus").join(target);
    fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
    let mut command = command(cargo_fuzz, "run", target)?;
    command.arg(corpus).arg(tools::workspace().join("fuzz/seeds").join(target)).arg("--").args([
        format!("-max_total_time={seconds}"),
        format!("-timeout={MAX_INPUT_SECONDS}"),
        format!("-rss_limit_mb={MAX_MEMORY}"),
        "-print_final_stats=1".to_owned(),
    ]);
    let mut child = command.stderr(Stdio::piped()).spawn().context("cannot start cargo-fuzz")?;
    let mut outcome = Outcome { target: target.to_owned(), executions: 0, covered: 0, held: false };
    for line in BufReader::new(child.stderr.take().context("no output")?).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if let Some(count) = statistic(&line, "stat::number_of_executed_units:") {
            outcome.executions = count;
        }
        if let Some(count) = line.starts_with('#').then(|| statistic(&line, "cov:")).flatten() {
            outcome.covered = count;
        }
        if is_worth_showing(&line) {
            terminal::detail(&line);
        }
    }
    outcome.held = child.wait()?.success();
    Ok(outcome)
}

/// Each new input has a line of its own, which nobody reads; one line now and then says that all goes on.
fn is_worth_showing(line: &str) -> bool {
    let is_of_one_input = line.starts_with('#') && ["NEW ", "REDUCE", "RELOAD"].iter().any(|it| line.contains(it));
    let is_of_the_engine = ["INFO: ", "\tNEW_FUNC", "######"].iter().any(|it| line.starts_with(it));
    let is_of_the_dictionary = line.starts_with('"') && line.contains("\" # Uses: ");
    !(line.is_empty() || is_of_one_input || is_of_the_engine || is_of_the_dictionary)
}

/// The number after `name`.
fn statistic(line: &str, name: &str) -> Option<u64> {
    line.split_once(name)?.1.split_whitespace().next()?.parse().ok()
}

/// `cargo fuzz VERB TARGET`, with the compiler it needs.
fn command(cargo_fuzz: &Path, verb: &str, target: &str) -> Result<Command> {
    let mut command = nightly(cargo_fuzz.as_os_str());
    // cargo-fuzz is a cargo command: its first argument is its name.
    command.args(["fuzz", verb, "--target-dir"]).arg(tools::workspace().join("target/fuzz")).arg(target);
    Ok(command)
}

/// A program that finds the nightly compiler in place of the one that runs us.
fn nightly(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", TOOLCHAIN]).arg(program).current_dir(tools::workspace());
    for own in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH"] {
        command.env_remove(own);
    }
    command
}

/// cargo-fuzz, built once under `target/tools`, and the toolchain it needs.
fn cargo_fuzz() -> Result<PathBuf> {
    ensure!(tools::on_path("rustup").is_some(), "fuzzing needs a nightly compiler, and so rustup (https://rustup.rs)");
    let has_nightly = nightly("rustc").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if !has_nightly.success() {
        terminal::line("installing the nightly toolchain with rustup, once");
        let mut install = Command::new("rustup");
        install.args(["toolchain", "install", TOOLCHAIN, "--profile", "minimal"]);
        let status = install.status().context("cannot start rustup")?;
        ensure!(status.success(), "rustup toolchain install {TOOLCHAIN}: {status}");
    }
    let folder = tools::install(&format!("cargo-fuzz-{CARGO_FUZZ}"), |folder| {
        terminal::line(&format!("building cargo-fuzz {CARGO_FUZZ}, once; this takes about a minute"));
        // Not the workspace's target folder: another lock, and thrown away afterwards.
        let built = tools::root()?.join(".cargo-fuzz-build");
        let mut install = nightly("cargo");
        install.args(["install", "--locked", "--no-track"]).arg(format!("cargo-fuzz@{CARGO_FUZZ}"));
        let status = install.arg("--root").arg(folder).arg("--target-dir").arg(&built).status()?;
        fs::remove_dir_all(built).ok();
        ensure!(status.success(), "cargo install cargo-fuzz: {status}");
        Ok(())
    })?;
    Ok(folder.join("bin/cargo-fuzz"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_libfuzzer() {
        let pulse = "#4096\tpulse  cov: 812 ft: 1993 corp: 130/2310b lim: 63 exec/s: 2048 rss: 95Mb";
        assert_eq!(statistic(pulse, "cov:"), Some(812));
        assert_eq!(statistic("stat::number_of_executed_units: 70512", "stat::number_of_executed_units:"), Some(70_512));
        assert_eq!(statistic("INFO: Seed: 12", "cov:"), None);
    }

    #[test]
    fn findings_are_shown_and_new_inputs_are_not() {
        for (line, shown) in [
            ("#4096\tpulse  cov: 812 ft: 1993", true),
            ("#17\tNEW    cov: 812 ft: 1993", false),
            ("#18\tREDUCE cov: 812 ft: 1993", false),
            ("\"\\377\\377\" # Uses: 23707", false),
            ("thread '<unnamed>' panicked at fuzz_targets/path.rs:7:1:", true),
            ("", false),
        ] {
            assert_eq!(is_worth_showing(line), shown, "{line}");
        }
    }

    #[test]
    fn every_target_has_seeds_and_is_built() {
        let manifest = fs::read_to_string(tools::workspace().join("fuzz/Cargo.toml")).expect("there");
        for target in targets().expect("there") {
            let seeds = fs::read_dir(tools::workspace().join("fuzz/seeds").join(&target));
            assert!(seeds.expect("a folder of seeds").next().is_some(), "{target} has no seed");
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} is not in the manifest");
        }
    }
}
