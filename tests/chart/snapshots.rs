//! What the chart renders for each mesh and shape, as committed and read by people.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test --test chart` writes them anew: read the difference before you commit it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use e2e::chart::{self, Helm, NAMESPACE, scenarios};
use e2e::tools;

use crate::house::{helm, render, title};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/chart/snapshots");

/// The documents of a rendering by their titles, without definitions, which another test compares with their source.
fn documents(rendered: &str) -> Result<BTreeMap<String, String>> {
    let mut documents = BTreeMap::new();
    for text in rendered.split("\n---\n") {
        let text = text.trim().trim_start_matches("---\n");
        for object in chart::objects(text)?.iter().filter(|it| it["kind"] != "CustomResourceDefinition") {
            let twice = documents.insert(title(object), text.to_owned());
            ensure!(twice.is_none(), "{} is rendered twice", title(object));
        }
    }
    Ok(documents)
}

/// The lines that differ, with their neighbours.
fn difference(old: &str, new: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let before = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let after = old[before..].iter().rev().zip(new[before..].iter().rev()).take_while(|(a, b)| a == b).count();
    let mut told = String::new();
    let around = before.saturating_sub(3)..before;
    told.extend(old[around].iter().map(|line| format!("    {line}\n")));
    told.extend(old[before..old.len() - after].iter().map(|line| format!("  - {line}\n")));
    told.extend(new[before..new.len() - after].iter().map(|line| format!("  + {line}\n")));
    told
}

#[test]
fn what_is_rendered_is_what_was_reviewed() -> Result<()> {
    let helm = helm()?;
    let update = std::env::var_os("UPDATE_SNAPSHOTS").is_some();
    let mut told = String::new();
    for (name, values) in scenarios()? {
        let now = documents(&render(&helm, &values, &[])?)?;
        let file = Path::new(FOLDER).join(format!("{name}.yaml"));
        if update {
            let text: Vec<_> = now.values().map(String::as_str).collect();
            fs::write(&file, text.join("\n---\n") + "\n")?;
            continue;
        }
        let committed = fs::read_to_string(&file).with_context(|| format!("{}: UPDATE_SNAPSHOTS=1", file.display()))?;
        let then = documents(&committed)?;
        for title in then.keys().filter(|it| !now.contains_key(*it)) {
            told += &format!("{name}: {title} is gone\n");
        }
        for (title, text) in &now {
            match then.get(title) {
                None => told += &format!("{name}: {title} is new\n"),
                Some(old) if old != text => told += &format!("{name}: {title} changed\n{}", difference(old, text)),
                Some(_) => {}
            }
        }
    }
    ensure!(told.is_empty(), "{told}if that is meant: UPDATE_SNAPSHOTS=1 cargo test --test chart");
    let scenarios: Vec<_> = scenarios()?.into_iter().map(|(name, _)| name).collect();
    for entry in fs::read_dir(FOLDER)? {
        let name = entry?.file_name().to_string_lossy().replace(".yaml", "");
        ensure!(scenarios.contains(&name), "snapshots/{name}.yaml is of no scenario: remove it");
    }
    Ok(())
}

#[test]
fn both_helms_find_nothing_and_render_the_same() -> Result<()> {
    let (helm4, helm3) = (helm()?, Helm::new(tools::helm3()?)?);
    for (name, values) in scenarios()? {
        for (version, helm) in [(4, &helm4), (3, &helm3)] {
            helm.lint(&values).with_context(|| format!("Helm {version}: {name}"))?;
        }
        let (of4, of3) = (render(&helm4, &values, &[])?, render(&helm3, &values, &[])?);
        ensure!(documents(&of4)? == documents(&of3)?, "{name}: {}", difference(&of4, &of3));
    }
    Ok(())
}

#[test]
fn every_mesh_and_shape_is_a_scenario() -> Result<()> {
    let mut seen = Vec::new();
    for (_, values) in scenarios()? {
        let values: serde_json::Value = serde_saphyr::from_str(&fs::read_to_string(values)?)?;
        let (mesh, shape) = (values["mesh"].as_str().context("a mesh")?, values["shape"].as_str());
        let usual = if matches!(mesh, "istio" | "envoy") { "sidecar" } else { "shared" };
        seen.push((mesh.to_owned(), shape.unwrap_or(usual).to_owned()));
    }
    for (mesh, shape) in [
        ("istio", "sidecar"),
        ("istio", "shared"),
        ("envoyGateway", "shared"),
        ("gatewayApi", "shared"),
        ("envoy", "sidecar"),
        ("envoy", "shared"),
    ] {
        ensure!(seen.contains(&(mesh.to_owned(), shape.to_owned())), "no scenario has mesh {mesh} and shape {shape}");
    }
    Ok(())
}

#[test]
fn definitions_are_those_of_this_version() -> Result<()> {
    let helm = helm()?;
    let values = chart::folder().join("values.yaml");
    for (keep, policy) in [("true", serde_json::json!("keep")), ("false", serde_json::Value::Null)] {
        let rendered = chart::objects(&render(&helm, &values, &["--set", &format!("crds.keep={keep}")])?)?;
        for crd in cloakroom::k8s::crds::all() {
            let found = rendered.iter().find(|it| it["metadata"]["name"] == crd.name.as_str());
            let found = found.with_context(|| format!("{} is not in the chart", crd.name))?;
            ensure!(found["spec"] == crd.object["spec"], "{}: run `cargo xtask chart`", crd.name);
            for (key, value) in crd.object["metadata"]["labels"].as_object().into_iter().flatten() {
                ensure!(&found["metadata"]["labels"][key] == value, "{}: {key}", crd.name);
            }
            ensure!(found["metadata"]["annotations"]["helm.sh/resource-policy"] == policy, "{}: {keep}", crd.name);
        }
    }
    Ok(())
}

#[test]
fn every_object_has_our_labels_and_its_namespace() -> Result<()> {
    let of_the_cluster =
        ["ClusterRole", "ClusterRoleBinding", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"];
    for (name, values) in scenarios()? {
        for text in documents(&render(&helm()?, &values, &[])?)?.values() {
            let object = &chart::objects(text)?[0];
            if title(object).contains("/extra") {
                continue;
            }
            let is_of_cluster = of_the_cluster.iter().any(|kind| object["kind"] == *kind);
            ensure!(
                is_of_cluster == object["metadata"]["namespace"].is_null(),
                "{name}: {} and its namespace",
                title(object)
            );
            let labels = &object["metadata"]["labels"];
            ensure!(labels["app.kubernetes.io/name"] == "cloakroom", "{name}: {}", title(object));
            ensure!(labels["app.kubernetes.io/managed-by"] == "Helm", "{name}: {}", title(object));
            ensure!(name != "everything" || labels["team"] == "edge", "{name}: {}", title(object));
        }
    }
    Ok(())
}

#[test]
fn notes_have_the_next_commands_in_the_users_own_words() -> Result<()> {
    let elsewhere = "gateways[0].namespace=infra,envoyGateway.patchPolicy.listeners[0].namespace=infra";
    let restart = "kubectl -n infra rollout restart deployment -l app.kubernetes.io/managed-by=envoy-gateway\n\n3.";
    for (scenario, sets, home, wanted) in [
        (
            "envoy-sidecar",
            "",
            "shop",
            // Of another name than the ConfigMap that the release has made in the same namespace.
            vec![
                "rollout restart",
                "selector: { matchLabels",
                "-c cloakroom",
                "--gate 127.0.0.1:9443",
                "--config-map my-envoy",
            ],
        ),
        // Without a Gateway a shared gate goes by hosts, of which only the install's namespace may speak.
        (
            "envoy-shared",
            "",
            NAMESPACE,
            vec!["hosts: [", "deploy/cloakroom-gate", "cloakroom-gate.cloakroom-system.svc:9443"],
        ),
        (
            "istio-sidecar",
            "",
            "shop",
            vec!["rollout restart", "- name: cloakroom", "istio-system/cloakroom.sidecar.internal"],
        ),
        ("gateway-api", "", "shop", vec!["kind: HTTPRoute", "deploy/cloakroom-gate", "cloakroom snippet gateway-api"]),
        // The gates are in the proxies of the Gateway, wherever services are.
        (
            "envoy-gateway-sidecar",
            elsewhere,
            "infra",
            vec!["GatewayNamespace", restart, "kind: HTTPRoute", "kubectl -n infra exec \"$POD\" -c cloakroom"],
        ),
    ] {
        let notes = notes(scenario, sets)?;
        let label = format!("kubectl label namespace {home} cloakroom.dev/enrolled=true");
        let always = [label.as_str(), "kind: AuthPolicy", "helm uninstall mine"];
        for text in wanted.iter().chain(&always) {
            ensure!(notes.contains(text), "{scenario}: no `{text}` in {notes}");
        }
        // The policy can be pasted as it stands: a shell takes the lines, and kubectl gets the policy and no more.
        let pasted = notes.find("kubectl apply -f - <<").and_then(|at| notes[at..].split("\n\n").next());
        let policy = applied(pasted.context("a policy")?).with_context(|| format!("{scenario}: {notes}"))?;
        ensure!(policy.lines().count() == 5, "{scenario}: a policy of five lines: {policy}");
        let object: serde_json::Value = serde_saphyr::from_str(&policy)?;
        ensure!(object["metadata"]["namespace"] == home, "{scenario}: {policy}");
        let targets = object["spec"]["targetRefs"].as_array();
        ensure!(targets.into_iter().flatten().all(|it| it["kind"] == "HTTPRoute"), "{scenario}: {policy}");
    }
    Ok(())
}

/// The notes of a scenario.
fn notes(scenario: &str, sets: &str) -> Result<String> {
    let values = chart::folder().join(format!("ci/{scenario}-values.yaml")).display().to_string();
    let chart = chart::folder().display().to_string();
    let arguments = ["install", "mine", &chart, "--values", &values, "--set", sets, "--dry-run=client"];
    let text = helm()?.run(&arguments).with_context(|| scenario.to_owned())?;
    Ok(text.split("NOTES:").nth(1).context("notes")?.to_owned())
}

/// The snippet of the notes names what proxies of this install find, whatever the domain of the cluster.
#[test]
fn the_notes_snippet_leads_to_the_gate_and_to_a_service() -> Result<()> {
    let domain = "global.clusterDomain=corp.example";
    for (sets, upstream) in [
        (domain.to_owned(), "address: shop.shop.svc.corp.example, port_value: 80 "),
        (format!("{domain},envoy.upstreamHost=web.shop.svc"), "address: web.shop.svc, port_value: 8081 "),
    ] {
        let notes = notes("envoy-shared", &sets)?;
        let command = notes.split("  cloakroom snippet").nth(1).and_then(|it| it.split('|').next());
        // The file is in the controller's pod.
        let command = command.context("a snippet")?.replace("--config /etc/cloakroom/config/cloakroom.yaml", "");
        let words = command.split_whitespace().filter(|it| *it != "\\").map(|it| it.trim_matches('\''));
        let answer = Command::new(env!("CARGO_BIN_EXE_cloakroom")).arg("snippet").args(words).output()?;
        ensure!(answer.status.success(), "{command}: {}", String::from_utf8_lossy(&answer.stderr));
        let printed = String::from_utf8_lossy(&answer.stdout);
        for text in ["address: cloakroom-gate.cloakroom-system.svc.corp.example, port_value: 9443 ", upstream] {
            ensure!(printed.contains(text), "{sets}: no `{text}` in {printed}");
        }
    }
    Ok(())
}

/// What `kubectl apply` reads when a shell runs these lines.
fn applied(lines: &str) -> Result<String> {
    let script = format!("kubectl() {{ if [ \"$1\" = apply ]; then cat; fi; }}\n{lines}\n");
    let done = Command::new("sh").args(["-e", "-c", &script]).stdin(Stdio::null()).output()?;
    let words = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success() && words.is_empty(), "{script}: {words}");
    Ok(String::from_utf8(done.stdout)?)
}
