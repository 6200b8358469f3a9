//! What a compilation takes over from the one before makes it cheaper and changes nothing.

use std::sync::Arc;

use super::super::PolicyIndex;
use super::fixture::*;
use super::routes::*;
use super::tenants::{asks, world};

fn recompile(yaml: &str, previous: &PolicyIndex) -> PolicyIndex {
    PolicyIndex::compile(&objects(yaml), &install(), Some(previous)).0
}

fn tables(index: &PolicyIndex) -> Vec<*const super::super::routed::RouteTable> {
    let mut tables: Vec<_> = ["shop", "blog"]
        .iter()
        .flat_map(|host| {
            let line = format!("GET {host}.example/");
            let ask = ask(&line);
            let request = ask.read();
            index.ports.looked_into(&request.host).map(|(_, table)| Arc::as_ptr(table)).collect::<Vec<_>>()
        })
        .collect();
    tables.dedup();
    tables
}

#[test]
fn what_did_not_change_is_taken_over() {
    let parts = |blog: &str| {
        all(&[
            gateway(),
            route("shop/shop", "hostnames: [shop.example]"),
            route("shop/blog", "hostnames: [blog.example]"),
            named("infra/gateway", &format!("{}\ninheritance: Required", on("Gateway", "front"))),
            named("shop/shop", &on("HTTPRoute", "shop")),
            named("shop/blog", &format!("{}\n{blog}", on("HTTPRoute", "blog"))),
        ])
    };
    let first = index(&parts(""));
    let same = recompile(&parts(""), &first);
    assert_eq!(tables(&first), tables(&same));
    let changed = recompile(&parts("default: Deny"), &same);
    assert_eq!(tables(&changed)[0], tables(&first)[0], "the route of the policy that did not change");
    assert_ne!(tables(&changed)[1], tables(&first)[1]);
    meets(&changed, &ask("GET shop.example/").cookie(), "ada for shop/shop by default");
    meets(&changed, &ask("GET blog.example/").cookie(), "403 denied_by_default by default");
}

#[test]
fn listeners_agree_where_one_was_taken_over_and_one_is_new() {
    let one = [
        gateway(),
        route_on("{ name: front, namespace: infra }", "shop/shop", "hostnames: [shop.example]"),
        named("shop/shop", &on("HTTPRoute", "shop")),
    ];
    let first = index(&all(&one));
    let back = gateway().replace("name: front", "name: back");
    let both = "{ name: front, namespace: infra }, { name: back, namespace: infra }";
    let two = [one[0].clone(), back, route_on(both, "shop/shop", "hostnames: [shop.example]"), one[2].clone()];
    let second = recompile(&all(&two), &first);
    meets(&second, &ask("GET shop.example/").cookie(), "ada for shop/shop by default");
}

#[test]
fn a_table_is_not_taken_over_from_another_gateway() {
    let gateways = |name: &str| gateway().replace("name: front", &format!("name: {name}"));
    let parts = |name: &str| {
        all(&[
            gateways(name),
            route_on(
                "{ name: front, namespace: infra }, { name: back, namespace: infra }",
                "shop/shop",
                "hostnames: [shop.example]",
            ),
            named(
                "infra/gateway",
                "targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: front }, { group: gateway.networking.k8s.io, kind: Gateway, name: back }]",
            ),
        ])
    };
    let (first, _) = compile(&parts("front"));
    meets(&first, &ask("GET shop.example/").cookie(), "ada for infra/front by default");
    meets(&recompile(&parts("back"), &first), &ask("GET shop.example/").cookie(), "ada for infra/back by default");
}

#[test]
fn a_grant_taken_back_is_felt_though_nothing_else_changed() {
    let parts = [
        gateway(),
        route("shop/shop", "hostnames: [shop.example]\nrules: [{ backendRefs: [{ name: cart, namespace: carts }] }]"),
        named("carts/cart", &format!("{}\nrules: [{{ access: Public }}]", on_service("cart"))),
        named(
            "infra/cross",
            "targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop, namespace: shop }]",
        ),
    ];
    let policies = grant("AuthPolicy", "infra", "HTTPRoute", "shop");
    let routes = grant("HTTPRoute", "shop", "Service", "carts");
    let with = |grants: &[&String]| all(&parts.iter().chain(grants.iter().copied()).cloned().collect::<Vec<_>>());
    let mut index = compile(&with(&[])).0;
    for (grants, want) in [
        (vec![&policies, &routes], "401 no_credential by default"),
        (vec![&routes], "anonymous by rules[0]"),
        (vec![&policies], "401 no_credential by default"),
        (vec![], "403 no_policy"),
        (vec![&routes], "anonymous by rules[0]"),
        (vec![], "403 no_policy"),
    ] {
        index = recompile(&with(&grants), &index);
        meets(&index, &ask("GET shop.example/"), want);
    }
}

proptest::proptest! {
    #[test]
    fn p29_a_compilation_after_others_judges_as_the_first_would(
        worlds in proptest::collection::vec(world(), 2..5),
    ) {
        let mut index: Option<PolicyIndex> = None;
        for world in &worlds {
            let objects = world.objects(|_| true);
            let (next, problems) = PolicyIndex::compile(&objects, &install(), index.as_ref());
            // The last good form of a bad policy is meant to make a difference; here none is bad.
            let (fresh, as_fresh) = PolicyIndex::compile(&objects, &install(), None);
            proptest::prop_assert_eq!(problems, as_fresh);
            for ask in asks() {
                let [one, two] = [&next, &fresh].map(|index| say(&decide(index, &ask, &active(|_| {}))));
                proptest::prop_assert_eq!(one, two, "{:?}", ask);
            }
            index = Some(next);
        }
    }
}
