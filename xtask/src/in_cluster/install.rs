//! The install of cloakroom: the release of Helm that the story makes, asks, and takes away.

use anyhow::{Context, Result};
use serde_json::Value;

use super::images::Images;
use super::kube::Kube;
use super::{INSTALL, SHOP};
use crate::terminal;

/// The name of the release.
const RELEASE: &str = "cloakroom";

pub(super) struct Install<'a> {
    pub(super) kube: &'a Kube,
    pub(super) images: &'a Images,
    /// Whether everything is built to be fast.
    pub(super) release: bool,
}

/// What `helm test` says.
pub(super) struct Checkup {
    pub(super) passed: bool,
    /// All that it wrote, the findings among it.
    pub(super) told: String,
}

impl Checkup {
    /// Whether doctor found this: a level, a check, and a word of what was seen or of the cure in the lines under it.
    pub(super) fn found(&self, level: &str, check: &str, word: &str) -> bool {
        let mut lines = self.told.lines().peekable();
        while let Some(line) = lines.next() {
            let mut words = line.split_whitespace();
            if (words.next(), words.next()) != (Some(level), Some(check)) {
                continue;
            }
            while let Some(under) = lines.next_if(|it| it.starts_with(' ')) {
                if under.contains(word) {
                    return true;
                }
            }
        }
        false
    }
}

impl Install<'_> {
    /// `helm install`, until all of it is ready.
    pub(super) fn make(&self) -> Result<()> {
        self.helm("install", &[])?;
        self.kube.rolled_out(INSTALL, "deployment/cloakroom-controller")?;
        self.kube.rolled_out(INSTALL, "statefulset/cloakroom-store")
    }

    /// `helm upgrade` with a value more.
    pub(super) fn upgrade(&self, value: &str) -> Result<()> {
        self.helm("upgrade", &[value])
    }

    fn helm(&self, command: &str, more: &[&str]) -> Result<()> {
        let values = self.values();
        let mut words = vec![command, RELEASE];
        words.extend(values.iter().map(String::as_str).chain(more.iter().copied()));
        self.kube.helm(&words).map(drop)
    }

    /// Of install and upgrade: images that no registry has.
    fn values(&self) -> Vec<String> {
        let chart = e2e::tools::workspace().join("charts/cloakroom").display().to_string();
        let mut words = vec![chart, "--namespace".to_owned(), INSTALL.to_owned()];
        let (cloakroom, tag) = named(&self.images.cloakroom.reference);
        let (redis, redis_tag) = named(&self.images.redis.reference);
        let mut set = |name: &str, value: &str| words.push(format!("--set-string={name}={value}"));
        set("image.repository", cloakroom);
        set("image.tag", tag);
        set("store.bundled.image.repository", redis);
        set("store.bundled.image.tag", redis_tag);
        words.push("--set=store.bundled.command={redis-server}".to_owned());
        // The bundled store is one server, and away for some seconds while its pod is made anew. With the usual 5 s, on a slow
        // machine, that is felt (docs/store.md).
        words.push("--set-string=config.sessions.view.maxStaleness=60s".to_owned());
        if !self.release {
            words.push("--set-string=config.check.timeout=5s".to_owned());
        }
        words
    }

    /// `helm test --logs`, which may fail.
    pub(super) fn test(&self) -> Result<Checkup> {
        let (passed, told) = self.kube.helm_may_fail(&["test", RELEASE, "--namespace", INSTALL, "--logs"])?;
        for line in told.lines() {
            terminal::detail(&format!("     | {line}"));
        }
        Ok(Checkup { passed, told })
    }

    /// What is left of a test: its pod, and its rights.
    pub(super) fn left_of_test(&self) -> Result<String> {
        let kinds = "pods,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings";
        let selector = "--selector=app.kubernetes.io/component=test";
        self.kube.ask(&["--namespace", INSTALL, "get", kinds, selector, "--output", "name"])
    }

    /// Whom the API server trusts for each webhook of ours.
    pub(super) fn bundles(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for kind in
            ["validatingwebhookconfiguration/cloakroom-policies", "mutatingwebhookconfiguration/cloakroom-injector"]
        {
            let told = self.kube.json(&["get", kind])?;
            let hooks = told["webhooks"].as_array().context("a configuration without webhooks")?;
            let bundle = |hook: &Value| hook["clientConfig"]["caBundle"].as_str().unwrap_or_default().to_owned();
            found.extend(hooks.iter().take(1).map(bundle));
        }
        Ok(found)
    }

    pub(super) fn uninstall(&self) -> Result<()> {
        self.kube.helm(&["uninstall", RELEASE, "--namespace", INSTALL, "--wait"]).map(drop)
    }
}

/// The name and the tag of an image.
fn named(reference: &str) -> (&str, &str) {
    reference.rsplit_once(':').unwrap_or((reference, "latest"))
}

/// The kinds of cloakroom, which outlive an install.
const KINDS: [&str; 2] =
    ["customresourcedefinition/authpolicies.cloakroom.dev", "customresourcedefinition/identityproviders.cloakroom.dev"];

/// Takes away what is left of it. Other installs of the cluster keep the kinds that they need.
pub(super) fn clear(kube: &Kube, had_kinds: bool) -> Result<()> {
    terminal::heading("Clearing up");
    // Best effort: where the story ended early, not all of it is there.
    if kube.has(&["namespace", INSTALL])? {
        kube.helm(&["uninstall", RELEASE, "--namespace", INSTALL, "--ignore-not-found", "--wait"])?;
    }
    for namespace in [SHOP, INSTALL] {
        kube.run(&["delete", "namespace", namespace, "--ignore-not-found", "--timeout=300s"])?;
    }
    if !had_kinds {
        kube.run(&[&["delete", "--ignore-not-found"], &KINDS[..]].concat())?;
    }
    Ok(())
}

/// Whether the cluster knows the kinds of cloakroom.
pub(super) fn has_kinds(kube: &Kube) -> Result<bool> {
    kube.has(&KINDS)
}
