//! A bad policy changes nothing (P26).

use super::super::{PolicyIndex, PolicyProblem};
use super::fixture::*;

fn next(yaml: &str, previous: &PolicyIndex) -> (PolicyIndex, Vec<PolicyProblem>) {
    PolicyIndex::compile(&objects(yaml), &install(), Some(previous))
}

const GOOD: &str = "rules: [{ name: open, matches: [{ path: { value: /open } }], access: Public }]";
const BAD: [&str; 3] = [
    "rules: [{ name: open, access: Pubic }]",                  // does not read
    "realm: nowhere\nrules: [{ name: open, access: Public }]", // reads, and is wrong
    "inheritance: 7",
];

#[test]
fn p26_a_bad_policy_keeps_its_last_good_form() {
    let good = index(&policy(GOOD));
    for bad in BAD {
        let (after, problems) = next(&policy(bad), &good);
        meets(&after, &ask("GET shop.example/open"), "anonymous by open");
        meets(&after, &ask("GET shop.example/"), "401 no_credential by default");
        let words = problems.iter().map(ToString::to_string).collect::<String>();
        assert!(words.contains("the last good form of this policy stays in force"), "{words}");
        // And once more: the form outlives several bad ones.
        let (later, _) = next(&policy(BAD[0]), &after);
        meets(&later, &ask("GET shop.example/open"), "anonymous by open");
    }
}

#[test]
fn p26_one_that_never_had_a_good_form_closes_what_it_targets() {
    let other = named("shop/other", "hosts: [other.example]");
    for bad in BAD {
        let (index, _) = compile(&format!("{}\n---\n{other}", policy(bad)));
        meets(&index, &ask("GET shop.example/open"), "403 broken_policy by broken");
        meets(&index, &ask("GET shop.example/").cookie(), "403 broken_policy by broken");
        meets(&index, &ask("GET other.example/").cookie(), "ada for shop/other by default");
    }
}

#[test]
fn p26_a_broken_policy_inside_a_wider_open_one_closes_its_part() {
    let open = named("shop/open", "hosts: ['*.example']\nrules: [{ access: Public }]");
    let (index, _) = compile(&format!("{open}\n---\n{}", policy("mode: Nonsense")));
    meets(&index, &ask("GET shop.example/"), "403 broken_policy by broken");
    meets(&index, &ask("GET other.example/"), "anonymous by rules[0]");
}

#[test]
fn p26_a_broken_policy_of_unknown_inheritance_closes_everything_below() {
    let wide = named("shop/wide", "hosts: ['*.example']\ninheritance: Requierd");
    let (index, _) = compile(&format!("{wide}\n---\n{}", policy("")));
    meets(&index, &ask("GET shop.example/").cookie(), "403 broken_policy by broken");
}

#[test]
fn p26_a_good_form_ends_with_its_object() {
    let good = index(&policy(GOOD));
    let (without, _) = next(&named("shop/other", "hosts: [other.example]"), &good);
    meets(&without, &ask("GET shop.example/open"), "403 no_policy");
    let (again, _) = next(&policy(BAD[0]), &without);
    meets(&again, &ask("GET shop.example/open"), "403 broken_policy by broken");
}

#[test]
fn p26_one_that_was_made_again_has_no_last_good_form() {
    let of =
        |uid: &str, spec: &str| policy(spec).replace("namespace: shop }", &format!("namespace: shop, uid: {uid} }}"));
    let good = index(&of("one", GOOD));
    for bad in BAD {
        let (edited, _) = next(&of("one", bad), &good);
        meets(&edited, &ask("GET shop.example/open"), "anonymous by open");
        let (again, problems) = next(&of("two", bad), &good);
        meets(&again, &ask("GET shop.example/open"), "403 broken_policy by broken");
        assert!(problems[0].words.contains("everything it targets is refused"), "{problems:?}");
        // Nor has the first one's form come back with it.
        let (later, _) = next(&of("two", bad), &again);
        meets(&later, &ask("GET shop.example/open"), "403 broken_policy by broken");
    }
    let (mended, _) = next(&of("two", GOOD), &good);
    meets(&mended, &ask("GET shop.example/open"), "anonymous by open");
    // A form of which nobody knows the object, as of an older snapshot, is that of the object there is.
    let (edited, _) = next(&of("one", BAD[0]), &index(&policy(GOOD)));
    meets(&edited, &ask("GET shop.example/open"), "anonymous by open");
}

#[test]
fn p26_a_mended_policy_is_in_force_at_once() {
    let (broken, _) = compile(&policy(BAD[0]));
    let (mended, problems) = next(&policy(GOOD), &broken);
    assert!(problems.is_empty());
    meets(&mended, &ask("GET shop.example/open"), "anonymous by open");
}

#[test]
fn an_unchanged_policy_keeps_its_compiled_form() {
    let first = index(&policy(GOOD));
    let (second, _) = next(&policy(GOOD), &first);
    let form = |index: &PolicyIndex| std::sync::Arc::as_ptr(index.good.values().next().unwrap());
    assert_eq!(form(&first), form(&second));
}

#[test]
fn p29_the_same_objects_in_any_order_judge_alike() {
    let parts = [
        policy(GOOD),
        named("shop/second", "hosts: [shop.example]\ndefault: Deny"),
        named("aaa/third", "hosts: [shop.example]\nrules: [{ access: Deny }]"),
    ];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let (index, problems) = compile(&order.map(|i| parts[i].clone()).join("\n---\n"));
        meets(&index, &ask("GET shop.example/open"), "403 denied_by_rule by rules[0]");
        assert_eq!(problems.len(), 2);
    }
}
