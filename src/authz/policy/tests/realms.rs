//! Who may make, change and end sessions of a realm (`realms.NAME` of the configuration).

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Install, Namespaces, PolicyName, RealmRights, RuleName};
use super::fixture::*;
use crate::authz::policy::PolicyIndex;

const CREATE: &str = "{ access: Public, session: { create: true } }";
const CREATE_AND_END: &str = "{ access: Public, session: { create: true, end: true } }";
const WRITE: &str = "{ session: { writableClaims: [cart] } }";
const WRITE_AND_END: &str = "{ session: { writableClaims: [cart], end: true } }";
const END: &str = "{ session: { end: true } }";
const READ: &str = "{ require: { roles: [admin] } }";
// RFC 7515 §A.3.1.
const EXCHANGE: &str = "{ access: Public, session: { exchange: { header: x-login, issuer: https://login.example, audiences: [a], \
    algorithms: [ES256], jwks: { inline: { keys: [{ kty: EC, crv: P-256, x: f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU, \
    y: x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0 }] } } } } }";

fn only(names: &[&str]) -> Namespaces {
    Namespaces::Only(names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>())
}

/// An install of the realms `shop` (the default) and `staff`, with these rights in `shop`.
fn with(shop: RealmRights) -> Install {
    let realms = [(realm("shop"), shop), (realm("staff"), RealmRights::default())];
    Install { realms: BTreeMap::from(realms), ..install() }
}

fn rights(create: Namespaces, write: Namespaces) -> RealmRights {
    RealmRights { create, write, ..RealmRights::default() }
}

/// What is said about a policy of `namespace` with this one rule, `<path> <key>` each; the rule has its grants if nothing is, and
/// else the policy is closed.
#[track_caller]
fn refused(install: &Install, namespace: &str, rule: &str) -> Vec<String> {
    let yaml = named(&format!("{namespace}/p"), &format!("hosts: [shop.example]\nrules: [{rule}]"));
    let (index, problems) = PolicyIndex::compile(&objects(&yaml), install, None);
    let name =
        RuleName { policy: PolicyName { namespace: namespace.into(), name: "p".into() }, rule: "rules[0]".into() };
    assert_eq!(index.grants(&name).is_some(), problems.is_empty() && rule != READ, "{namespace}: {rule}");
    if !problems.is_empty() {
        meets(&index, &ask("GET shop.example/").cookie(), "403 broken_policy by broken");
    }
    let short = |words: &str| words.split('`').find(|word| word.starts_with("realms.")).map(str::to_owned);
    problems.iter().map(|it| format!("{} {}", it.path, short(&it.words).unwrap_or_else(|| it.words.clone()))).collect()
}

#[test]
fn p27_sessions_are_made_changed_and_ended_only_where_the_install_allows_it() {
    let install = with(rights(only(&["login"]), only(&["shop"])));
    let create = "spec.rules[0].session.create realms.shop.create";
    let exchange = "spec.rules[0].session.exchange realms.shop.create";
    let claims = "spec.rules[0].session.writableClaims realms.shop.write";
    let end = "spec.rules[0].session.end realms.shop.write";
    let rows: &[(&str, &str, &[&str])] = &[
        ("login", CREATE, &[]),
        ("login", EXCHANGE, &[]),
        ("login", WRITE, &[claims]),
        ("login", END, &[end]),
        ("login", CREATE_AND_END, &[end]),
        ("login", READ, &[]),
        ("shop", CREATE, &[create]),
        ("shop", EXCHANGE, &[exchange]),
        ("shop", WRITE, &[]),
        ("shop", END, &[]),
        ("shop", WRITE_AND_END, &[]),
        ("shop", CREATE_AND_END, &[create]),
        ("other", CREATE, &[create]),
        ("other", EXCHANGE, &[exchange]),
        ("other", WRITE, &[claims]),
        ("other", END, &[end]),
        ("other", WRITE_AND_END, &[end, claims]),
        ("other", CREATE_AND_END, &[create, end]),
        ("other", READ, &[]),
    ];
    for (namespace, rule, want) in rows {
        assert_eq!(refused(&install, namespace, rule), *want, "{namespace}: {rule}");
    }
}

#[test]
fn p27_a_right_is_of_one_realm() {
    let install = with(rights(only(&[]), only(&[])));
    for rule in [CREATE, EXCHANGE, WRITE, END] {
        assert_eq!(refused(&install, "shop", rule).len(), 1, "an empty list is nobody: {rule}");
        let yaml = policy(&format!("realm: staff\nrules: [{rule}]"));
        let (index, problems) = PolicyIndex::compile(&objects(&yaml), &install, None);
        assert_eq!((problems, index.policies()), (vec![], 1), "{rule}");
    }
}

#[test]
fn what_the_install_does_not_mention_is_for_everyone() {
    let unmentioned = Install { realms: BTreeMap::new(), ..install() };
    for install in [unmentioned, with(RealmRights::default())] {
        for rule in [CREATE, EXCHANGE, WRITE_AND_END, READ] {
            assert_eq!(refused(&install, "anybody", rule), [""; 0]);
        }
    }
}

#[test]
fn p27_the_right_to_create_is_not_the_right_to_use() {
    let install = with(RealmRights { uses: only(&["shop"]), ..RealmRights::default() });
    for rule in [CREATE, WRITE, READ] {
        assert_eq!(refused(&install, "login", rule), ["spec.realm realms.shop.use"]);
        assert_eq!(refused(&install, "shop", rule), [""; 0]);
    }
}

#[test]
fn p27_a_refused_grant_leaves_the_last_good_form() {
    let install = with(rights(only(&["login"]), only(&[])));
    let name = RuleName { policy: PolicyName { namespace: "login".into(), name: "p".into() }, rule: "rules[0]".into() };
    let yaml = |rule: &str| named("login/p", &format!("hosts: [shop.example]\nrules: [{rule}]"));
    let (good, _) = PolicyIndex::compile(&objects(&yaml(CREATE)), &install, None);
    let (after, problems) = PolicyIndex::compile(&objects(&yaml(CREATE_AND_END)), &install, Some(&good));
    assert_eq!(problems.len(), 1);
    let (_, grants) = after.grants(&name).unwrap();
    assert!(grants.create && !grants.end);
}

#[test]
fn a_refusal_names_the_namespace_the_deed_and_the_key() {
    let install = with(rights(only(&[]), only(&[])));
    for (rule, want) in [
        (
            CREATE,
            "namespace `shop` may not create sessions in the realm `shop`: add it to `realms.shop.create` in the configuration",
        ),
        (
            END,
            "namespace `shop` may not change or end sessions of the realm `shop`: add it to `realms.shop.write` in the configuration",
        ),
    ] {
        let (_, problems) = PolicyIndex::compile(&objects(&policy(&format!("rules: [{rule}]"))), &install, None);
        assert!(problems[0].words.starts_with(want), "{}", problems[0].words);
    }
}
