use super::*;
use crate::doctor::{install, keys, policies};
use crate::k8s::crds;

/// The definitions as an API server has them.
fn served() -> String {
    let mut all = String::new();
    for crd in crds::all() {
        let mut object = crd.object;
        object["status"] = json!({ "conditions": [{ "type": "Established", "status": "True" }] });
        all += &format!("---\n{object}\n");
    }
    all
}

fn controller(ready: u64, renewed: &str) -> String {
    format!(
        "
---
kind: Deployment
metadata: {{name: cloakroom-controller, namespace: cloakroom-system}}
spec: {{replicas: 2}}
status: {{readyReplicas: {ready}}}
---
kind: Lease
metadata: {{name: cloakroom-controller, namespace: cloakroom-system}}
spec: {{holderIdentity: one, leaseDurationSeconds: 15, renewTime: '{renewed}'}}
"
    )
}

#[test]
fn definitions_are_compared_with_our_own() {
    let ok = (Level::Ok, "is served, as version");
    expect(&install::judge(&scene(&served())), Check::Definitions, &[ok, ok]);
    let missing = (Level::Problem, "is not there: the API server knows no such objects");
    expect(&install::judge(&scene("")), Check::Definitions, &[missing, missing]);
    let mut older = scene(&served());
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let first = &mut older.objects.get_mut(&Kind::CustomResourceDefinition).unwrap()[0];
    first.pointer_mut(spec).unwrap().as_object_mut().unwrap().remove("mode");
    expect(&install::judge(&older), Check::Definitions, &[(Level::Warning, "has another schema"), ok]);
    let mut waiting = scene(&served());
    waiting.objects.get_mut(&Kind::CustomResourceDefinition).unwrap()[1]["status"] = json!({});
    expect(&install::judge(&waiting), Check::Definitions, &[ok, (Level::Problem, "not served")]);
}

#[test]
fn the_controller_is_ready_and_holds_its_lease() {
    let now = Timestamp::now();
    let old = now - jiff::SignedDuration::from_secs(31);
    for (ready, renewed, deployment, lease) in [
        (2, now, (Level::Ok, "2 of 2"), (Level::Ok, "is held by one")),
        (1, now, (Level::Warning, "1 of 2"), (Level::Ok, "is held by one")),
        (0, old, (Level::Problem, "0 of 2"), (Level::Problem, "renewed it 31 s ago")),
    ] {
        let mut scene = scene(&controller(ready, &renewed.to_string()));
        scene.now = now;
        let findings = install::judge(&scene);
        expect(&findings, Check::Controller, &[deployment]);
        expect(&findings, Check::Lease, &[lease]);
    }
    let findings = install::judge(&scene(""));
    expect(&findings, Check::Controller, &[(Level::Problem, "is not there")]);
    // Without a controller nobody holds it.
    expect(&findings, Check::Lease, &[]);
    let findings = install::judge(&scene(&controller(1, "").replace("one", "''")));
    expect(&findings, Check::Lease, &[(Level::Problem, "is held by nobody")]);
}

#[test]
fn a_shared_gate_is_ready_and_its_proxies_have_a_certificate() {
    let file = "
---
kind: ConfigMap
metadata: {name: cloakroom-controller, namespace: cloakroom-system}
data: {cloakroom.yaml: 'controller: {certificates: {gate: {service: cloakroom-gate}, proxies: [infra]}}'}
---
kind: Secret
metadata: {name: cloakroom-proxy-tls, namespace: infra, labels: {app.kubernetes.io/managed-by: cloakroom-controller}}
";
    let now = Timestamp::now().to_string();
    let gate = |ready| controller(ready, &now).replacen("name: cloakroom-controller", "name: cloakroom-gate", 1);
    let judged = |objects: String| install::judge(&scene(&objects));
    let ours = (Level::Ok, "cloakroom-controller: 2 of 2");
    let all = |ready| format!("{}{}{file}", controller(2, &now), gate(ready));
    expect(&judged(all(2)), Check::Controller, &[ours, (Level::Ok, "cloakroom-gate: 2 of 2")]);
    expect(
        &judged(all(0)),
        Check::Controller,
        &[ours, (Level::Problem, "cloakroom-gate: 0 of 2 replicas are ready: req")],
    );
    let without = format!("{}{file}", controller(2, &now));
    expect(&judged(without), Check::Controller, &[ours, (Level::Problem, "is not there: no proxy gets an answer")]);
    let well = (Level::Ok, "cloakroom-gate: 2 of 2");
    let gone = all(2).replace("proxies: [infra]", "proxies: [edge]");
    expect(
        &judged(gone),
        Check::Controller,
        &[ours, well, (Level::Problem, "Secret edge/cloakroom-proxy-tls: is not there")],
    );
    let foreign = all(2).replace("managed-by: cloakroom-controller", "managed-by: somebody");
    expect(&judged(foreign), Check::Controller, &[ours, well, (Level::Problem, "is somebody else's")]);
}

#[test]
fn policies_say_what_became_of_them() {
    let policy = |conditions: &str| {
        let status = format!("{{ancestors: [{{conditions: {conditions}}}]}}");
        format!("{{kind: AuthPolicy, metadata: {{name: a, namespace: shop, generation: 2}}, status: {status}}}")
    };
    let fine = "{type: Accepted, status: 'True', observedGeneration: 2}";
    for (conditions, level, seen) in [
        (format!("[{fine}]"), Level::Ok, "all are accepted (1)"),
        (
            "[{type: Accepted, status: 'False', reason: Invalid, message: 'spec.x: no', observedGeneration: 2}]"
                .to_owned(),
            Level::Problem,
            "is not accepted: Invalid: spec.x: no",
        ),
        ("[{type: Accepted, status: 'True', observedGeneration: 1}]".to_owned(), Level::Warning, "has changed since"),
        (
            format!("[{fine}, {{type: ResolvedRefs, status: 'False', reason: ProviderNotFound}}]"),
            Level::Problem,
            "names what is not there: ProviderNotFound",
        ),
        (
            format!("[{fine}, {{type: Programmed, status: 'False', reason: NotAttached}}]"),
            Level::Warning,
            "judges no request: NotAttached",
        ),
        (format!("[{fine}, {{type: Programmed, status: 'False', reason: Overridden}}]"), Level::Ok, "all are accepted"),
    ] {
        expect(&policies::judge(&scene(&policy(&conditions))), Check::Policies, &[(level, seen)]);
    }
    let bare = "{kind: AuthPolicy, metadata: {name: a, namespace: shop, generation: 1}}";
    expect(&policies::judge(&scene(bare)), Check::Policies, &[(Level::Warning, "has no status")]);
    expect(&policies::judge(&scene("")), Check::Policies, &[(Level::Ok, "there are none")]);
}

#[test]
fn key_sets_hold_the_keys_of_the_secret() {
    let ring = "keys: [{kid: old, published: 2020-01-01T00:00:00Z, retired: 2021-01-01T00:00:00Z}, {kid: one, published: 2022-01-01T00:00:00Z},
                {kid: later, published: 2999-01-01T00:00:00Z}]";
    let ring = base64(ring.as_bytes());
    let secret = format!(
        "{{kind: Secret, metadata: {{name: cloakroom-keys, namespace: shop}}, data: {{keyring.yaml: {ring}}}}}"
    );
    for (set, level, seen) in [
        (Ok(json!({ "keys": [{ "kid": "one" }, { "kid": "two" }] })), Level::Ok, "answers with 2"),
        (Ok(json!({ "keys": [{ "kid": "two" }] })), Level::Problem, "lacks one of the Secret"),
        (Err("503".to_owned()), Level::Problem, "does not answer, so that no service can verify"),
    ] {
        let mut scene = scene(&secret);
        scene.key_sets.insert("shop".to_owned(), set);
        expect(&keys::judge(&scene), Check::KeySets, &[(level, seen)]);
    }
    let mut bare = scene("");
    bare.key_sets.insert("shop".to_owned(), Ok(json!({ "keys": [] })));
    expect(&keys::judge(&bare), Check::KeySets, &[(Level::Problem, "is empty")]);
}
