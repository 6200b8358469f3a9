//! What is said of objects, without an API server. `tests/kube/admission.rs` has one.

use super::*;
use crate::authz::credential::{Carrier, Carriers};
use crate::authz::policy::{HostsFrom, Namespaces, RealmRights};
use crate::authz::session::Realm;

fn install() -> Install {
    let realm = |name| Realm::parse(name).unwrap();
    let only_shop = RealmRights { uses: Namespaces::Only(["shop".to_owned()].into()), ..RealmRights::default() };
    Install {
        realms: [(realm("shop"), only_shop)].into(),
        hosts: HostsFrom::Namespace("cloakroom".to_owned()),
        ..Install::open(realm("default"), Carriers::new(vec![Carrier::Bearer]).unwrap())
    }
}

fn policy(namespace: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "cloakroom.dev/v1alpha1",
        "kind": "AuthPolicy",
        "metadata": {
            "name": "p", "namespace": namespace, "uid": "1", "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [],
        },
        "spec": spec,
    })
}

fn asked(change: impl FnOnce(&mut Value)) -> Value {
    let mut review = json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "request": {
            "uid": "u-1",
            "kind": { "group": "cloakroom.dev", "version": "v1alpha1", "kind": "AuthPolicy" },
            "operation": "CREATE",
            "object": null,
            "oldObject": null,
            "dryRun": false,
        },
    });
    change(&mut review["request"]);
    let answer = review_of(&review).unwrap();
    assert_eq!(
        (&answer["apiVersion"], &answer["kind"], &answer["response"]["uid"]),
        (&json!(API_VERSION), &json!(KIND), &json!("u-1"))
    );
    answer["response"].clone()
}

fn review_of(review: &Value) -> Result<Value, BadReview> {
    super::review(review.to_string().as_bytes(), &install())
}

fn target(rules: Value) -> Value {
    let target = json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "not-there-yet"});
    json!({"targetRefs": [target], "rules": rules})
}

#[test]
fn what_can_never_work_is_refused_with_its_reasons() {
    for (namespace, spec, want) in [
        ("shop", target(json!([])), None),
        (
            "shop",
            target(json!([{"matches": [{"path": {"type": "RegularExpression", "value": "/(a"}}]}])),
            Some("spec.rules[0].matches[0].path.value: is not an expression"),
        ),
        (
            "shop",
            target(json!([{"forward": {"claims": {"a": "session.claims.a+b"}}}])),
            Some("spec.rules[0].forward.claims.a: \"session.claims.a+b\" is not a plain path"),
        ),
        (
            "tenant",
            json!({"hosts": ["shop.example"]}),
            Some("spec.hosts: would claim hosts that no Gateway gave this namespace"),
        ),
        ("cloakroom", json!({"hosts": ["shop.example"]}), None),
        ("shop", json!({"realm": "shop", "targetRefs": target(json!([]))["targetRefs"]}), None),
        (
            "tenant",
            json!({"realm": "shop", "targetRefs": target(json!([]))["targetRefs"]}),
            Some("spec.realm: namespace `tenant` may not use the realm `shop`: add it to `realms.shop.use`"),
        ),
        ("shop", json!({"hosst": []}), Some("spec: unknown field `hosst`: did you mean `hosts`?")),
    ] {
        let response = asked(|request| request["object"] = policy(namespace, spec.clone()));
        assert_eq!(response["allowed"], want.is_none(), "{spec}: {response}");
        if let Some(want) = want {
            let message = response["status"]["message"].as_str().unwrap();
            assert!(message.starts_with(want), "{message}");
            assert!(!message.contains("until it is right") && !message.contains("last good"), "{message}");
            assert_eq!((&response["status"]["code"], &response["status"]["reason"]), (&json!(422), &json!("Invalid")));
        }
    }
}

#[test]
fn several_reasons_are_told_together() {
    let rules = json!([{"name": "a", "require": {"roles": [""]}}, {"name": "a"}]);
    let response = asked(|request| request["object"] = policy("shop", target(rules)));
    let message = response["status"]["message"].as_str().unwrap();
    let lines: Vec<&str> = message.lines().collect();
    assert!(lines.len() == 3 && lines[1].starts_with("- spec.rules[0].require.roles[0]: "), "{message}");
    assert!(lines[2].starts_with("- spec.rules[1].name: another rule is called `a` too"), "{message}");
}

#[test]
fn what_changes_nothing_that_is_judged_passes() {
    let bad = || policy("shop", target(json!([{"name": "no name"}])));
    let labelled = || {
        let mut object = bad();
        object["metadata"]["labels"] = json!({"a": "b"});
        object["status"] = json!({"ancestors": []});
        object
    };
    for (what, request, want) in [
        ("a new one", json!({"operation": "CREATE", "object": bad()}), false),
        ("its label", json!({"operation": "UPDATE", "object": labelled(), "oldObject": bad()}), true),
        (
            "its status",
            json!({"operation": "UPDATE", "subResource": "status", "object": labelled(), "oldObject": bad()}),
            true,
        ),
        ("its end", json!({"operation": "DELETE", "oldObject": bad()}), true),
        (
            "its spec",
            json!({"operation": "UPDATE", "object": bad(), "oldObject": policy("shop", target(json!([])))}),
            false,
        ),
        (
            "its cure",
            json!({"operation": "UPDATE", "object": policy("shop", target(json!([]))), "oldObject": bad()}),
            true,
        ),
        ("another kind", json!({"kind": {"group": "", "version": "v1", "kind": "Secret"}, "object": bad()}), true),
    ] {
        let response = asked(|it| {
            for (field, value) in request.as_object().unwrap() {
                it[field] = value.clone();
            }
        });
        assert_eq!(response["allowed"], want, "{what}: {response}");
    }
}

#[test]
fn what_no_api_server_sends_is_told_so() {
    for (body, want) in [
        (&b"{"[..], "not an AdmissionReview of admission.k8s.io/v1: EOF"),
        (b"[]", "not an AdmissionReview"),
        (b"null", "not an AdmissionReview"),
        (b"\xff\xfe", "not an AdmissionReview"),
        (br#"{"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview"}"#, "of admission.k8s.io/v1beta1"),
        (br#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}"#, "without `request`"),
        (br#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {}}"#, "missing field `uid`"),
    ] {
        let error = super::review(body, &install()).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
}

mod properties {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = super::super::review(&body, &super::install());
        }
    }
}
