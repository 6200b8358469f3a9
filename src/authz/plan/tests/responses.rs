//! What a request leaves for its response, and what logging in means for what it presents.

use std::time::Duration;

use super::*;
use crate::authz::response::ResponseScope;

fn shop() -> PolicyIndex {
    index(&policy(
        "
allowedOrigins: [https://partner.example]
rules:
- name: health
  matches: [{ path: { value: /healthz } }]
  access: Public
- name: login
  matches: [{ path: { value: /login } }]
  access: Public
  session: { create: true }
- name: cart
  matches: [{ path: { value: /cart } }]
  session: { writableClaims: [cart] }
- name: logout
  matches: [{ path: { value: /logout } }]
  authenticate: [{ session: {} }, { anonymous: {} }]
  session: { end: true }
",
    ))
}

fn scope_of(index: &PolicyIndex, ask: &Ask, found: &Lookup) -> Option<ResponseScope> {
    match decide(index, ask, found) {
        Decision::Permit(permit) => permit.scope().cloned(),
        Decision::Anonymous { scope, .. } => scope.map(|scope| *scope),
        Decision::Deny(denial) => panic!("{ask:?}: {denial:?}"),
    }
}

#[test]
fn p22_a_response_is_given_the_session_of_its_request_and_no_other() {
    let (shop, ada) = (shop(), active(|_| {}));
    let Lookup::Active(session) = &ada else { unreachable!() };
    for (request, rule, cookie) in [
        (ask("GET shop.example/cart").cookie(), "cart", Some("__Host-session")),
        (ask("GET shop.example/cart").bearer(), "cart", None),
        (ask("GET shop.example/logout").cookie(), "logout", Some("__Host-session")),
    ] {
        let scope = scope_of(&shop, &request, &ada).expect("the rule has grants");
        assert_eq!((&*scope.rule.rule, scope.session, scope.cookie.as_deref()), (rule, Some(session.id), cookie));
        assert_eq!((scope.realm.as_str(), &*scope.namespace, scope.dead), ("shop", "shop", false));
        let (realm, grants) = shop.grants(&scope.rule).expect("the rule is there");
        assert_eq!((realm, grants.fingerprint), (&scope.realm, scope.fingerprint));
    }
}

#[test]
fn a_rule_without_session_leaves_nothing_for_the_response() {
    let (shop, ada) = (shop(), active(|_| {}));
    for request in [ask("GET shop.example/healthz").cookie(), ask("GET shop.example/").cookie()] {
        assert_eq!(scope_of(&shop, &request, &ada), None, "{request:?}");
    }
    // Nobody's response can change nobody's session.
    assert_eq!(scope_of(&shop, &ask("GET shop.example/logout"), &Lookup::Unknown), None);
}

#[test]
fn p15_a_log_in_never_takes_a_session_for_an_identity() {
    let shop = shop();
    let login = ask("POST shop.example/login").cookie();
    for (found, dead) in [
        (active(|_| {}), false),
        (Lookup::Expired, true),
        (Lookup::Idle, true),
        (Lookup::Revoked, true),
        (Lookup::Unknown, true),
        (Lookup::Invalid, true),
    ] {
        meets_with(&shop, &login, &found, "anonymous by login");
        let scope = scope_of(&shop, &login, &found).expect("a log-in has a response");
        assert_eq!((scope.session.is_some(), scope.dead), (!dead, dead), "{found:?}");
    }
    let nobody = scope_of(&shop, &ask("POST shop.example/login"), &Lookup::Unknown).expect("a log-in has a response");
    assert_eq!((nobody.session, nobody.dead, nobody.cookie), (None, false, None));
    // A session of another realm is not this realm's to end, and no more alive here than anywhere it does not count.
    let other = active(|session| session.realm = realm("staff"));
    let scope = scope_of(&shop, &login, &other).expect("a log-in has a response");
    assert_eq!((scope.session, scope.dead), (None, true));
}

#[test]
fn p02_a_log_in_whose_old_session_cannot_be_looked_up_is_503() {
    let unavailable = Lookup::Unavailable(DenyReason::StoreUnavailable);
    meets_with(&shop(), &ask("POST shop.example/login").cookie(), &unavailable, "503 store_unavailable by login");
    let ahead = active(|session| session.created = NOW.plus(Duration::from_secs(3600)));
    meets_with(&shop(), &ask("POST shop.example/login").cookie(), &ahead, "503 clock_behind by login");
}

#[test]
fn p14_a_log_in_that_another_site_forces_with_our_cookie_is_refused() {
    let shop = shop();
    let from = |site: &str| ask("POST shop.example/login").with("sec-fetch-site", site);
    meets(&shop, &from("cross-site").cookie(), "403 cross_site by login");
    meets(&shop, &from("same-origin").cookie(), "anonymous by login");
    meets(&shop, &from("cross-site"), "403 cross_site by login");
    meets(&shop, &from("same-origin"), "anonymous by login");
    meets(&shop, &from("none"), "anonymous by login");
    meets(&shop, &ask("GET shop.example/login").with("sec-fetch-site", "cross-site"), "anonymous by login");
    let partner = from("cross-site").with("origin", "https://partner.example").cookie();
    meets(&shop, &partner, "anonymous by login");
}

#[test]
fn p13_two_tokens_are_refused_where_one_logs_in_too() {
    let both =
        ask("POST shop.example/login").cookie().with("authorization", "Bearer ckr_another-token-of-somebody-else");
    meets(&shop(), &both, "400 ambiguous_credential by login");
}

#[test]
fn a_log_in_below_a_required_policy_passes_with_the_session_it_asks_for_and_without_its_identity() {
    let index = index(&format!(
        "{}\n---\n{}",
        named("shop/all", "hosts: ['*.example']\ninheritance: Required"),
        policy("rules: [{ name: login, access: Public, session: { create: true } }]"),
    ));
    meets(&index, &ask("GET shop.example/"), "401 no_credential by default");
    meets(&index, &ask("GET shop.example/").cookie(), "anonymous by login");
    assert!(scope_of(&index, &ask("GET shop.example/").cookie(), &active(|_| {})).unwrap().session.is_some());
}

#[test]
fn p05_a_fingerprint_changes_with_the_rule_the_realm_and_what_is_granted() {
    let print = |spec: &str| {
        let index = index(&policy(spec));
        let rule = |name: &str| {
            index
                .grants(&crate::authz::policy::RuleName {
                    policy: crate::authz::policy::PolicyName { namespace: "shop".into(), name: "shop".into() },
                    rule: name.into(),
                })
                .map(|(_, grants)| grants.fingerprint)
        };
        rule("a").or(rule("b")).expect("one of them is there")
    };
    let first = print("rules: [{ name: a, session: { end: true } }]");
    assert_eq!(
        print("rules: [{ name: a, session: { end: true, writableClaims: [] }, require: { roles: [x] } }]"),
        first
    );
    for other in [
        "rules: [{ name: b, session: { end: true } }]",
        "rules: [{ name: a, session: { end: true, writableClaims: [a] } }]",
        "rules: [{ name: a, session: { writableClaims: [a] } }]",
    ] {
        assert_ne!(print(other), first, "{other}");
    }
}
