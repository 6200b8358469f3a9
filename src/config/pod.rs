//! `policies.pod`: what the cluster says about the own pod, in the files of a downward API volume.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};

use crate::api::meta::is_label;
use crate::authz::policy::OwnPod;

/// Reads `namespace` (`metadata.namespace`) and `labels` (`metadata.labels`) in this folder.
///
/// # Errors
/// Which file cannot be read, or what in it is not as Kubernetes writes it. A sidecar that does not know its pod would leave it
/// unguarded.
pub fn read(folder: &Path) -> anyhow::Result<OwnPod> {
    let text = |name: &str| {
        let file = folder.join(name);
        let cure =
            "mount a downward API volume with `metadata.namespace` as `namespace` and `metadata.labels` as `labels`";
        std::fs::read_to_string(&file).with_context(|| format!("cannot read {}: {cure}", file.display()))
    };
    let namespace = text("namespace")?.trim_end().to_owned();
    ensure!(is_label(&namespace), "{}: {namespace:?} is not a namespace", folder.join("namespace").display());
    let labels = labels(&text("labels")?).with_context(|| folder.join("labels").display().to_string())?;
    Ok(OwnPod { namespace, labels })
}

/// Reads lines of `name="value"`. Kubernetes escapes what labels cannot have, so nothing is escaped.
fn labels(text: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let value = line.split_once('=').and_then(|(name, value)| {
            let value = value.strip_prefix('"')?.strip_suffix('"')?;
            (!value.contains(['"', '\\'])).then_some((name, value))
        });
        let Some((name, value)) = value else { bail!("{line:?} is not `name=\"value\"`") };
        labels.insert(name.to_owned(), value.to_owned());
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_read_as_kubernetes_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("namespace", "shop");
        write("labels", "app=\"cart\"\napp.kubernetes.io/part-of=\"shop\"\nempty=\"\"");
        let pod = read(folder.path()).unwrap();
        let labels = [("app", "cart"), ("app.kubernetes.io/part-of", "shop"), ("empty", "")];
        let want = OwnPod {
            namespace: "shop".to_owned(),
            labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        };
        assert_eq!(pod, want);
    }

    #[test]
    fn p02_a_pod_that_cannot_be_read_is_an_error() {
        for (namespace, labels, want) in [
            (None, Some(""), "mount a downward API volume"),
            (Some("shop"), None, "mount a downward API volume"),
            (Some("Shop!"), Some(""), "is not a namespace"),
            (Some("shop"), Some("app=cart"), "is not `name="),
            (Some("shop"), Some("app=\"ca\\\"rt\""), "is not `name="),
        ] {
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in [("namespace", namespace), ("labels", labels)] {
                text.into_iter().for_each(|text| std::fs::write(folder.path().join(name), text).unwrap());
            }
            let error = format!("{:#}", read(folder.path()).unwrap_err());
            assert!(error.contains(want), "{error}");
        }
    }
}
