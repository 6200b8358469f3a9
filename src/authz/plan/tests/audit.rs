//! Audit: decide and record, but let pass as anonymous.

use super::*;

fn audited() -> PolicyIndex {
    index(&policy(
        "
mode: Audit
rules:
- { name: closed, matches: [{ path: { value: /closed } }], access: Deny }
- { name: admin, matches: [{ path: { value: /admin } }], require: { roles: [admin] } }
",
    ))
}

#[test]
fn an_audited_policy_records_what_it_would_refuse() {
    let index = audited();
    for (request, found, want) in [
        (ask("GET shop.example/closed"), Lookup::Unknown, "anonymous by closed instead of denied_by_rule"),
        (ask("GET shop.example/"), Lookup::Unknown, "anonymous by default instead of no_credential"),
        (ask("GET shop.example/").cookie(), Lookup::Revoked, "anonymous by default instead of revoked_session"),
        (ask("GET shop.example/admin").cookie(), active(|_| {}), "anonymous by admin instead of missing_role"),
        (
            ask("GET shop.example/").cookie(),
            Lookup::Unavailable(DenyReason::StoreUnavailable),
            "anonymous by default instead of store_unavailable",
        ),
        (ask("GET shop.example/").cookie(), active(|_| {}), "ada for shop/shop by default"),
    ] {
        meets_with(&index, &request, &found, want);
    }
}

#[test]
fn what_is_malformed_stays_refused_in_audit() {
    let index = audited();
    let two = ask("GET shop.example/").cookie().with("x-ticket", "another");
    meets(&index, &two, "400 ambiguous_credential by default");
    meets(&index, &ask("GET shop.example/CLOSED"), "400 ambiguous_request");
}

#[test]
fn credentials_and_forged_headers_come_off_what_audit_lets_pass() {
    let request = ask("GET shop.example/closed").cookie().with("x-session-jwt", "forged");
    let Decision::Anonymous { take_off, audit, .. } = decide(&audited(), &request, &Lookup::Unknown) else {
        panic!("passes")
    };
    assert_eq!(audit, Some(DenyReason::DeniedByRule));
    assert_eq!(take_off.cookie, Some(crate::authz::credential::CookieRest::Others("theme=dark".into())));
    assert!(take_off.headers.iter().any(|name| &**name == b"x-session-jwt"));
}

#[test]
fn a_required_policy_still_enforces() {
    let required = named(
        "infra/all",
        "hosts: ['*.example']\ninheritance: Required\nrules: [{ name: all, require: { roles: [user] } }]",
    );
    let index = index(&format!("{required}\n---\n{}", policy("mode: Audit\ndefault: Deny")));
    let user = active(|it| it.roles = vec!["user".into()]);
    meets_with(&index, &ask("GET shop.example/"), &user, "401 no_credential by all");
    meets_with(&index, &ask("GET shop.example/").cookie(), &active(|_| {}), "403 missing_role by all");
    meets_with(&index, &ask("GET shop.example/").cookie(), &user, "anonymous by default instead of denied_by_default");
}

#[test]
fn an_audited_required_policy_only_records() {
    let required = named("infra/all", "hosts: ['*.example']\ninheritance: Required\nmode: Audit\ndefault: Deny");
    let index = index(&format!("{required}\n---\n{}", policy("")));
    meets(&index, &ask("GET shop.example/"), "401 no_credential by default");
    meets(&index, &ask("GET shop.example/").cookie(), "anonymous by default instead of denied_by_default");
}
