//! What the chart grants is what docs/kubernetes.md lists, verb by verb and with a reason for each.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use e2e::chart::scenarios;
use serde_json::Value;

use crate::house::objects;

const DOCS: &str = include_str!("../../docs/kubernetes.md");

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn words(texts: &[&str]) -> String {
    let words: Vec<_> = texts.iter().map(|it| format!("`{it}`")).collect();
    words.join(", ")
}

/// The roles by which cloakroom itself calls the API server. Not that of `helm test`, which is gone when it has passed, nor those
/// by which Istio's own gateways read a certificate.
fn ours(objects: &[Value]) -> Result<Vec<&Value>> {
    let roles = objects.iter().filter(|it| it["kind"] == "Role" || it["kind"] == "ClusterRole");
    let mut ours = Vec::new();
    for role in roles {
        let name = role["metadata"]["name"].as_str().context("a name")?;
        if name.starts_with("cloakroom-controller") || name.starts_with("cloakroom-gate") {
            ours.push(role);
            continue;
        }
        let is_bound = |it: &&Value| it["kind"] == "RoleBinding" && it["roleRef"]["name"] == name;
        let subjects = objects.iter().filter(is_bound).flat_map(|it| it["subjects"].as_array().into_iter().flatten());
        let to_us =
            subjects.filter(|it| it["name"] == "cloakroom-controller" || it["name"] == "cloakroom-gate").count();
        ensure!(to_us == 0, "{name} is bound to us and has another name");
    }
    Ok(ours)
}

/// What is granted, by role, group, resources and verbs: the names that it is granted for, of all scenarios together.
type Granted = BTreeMap<(String, String, String, String), BTreeSet<String>>;

fn gather(granted: &mut Granted, role: &Value) {
    let title = format!(
        "{} `{}`",
        role["kind"].as_str().unwrap_or_default(),
        role["metadata"]["name"].as_str().unwrap_or_default()
    );
    for rule in role["rules"].as_array().into_iter().flatten() {
        let group = match texts(&rule["apiGroups"])[..] {
            [""] => "core".to_owned(),
            ref groups => words(groups),
        };
        let key = (title.clone(), group, words(&texts(&rule["resources"])), words(&texts(&rule["verbs"])));
        let names = texts(&rule["resourceNames"]).into_iter();
        // Secrets of the scenarios' own stores: the users' names for what the table's reason speaks of.
        granted.entry(key).or_default().extend(names.filter(|it| !it.starts_with("redis-")).map(str::to_owned));
    }
}

/// A row of the table without its reason.
fn row((key, names): (&(String, String, String, String), &BTreeSet<String>)) -> String {
    let (role, group, resources, verbs) = key;
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let space = if names.is_empty() { "" } else { " " };
    format!("| {role} | {group} | {resources}{space}{} | {verbs} |", words(&names))
}

#[test]
fn the_docs_have_every_right_and_no_other() -> Result<()> {
    let mut granted = Granted::new();
    for (_, values) in scenarios()? {
        let objects = objects(&values)?;
        ours(&objects)?.into_iter().for_each(|role| gather(&mut granted, role));
    }
    let granted: BTreeSet<_> = granted.iter().map(row).collect();
    let table = DOCS.lines().filter(|line| line.starts_with("| Role `") || line.starts_with("| ClusterRole `"));
    let mut listed = BTreeSet::new();
    for line in table {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [role, group, resources, verbs, why] = cells[..] else { anyhow::bail!("five cells: {line}") };
        ensure!(why.len() > 10, "a reason: {line}");
        listed.insert(format!("| {role} | {group} | {resources} | {verbs} |"));
    }
    let missing: Vec<_> = granted.difference(&listed).cloned().collect();
    let beyond: Vec<_> = listed.difference(&granted).cloned().collect();
    ensure!(missing.is_empty(), "docs/kubernetes.md does not have\n{}", missing.join("\n"));
    ensure!(beyond.is_empty(), "docs/kubernetes.md has what nobody is granted\n{}", beyond.join("\n"));
    Ok(())
}

/// No role may change what nobody named: only to make objects, and to tell, needs no name.
#[test]
fn p31_no_right_to_read_secrets_goes_without_their_names() -> Result<()> {
    for (scenario, values) in scenarios()? {
        let objects = objects(&values)?;
        for role in ours(&objects)? {
            let name = role["metadata"]["name"].as_str().context("a name")?;
            for rule in role["rules"].as_array().into_iter().flatten() {
                let (resources, verbs) = (texts(&rule["resources"]), texts(&rule["verbs"]));
                ensure!(!resources.contains(&"*") && !verbs.contains(&"*"), "{scenario}: {name}: {rule}");
                let is_of_secrets = resources.contains(&"secrets") && name != "cloakroom-gate-secrets";
                let is_named = !texts(&rule["resourceNames"]).is_empty();
                ensure!(!is_of_secrets || is_named || verbs == ["create"], "{scenario}: {name}: {rule}");
                let writes = verbs.iter().any(|verb| ["update", "delete", "bind", "escalate"].contains(verb));
                ensure!(!writes || is_named, "{scenario}: {name}: {rule}");
            }
        }
    }
    Ok(())
}

/// `helm test` passes over what it may not see, so a right that is missing makes it blind.
#[test]
fn the_charts_test_sees_the_configuration_of_the_mesh_and_no_secret() -> Result<()> {
    let wanted = [
        ("istio-sidecar", Some(("istio-system", "list"))),
        ("envoy-gateway", Some(("envoy-gateway-system", "get"))),
        ("envoy-sidecar", None),
    ];
    for (scenario, values) in scenarios()? {
        let objects = objects(&values)?;
        let named = |name: &str| objects.iter().filter(|it| it["metadata"]["name"] == name).collect::<Vec<_>>();
        let roles = [named("cloakroom-test"), named("cloakroom-test-mesh")].concat();
        for rule in roles.iter().flat_map(|it| it["rules"].as_array().into_iter().flatten()) {
            let writes = texts(&rule["verbs"]).iter().any(|verb| !["get", "list"].contains(verb));
            ensure!(!writes && !texts(&rule["resources"]).contains(&"secrets"), "{scenario}: {rule}");
        }
        let Some((_, wanted)) = wanted.iter().find(|(name, _)| *name == scenario) else { continue };
        let of_mesh = named("cloakroom-test-mesh");
        ensure!(of_mesh.len() == 2 * usize::from(wanted.is_some()), "{scenario}: {of_mesh:?}");
        let Some((namespace, verb)) = wanted else { continue };
        for object in of_mesh {
            ensure!(object["metadata"]["namespace"] == *namespace, "{scenario}: {object}");
            ensure!(object["kind"] != "Role" || texts(&object["rules"][0]["verbs"]) == [*verb], "{scenario}: {object}");
        }
    }
    Ok(())
}
