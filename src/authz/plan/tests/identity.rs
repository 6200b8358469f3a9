//! What a session must be and have.

use std::time::Duration;

use super::*;
use crate::authz::session::Claims;

fn one_rule(require: &str) -> PolicyIndex {
    index(&policy(&format!("rules: [{{ name: r, require: {require} }}]")))
}

const PASSES: &str = "ada for shop/shop by r";

#[test]
fn p06_missing_is_not_equal() {
    for (require, found, want) in [
        ("{ roles: [admin] }", active(|_| {}), "403 missing_role by r"),
        ("{ roles: [admin] }", active(|it| it.roles = vec!["admin".into()]), PASSES),
        ("{ roles: [admin] }", active(|it| it.roles = vec!["Admin".into()]), "403 missing_role by r"),
        ("{ roles: [admin, audit] }", active(|it| it.roles = vec!["admin".into()]), "403 missing_role by r"),
        ("{ scopes: [read, write] }", active(|it| it.scopes = vec!["read".into()]), "403 missing_scope by r"),
        ("{ scopes: [read] }", active(|it| it.scopes = vec!["write".into(), "read".into()]), PASSES),
        ("{ acr: [urn:mfa] }", active(|_| {}), "401 insufficient_acr by r"),
        ("{ acr: [urn:mfa] }", active(|it| it.acr = Some("urn:pwd".into())), "401 insufficient_acr by r"),
        ("{ acr: [urn:hw, urn:mfa] }", active(|it| it.acr = Some("urn:mfa".into())), PASSES),
        ("{ maxAge: 15m }", active(|_| {}), "401 authentication_too_old by r"),
        ("{ maxAge: 1h }", active(|_| {}), PASSES),
        ("{ maxAge: 15m }", active(|it| it.auth_time = NOW), PASSES),
    ] {
        meets_with(&one_rule(require), &ask("GET shop.example/").cookie(), &found, want);
    }
}

#[test]
fn p06_claims_are_equal_in_value_and_type() {
    for (require, json, passes) in [
        ("{ name: tier, values: [gold] }", r#"{"tier":"gold"}"#, true),
        ("{ name: tier, values: [gold, silver] }", r#"{"tier":"silver"}"#, true),
        ("{ name: tier, values: [gold] }", r#"{"tier":"Gold"}"#, false),
        ("{ name: tier, values: [gold] }", r#"{}"#, false),
        ("{ name: tier, values: [gold] }", r#"{"tier":null}"#, false),
        ("{ name: tier, values: [gold] }", r#"{"tier":["silver","gold"]}"#, true),
        ("{ name: tier, values: [gold] }", r#"{"tier":[]}"#, false),
        ("{ name: tier, values: [gold] }", r#"{"tier":[["gold"]]}"#, false),
        ("{ name: tier, values: [gold] }", r#"{"tier":{"gold":true}}"#, false),
        ("{ name: level, values: [1] }", r#"{"level":1}"#, true),
        ("{ name: level, values: [1] }", r#"{"level":"1"}"#, false),
        ("{ name: level, values: [1] }", r#"{"level":1.5}"#, false),
        (r#"{ name: level, values: ["1"] }"#, r#"{"level":1}"#, false),
        ("{ name: staff, values: [true] }", r#"{"staff":true}"#, true),
        ("{ name: staff, values: [true] }", r#"{"staff":"true"}"#, false),
        (r#"{ name: "https://x.example/t", values: [a] }"#, r#"{"https://x.example/t":"a"}"#, true),
        ("{ name: a.b, values: [c] }", r#"{"a":{"b":"c"}}"#, false),
    ] {
        let index = one_rule(&format!("{{ claims: [{require}] }}"));
        let want = if passes { PASSES } else { "403 missing_claim by r" };
        meets_with(&index, &ask("GET shop.example/").cookie(), &active(|it| it.claims = claims(json)), want);
    }
}

#[test]
fn all_that_is_required_is_required() {
    let index = one_rule("{ roles: [a], scopes: [s], claims: [{ name: c, values: [v] }, { name: d, values: [w] }] }");
    let full = |it: &mut Session| {
        it.roles = vec!["a".into()];
        it.scopes = vec!["s".into()];
        it.claims = claims(r#"{"c":"v","d":"w"}"#);
    };
    let request = ask("GET shop.example/").bearer();
    meets_with(&index, &request, &active(full), PASSES);
    let lacking: [fn(&mut Session); 4] = [
        |it| it.roles.clear(),
        |it| it.scopes.clear(),
        |it| it.claims = claims(r#"{"c":"v"}"#),
        |it| it.claims = Claims::empty(),
    ];
    for lack in lacking {
        let found = active(|it| {
            full(it);
            lack(it);
        });
        assert!(matches!(decide(&index, &request, &found), Decision::Deny(_)), "{found:?}");
    }
}

#[test]
fn what_a_refusal_asks_for_is_said() {
    let index = one_rule("{ scopes: [s, t], acr: [urn:mfa], maxAge: 5m }");
    let request = ask("GET shop.example/").bearer();
    for (found, want) in [
        (active(|_| {}), Challenge { scopes: vec!["s".into(), "t".into()], ..Challenge::default() }),
        (
            active(|it| it.scopes = vec!["s".into(), "t".into()]),
            Challenge { acr_values: vec!["urn:mfa".into()], ..Challenge::default() },
        ),
        (
            active(|it| {
                it.scopes = vec!["s".into(), "t".into()];
                it.acr = Some("urn:mfa".into());
            }),
            Challenge { max_age: Some(Duration::from_secs(300)), ..Challenge::default() },
        ),
    ] {
        let Decision::Deny(denial) = decide(&index, &request, &found) else { panic!("refused") };
        assert_eq!(denial.challenge, want);
    }
}

#[test]
fn p21_a_session_is_judged_by_its_own_times_too() {
    let index = index(&policy(""));
    let request = ask("GET shop.example/").cookie();
    let after = |millis: i64| Timestamp::from_millis(NOW.as_millis() + millis);
    for (found, want) in [
        (active(|it| it.absolute_end = after(1)), "ada for shop/shop by default"),
        (active(|it| it.absolute_end = NOW), "401 expired_session by default"),
        (active(|it| it.absolute_end = after(-1)), "401 expired_session by default"),
        (active(|it| it.created = after(30_000)), "ada for shop/shop by default"),
        (active(|it| it.created = after(30_001)), "503 clock_behind by default"),
        (active(|it| it.auth_time = after(30_001)), "503 clock_behind by default"),
        (active(|it| it.last_seen = after(30_001)), "503 clock_behind by default"),
        (active(|it| it.realm = realm("staff")), "401 unknown_session by default"),
        (active(|it| it.id = crate::authz::session::SessionId::from_bytes([8; 16])), "401 unknown_session by default"),
    ] {
        meets_with(&index, &request, &found, want);
    }
}

#[test]
fn a_policys_realm_is_the_one_that_is_asked() {
    let staff = index(&named("staff/desk", "hosts: [desk.example]\nrealm: staff"));
    let Plan::Lookup(pending) = plan(&staff, &ask("GET desk.example/").cookie().read()) else { panic!("a look-up") };
    assert_eq!(pending.realm(), &realm("staff"));
    meets_with(&staff, &ask("GET desk.example/").cookie(), &active(|_| {}), "401 unknown_session by default");
    let found = active(|it| it.realm = realm("staff"));
    meets_with(&staff, &ask("GET desk.example/").cookie(), &found, "ada for staff/desk by default");
}
