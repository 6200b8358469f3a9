//! What the chart brings for monitoring: it speaks of metrics that there are, and of alerts that are explained.
//!
//! That docs/operations.md has each metric of a running gate and controller, and no other, is a test of `src/app.rs`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use e2e::tools;
use serde_json::Value;

const RULES: &str = include_str!("../charts/cloakroom/files/rules.yaml");
const DASHBOARD: &str = include_str!("../charts/cloakroom/files/dashboard.json");
const OPERATIONS: &str = include_str!("../docs/operations.md");

/// The metrics of Envoy that docs/operations.md names as it does in Prometheus, and those that it names as Envoy does.
fn of_envoy(name: &str) -> bool {
    let (filter, counter) = match name.strip_prefix("envoy_http_ext_authz_") {
        Some(counter) => ("ext_authz", counter),
        None => {
            let counter = name.strip_prefix("envoy_http_ext_proc_").unwrap_or_default();
            // Envoy Gateway's has no prefix.
            ("ext_proc", counter.strip_prefix("cloakroom_").unwrap_or(counter))
        }
    };
    !counter.is_empty() && OPERATIONS.contains(&format!("`http.ingress.{filter}.cloakroom.{counter}`"))
}

/// Our metrics, as the documentation has them.
fn documented() -> BTreeSet<&'static str> {
    let rows = OPERATIONS.lines().filter_map(|row| row.strip_prefix("| `"));
    rows.map(|row| row.split(['`', '{']).next().unwrap_or_default()).filter(|it| it.starts_with("cloakroom_")).collect()
}

/// The names of metrics in an expression, without what a histogram adds.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metrics = words.filter(|it| ["cloakroom_", "envoy_", "process_"].iter().any(|prefix| it.starts_with(prefix)));
    let bare = |it: &str| it.strip_suffix("_bucket").unwrap_or(it).to_owned();
    metrics.map(bare).collect()
}

/// Every expression of the rules and of the dashboard.
fn expressions() -> Result<Vec<String>> {
    let rules: Value = serde_saphyr::from_str(RULES)?;
    let dashboard: Value = serde_json::from_str(DASHBOARD)?;
    let rules =
        rules["groups"].as_array().into_iter().flatten().flat_map(|it| it["rules"].as_array().into_iter().flatten());
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let targets = panels.flat_map(|it| it["targets"].as_array().into_iter().flatten());
    let all = rules.chain(targets).map(|it| it["expr"].as_str().unwrap_or_default().to_owned());
    let all: Vec<_> =
        all.chain(dashboard["templating"]["list"][1]["query"]["query"].as_str().map(str::to_owned)).collect();
    ensure!(all.len() > 40 && all.iter().all(|it| !it.is_empty()), "{all:?}");
    Ok(all)
}

#[test]
fn rules_and_dashboard_speak_of_metrics_that_there_are() -> Result<()> {
    let documented = documented();
    for name in expressions()?.iter().flat_map(|it| named(it)) {
        let is_there = documented.contains(name.as_str()) || of_envoy(&name) || name == "process_resident_memory_bytes";
        ensure!(is_there, "{name} is in no table of docs/operations.md");
    }
    Ok(())
}

#[test]
fn the_values_that_rules_look_for_are_those_that_there_are() -> Result<()> {
    let responses = include_str!("../docs/responses.md");
    for expression in expressions()? {
        for (label, text) in [("reason", OPERATIONS), ("outcome", responses)] {
            let of_responses = label == "outcome" && !expression.contains("cloakroom_responses_total");
            for part in expression.split(&format!("{label}=~\"")).skip(1).filter(|_| !of_responses) {
                for value in part.split('"').next().unwrap_or_default().split('|') {
                    ensure!(text.contains(&format!("`{value}`")), "{label} {value}: {expression}");
                }
            }
        }
    }
    Ok(())
}

/// Whoever looks for the one finds the other: a proxy of Envoy Gateway is no different to an alert.
#[test]
fn counters_of_the_way_back_are_looked_for_with_and_without_our_prefix() -> Result<()> {
    let mut seen = 0;
    for expression in expressions()? {
        let names = named(&expression);
        for name in names.iter().filter_map(|it| it.strip_prefix("envoy_http_ext_proc_")) {
            let other = name.strip_prefix("cloakroom_").map_or_else(|| format!("cloakroom_{name}"), str::to_owned);
            ensure!(names.contains(&format!("envoy_http_ext_proc_{other}")), "{name} alone: {expression}");
            seen += 1;
        }
    }
    ensure!(seen >= 8, "{seen}");
    Ok(())
}

#[test]
fn each_alert_is_explained_and_nothing_else_is() -> Result<()> {
    let rules: Value = serde_saphyr::from_str(RULES)?;
    let groups = rules["groups"].as_array().context("groups")?;
    let mut alerts = BTreeMap::new();
    for rule in groups.iter().flat_map(|it| it["rules"].as_array().into_iter().flatten()) {
        let (name, annotations) = (rule["alert"].as_str().context("a name")?, &rule["annotations"]);
        ensure!(annotations["runbook_url"] == format!("docs/operations.md#{}", name.to_lowercase()), "{name}");
        ensure!(annotations["summary"].is_string() && rule["labels"]["severity"].is_string(), "{name}");
        ensure!(alerts.insert(name.to_owned(), ()).is_none(), "{name} comes twice");
    }
    let explained: BTreeSet<_> = OPERATIONS.lines().filter_map(|it| it.strip_prefix("### Cloakroom")).collect();
    let explained: BTreeSet<_> = explained.into_iter().map(|it| format!("Cloakroom{it}")).collect();
    let alerts: BTreeSet<_> = alerts.into_keys().collect();
    ensure!(alerts == explained, "{:?}", alerts.symmetric_difference(&explained));
    Ok(())
}

/// What Helm renders with these values, by kind and name.
fn rendered(values: &[&str]) -> Result<BTreeMap<(String, String), Value>> {
    let chart: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/cloakroom");
    let mut helm = Command::new(tools::helm()?);
    helm.args(["template", "cloakroom"]).arg(chart).args(["--namespace", "cloakroom-system"]);
    for value in values {
        helm.args(["--set", value]);
    }
    let answer = helm.stdin(Stdio::null()).output().context("cannot start Helm")?;
    ensure!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let objects: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(answer.stdout)?)?;
    let name =
        |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let all = objects.into_iter().filter(|it| !it.is_null());
    Ok(all.map(|it| ((name(&it, "/kind"), name(&it, "/metadata/name")), it)).collect())
}

/// The rules with links to the page that is served there; without any where it is served nowhere.
fn linked(page: &str) -> Result<Value> {
    let mut rules: Value = serde_saphyr::from_str(RULES)?;
    for group in rules["groups"].as_array_mut().context("groups")? {
        for rule in group["rules"].as_array_mut().context("rules")? {
            let annotations = rule["annotations"].as_object_mut().context("annotations")?;
            let link = annotations.remove("runbook_url").context("a page")?;
            let (_, anchor) = link.as_str().and_then(|it| it.split_once('#')).context("an anchor")?;
            if !page.is_empty() {
                annotations.insert("runbook_url".to_owned(), format!("{page}#{anchor}").into());
            }
        }
    }
    Ok(rules)
}

#[test]
fn the_chart_brings_them_when_asked() -> Result<()> {
    let all =
        ["monitoring.rules.enabled=true", "monitoring.dashboard.enabled=true", "monitoring.podMonitor.enabled=true"];
    let find = |objects: &BTreeMap<(String, String), Value>, kind: &str, name: &str| {
        objects.get(&(kind.to_owned(), name.to_owned())).cloned()
    };
    let none = rendered(&[])?;
    ensure!(none.keys().all(|(kind, _)| kind != "PrometheusRule" && kind != "PodMonitor"));
    let sidecar = rendered(&[&all[..], &["shape=sidecar", "monitoring.rules.labels.release=prometheus"]].concat())?;
    let rule = find(&sidecar, "PrometheusRule", "cloakroom").context("rules")?;
    ensure!(rule["spec"] == linked("")? && rule["metadata"]["labels"]["release"] == "prometheus", "{rule:#}");
    let page = "https://git.example/operations.md";
    let with_links = rendered(&["monitoring.rules.enabled=true", &format!("monitoring.rules.runbookUrl={page}")])?;
    let rule = find(&with_links, "PrometheusRule", "cloakroom").context("rules with links")?;
    ensure!(rule["spec"] == linked(page)?, "{rule:#}");
    let dashboard = find(&sidecar, "ConfigMap", "cloakroom-dashboard").context("a dashboard")?;
    let text = dashboard["data"]["cloakroom.json"].as_str().context("a text")?;
    ensure!(serde_json::from_str::<Value>(text)? == serde_json::from_str::<Value>(DASHBOARD)?);
    ensure!(dashboard["metadata"]["labels"]["grafana_dashboard"] == "1", "{}", dashboard["metadata"]);
    ensure!(find(&sidecar, "PodMonitor", "cloakroom-sidecars").is_some());
    let shared = rendered(&[&all[..], &["shape=shared", "proxyNamespaces[0]=edge"]].concat())?;
    ensure!(find(&shared, "PodMonitor", "cloakroom-sidecars").is_none());
    // What a PodMonitor names is a port of the pods that it selects.
    let monitor = find(&shared, "PodMonitor", "cloakroom").context("a monitor")?;
    let port = &monitor["spec"]["podMetricsEndpoints"][0]["port"];
    for name in ["cloakroom-controller", "cloakroom-gate"] {
        let workload = find(&shared, "Deployment", name).context("a Deployment")?;
        let ports = workload.pointer("/spec/template/spec/containers/0/ports").and_then(Value::as_array);
        ensure!(ports.into_iter().flatten().any(|it| it["name"] == *port), "{name}: {port}");
    }
    Ok(())
}
