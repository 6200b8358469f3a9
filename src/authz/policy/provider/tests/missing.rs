//! A provider that a rule names and that is not in force: its credentials are none of the service's, and never a second one.

use super::*;
use crate::authz::policy::tests::fixture::{meets, token_text};

const RULE: &str = "[{ session: {} }, { provider: { name: keys } }]";
const ADA: &str = "ada for shop/shop by only";

fn after(before: &PolicyIndex, parts: &[&str]) -> PolicyIndex {
    PolicyIndex::compile(&objects(&all(parts)), &install(), Some(before)).0
}

fn get() -> Ask {
    ask("GET shop.example/")
}

/// What the provider's places mean, wherever it is known that they are `x-api-key`.
#[track_caller]
fn guards_x_api_key(index: &PolicyIndex) {
    for (ask, want) in [
        (get().cookie(), ADA),
        (get().bearer(), ADA),
        (get().cookie().with("x-api-key", KEY), "400 ambiguous_credential by only"),
        (get().bearer().with("X-Api-Key", KEY), "400 ambiguous_credential by only"),
        (get().bearer().with("x_api_key", KEY), "400 ambiguous_credential by only"),
        (get().cookie().with("x-api-key", ""), "400 ambiguous_credential by only"),
        (get().with("x-api-key", KEY), "503 provider_missing by only"),
        (get().with("x-api-key", "two words"), "401 invalid_credential by only"),
        (get(), "401 no_credential by only"),
    ] {
        meets(index, &ask, want);
    }
}

#[test]
fn p13_a_provider_that_left_still_says_where_its_credentials_come() {
    let keys = provider("keys", KEYS);
    let there = index(&all(&[&rule(RULE), &keys, &partner()]));
    let gone = after(&there, &[&rule(RULE), &partner()]);
    guards_x_api_key(&gone);
    // Also after other changes, of the policy itself as well, and for every policy that names it.
    let other = named("shop/other", "hosts: [other.example]");
    let changed = rule(RULE).replace("hosts: [shop.example]", "hosts: [shop.example, www.example]");
    let later = after(&gone, &[&changed, &other]);
    guards_x_api_key(&later);
    let bad = changed.replace("hosts: [shop", "realm: nowhere\n  hosts: [shop");
    guards_x_api_key(&after(&later, &[&bad, &other]));
    let second = named("shop/second", &format!("hosts: [second.example]\nrules: [{{ authenticate: {RULE} }}]"));
    let both = after(&later, &[&changed, &second]);
    meets(&both, &ask("GET second.example/").bearer().with("x-api-key", KEY), "400 ambiguous_credential by rules[0]");
    // When it is back, it is where it says.
    let elsewhere = KEYS.replace("} } }", "} }, from: [{ header: x-partner }] }");
    let back = after(&later, &[&changed, &provider("keys", &elsewhere), &partner()]);
    meets(&back, &get().cookie().with("x-api-key", KEY), ADA);
    meets(&back, &get().cookie().with("x-partner", KEY), "400 ambiguous_credential by only");
}

#[test]
fn p13_a_provider_without_a_good_form_says_where_its_credentials_come() {
    let bad = provider("keys", "{ apiKeys: { selector: { matchLabels: {} } } }");
    guards_x_api_key(&compile(&all(&[&rule(RULE), &bad])).0);
    // And one whose Secrets nobody has told of.
    let mut untold = objects(&all(&[&rule(RULE), &provider("keys", KEYS)]));
    untold.secrets_unknown = true;
    guards_x_api_key(&PolicyIndex::compile(&untold, &install(), None).0);
    // What is there speaks for itself, whatever was there before it.
    let there = index(&all(&[
        &rule(RULE),
        &provider("keys", &KEYS.replace("} } }", "} }, from: [{ header: x-old }] }")),
        &partner(),
    ]));
    let gone = after(&there, &[&rule(RULE)]);
    meets(&gone, &get().cookie().with("x-old", KEY), "400 ambiguous_credential by only");
    guards_x_api_key(&after(&gone, &[&rule(RULE), &bad]));
}

#[test]
fn p02_what_a_provider_reads_that_nobody_knows_closes_its_rules() {
    let unreadable = provider("keys", "{ apiKeys: { selector: { matchLabels: { for: partners } }, form: [] } }");
    let bad_places = provider("keys", &KEYS.replace("} } }", "} }, from: [{ header: cookie }] }"));
    let none = provider("keys", "{}");
    let open = "- name: only\n  authenticate: [{ session: {} }, { anonymous: {} }, { provider: { name: keys } }]";
    for parts in [vec![], vec![&*unreadable], vec![&*bad_places], vec![&*none]] {
        for rule in [rule(RULE), named("shop/shop", &format!("hosts: [shop.example]\nrules:\n{open}"))] {
            let (index, found) = compile(&all(&[&[&*rule], &*parts].concat()));
            let said = found.iter().find(|it| it.kind == ProblemKind::ProviderNotFound).unwrap();
            assert!(said.words.contains("every request that this rule judges is answered with 503"), "{}", said.words);
            for ask in
                [get(), get().cookie(), get().bearer(), get().with("x-api-key", KEY), get().with("cookie", "key=value")]
            {
                meets(&index, &ask, "503 provider_missing by only");
            }
            meets(&index, &get().bearer().cookie(), "400 ambiguous_credential by only");
        }
    }
    // Other rules of the policy go on.
    let two = format!("- {{ name: cart, matches: [{{ path: {{ value: /cart }} }}] }}\n{open}");
    let (index, _) = compile(&named("shop/shop", &format!("hosts: [shop.example]\nrules:\n{two}")));
    meets(&index, &ask("GET shop.example/cart").cookie(), "ada for shop/shop by cart");
    meets(&index, &get().cookie(), "503 provider_missing by only");
}

#[test]
fn p07_what_a_missing_provider_reads_does_not_reach_the_service() {
    let from = ", from: [{ bearer: {} }, { header: x-token }, { cookie: token }]";
    let audited = format!("hosts: [shop.example]\nmode: Audit\nrules:\n- name: only\n  authenticate: {RULE}");
    let audited = named("shop/shop", &audited);
    let there = index(&all(&[&audited, &provider("keys", &jwt(from))]));
    let gone = after(&there, &[&audited]);
    let cookie = format!("a=b; token={}; __Host-session={}", jwt_of(JWT_HOST), token_text());
    let take_off = |ask: Ask| match plan(&gone, &ask.read()) {
        Plan::Settled(decision) => match *decision {
            Decision::Anonymous { take_off, audit: Some(_), .. } => take_off,
            other => panic!("{}", say(&other)),
        },
        Plan::Lookup(_) => panic!("nobody can be asked"),
    };
    let off = take_off(get().with("x-token", KEY).with("x-other", "a"));
    assert_eq!(off.headers.iter().map(|it| &it[..]).collect::<Vec<_>>(), [b"x-token"]);
    let off = take_off(get().with("authorization", "Bearer theirs"));
    assert_eq!(off.headers.iter().map(|it| &it[..]).collect::<Vec<_>>(), [b"authorization"]);
    let off = take_off(get().with("cookie", "a=b; token=theirs"));
    assert!(off.cookie.is_some());
    meets(&gone, &get().with("cookie", &cookie), "400 ambiguous_credential by only");
}

#[test]
fn p32_what_left_is_remembered_as_long_as_a_rule_names_it() {
    let there = index(&all(&[&rule(RULE), &provider("keys", KEYS), &partner()]));
    let unnamed = after(&there, &[&rule("[{ session: {} }]")]);
    let again = after(&unnamed, &[&rule(RULE)]);
    meets(&again, &get().cookie(), "503 provider_missing by only");
    let named = after(&there, &[&rule(RULE)]);
    assert_eq!((named.providers.remembered(), unnamed.providers.remembered()), (1, 0));
}
