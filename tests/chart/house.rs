//! What Helm renders of the chart.

use std::path::Path;

use anyhow::{Result, ensure};
use cloakroom::wiring::{self, Form, Mesh, Site};
use e2e::chart::{self, Helm};
use e2e::tools;
use serde_json::Value;

/// Helm 4.
pub(crate) fn helm() -> Result<Helm> {
    Helm::new(tools::helm()?)
}

/// The chart with the values of a file, and more arguments.
pub(crate) fn render(helm: &Helm, values: &Path, arguments: &[&str]) -> Result<String> {
    helm.render(&[&["--values", &values.display().to_string()][..], arguments].concat())
}

/// The arguments for values on the command line. What stands after a `;` is text, though it may look like a number.
pub(crate) fn given(sets: &str) -> Vec<&str> {
    match sets.split_once(';') {
        Some((sets, texts)) => vec!["--set", sets, "--set-string", texts],
        None => vec!["--set", sets],
    }
}

/// A scenario as Helm 4 renders it, as objects.
pub(crate) fn objects(values: &Path) -> Result<Vec<Value>> {
    chart::objects(&render(&helm()?, values, &[])?)
}

/// The objects of one template below `wiring/`, in the order of their titles and without the chart's labels.
pub(crate) fn wired(template: &str, arguments: &[&str]) -> Result<Vec<Value>> {
    let template = format!("templates/wiring/{template}");
    let mut objects = chart::objects(&helm()?.render(&[&["--show-only", &template][..], arguments].concat())?)?;
    for object in &mut objects {
        let labels = object["metadata"].as_object_mut().and_then(|it| it.remove("labels"));
        ensure!(labels.is_some(), "{} has no labels", title(object));
    }
    Ok(sorted(objects))
}

/// The same of the program.
pub(crate) fn printed(mesh: Mesh, site: &Site) -> Result<Vec<Value>> {
    let pieces = wiring::pieces(mesh, site)?.into_iter().filter(|it| it.form == Form::Document);
    Ok(sorted(pieces.map(|it| Ok(serde_saphyr::from_str(&it.yaml)?)).collect::<Result<_>>()?))
}

fn sorted(mut objects: Vec<Value>) -> Vec<Value> {
    objects.sort_by_key(title);
    objects
}

/// `Deployment cloakroom-system/cloakroom-gate`.
pub(crate) fn title(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let namespace = text("/metadata/namespace");
    let slash = if namespace.is_empty() { "" } else { "/" };
    format!("{} {namespace}{slash}{}", text("/kind"), text("/metadata/name"))
}
