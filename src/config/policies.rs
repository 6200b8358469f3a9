//! `policies`: where policies come from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::file::{KubernetesFile, PoliciesFile};
use super::{Wrong, wrong};
use crate::api::meta::{is_label, is_subdomain};
use crate::authz::policy::ObjectName;
use crate::k8s::{Access, ClusterSettings};

/// `policies`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoliciesConfig {
    /// `dir`
    Dir(PathBuf),
    /// `kubernetes`
    Kubernetes(Box<ClusterSettings>),
}

pub(super) fn resolve(file: PoliciesFile, folder: &Path) -> Result<PoliciesConfig, Wrong> {
    match (file.dir, file.kubernetes) {
        (Some(_), Some(_)) => Err(wrong(
            "policies",
            "has both dir and kubernetes: policies have one source, so leave one of them out".into(),
        )),
        (dir, None) => Ok(PoliciesConfig::Dir(folder.join(dir.as_deref().unwrap_or("policies")))),
        (None, Some(file)) => kubernetes(file, folder).map(|it| PoliciesConfig::Kubernetes(Box::new(it))),
    }
}

fn kubernetes(file: KubernetesFile, folder: &Path) -> Result<ClusterSettings, Wrong> {
    let at = |path: String| folder.join(path);
    let namespace = |key: &'static str, name: Option<String>| match name {
        Some(name) if !is_label(&name) => {
            Err(wrong(key, format!("`{name}` is not a namespace: 1 to 63 of a-z, 0-9 and -, not at the ends")))
        }
        name => Ok(name),
    };
    let access = match (file.kubeconfig, file.context) {
        (None, None) => Access::InCluster,
        (file, context) => Access::Kubeconfig { file: file.map(at), context },
    };
    let gateways = gateways(file.gateways, file.namespace.is_some())?;
    Ok(ClusterSettings {
        access,
        namespace: namespace("policies.kubernetes.namespace", file.namespace)?,
        selector: file.selector.map(selector).transpose()?,
        gateways,
        install_namespace: namespace("policies.kubernetes.installNamespace", file.install_namespace)?,
        namespace_labels: file.namespace_labels.unwrap_or(false),
        secrets: file.secrets.unwrap_or(false),
        snapshot: file.snapshot.map(at),
    })
}

/// The Gateways that are served; `None` is every one. In a cluster with many owners that has to be said: whoever may make a
/// Gateway could claim everybody's hosts with it (P27).
fn gateways(written: Option<Vec<String>>, is_namespaced: bool) -> Result<Option<BTreeSet<ObjectName>>, Wrong> {
    match written {
        None if is_namespaced => Ok(None),
        None => Err(wrong(
            "policies.kubernetes.gateways",
            "is required without namespace: list the Gateways that this gate serves, such as [infra/web]; [] for none, \
             ['*'] for all, if only administrators can make Gateways"
                .into(),
        )),
        Some(names) if names == ["*"] => Ok(None),
        Some(names) => names.iter().map(|name| gateway(name)).collect::<Result<_, _>>().map(Some),
    }
}

fn gateway(text: &str) -> Result<ObjectName, Wrong> {
    let name = text.split_once('/').filter(|(namespace, name)| is_label(namespace) && is_subdomain(name));
    let (namespace, name) = name.ok_or_else(|| {
        wrong(
            "policies.kubernetes.gateways",
            format!("`{text}` names no Gateway: write NAMESPACE/NAME, such as shop/web"),
        )
    })?;
    Ok((namespace.to_owned(), name.to_owned()))
}

/// Whether it is a selector is said by the API server; what can be no part of one is said here.
fn selector(text: String) -> Result<String, Wrong> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=!(), ".contains(&byte);
    if text.trim().is_empty() || text.len() > 1024 || !text.bytes().all(plain) {
        let words = format!(
            "`{text}` is not a label selector: write one such as team=shop or `tier in (a, b)`, or leave it out"
        );
        return Err(wrong("policies.kubernetes.selector", words));
    }
    Ok(text)
}
