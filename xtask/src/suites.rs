//! The tests, built once and counted by kind.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::ops::AddAssign;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::cargo::{self, Executable};
use crate::terminal;

/// How many promises SECURITY-PROMISES numbers.
const PROMISES: u8 = 38;

#[derive(Args)]
pub(crate) struct Options {
    /// What to run; without a name, everything but `promises` and `mesh`.
    #[arg(value_enum)]
    suites: Vec<Suite>,
    /// Only tests whose name contains this, and other options of the test programs.
    #[arg(last = true)]
    filter: Vec<String>,
}

/// A kind of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Suite {
    /// Tests of one module, in the process.
    Unit,
    /// Property tests: everything in a module called `properties`.
    Properties,
    /// Programs in `tests/` that need no Envoy.
    Integration,
    /// Everything through a real Envoy.
    Real,
    /// The Helm chart, as Helm 4 and 3 render it.
    Chart,
    /// Everything on a real API server of Kubernetes.
    Kubernetes,
    /// Broken dependencies, crashes and lost data.
    Faults,
    /// Real control planes of meshes with what the chart renders. By name only: it needs root, and their first build takes long.
    Mesh,
    /// The tests named after the security promises, listed by promise.
    Promises,
}

impl Suite {
    const fn title(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Properties => "property",
            Self::Integration => "integration",
            Self::Real => "real-Envoy",
            Self::Chart => "chart",
            Self::Kubernetes => "Kubernetes",
            Self::Faults => "fault",
            Self::Mesh => "mesh",
            Self::Promises => "promise",
        }
    }

    /// What of an executable belongs to this suite, as arguments of the test program; `None` if nothing does.
    fn selects(self, executable: &Executable) -> Option<&'static [&'static str]> {
        let home = match (executable.kind.as_str(), executable.name.as_str()) {
            ("test", "real") => Self::Real,
            ("test", "chart" | "monitoring") => Self::Chart,
            ("test", "kube") => Self::Kubernetes,
            ("test", "embedded_kill" | "redis") => Self::Faults,
            ("test", "mesh") => Self::Mesh,
            ("test", _) => Self::Integration,
            _ => Self::Unit,
        };
        match (self, home) {
            (Self::Real, Self::Real)
            | (Self::Chart, Self::Chart)
            | (Self::Kubernetes, Self::Kubernetes)
            | (Self::Faults, Self::Faults)
            | (Self::Mesh, Self::Mesh) => Some(&[]),
            (Self::Unit, Self::Unit) | (Self::Integration, Self::Integration) => Some(&["--skip", "properties::"]),
            (Self::Properties, Self::Unit | Self::Integration) => Some(&["properties::"]),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Count {
    passed: usize,
    failed: usize,
    ignored: usize,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let all = [
        Suite::Unit,
        Suite::Properties,
        Suite::Integration,
        Suite::Chart,
        Suite::Real,
        Suite::Kubernetes,
        Suite::Faults,
    ];
    let wanted = if options.suites.is_empty() { all.to_vec() } else { options.suites.clone() };

    terminal::heading("Building the tests");
    let mut executables = cargo::build(["test", "--no-run", "--workspace", "--lib", "--bins", "--tests"])?;
    executables.retain(|it| it.is_test);

    let mut counts: Vec<(Suite, Count)> = Vec::new();
    for suite in wanted {
        // Before the tests, which show nothing while they build.
        if suite == Suite::Mesh && options.filter.is_empty() {
            terminal::heading("Control planes");
            crate::control_planes()?;
        }
        terminal::heading(&format!("{} tests", suite.title()));
        let began = Instant::now();
        let mut count = Count::default();
        if suite == Suite::Promises {
            count += promises(&executables)?;
        }
        for executable in &executables {
            if let Some(selection) = suite.selects(executable) {
                count += test(executable, selection.iter().copied().chain(options.filter.iter().map(String::as_str)))?;
            }
        }
        if suite == Suite::Unit && options.filter.is_empty() {
            count += documentation()?;
        }
        terminal::detail(&format!("{} tests took {:.1} s", suite.title(), began.elapsed().as_secs_f64()));
        counts.push((suite, count));
    }
    report(&counts, &executables)
}

/// Ends with the line `N passed, N failed`.
fn report(counts: &[(Suite, Count)], executables: &[Executable]) -> Result<ExitCode> {
    terminal::heading("Counts");
    let mut total = Count::default();
    for (suite, count) in counts {
        total += *count;
        terminal::line(&format!("{:>11} tests: {} passed, {} failed", suite.title(), count.passed, count.failed));
    }
    let named = by_promise(executables)?;
    terminal::line(&format!("security promises with a test of their name: {} of {PROMISES}", named.len()));
    if total.ignored > 0 {
        terminal::line(&format!("{} ignored", total.ignored));
    }
    terminal::line(&format!("{} passed, {} failed", total.passed, total.failed));
    Ok(if total.failed == 0 && total.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one test program, showing its output as it comes.
fn test<'a>(executable: &Executable, arguments: impl Iterator<Item = &'a str>) -> Result<Count> {
    let package = executable.manifest.parent().context("a manifest lies in a folder")?;
    let mut command = Command::new(&executable.path);
    command.args(arguments).current_dir(package).env("CARGO_MANIFEST_DIR", package);
    counted(command, &executable.name)
}

/// The examples in the documentation: only rustdoc can build those.
fn documentation() -> Result<Count> {
    let mut command = cargo::cargo();
    command.args(["test", "--quiet", "--workspace", "--doc"]);
    counted(command, "examples in the documentation")
}

fn counted(mut command: Command, name: &str) -> Result<Count> {
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start the tests of {name}"))?;
    let mut count = Count::default();
    let mut finished = false;
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        let line = line?;
        if let Some(result) = parse_result(&line) {
            count += result;
            finished = true;
        }
        if !line.is_empty() && !line.starts_with("running ") {
            terminal::line(&line);
        }
    }
    let status = child.wait()?;
    // A test program that dies has failed, whatever it counted.
    if !status.success() && (count.failed == 0 || !finished) {
        terminal::bad(&format!("the tests of {name} ended with {status}"));
        count.failed += 1;
    }
    Ok(count)
}

/// Reads libtest's `test result: ok. 11 passed; 0 failed; 0 ignored; …`.
fn parse_result(line: &str) -> Option<Count> {
    let (_, figures) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let figure = |word: &str| {
        figures.split("; ").find_map(|part| part.strip_suffix(word)?.trim().parse().ok()).unwrap_or_default()
    };
    Some(Count { passed: figure("passed"), failed: figure("failed"), ignored: figure("ignored") })
}

/// The names of all tests of a program.
fn names(executable: &Executable) -> Result<Vec<String>> {
    let answer = Command::new(&executable.path).args(["--list", "--format", "terse"]).output()?;
    ensure!(answer.status.success(), "{} does not list its tests", executable.name);
    let text = String::from_utf8(answer.stdout)?;
    Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

/// The promises after which a test is named: `…::p08_p10_another_library_verifies` proves 8 and 10.
fn promises_of(name: &str) -> Vec<u8> {
    let own = name.rsplit("::").next().unwrap_or_default();
    let number = |word: &str| word.strip_prefix('p').filter(|it| it.len() <= 2)?.parse().ok();
    own.split('_').map_while(number).filter(|promise| (1..=PROMISES).contains(promise)).collect()
}

fn by_promise(executables: &[Executable]) -> Result<BTreeMap<u8, BTreeSet<String>>> {
    let mut named: BTreeMap<u8, BTreeSet<String>> = BTreeMap::new();
    for executable in executables {
        for name in names(executable)? {
            for promise in promises_of(&name) {
                named.entry(promise).or_default().insert(format!("{} {name}", executable.name));
            }
        }
    }
    Ok(named)
}

fn promises(executables: &[Executable]) -> Result<Count> {
    let named = by_promise(executables)?;
    for promise in 1..=PROMISES {
        match named.get(&promise) {
            None => terminal::detail(&format!("P{promise}: no test has its name")),
            Some(tests) => {
                terminal::line(&format!("P{promise}:"));
                tests.iter().for_each(|test| terminal::line(&format!("    {test}")));
            }
        }
    }
    let mut count = Count::default();
    // Those of meshes are listed, and run as a suite of their own: not every machine has what they need.
    for executable in executables.iter().filter(|it| it.name != "mesh") {
        let names: Vec<_> = names(executable)?.into_iter().filter(|name| !promises_of(name).is_empty()).collect();
        if !names.is_empty() {
            count += test(executable, std::iter::once("--exact").chain(names.iter().map(String::as_str)))?;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_from_libtest() {
        let count = parse_result(
            "test result: FAILED. 11 passed; 2 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.02s",
        );
        let count = count.expect("a result");
        assert_eq!((count.passed, count.failed, count.ignored), (11, 2, 1));
        assert!(parse_result("test authz::tests::a ... ok").is_none());
    }

    #[test]
    fn tests_tell_their_promises() {
        for (name, want) in [
            ("authz::tests::p17_revoked_is_revoked", vec![17]),
            ("p3_one_reading", vec![3]),
            ("p03_one_reading", vec![3]),
            ("p08_p10_another_library_verifies", vec![8, 10]),
            ("http1_trailers", vec![]),
            ("p39_no_such_promise", vec![]),
            ("p0_none", vec![]),
            ("policy_p3", vec![]),
            ("p17_inner::plain", vec![]),
        ] {
            assert_eq!(promises_of(name), want, "{name}");
        }
    }
}
