//! What requests meet, as sentences.

mod audit;
mod explained;
mod identity;
mod properties;
mod redirects;
mod required;
mod responses;

use super::*;
use crate::authz::policy::tests::fixture::*;

/// Public health, admins by POST, an open page, internal calls, a closed door.
fn shop() -> PolicyIndex {
    index(&policy(
        "
allowedOrigins: [https://partner.example]
rules:
- name: health
  matches: [{ path: { type: Exact, value: /healthz } }]
  access: Public
- name: closed
  matches: [{ path: { value: /closed } }]
  access: Deny
- name: admin
  matches: [{ path: { value: /admin }, method: POST }]
  require: { roles: [admin] }
- name: open
  matches: [{ path: { value: /open } }]
  authenticate: [{ session: {} }, { anonymous: {} }]
- name: cookie
  matches: [{ path: { value: /cookie } }]
  authenticate: [{ session: { carriers: [{ cookie: __Host-session }] } }]
- name: internal
  matches: [{ path: { value: /internal } }]
  authenticate: [{ sessionJwt: { audiences: [shop/shop], namespaces: [shop] } }]
  forward: { audience: orders }
",
    ))
}

#[test]
fn p01_everything_needs_a_rule_that_lets_it_pass() {
    let shop = shop();
    for (request, want) in [
        (ask("GET shop.example/"), "401 no_credential by default"),
        (ask("GET shop.example/").cookie(), "ada for shop/shop by default"),
        (ask("GET shop.example/").bearer(), "ada for shop/shop by default"),
        (ask("GET other.example/"), "403 no_policy"),
        (ask("GET other.example/").cookie(), "403 no_policy"),
        (ask("GET shop.example.evil/"), "403 no_policy"),
        (ask("GET shop.example/closed").cookie(), "403 denied_by_rule by closed"),
        (ask("GET shop.example/closed"), "403 denied_by_rule by closed"),
        (ask("POST shop.example/admin").cookie(), "403 missing_role by admin"),
        (ask("GET shop.example/admin").cookie(), "ada for shop/shop by default"),
        (ask("GET shop.example/healthz"), "anonymous by health"),
        (ask("GET shop.example/healthz/x"), "401 no_credential by default"),
        (ask("GET shop.example/open"), "anonymous by open"),
        (ask("GET shop.example/open").bearer(), "ada for shop/shop by open"),
    ] {
        meets(&shop, &request, want);
    }
}

#[test]
fn p01_a_policy_without_rules_means_a_live_session() {
    let index = index(&policy(""));
    meets(&index, &ask("GET shop.example/any"), "401 no_credential by default");
    meets(&index, &ask("GET shop.example/any").cookie(), "ada for shop/shop by default");
}

#[test]
fn p01_default_deny_leaves_only_the_rules() {
    let index = index(&policy("default: Deny\nrules: [{ name: a, matches: [{ path: { value: /a } }] }]"));
    meets(&index, &ask("GET shop.example/a").cookie(), "ada for shop/shop by a");
    meets(&index, &ask("GET shop.example/b").cookie(), "403 denied_by_default by default");
}

#[test]
fn p01_before_any_policy_is_loaded_nobody_passes() {
    let index = PolicyIndex::not_ready(&install());
    meets(&index, &ask("GET shop.example/healthz"), "503 not_ready");
}

#[test]
fn p02_what_is_not_known_is_not_allowed_and_not_called_bad() {
    let shop = shop();
    let request = ask("GET shop.example/").cookie();
    for (found, want) in [
        (Lookup::Unavailable(DenyReason::StoreUnavailable), "503 store_unavailable by default"),
        (Lookup::Unavailable(DenyReason::Overloaded), "503 overloaded by default"),
        (Lookup::Unknown, "401 unknown_session by default"),
        (Lookup::Invalid, "401 invalid_token by default"),
        (Lookup::Revoked, "401 revoked_session by default"),
        (Lookup::Expired, "401 expired_session by default"),
        (Lookup::Idle, "401 idle_session by default"),
    ] {
        meets_with(&shop, &request, &found, want);
    }
}

#[test]
fn p06_bad_is_not_missing() {
    let shop = shop();
    for (request, found, want) in [
        (ask("GET shop.example/open").cookie(), Lookup::Revoked, "401 revoked_session by open"),
        (ask("GET shop.example/open").cookie(), Lookup::Unknown, "401 unknown_session by open"),
        (ask("GET shop.example/open").cookie(), Lookup::Invalid, "401 invalid_token by open"),
        (ask("GET shop.example/open").with("x-ticket", "junk"), Lookup::Unknown, "401 invalid_token by open"),
    ] {
        meets_with(&shop, &request, &found, want);
    }
}

#[test]
fn public_rules_do_not_look_at_credentials_and_take_them_off() {
    let shop = shop();
    let request = ask("GET shop.example/healthz").cookie().with("x-session-jwt", "forged");
    let Decision::Anonymous { take_off, .. } = decide(&shop, &request, &Lookup::Revoked) else { panic!("public") };
    assert_eq!(take_off.cookie, Some(crate::authz::credential::CookieRest::Others("theme=dark".into())));
    assert!(take_off.headers.iter().any(|name| &**name == b"x-session-jwt"), "{take_off:?}");
}

#[test]
fn p13_two_credentials_are_refused_wherever_one_is_looked_at() {
    let shop = shop();
    let two = |line| ask(line).cookie().with("x-ticket", "another");
    meets(&shop, &two("GET shop.example/"), "400 ambiguous_credential by default");
    meets(&shop, &two("GET shop.example/open"), "400 ambiguous_credential by open");
    meets(&shop, &two("GET shop.example/healthz"), "anonymous by health");
}

#[test]
fn p13_a_policy_may_narrow_the_carriers() {
    let shop = shop();
    meets(&shop, &ask("GET shop.example/cookie").cookie(), "ada for shop/shop by cookie");
    meets(&shop, &ask("GET shop.example/cookie").bearer(), "401 wrong_carrier by cookie");
}

#[test]
fn p09_a_session_jwt_counts_only_where_a_rule_names_it() {
    let shop = shop();
    // {"typ":"session+jwt","alg":"ES256"} . {} . x
    let jwt = "Bearer eyJ0eXAiOiJzZXNzaW9uK2p3dCIsImFsZyI6IkVTMjU2In0.e30.eA";
    let with_jwt = |line| ask(line).with("authorization", jwt);
    meets(&shop, &with_jwt("GET shop.example/internal"), "ada for orders by internal");
    meets(&shop, &with_jwt("GET shop.example/"), "401 invalid_session_jwt by default");
    meets(&shop, &with_jwt("GET shop.example/open"), "401 invalid_session_jwt by open");
    meets(&shop, &ask("GET shop.example/internal").cookie(), "401 wrong_carrier by internal");
    let invalid = "401 invalid_session_jwt by internal";
    meets_with(&shop, &with_jwt("GET shop.example/internal"), &Lookup::Invalid, invalid);
    meets_with(&shop, &with_jwt("GET shop.example/internal"), &Lookup::Revoked, "401 revoked_session by internal");
    let Plan::Lookup(pending) = plan(&shop, &with_jwt("GET shop.example/internal").read()) else { panic!("a look-up") };
    let Wanted::SessionJwt(_, rule) = pending.wanted() else { panic!("by JWT") };
    assert_eq!((&*rule.audiences, &*rule.namespaces), (&["shop/shop".to_owned()][..], &["shop".to_owned()][..]));
}

#[test]
fn p14_another_sites_page_cannot_use_our_cookie() {
    let shop = shop();
    let post = || ask("POST shop.example/").cookie();
    for (request, want) in [
        (post().with("sec-fetch-site", "cross-site"), "403 cross_site by default"),
        (post().with("sec-fetch-site", "same-site"), "403 cross_site by default"),
        (post().with("sec-fetch-site", "same-origin"), "ada for shop/shop by default"),
        (post().with("sec-fetch-site", "none"), "ada for shop/shop by default"),
        (post().with("origin", "https://evil.example"), "403 cross_site by default"),
        (post().with("origin", "null"), "403 cross_site by default"),
        (post().with("origin", "https://shop.example"), "ada for shop/shop by default"),
        (
            post().with("sec-fetch-site", "cross-site").with("origin", "https://partner.example"),
            "ada for shop/shop by default",
        ),
        (post(), "ada for shop/shop by default"),
        (ask("GET shop.example/").cookie().with("sec-fetch-site", "cross-site"), "ada for shop/shop by default"),
        (
            ask("GET shop.example/").cookie().with("sec-fetch-site", "cross-site").with("upgrade", "websocket"),
            "403 cross_site by default",
        ),
        (ask("POST shop.example/").bearer().with("sec-fetch-site", "cross-site"), "ada for shop/shop by default"),
        (ask("POST shop.example/open").cookie().with("sec-fetch-site", "cross-site"), "403 cross_site by open"),
        (ask("POST shop.example/healthz").cookie().with("sec-fetch-site", "cross-site"), "anonymous by health"),
    ] {
        meets(&shop, &request, want);
    }
}

#[test]
fn p14_a_dead_cookie_is_expired_and_one_of_unknown_fate_is_not() {
    let shop = shop();
    let cookie = || ask("GET shop.example/").cookie();
    let stale = || cookie().with("x-marker", "1");
    for (request, found, expired) in [
        (cookie(), Lookup::Unknown, true),
        (cookie(), Lookup::Revoked, true),
        (cookie(), Lookup::Expired, true),
        (cookie(), Lookup::Idle, true),
        (cookie(), Lookup::Invalid, true),
        (ask("GET shop.example/").with("cookie", "__Host-session=junk"), Lookup::Unknown, true),
        (cookie(), Lookup::Unavailable(DenyReason::StoreUnavailable), false),
        (ask("GET shop.example/").bearer(), Lookup::Revoked, false),
        (ask("GET shop.example/"), Lookup::Unknown, false),
        (ask("POST shop.example/admin").cookie(), active(|_| {}), false),
        (ask("GET shop.example/internal").cookie(), active(|_| {}), false),
        (stale(), active(|it| it.absolute_end = NOW), true),
    ] {
        let Decision::Deny(denial) = decide(&shop, &request, &found) else { panic!("{request:?}") };
        assert_eq!(denial.expire_cookie.as_deref(), expired.then_some("__Host-session"), "{request:?} {found:?}");
    }
}

#[test]
fn an_ambiguous_letter_case_is_refused_unless_the_policy_knows_better() {
    let rules = "rules: [{ name: admin, matches: [{ path: { value: /admin } }], access: Deny }]";
    let careful = index(&policy(rules));
    meets(&careful, &ask("GET shop.example/ADMIN").cookie(), "400 ambiguous_request");
    let knowing = index(&policy(&format!("paths: CaseSensitive\n{rules}")));
    meets(&knowing, &ask("GET shop.example/ADMIN").cookie(), "ada for shop/shop by default");
}
