//! The definitions on a real API server: applied, applied again, updated, explained, and listed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cloakroom::k8s::crds;
use e2e::kube::{ApiServer, ApiServerOptions};
use e2e::process::wait_until;
use http::Method;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const POLICIES: &str = "/apis/cloakroom.dev/v1alpha1/namespaces/shop/authpolicies";

/// Teaches the server our kinds.
pub(crate) async fn install(server: &ApiServer) -> Result<()> {
    for crd in crds::all() {
        server.apply(&crd.yaml()).await?;
    }
    Ok(())
}

/// A namespace.
pub(crate) fn namespace(name: &str) -> String {
    format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}")
}

/// A policy of `shop`.
pub(crate) fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: cloakroom.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n"
    )
}

/// What a version before this one could have been: a field, a rule and a column fewer.
fn an_older(definition: &Value) -> Result<Value> {
    let mut older = definition.clone();
    let version = &mut older["spec"]["versions"][0];
    version["additionalPrinterColumns"].as_array_mut().context("columns")?.pop();
    let spec = &mut version["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec["x-kubernetes-validations"].as_array_mut().context("rules")?.pop();
    spec["properties"].as_object_mut().context("fields")?.remove("allowedOrigins").context("a field")?;
    Ok(older)
}

#[tokio::test]
async fn definitions_are_applied_and_updated_by_kubectl() -> Result<()> {
    let server = ApiServer::spawn(ApiServerOptions::default()).await?;
    let folder = tempfile::tempdir()?;
    let all = crds::all();
    let older = folder.path().join("older.yaml");
    std::fs::write(&older, an_older(&all[0].object)?.to_string())?;
    let said = server.kubectl(&["apply", "-f", &older.display().to_string()])?;
    ensure!(said.contains("authpolicies.cloakroom.dev created"), "{said}");
    server.kubectl(&["wait", "--for=condition=Established", "crd/authpolicies.cloakroom.dev", "--timeout=60s"])?;
    // Found by those who look what there is, too.
    let known = async || server.apply(&policy("old", "{hosts: [shop.example]}")).await.is_ok();
    server.apply(&namespace("shop")).await?;
    wait_until(PATIENCE, "the older definition", known).await?;
    let origins = "{hosts: [shop.example], allowedOrigins: [https://app.example]}";
    let refused = format!("{:#}", server.apply(&policy("new", origins)).await.expect_err("an unknown field"));
    ensure!(refused.contains("allowedOrigins"), "{refused}");

    // The folder that a release ships, over what was there.
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
    let said = server.kubectl(&["apply", "-f", shipped])?;
    ensure!(said.contains("authpolicies.cloakroom.dev configured"), "{said}");
    ensure!(said.contains("identityproviders.cloakroom.dev created"), "{said}");
    let known = async || server.apply(&policy("new", origins)).await.is_ok();
    wait_until(PATIENCE, "the newer definition", known).await?;
    let said = server.kubectl(&["get", "cauth", "-n", "shop", "-o", "name"])?;
    ensure!(said.contains("authpolicy.cloakroom.dev/old") && said.contains("authpolicy.cloakroom.dev/new"), "{said}");
    let said = server.kubectl(&["apply", "-f", shipped])?;
    ensure!(said.matches("unchanged").count() == 2, "{said}");
    let said = server.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", shipped])?;
    ensure!(said.matches("serverside-applied").count() == 2, "{said}");

    for (names, accepted) in [("authpolicies", "AuthPolicy"), ("identityproviders", "IdentityProvider")] {
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{names}.cloakroom.dev");
        let (_, definition) = server.api(Method::GET, &path, None).await?;
        let conditions = definition["status"]["conditions"].as_array().context("conditions")?;
        let structural = conditions.iter().all(|it| it["type"] != "NonStructuralSchema");
        ensure!(structural && definition["status"]["acceptedNames"]["kind"] == accepted, "{conditions:?}");
    }
    Ok(())
}

#[tokio::test]
async fn explain_reads_like_a_manual_and_columns_tell_what_holds() -> Result<()> {
    let server = ApiServer::spawn(ApiServerOptions::default()).await?;
    install(&server).await?;
    server.apply(&namespace("shop")).await?;

    for (path, wanted) in [
        ("authpolicy", &["An AuthPolicy says what requests to its targets need", "KIND:       AuthPolicy"][..]),
        (
            "authpolicy.spec.rules",
            &[
                "What requests need, by what they are; at most 256.",
                "How a refusal looks.",
                "enum: Public, Deny",
                "access\t<string>",
                "`Public`: Everybody passes;",
                "authenticate\t<[]Object>",
            ],
        ),
        ("cauth.spec.rules.require", &["maxAge\t<string>", "at least `1s`", "roles\t<[]string>", "at most 32."]),
        ("cauth.spec.inheritance", &["ENUM:\n    Default\n    Required", "they can only narrow."]),
        ("cauth.status.ancestors.conditions", &["observedGeneration\t<integer>", "lastTransitionTime\t<string>"]),
        ("cidp.spec.introspection.maxCache", &["0s to 5m, 30s unless told."]),
    ] {
        let explained = async || server.kubectl(&["explain", path]).is_ok();
        wait_until(PATIENCE, "the documentation", explained).await?;
        let said = server.kubectl(&["explain", path])?;
        // kubectl folds lines where they are long.
        let unfolded = said.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in wanted {
            let flat = words.split_whitespace().collect::<Vec<_>>().join(" ");
            ensure!(unfolded.contains(&flat), "explain {path} does not say {words:?}:\n{said}");
        }
    }

    let target = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}";
    server
        .apply(&policy("shop", &format!("{{targetRefs: [{target}], rules: [{{name: admin}}, {{name: rest}}]}}")))
        .await?;
    server.apply(&policy("hosts", "{hosts: [shop.example]}")).await?;
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": "", "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    let status = json!({ "ancestors": [{
        "ancestorRef": { "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "shop" },
        "controllerName": "cloakroom.dev/controller",
        "conditions": [condition("Accepted", "False", "TargetNotFound"), condition("Programmed", "False", "Pending")],
    }] });
    let patch = json!({ "apiVersion": "cloakroom.dev/v1alpha1", "kind": "AuthPolicy", "metadata": { "name": "shop" }, "status": status });
    let path = format!("{POLICIES}/shop/status?fieldManager=controller&force=true");
    let (code, answer) = server.api(Method::PATCH, &path, Some(&patch)).await?;
    ensure!(code == 200, "{answer}");
    ensure!(answer["metadata"]["generation"] == 1, "a status changes no generation");

    let said = server.kubectl(&["get", "cauth", "-n", "shop"])?;
    println!("{said}");
    let row = |said: &str, name: &str| -> Vec<String> {
        let line = said.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(row(&said, "NAME"), ["NAME", "TARGETS", "HOSTS", "ACCEPTED", "PROGRAMMED", "AGE"]);
    assert_eq!(row(&said, "shop")[..4], ["shop", "shop", "False", "False"]);
    assert_eq!(row(&said, "hosts")[..2], ["hosts", "[\"shop.example\"]"]);
    let wide = server.kubectl(&["get", "cauth", "-n", "shop", "-o", "wide"])?;
    println!("{wide}");
    assert_eq!(row(&wide, "NAME")[..5], ["NAME", "TARGETS", "HOSTS", "ACCEPTED", "PROGRAMMED"]);
    ensure!(wide.contains("RULES") && wide.contains("REASON") && wide.contains("TargetNotFound"), "{wide}");
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("shop.yaml").display().to_string();
    let rules = "[{name: health, access: Public, require: {roles: [admin]}}]";
    std::fs::write(&file, policy("broken", &format!("{{hosts: ['shop.example:8080'], rules: {rules}}}")))?;
    let said = server.kubectl(&["apply", "-f", &file]).expect_err("broken").to_string();
    println!("{said}");
    for words in ["spec.hosts[0]: Invalid value", "spec.rules[0].require: Invalid value"] {
        ensure!(said.contains(words), "{said}");
    }
    std::fs::write(&file, policy("broken", "{hosts: [shop.example], rulez: []}"))?;
    let said = server.kubectl(&["apply", "-f", &file]).expect_err("broken").to_string();
    println!("{said}");
    ensure!(said.contains("unknown field \"spec.rulez\""), "{said}");
    let all = server.kubectl(&["get", "cloakroom", "-A"])?;
    ensure!(all.contains("authpolicy.cloakroom.dev/shop"), "{all}");
    Ok(())
}

/// Every YAML text of ours that users may copy: the examples, and the blocks of the pages.
fn texts() -> Result<Vec<(String, String)>> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![format!("{root}/README.md")];
    for folder in ["docs", "examples", "examples/policies"] {
        for entry in std::fs::read_dir(format!("{root}/{folder}"))? {
            files.push(entry?.path().display().to_string());
        }
    }
    files.sort();
    let mut texts = Vec::new();
    for file in files {
        if file.ends_with(".yaml") {
            texts.push((file.clone(), std::fs::read_to_string(&file)?));
        } else if file.ends_with(".md") {
            let page = std::fs::read_to_string(&file)?;
            let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
            texts.extend(blocks.map(|block| (file.clone(), block.to_owned())));
        }
    }
    texts.retain(|(_, text)| text.contains("apiVersion: cloakroom.dev/"));
    Ok(texts)
}

#[tokio::test]
async fn policies_that_users_copy_are_taken() -> Result<()> {
    let server = ApiServer::spawn(ApiServerOptions::default()).await?;
    server.apply_folder(&e2e::tools::gateway_api_crds()?.join("standard")).await?;
    install(&server).await?;
    let texts = texts()?;
    for (file, text) in &texts {
        let objects: Vec<Value> = serde_saphyr::from_multiple(text).with_context(|| file.clone())?;
        for name in objects.iter().filter_map(|it| it["metadata"]["namespace"].as_str()) {
            server.apply(&namespace(name)).await?;
        }
        server.apply(text).await.with_context(|| format!("{file}:\n{text}"))?;
    }
    ensure!(texts.len() >= 3, "{} texts", texts.len());
    // The defaults are filled in, and nothing of what was written is gone.
    let example = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/policies/shop.yaml"))?;
    server.apply(&example).await?;
    let (_, stored) = server.api(Method::GET, &format!("{POLICIES}/shop"), None).await?;
    assert_eq!(stored["spec"]["default"], "Session");
    assert_eq!(stored["spec"]["rules"][1]["session"]["exchange"]["claims"]["subject"], "sub");
    Ok(())
}
