//! Helm, and what it renders.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use e2e::tools;
use serde_json::Value;

/// The namespace that the chart is installed into.
pub(crate) const NAMESPACE: &str = "cloakroom-system";

/// The chart's folder.
pub(crate) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/cloakroom")
}

/// The scenarios of `ci/`, by their names, and the files of their values.
pub(crate) fn scenarios() -> Result<Vec<(String, PathBuf)>> {
    let mut scenarios = Vec::new();
    for entry in fs::read_dir(chart().join("ci"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|it| it.to_str()).and_then(|it| it.strip_suffix("-values.yaml"));
        scenarios.push((name.with_context(|| format!("{} is called …-values.yaml", path.display()))?.to_owned(), path));
    }
    scenarios.sort();
    ensure!(!scenarios.is_empty(), "no scenarios in ci/");
    Ok(scenarios)
}

/// Runs Helm on the chart, and tells what it wrote and whether it was content.
pub(crate) fn helm(program: &Path, arguments: &[&str]) -> Result<(bool, String, String)> {
    let answer = Command::new(program)
        .args(arguments)
        .args(["--namespace", NAMESPACE])
        .stdin(Stdio::null())
        .output()
        .context("cannot start Helm")?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((answer.status.success(), text(answer.stdout), text(answer.stderr)))
}

/// The chart with the values of a file, and more arguments.
pub(crate) fn render(program: &Path, values: &Path, arguments: &[&str]) -> Result<String> {
    let (chart, values) = (chart().display().to_string(), values.display().to_string());
    let all = [&["template", "cloakroom", &chart, "--values", &values][..], arguments].concat();
    let (is_good, rendered, words) = helm(program, &all)?;
    ensure!(is_good, "{values}: {words}");
    Ok(rendered)
}

/// A scenario as Helm 4 renders it, as objects.
pub(crate) fn objects(values: &Path) -> Result<Vec<Value>> {
    parse(&render(&tools::helm()?, values, &[])?)
}

/// The objects of a rendering.
pub(crate) fn parse(rendered: &str) -> Result<Vec<Value>> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(rendered)?;
    Ok(objects.into_iter().filter(|it| !it.is_null()).collect())
}

/// `Deployment cloakroom-system/cloakroom-gate`.
pub(crate) fn title(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let namespace = text("/metadata/namespace");
    let slash = if namespace.is_empty() { "" } else { "/" };
    format!("{} {namespace}{slash}{}", text("/kind"), text("/metadata/name"))
}
