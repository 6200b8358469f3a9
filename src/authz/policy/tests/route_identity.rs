//! What the proxy says of a request's route: it picks and never adds (P30), unless the install trusts it.

use proptest::prelude::*;

use super::super::{Install, PolicyIndex, RouteIdentity};
use super::fixture::*;
use super::routes::*;

/// Two Gateways with the host `shop.example`: `shop/shop` on one, wanting a session, `evil/claim` on the other, open below `/admin`.
fn two_gateways() -> String {
    let other = gateway().replace("name: front", "name: back").replace("namespace: infra", "namespace: evil");
    let back = "{ name: back, namespace: evil, sectionName: https }";
    all(&[
        gateway(),
        other,
        route(
            "shop/shop",
            "hostnames: [shop.example]\nrules: [{ name: main }, { name: deep, matches: [{ path: { value: /deep } }] }]",
        ),
        route("shop/blog", "hostnames: [blog.example]"),
        route("shop/bare", "hostnames: [bare.example]"),
        named("shop/shop", &on("HTTPRoute", "shop")),
        named("shop/blog", &format!("{}\nrules: [{{ name: blog, access: Public }}]", on("HTTPRoute", "blog"))),
        named(
            "shop/deep",
            "targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop, sectionName: deep }]\nrules: [{ name: deep, access: Deny }]",
        ),
        route_on(back, "evil/claim", "hostnames: [shop.example]\nrules: [{ matches: [{ path: { value: /admin } }] }]"),
        named("evil/open", &format!("{}\nrules: [{{ name: open, access: Public }}]", on("HTTPRoute", "claim"))),
        named("infra/hosts", "hosts: [free.example]\nrules: [{ name: free, access: Public }]"),
    ])
}

fn trusting(yaml: &str) -> PolicyIndex {
    let install = Install { route_identity: RouteIdentity::Trusted, ..install() };
    PolicyIndex::compile(&objects(yaml), &install, None).0
}

#[test]
fn p30_the_route_that_the_proxy_names_is_picked_among_those_found() {
    let (verified, trusted) = (index(&two_gateways()), trusting(&two_gateways()));
    for (request, named, by_matching, by_trust) in [
        // Two listeners have it: the proxy knows which it is.
        ("GET shop.example/admin", None, "403 conflicting_routes", "403 conflicting_routes"),
        (
            "GET shop.example/admin",
            Some("HTTPRoute/shop/shop"),
            "401 no_credential by default",
            "401 no_credential by default",
        ),
        ("GET shop.example/admin", Some("HTTPRoute/evil/claim"), "anonymous by open", "anonymous by open"),
        (
            "GET shop.example/admin",
            Some("HTTPRoute/shop/shop/main"),
            "401 no_credential by default",
            "401 no_credential by default",
        ),
        // What it names and we do not find.
        ("GET shop.example/", Some("HTTPRoute/evil/claim"), "403 unknown_route", "anonymous by open"),
        ("GET shop.example/", Some("HTTPRoute/shop/blog"), "403 unknown_route", "anonymous by blog"),
        ("GET shop.example/", Some("GRPCRoute/shop/shop"), "403 unknown_route", "403 unknown_route"),
        ("GET shop.example/", Some("HTTPRoute/shop/sho"), "403 unknown_route", "403 unknown_route"),
        ("GET shop.example/", Some("HTTPRoute/shop/shop/deep"), "403 unknown_route", "403 denied_by_rule by deep"),
        ("GET shop.example/", Some("HTTPRoute/shop/shop/none"), "403 unknown_route", "403 unknown_route"),
        // The rules of a route differ, and it named none: matching decides among them.
        (
            "GET shop.example/deep",
            Some("HTTPRoute/shop/shop"),
            "403 denied_by_rule by deep",
            "403 denied_by_rule by deep",
        ),
        // Where we find no route and know none of the name, hosts judge as they would without its word.
        ("GET free.example/", Some("HTTPRoute/shop/new"), "anonymous by free", "anonymous by free"),
        ("GET free.example/", Some("HTTPRoute/shop/blog"), "403 unknown_route", "anonymous by blog"),
        ("GET bare.example/", Some("HTTPRoute/shop/bare"), "403 no_policy", "403 no_policy"),
        ("GET none.example/", Some("HTTPRoute/shop/new"), "403 no_policy", "403 no_policy"),
    ] {
        let request = named.map_or(ask(request), |named| ask(request).routed(named));
        meets(&verified, &request, by_matching);
        meets(&trusted, &request, by_trust);
    }
}

#[test]
fn both_words_of_the_proxy_must_hold() {
    let index = index(&two_gateways());
    let asking = || ask("GET shop.example/admin");
    meets(&index, &asking().routed("HTTPRoute/evil/claim").pinned("evil", "open"), "anonymous by open");
    meets(&index, &asking().routed("HTTPRoute/evil/claim").pinned("shop", "shop"), "403 no_policy");
    meets(&index, &asking().routed("HTTPRoute/shop/shop").pinned("evil", "open"), "403 no_policy");
}

#[test]
fn explained_by_how_it_was_found() {
    for (index, named, want) in [
        (index(&two_gateways()), None, "matching"),
        (index(&two_gateways()), Some("HTTPRoute/shop/blog"), "matching and the proxy's word"),
        (trusting(&two_gateways()), Some("HTTPRoute/shop/blog"), "the proxy's word"),
    ] {
        let ask = named.map_or(ask("GET blog.example/"), |named| ask("GET blog.example/").routed(named));
        let explained = crate::authz::explain(&index, &ask.read(), None, |_| None, NOW);
        let told = (explained.route.as_deref(), explained.route_found_by, explained.rules[0].target.as_str());
        assert_eq!(told, (Some("HTTPRoute shop/blog rules[0]"), Some(want), "HTTPRoute shop/blog"));
    }
}

fn passes(said: &str) -> bool {
    !said.starts_with('4') && !said.starts_with('5')
}

proptest! {
    /// Whatever the proxy says, nothing passes that would not pass without its word, but where two listeners disagree: then the
    /// route it names is one of the two.
    #[test]
    fn p30_no_word_of_the_proxy_widens(
        host in prop::sample::select(vec!["shop", "blog", "bare", "free", "none"]),
        path in prop::sample::select(vec!["/", "/admin", "/deep", "/deep/admin"]),
        named in prop::sample::select(vec![
            "HTTPRoute/shop/shop", "HTTPRoute/shop/shop/deep", "HTTPRoute/shop/blog", "HTTPRoute/evil/claim",
            "HTTPRoute/shop/bare", "HTTPRoute/no/where", "GRPCRoute/shop/shop",
        ]),
        signed_in: bool,
    ) {
        let index = index(&two_gateways());
        let asking = || {
            let asking = ask(&format!("GET {host}.example{path}"));
            if signed_in { asking.cookie() } else { asking }
        };
        let meets = |ask: Ask| say(&decide(&index, &ask, &active(|_| {})));
        let (without, with) = (meets(asking()), meets(asking().routed(named)));
        if without.starts_with("403 conflicting_routes") {
            prop_assert!(!passes(&with) || named.contains("claim") || named.contains("shop/shop"), "{with}");
        } else {
            prop_assert!(with == without || with == "403 unknown_route", "{without}, and {with}");
        }
    }
}
