//! The Helm chart: its scenarios, and Helm as a user calls it on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::tools::workspace;

/// The namespace that the chart is installed into, unless another is named.
pub const NAMESPACE: &str = "cloakroom-system";

/// Its folder.
pub fn folder() -> PathBuf {
    workspace().join("charts/cloakroom")
}

/// The scenarios of its `ci/`, by their names, and the files of their values.
///
/// # Errors
/// When there are none, or one is not called after what it is.
pub fn scenarios() -> Result<Vec<(String, PathBuf)>> {
    let mut scenarios = Vec::new();
    for entry in fs::read_dir(folder().join("ci"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|it| it.to_str()).and_then(|it| it.strip_suffix("-values.yaml"));
        scenarios.push((name.with_context(|| format!("{} is called …-values.yaml", path.display()))?.to_owned(), path));
    }
    scenarios.sort();
    ensure!(!scenarios.is_empty(), "no scenarios in ci/");
    Ok(scenarios)
}

/// The objects of a rendering.
///
/// # Errors
/// When it is not YAML.
pub fn objects(rendered: &str) -> Result<Vec<Value>> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(rendered).context("what Helm rendered")?;
    Ok(objects.into_iter().filter(|it| !it.is_null()).collect())
}

/// A Helm, with a folder of its own for what it keeps: a cache knows a cluster by an address that another had before.
pub struct Helm {
    program: PathBuf,
    home: TempDir,
    kubeconfig: Option<PathBuf>,
}

/// What it said.
pub struct Answer {
    /// Whether it was content.
    pub is_good: bool,
    /// What it wrote to standard output.
    pub output: String,
    /// What it wrote to standard error.
    pub errors: String,
}

impl Helm {
    /// One that knows no cluster. `program` is one of [`crate::tools`].
    ///
    /// # Errors
    /// When it can have no folder.
    pub fn new(program: PathBuf) -> Result<Self> {
        Ok(Self { program, home: tempfile::tempdir()?, kubeconfig: None })
    }

    /// One that works on the cluster of this file.
    ///
    /// # Errors
    /// When it can have no folder.
    pub fn on(kubeconfig: &Path, program: PathBuf) -> Result<Self> {
        Ok(Self { kubeconfig: Some(kubeconfig.to_owned()), ..Self::new(program)? })
    }

    /// Runs it in the namespace of the chart, unless the arguments name another.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn ask(&self, arguments: &[&str]) -> Result<Answer> {
        let mut helm = Command::new(&self.program);
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(variable, self.home.path());
        }
        // Of two namespaces it takes the second.
        helm.args(["--namespace", NAMESPACE]);
        if let Some(kubeconfig) = &self.kubeconfig {
            helm.arg("--kubeconfig").arg(kubeconfig);
        }
        let Output { status, stdout, stderr } =
            helm.args(arguments).stdin(Stdio::null()).output().context("cannot start Helm")?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Answer { is_good: status.success(), output: text(stdout), errors: text(stderr) })
    }

    /// The same, and returns what it wrote to standard output.
    ///
    /// # Errors
    /// All that it said, when it was not content.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let Answer { is_good, output, errors } = self.ask(arguments)?;
        ensure!(is_good, "helm {}: {}", arguments.join(" "), format!("{output}{errors}").trim());
        Ok(output)
    }

    /// Lints the chart strictly with the values of a file.
    ///
    /// # Errors
    /// What it found.
    pub fn lint(&self, values: &Path) -> Result<()> {
        let (chart, values) = (folder().display().to_string(), values.display().to_string());
        self.run(&["lint", "--strict", "--values", &values, &chart]).map(drop)
    }

    /// What an install of the chart with these arguments would be.
    ///
    /// # Errors
    /// When the chart refuses them.
    pub fn render(&self, arguments: &[&str]) -> Result<String> {
        let chart = folder().display().to_string();
        self.run(&[&["template", "cloakroom", &chart][..], arguments].concat())
    }
}
