//! What holds for every text that a policy could be.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{ClaimPath, PolicyIndex};
use super::fixture::*;
use crate::api::auth_policy::AuthPolicy;
use crate::api::read::read;

/// Words of a policy, right and wrong, put together at random.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop_oneof![
            Just("Public"),
            Just("Deny"),
            Just("Required"),
            Just("Audit"),
            Just("Exact"),
            Just("GET"),
            Just("/a"),
            Just("15m"),
            Just("shop.example"),
            Just("*.example"),
            Just("session.subject"),
            Just("https://a.example"),
            Just("staff"),
            Just("gateway.networking.k8s.io"),
            Just("HTTPRoute"),
            Just("(a|b)*"),
        ]
        .prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("hosts"),
        Just("targetRefs"),
        Just("rules"),
        Just("matches"),
        Just("path"),
        Just("value"),
        Just("type"),
        Just("authenticate"),
        Just("session"),
        Just("anonymous"),
        Just("sessionJwt"),
        Just("audiences"),
        Just("namespaces"),
        Just("require"),
        Just("roles"),
        Just("claims"),
        Just("name"),
        Just("values"),
        Just("maxAge"),
        Just("forward"),
        Just("access"),
        Just("mode"),
        Just("inheritance"),
        Just("realm"),
        Just("deny"),
        Just("redirectTo"),
        Just("kind"),
        Just("group"),
        Just("allowedOrigins"),
        Just("default"),
        Just("carriers"),
        Just("bearer"),
        Just("method"),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..5).prop_map(|pairs| Value::Object(
                pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            )),
        ]
    })
}

fn with_spec(spec: &Value) -> String {
    let object = json!({
        "apiVersion": "cloakroom.dev/v1alpha1", "kind": "AuthPolicy",
        "metadata": { "name": "shop", "namespace": "shop" }, "spec": spec,
    });
    object.to_string()
}

proptest! {
    #[test]
    fn p26_whatever_is_written_nothing_panics_and_neighbours_stay(mut spec in any_value()) {
        if let Value::Object(spec) = &mut spec {
            spec.insert("hosts".to_owned(), json!(["shop.example"]));
        }
        let good = named("other/other", "hosts: [other.example]");
        let (index, _) = compile(&format!("{}\n---\n{good}", with_spec(&spec)));
        meets(&index, &ask("GET other.example/").cookie(), "ada for other/other by default");
        meets(&index, &ask("GET other.example/"), "401 no_credential by default");
    }

    #[test]
    fn p26_a_bad_spec_never_replaces_a_good_one(mut spec in any_value()) {
        if let Value::Object(spec) = &mut spec {
            spec.insert("hosts".to_owned(), json!(["shop.example"]));
        }
        let before = index(&policy("default: Deny"));
        let (after, problems) = PolicyIndex::compile(&objects(&with_spec(&spec)), &install(), Some(&before));
        if problems.iter().any(|problem| problem.kind.label() == "Invalid") {
            meets(&after, &ask("GET shop.example/").cookie(), "403 denied_by_default by default");
        }
    }

    #[test]
    fn what_reads_is_written_and_read_again_the_same(spec in any_value()) {
        let value: Value = serde_json::from_str(&with_spec(&spec)).unwrap();
        if let Ok(policy) = read::<AuthPolicy>(value) {
            let again: AuthPolicy = read(serde_json::to_value(&policy).unwrap()).unwrap();
            prop_assert_eq!(policy, again);
        }
    }

    #[test]
    fn a_claim_path_reads_as_it_is_written(steps in prop::collection::vec("[a-zA-Z0-9_-]{1,8}", 1..6)) {
        let path = format!("session.claims.{}", steps.join("."));
        prop_assert_eq!(ClaimPath::parse(&path).unwrap().to_string(), path);
    }

    #[test]
    fn no_text_is_a_claim_path_by_accident(text in "\\PC{0,40}") {
        if let Ok(path) = ClaimPath::parse(&text) {
            prop_assert_eq!(path.to_string(), text);
        }
    }
}
