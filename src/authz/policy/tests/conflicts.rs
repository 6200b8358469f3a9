//! Two policies for one target, over each kind of target: who wins, and that nobody wins what was not theirs to ask for (P27).

use super::fixture::*;
use super::routes::*;

/// Everything that a policy of `shop` can be for, as `targetRefs`, and the namespace of the object.
const TARGETS: [(&str, &str); 5] = [
    ("{ group: gateway.networking.k8s.io, kind: Gateway, name: front", "infra"),
    ("{ group: gateway.networking.k8s.io, kind: Gateway, name: front, sectionName: https", "infra"),
    ("{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop", "shop"),
    ("{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop, sectionName: main", "shop"),
    ("{ group: '', kind: Service, name: cart", "shop"),
];

fn objects_below(policies: &[String]) -> String {
    let main = "hostnames: [shop.example]\nrules: [{ name: main, backendRefs: [{ name: cart }] }]";
    let objects = [gateway(), route("shop/shop", main)];
    all(&objects.into_iter().chain(policies.iter().cloned()).collect::<Vec<_>>())
}

/// A policy with one rule of its own name, that lets everybody pass.
fn open(name: &str, created: Option<&str>, (target, of): (&str, &str)) -> String {
    let (_, short) = name.split_once('/').unwrap();
    let policy = named(
        name,
        &format!("targetRefs: [{target}, namespace: {of} }}]\nrules: [{{ name: {short}, access: Public }}]"),
    );
    match created {
        Some(created) => policy.replacen("metadata: { ", &format!("metadata: {{ creationTimestamp: '{created}', "), 1),
        None => policy,
    }
}

#[test]
fn p27_the_oldest_wins_then_the_name_on_every_kind_of_target() {
    const EARLY: Option<&str> = Some("2026-01-01T00:00:00Z");
    const LATE: Option<&str> = Some("2026-01-02T00:00:00Z");
    for target in TARGETS {
        let own = target.1;
        for (one, two, want) in [
            (("a", LATE), ("b", EARLY), "b"),
            (("a", EARLY), ("b", LATE), "a"),
            (("b", EARLY), ("a", EARLY), "a"),
            (("b", None), ("a", EARLY), "b"),
            (("b", Some("2026-01-01T01:00:00+02:00")), ("a", EARLY), "b"), // an hour earlier, in another zone
        ] {
            let policies = [one, two].map(|(name, created)| open(&format!("{own}/{name}"), created, target));
            for order in [[0, 1], [1, 0]] {
                let (index, problems) = compile(&objects_below(&order.map(|i| policies[i].clone())));
                meets(&index, &ask("GET shop.example/"), &format!("anonymous by {want}"));
                let said: Vec<_> = problems.iter().map(|problem| (problem.kind.label(), problem.target())).collect();
                assert_eq!(said, [("Conflicted", Some(0))], "{target:?}");
                assert!(!problems[0].object.ends_with(want), "{problems:?}");
            }
        }
    }
}

#[test]
fn p27_who_has_no_consent_is_not_in_the_contest() {
    for target in TARGETS {
        let own = open(&format!("{}/own", target.1), Some("2026-01-02T00:00:00Z"), target);
        let foreign = open("evil/foreign", Some("2026-01-01T00:00:00Z"), target);
        let kind = target.0.split("kind: ").nth(1).unwrap().split(',').next().unwrap();
        let consent = grant("AuthPolicy", "evil", kind, target.1);
        for (policies, want, kind) in [
            (vec![own.clone(), foreign.clone()], "own", "RefNotPermitted"),
            (vec![own.clone(), foreign.clone(), consent.clone()], "foreign", "Conflicted"),
            // And back.
            (vec![own.clone(), foreign.clone()], "own", "RefNotPermitted"),
        ] {
            let (index, problems) = compile(&objects_below(&policies));
            meets(&index, &ask("GET shop.example/"), &format!("anonymous by {want}"));
            assert_eq!(problems.iter().map(|it| it.kind.label()).collect::<Vec<_>>(), [kind], "{target:?}");
        }
    }
}

#[test]
fn p27_without_consent_nothing_is_said_about_what_there_is() {
    for (target, of) in TARGETS {
        let words = |name: &str| {
            let target = target.replace("name: front", name).replace("name: shop", name).replace("name: cart", name);
            let (_, problems) = compile(&objects_below(&[open("evil/foreign", None, (&target, of))]));
            let said = problems.iter().map(ToString::to_string).collect::<String>();
            said.replace(&format!("/{}`", name.split(' ').nth(1).unwrap()), "/NAME`")
        };
        let there = target.split(", name: ").nth(1).unwrap().split([',', ' ']).next().unwrap();
        assert_eq!(words(&format!("name: {there}")), words("name: nowhere"));
    }
}

#[test]
fn p27_a_target_that_comes_and_goes_takes_its_policy_along() {
    let policy = open("shop/own", None, TARGETS[2]);
    let without = all(&[gateway(), policy.clone()]);
    let with = objects_below(&[policy]);
    let mut index = None;
    for (yaml, want, kinds) in [
        (&without, "403 no_policy", vec!["TargetNotFound"]),
        (&with, "anonymous by own", vec![]),
        (&without, "403 no_policy", vec!["TargetNotFound"]),
        (&with, "anonymous by own", vec![]),
    ] {
        let (next, problems) = super::super::PolicyIndex::compile(&objects(yaml), &install(), index.as_ref());
        meets(&next, &ask("GET shop.example/"), want);
        assert_eq!(problems.iter().map(|it| it.kind.label()).collect::<Vec<_>>(), kinds);
        index = Some(next);
    }
}

/// The Gateway API leaves it to the proxy whether an expression beats a prefix; Istio says no, others say yes.
#[test]
fn p27_an_expression_of_one_namespace_does_not_judge_what_another_may_be_sent() {
    let world = |owner: &str| {
        compile(&all(&[
            gateway(),
            route("shop/shop", "hostnames: [shop.example]"),
            named("shop/shop", &on("HTTPRoute", "shop")),
            route(
                &format!("{owner}/claim"),
                "hostnames: [shop.example]\nrules: [{ matches: [{ path: { type: RegularExpression, value: '/a.*' } }] }]",
            ),
            named(
                &format!("{owner}/open"),
                &format!("{}\nrules: [{{ name: open, access: Public }}]", on("HTTPRoute", "claim")),
            ),
        ]))
        .0
    };
    meets(&world("evil"), &ask("GET shop.example/admin"), "403 conflicting_routes");
    meets(&world("evil"), &ask("GET shop.example/cart"), "401 no_credential by default");
    // One owner's two routes are the owner's own affair, ranked as Envoy Gateway ranks them.
    meets(&world("shop"), &ask("GET shop.example/admin"), "anonymous by open");
}
