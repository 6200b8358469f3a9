//! kubectl and helm, as a user calls them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::chart::{Answer, Helm};
use serde_json::Value;

use crate::terminal;

pub(super) struct Kube {
    kubectl: PathBuf,
    helm: Helm,
    kubeconfig: PathBuf,
    // What kubectl caches, by an address that another cluster had before.
    cache: PathBuf,
}

impl Kube {
    pub(super) fn new(kubectl: PathBuf, helm: PathBuf, kubeconfig: PathBuf) -> Result<Self> {
        ensure!(kubeconfig.is_file(), "there is no kubeconfig {}", kubeconfig.display());
        let cache = e2e::tools::workspace().join("target/e2e-cache");
        Ok(Self { kubectl, helm: Helm::on(&kubeconfig, helm)?, kubeconfig, cache })
    }

    pub(super) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut kubectl = Command::new(&self.kubectl);
        kubectl.arg("--kubeconfig").arg(&self.kubeconfig).arg("--cache-dir").arg(&self.cache).args(arguments);
        kubectl.stdin(Stdio::null());
        kubectl
    }

    /// What it writes to standard output.
    pub(super) fn ask(&self, arguments: &[&str]) -> Result<String> {
        let answer = self.command(arguments).output().context("cannot start kubectl")?;
        whole(&answer).with_context(|| format!("kubectl {}", arguments.join(" ")))
    }

    /// As a user types it.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<String> {
        terminal::detail(&format!("     $ kubectl {}", arguments.join(" ")));
        self.ask(arguments)
    }

    pub(super) fn json(&self, arguments: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.ask(&[arguments, &["--output", "json"]].concat())?)?)
    }

    /// Whether there is such an object.
    pub(super) fn has(&self, arguments: &[&str]) -> Result<bool> {
        Ok(!self.ask(&[&["get", "--ignore-not-found", "--output", "name"], arguments].concat())?.trim().is_empty())
    }

    /// Applies what a user would have in a file.
    pub(super) fn apply(&self, text: &str) -> Result<()> {
        use std::io::Write as _;
        let mut command = self.command(&["apply", "--filename", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("kubectl has no input")?.write_all(text.as_bytes())?;
        let told = whole(&child.wait_with_output()?).context("kubectl apply")?;
        for line in told.lines() {
            terminal::detail(&format!("     | {line}"));
        }
        Ok(())
    }

    /// A command in a pod, as a child of this process whose streams are ours.
    pub(super) fn start_in(&self, namespace: &str, pod: &str, command: &[&str]) -> Result<Child> {
        let exec = [&["--namespace", namespace, "exec", "--stdin", pod, "--"], command].concat();
        let mut kubectl = self.command(&exec);
        kubectl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        kubectl.spawn().context("cannot start kubectl")
    }

    pub(super) fn helm(&self, arguments: &[&str]) -> Result<String> {
        terminal::detail(&format!("     $ helm {}", arguments.join(" ")));
        self.helm.run(arguments)
    }

    /// Whether it did what it was told, and all that it wrote: the logs of a hook are among its errors.
    pub(super) fn helm_may_fail(&self, arguments: &[&str]) -> Result<(bool, String)> {
        terminal::detail(&format!("     $ helm {}", arguments.join(" ")));
        let Answer { is_good, output, errors } = self.helm.ask(arguments)?;
        Ok((is_good, format!("{output}\n{errors}")))
    }

    /// Waits until every pod of an object is a new one and ready.
    pub(super) fn rolled_out(&self, namespace: &str, object: &str) -> Result<()> {
        self.ask(&["--namespace", namespace, "rollout", "status", object, "--timeout=300s"]).map(drop)
    }

    /// What somebody would look at first.
    pub(super) fn tell_trouble(&self, namespaces: &[&str]) {
        for namespace in namespaces {
            for what in [&["get", "pods", "--output", "wide"][..], &["get", "events", "--sort-by=.lastTimestamp"]] {
                let told = self.ask(&[&["--namespace", namespace], what].concat()).unwrap_or_default();
                let lines: Vec<_> = told.lines().collect();
                lines[lines.len().saturating_sub(30)..].iter().for_each(|line| terminal::detail(line));
            }
            let pods = self.ask(&["--namespace", namespace, "get", "pods", "--output", "name"]).unwrap_or_default();
            for pod in pods.lines() {
                let logs = ["--namespace", namespace, "logs", pod, "--all-containers", "--tail=6", "--prefix"];
                self.ask(&logs).unwrap_or_default().lines().for_each(terminal::detail);
            }
        }
    }
}

fn whole(answer: &Output) -> Result<String> {
    ensure!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr).trim());
    Ok(String::from_utf8_lossy(&answer.stdout).into_owned())
}

/// Asks again and again. Says how long it took until the answer was yes.
pub(super) fn until(patience: Duration, what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let last = holds();
        if matches!(last, Ok(true)) {
            return Ok(began.elapsed());
        }
        if began.elapsed() > patience {
            last.with_context(|| format!("waiting for {what}"))?;
            anyhow::bail!("no {what} within {patience:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
