//! Tables: objects in, findings out.

mod envoy_gateway;
mod gateway_api;
mod install;
mod istio;
mod namespaces;
mod probe;
mod webhooks;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::finding::{Check, Finding, Level};
use super::scene::{Gap, Kind, Mesh, Scene};

/// A scene of these objects in YAML, of kinds that are all known.
fn scene(objects: &str) -> Scene {
    let mut scene = Scene {
        now: Timestamp::now(),
        install: "cloakroom-system".to_owned(),
        istio_root: "istio-system".to_owned(),
        envoy_gateway_namespace: "envoy-gateway-system".to_owned(),
        ..Scene::default()
    };
    let objects: Vec<Value> = serde_saphyr::from_multiple(objects).unwrap();
    for object in objects.into_iter().filter(|it| !it.is_null()) {
        let kind = kind_of(object["kind"].as_str().unwrap());
        scene.objects.entry(kind).or_default().push(object);
    }
    scene.namespaces =
        scene.all(Kind::Namespace).iter().map(|it| it["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    scene
}

fn kind_of(name: &str) -> Kind {
    use Kind::*;
    let all = [
        CustomResourceDefinition,
        Namespace,
        Deployment,
        Lease,
        ConfigMap,
        Secret,
        Service,
        Pod,
        RoleBinding,
        ValidatingWebhookConfiguration,
        MutatingWebhookConfiguration,
        AuthPolicy,
        AuthorizationPolicy,
        RequestAuthentication,
        ServiceEntry,
        EnvoyFilter,
        SecurityPolicy,
        EnvoyExtensionPolicy,
        Backend,
        ClientTrafficPolicy,
        EnvoyPatchPolicy,
        HTTPRoute,
        ReferenceGrant,
        BackendTLSPolicy,
    ];
    all.into_iter().find(|it| it.name() == name).unwrap()
}

/// What was found by one check, as `level seen`.
fn found(findings: &[Finding], check: Check) -> Vec<String> {
    let of = findings.iter().filter(|it| it.check == check);
    of.map(|it| format!("{} {}: {}", it.level.label(), it.about, it.seen)).collect()
}

/// That exactly these were found by a check: the level, and a part of what was seen.
#[track_caller]
fn expect(findings: &[Finding], check: Check, want: &[(Level, &str)]) {
    let got: Vec<_> = findings.iter().filter(|it| it.check == check).collect();
    let fits = got.len() == want.len()
        && got
            .iter()
            .zip(want)
            .all(|(got, (level, part))| got.level == *level && format!("{}: {}", got.about, got.seen).contains(part));
    assert!(fits, "want {want:#?}\ngot {:#?}", found(findings, check));
    for finding in got {
        assert_eq!(finding.cure.is_none(), finding.level == Level::Ok, "{finding:?}");
    }
}

#[test]
fn what_could_not_be_read_is_unknown_and_names_the_right() {
    let mut scene = scene("{kind: Namespace, metadata: {name: shop, labels: {cloakroom.dev/enrolled: 'true'}}}");
    scene.gaps.push(Gap {
        check: Check::Namespaces,
        verb: "get",
        kind: Kind::Secret,
        namespace: Some("shop".to_owned()),
        name: Some("cloakroom-keys".to_owned()),
        is_refused: true,
        why: "secrets is forbidden".to_owned(),
    });
    scene.gaps.push(Gap {
        check: Check::Policies,
        verb: "list",
        kind: Kind::AuthPolicy,
        namespace: None,
        name: None,
        is_refused: true,
        why: "no".to_owned(),
    });
    let findings = super::judge(&scene);
    expect(&findings, Check::Namespaces, &[(Level::Unknown, "Secret shop/cloakroom-keys: may not be read")]);
    expect(&findings, Check::Policies, &[(Level::Unknown, "every AuthPolicy in the whole cluster: may not be read")]);
    let cures: Vec<_> =
        findings.iter().filter(|it| it.level == Level::Unknown).filter_map(|it| it.cure.clone()).collect();
    assert!(cures[0].starts_with("grant get secrets in the namespace shop"), "{cures:?}");
    assert!(cures[1].starts_with("grant list authpolicies.cloakroom.dev in the whole cluster"), "{cures:?}");
}

#[test]
fn each_check_is_in_the_documentation() {
    let documentation = include_str!("../../docs/troubleshooting.md");
    for check in Check::ALL {
        assert!(documentation.contains(&format!("| `{}` |", check.label())), "docs/troubleshooting.md: {check}");
    }
}

#[test]
fn the_status_tells_what_was_found_apart() {
    let report = |levels: &[Level]| {
        let one = |level: &Level| Finding { level: *level, ..Finding::ok(Check::Lease, "a", "b") };
        super::finding::Report { findings: levels.iter().map(one).collect() }.status()
    };
    for (levels, want) in [
        (&[Level::Ok][..], 0),
        (&[Level::Ok, Level::Unknown], 2),
        (&[Level::Warning], 1),
        (&[Level::Problem, Level::Unknown], 1),
    ] {
        assert_eq!(report(levels), want, "{levels:?}");
    }
}

fn mesh(mut scene: Scene, mesh: Mesh) -> Scene {
    scene.meshes.insert(mesh);
    scene
}

fn base64(text: &[u8]) -> Value {
    use base64::Engine as _;
    json!(base64::engine::general_purpose::STANDARD.encode(text))
}
