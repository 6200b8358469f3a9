//! Policies further out: replaced by more specific ones, or checked in addition.

use super::*;

fn pair(outer: &str, inner: &str) -> PolicyIndex {
    let outer = named("infra/all", &format!("hosts: ['*.example']\n{outer}"));
    index(&format!("{outer}\n---\n{}", policy(inner)))
}

#[test]
fn a_more_specific_policy_replaces_a_default_one() {
    let index = pair("default: Deny", "");
    meets(&index, &ask("GET shop.example/").cookie(), "ada for shop/shop by default");
    meets(&index, &ask("GET other.example/").cookie(), "403 denied_by_default by default");
}

#[test]
fn a_required_policy_is_checked_in_addition() {
    let required = "inheritance: Required\nrules: [{ name: all, require: { roles: [user] } }]";
    let index = pair(required, "rules: [{ name: r, require: { scopes: [s] }, forward: { audience: x } }]");
    let with = |roles: &[&str], scopes: &[&str]| {
        let texts = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        active(|it| (it.roles, it.scopes) = (texts(roles), texts(scopes)))
    };
    let request = ask("GET shop.example/").cookie();
    meets_with(&index, &request, &with(&["user"], &["s"]), "ada for x by r");
    meets_with(&index, &request, &with(&[], &["s"]), "403 missing_role by all");
    meets_with(&index, &request, &with(&["user"], &[]), "403 missing_scope by r");
    meets(&index, &ask("GET shop.example/"), "401 no_credential by all");
}

#[test]
fn a_public_rule_inside_a_required_policy_opens_nothing() {
    let index = pair("inheritance: Required", "rules: [{ name: open, access: Public }]");
    meets(&index, &ask("GET shop.example/"), "401 no_credential by default");
    meets(&index, &ask("GET shop.example/").cookie(), "ada for infra/all by default");
}

#[test]
fn a_public_required_policy_leaves_the_decision_to_the_inner_one() {
    let index = pair("inheritance: Required\nrules: [{ name: open, access: Public }]", "");
    meets(&index, &ask("GET shop.example/"), "401 no_credential by default");
    meets(&index, &ask("GET shop.example/").cookie(), "ada for shop/shop by default");
}

#[test]
fn no_session_is_of_two_realms() {
    let outer = named("staff/all", "hosts: ['*.example']\ninheritance: Required\nrealm: staff");
    let index = index(&format!("{outer}\n---\n{}", policy("")));
    let request = ask("GET shop.example/").cookie();
    for name in ["shop", "staff"] {
        let found = active(|it| it.realm = realm(name));
        meets_with(&index, &request, &found, "401 unknown_session by default");
    }
}

#[test]
fn p09_a_session_jwt_must_do_for_every_rule() {
    let jwt = "Bearer eyJ0eXAiOiJzZXNzaW9uK2p3dCIsImFsZyI6IkVTMjU2In0.e30.eA";
    let rule = |audiences: &str| {
        format!(
            "rules: [{{ name: r, authenticate: [{{ sessionJwt: {{ audiences: [{audiences}], namespaces: [shop] }} }}] }}]"
        )
    };
    let request = ask("GET shop.example/").with("authorization", jwt);
    let index = pair(&format!("inheritance: Required\n{}", rule("a, b")), &rule("b, c"));
    let Plan::Lookup(pending) = plan(&index, &request.read()) else { panic!("a look-up") };
    let Wanted::SessionJwt(_, both) = pending.wanted() else { panic!("by JWT") };
    assert_eq!(&*both.audiences, ["b".to_owned()]);
    let index = pair(&format!("inheritance: Required\n{}", rule("a")), &rule("c"));
    meets(&index, &request, "401 invalid_session_jwt by r");
}
