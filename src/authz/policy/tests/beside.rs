//! Routes beside those of other namespaces: what the proxy cannot have hides nothing, and what it may read otherwise is met by anything
//! (P27).

use super::fixture::*;
use super::routes::*;
use super::taken::{ACCEPTED, NOW, OPEN, PATH, claim, grpc, shop_and, taken, told};

/// The proxy may read what we do not, or read it otherwise, and take anybody's requests for it.
#[test]
fn p27_a_match_that_we_cannot_read_may_be_met_by_any_request() {
    let header = |value: &str| {
        format!(
            "rules: [{{ matches: [{{ headers: [{{ name: user-agent, value: '{value}', type: RegularExpression }}] }}] }}]"
        )
    };
    let path =
        |value: &str| format!("rules: [{{ matches: [{{ path: {{ value: '{value}', type: RegularExpression }} }}] }}]");
    let cart = ask("GET shop.example/cart").with("user-agent", "curl").cookie();
    for rules in [
        // RE2 takes these for text; nothing here does.
        header(r"\Q\E.*"),
        path(r"/\Q\E.*"),
        // To RE2 there is no `&&`, `--` or `~~` in a class, nor a class: these are met by everything there, and by nothing here.
        header(r"[\s\S&&]+"),
        header(r"[\s\S~~\s\S]+"),
        path(r"/[!-~--!-~]+"),
        header(r"[[]curl-]+]?"),
    ] {
        meets(&shop_and("shop.example", taken(claim(&rules))), &cart, "403 conflicting_routes");
        meets(&shop_and("shop.example", claim(&rules)), &cart, "403 conflicting_routes");
        let no = format!("{{ type: Accepted, status: 'False', reason: UnsupportedValue, {NOW} }}");
        meets(&shop_and("shop.example", told(&no, claim(&rules))), &cart, "ada for shop/shop by default");
        // The proxy's own word is enough.
        let named_by_proxy = cart.clone().routed("HTTPRoute/shop/shop");
        meets(&shop_and("shop.example", taken(claim(&rules))), &named_by_proxy, "ada for shop/shop by default");
    }
    // What is alike to both is not in its way.
    let alike = header(r"(?:[[:alpha:]&-]+[]a\[]?--|\[&&~~).*");
    meets(&shop_and("shop.example", taken(claim(&alike))), &cart, "ada for shop/shop by default");
}

/// Of one namespace's own routes an older one that we cannot read closes only what no other rule matches.
#[test]
fn a_match_that_we_cannot_read_comes_last() {
    let unreadable = r"rules: [{ matches: [{ path: { value: '/\Q\E.*', type: RegularExpression } }] }]";
    let dated = |time: &str, route: String| {
        route.replacen("metadata: { ", &format!("metadata: {{ creationTimestamp: '{time}', "), 1)
    };
    let (index, _) = compile(&all(&[
        gateway(),
        dated("2026-01-01T00:00:00Z", route("shop/old", &format!("hostnames: [shop.example]\n{unreadable}"))),
        dated("2026-01-02T00:00:00Z", route("shop/shop", "hostnames: [shop.example]")),
        named("shop/shop", &on("HTTPRoute", "shop")),
    ]));
    meets(&index, &ask("GET shop.example/cart").cookie(), "ada for shop/shop by default");
}

/// A narrower host that the proxy may not have hides nothing of the wider one's, also where nothing on it matches.
#[test]
fn p27_a_narrower_host_does_not_hide_a_wider_ones_policies() {
    let never = "rules: [{ matches: [{ path: { value: /never } }] }]";
    let narrow = |name: &str| route(name, &format!("hostnames: [cart.shop.example]\n{never}"));
    let world = |other: String, rest: &[String]| {
        let shop = [
            gateway(),
            taken(route("shop/shop", "hostnames: ['*.shop.example']")),
            named(
                "shop/shop",
                &format!("{}\nrules: [{{ name: admins, require: {{ roles: [admin] }} }}]", on("HTTPRoute", "shop")),
            ),
            named("shop/hosts", "hosts: ['*.shop.example']"),
            other,
        ];
        compile(&all(&shop.into_iter().chain(rest.iter().cloned()).collect::<Vec<_>>())).0
    };
    let admin = ask("GET cart.shop.example/admin").cookie();
    let no = format!("{{ type: Accepted, status: 'False', reason: UnsupportedValue, {NOW} }}");
    let filter = format!("{ACCEPTED}, {{ type: ResolvedRefs, status: 'False', reason: InvalidFilter, {NOW} }}");
    for (other, want) in [
        (narrow("evil/claim"), "403 conflicting_routes"),
        (told(&filter, narrow("evil/claim")), "403 conflicting_routes"),
        // It does not have the host for sure.
        (told(&no, narrow("evil/claim")), "403 missing_role by admins"),
        // It has it, and answers 404.
        (taken(narrow("evil/claim")), "ada for shop/hosts by default"),
        // Of one namespace the wider one's judges.
        (narrow("shop/claim"), "403 missing_role by admins"),
    ] {
        let index = world(other.clone(), &[]);
        let said = say(&decide(&index, &admin, &active(|_| {})));
        assert_eq!(said, want, "{other}");
        let words = index.conflict(&admin.read());
        assert_eq!(words.is_some(), want == "403 conflicting_routes", "{words:?}");
        // The proxy's word is enough, and what it says is held against what is found.
        let named_by_proxy = admin.clone().routed("HTTPRoute/shop/shop");
        meets(
            &index,
            &named_by_proxy,
            if want == "403 missing_role by admins" && !other.contains("namespace: shop") {
                want
            } else {
                "403 unknown_route"
            },
        );
    }
    // What is required of the whole Gateway holds there, too.
    let floor = named("infra/floor", &format!("{}\ninheritance: Required\ndefault: Deny", on("Gateway", "front")));
    for other in [narrow("evil/claim"), narrow("shop/claim"), told(&no, narrow("evil/claim"))] {
        let said = say(&decide(&world(other.clone(), std::slice::from_ref(&floor)), &admin, &active(|_| {})));
        assert!(said.starts_with("403 "), "{said}: {other}");
    }
}

/// One that the proxy has refused closes nothing of anybody's.
#[test]
fn p27_a_refused_route_is_in_nobodys_way() {
    let no = |rules: &str| {
        told(&format!("{{ type: Accepted, status: 'False', reason: UnsupportedValue, {NOW} }}"), claim(rules))
    };
    // Found before the shop's by its method, path or age.
    let get = "rules: [{ matches: [{ path: { value: / }, method: GET }] }]";
    for rules in [get, PATH, "rules: [{}]"] {
        let index = shop_and("shop.example", no(rules));
        for line in ["GET shop.example/admin", "GET shop.example/cart", "POST shop.example/cart"] {
            meets(&index, &ask(line).cookie(), "ada for shop/shop by default");
        }
        assert_eq!(index.conflict(&ask("GET shop.example/admin").read()), None);
    }
    // Beside what is not sure itself, the shop's by an expression or without a word about it.
    let expression = "rules: [{ matches: [{ path: { value: '/c.*', type: RegularExpression } }] }]";
    let shop = |rules: &str| route("shop/shop", &format!("hostnames: [shop.example]\n{rules}"));
    for (own, beside_taken) in
        [(taken(shop(expression)), "403 conflicting_routes"), (shop("rules: [{}]"), "anonymous by open")]
    {
        let world = |other: String| {
            compile(&all(&[
                gateway(),
                own.clone(),
                named("shop/shop", &on("HTTPRoute", "shop")),
                other,
                named("evil/open", &format!("{}\n{OPEN}", on("HTTPRoute", "claim"))),
            ]))
            .0
        };
        let cart = ask("GET shop.example/cart").cookie();
        meets(&world(no("rules: [{}]")), &cart, "ada for shop/shop by default");
        meets(&world(taken(claim("rules: [{}]"))), &cart, beside_taken);
    }
    // Where nobody else has the host there is nobody to protect.
    let alone = compile(&all(&[gateway(), no("rules: [{}]"), named("evil/open", &on("HTTPRoute", "claim"))])).0;
    meets(&alone, &ask("GET shop.example/cart").cookie(), "ada for evil/claim by default");
}

/// A proxy has a route before its status tells of it: so one of the other kind counts until it is refused as it is now.
#[test]
fn p27_a_route_of_the_other_kind_counts_until_it_is_refused_as_it_is_now() {
    let no = told(
        &format!("{{ type: Accepted, status: 'False', reason: UnsupportedValue, {NOW} }}"),
        grpc("evil/claim", "rules: [{}]"),
    );
    let cart = ask("GET shop.example/cart").cookie();
    for (other, want) in [
        (no.clone(), "ada for shop/shop by default"),
        (no.replace("generation: 2,", "generation: 3,"), "403 conflicting_routes"),
        (grpc("evil/claim", "rules: [{}]"), "403 conflicting_routes"),
    ] {
        meets(&shop_and("shop.example", other), &cart, want);
    }
}
