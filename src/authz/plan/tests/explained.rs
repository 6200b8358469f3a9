//! What `explain` says.

use serde_json::{Value, json};

use super::*;

fn explained(index: &PolicyIndex, request: &Ask, found: Option<&Lookup>) -> Value {
    serde_json::to_value(super::explain::explain(index, &request.read(), found, |_| None, NOW)).unwrap()
}

#[test]
fn a_denial_names_policy_rule_match_session_and_reason() {
    let request = ask("POST shop.example/admin/x").cookie();
    let said = explained(&shop(), &request, Some(&active(|_| {})));
    for (field, want) in [
        ("/verdict", json!("deny")),
        ("/reason", json!("missing_role")),
        ("/status", json!(403)),
        ("/policy", json!("shop/shop")),
        ("/rule", json!("admin")),
        ("/rules/0/target", json!("host shop.example")),
        ("/rules/0/match/path/value", json!("/admin")),
        ("/rules/0/match/method", json!("POST")),
        ("/credential", json!({ "kind": "token", "carrier": "cookie: __Host-session" })),
        ("/session/found", json!("active")),
        ("/session/subject", json!("ada")),
    ] {
        assert_eq!(said.pointer(field), Some(&want), "{field} in {said:#}");
    }
}

#[test]
fn an_allow_names_what_the_service_gets_and_what_is_taken_off() {
    let request = ask("GET shop.example/").cookie().with("x-session-jwt", "forged");
    let said = explained(&shop(), &request, Some(&active(|_| {})));
    for (field, want) in [
        ("/verdict", json!("allowSession")),
        ("/rule", json!("default")),
        ("/rules/0/because", json!("no rule matches: spec.default")),
        ("/jwt", json!({ "namespace": "shop", "audience": "shop/shop", "claims": ["*"] })),
        ("/takeOff/headers", json!(["x-session-jwt"])),
        ("/takeOff/cookie", json!("ours removed")),
    ] {
        assert_eq!(said.pointer(field), Some(&want), "{field} in {said:#}");
    }
}

#[test]
fn without_a_look_up_it_says_that_one_is_needed() {
    let said = explained(&shop(), &ask("GET shop.example/").bearer(), None);
    assert_eq!((&said["verdict"], &said["credential"]["carrier"]), (&json!("needsSession"), &json!("bearer: {}")));
    let said = explained(&shop(), &ask("GET shop.example/healthz"), None);
    assert_eq!(said["verdict"], json!("allowAnonymous"));
}

#[test]
fn p31_an_explanation_shows_no_token() {
    let index = shop();
    for request in [ask("GET shop.example/").cookie(), ask("GET shop.example/open").bearer()] {
        let text = explained(&index, &request, Some(&active(|it| it.claims = claims(r#"{"pin":"1234"}"#)))).to_string();
        assert!(!text.contains("ckr_") && !text.contains("1234"), "{text}");
    }
}
