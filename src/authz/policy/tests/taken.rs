//! Routes that a proxy may not have, on hosts of several namespaces: what another is sent, they do not judge (P27).

use super::fixture::*;
use super::routes::*;
use crate::authz::policy::PolicyIndex;

pub(super) const OPEN: &str = "rules: [{ name: open, access: Public }]";
pub(super) const NOW: &str = "observedGeneration: 2";
pub(super) const ACCEPTED: &str = "{ type: Accepted, status: 'True', reason: Accepted, observedGeneration: 2 }";
const RESOLVED: &str = "{ type: ResolvedRefs, status: 'True', reason: ResolvedRefs, observedGeneration: 2 }";
const PARENT: &str = "{ name: front, namespace: infra, sectionName: https }";
pub(super) const PATH: &str = "rules: [{ matches: [{ path: { value: /admin } }] }]";

/// The route in its second generation, with these conditions of this parent.
fn told_of(parent: &str, conditions: &str, route: String) -> String {
    let route = route.replacen("metadata: { ", "metadata: { generation: 2, ", 1);
    format!(
        "{route}\nstatus: {{ parents: [{{ parentRef: {parent}, controllerName: istio.io/gateway-controller, conditions: [{conditions}] }}] }}"
    )
}

pub(super) fn told(conditions: &str, route: String) -> String {
    told_of(PARENT, conditions, route)
}

pub(super) fn taken(route: String) -> String {
    told(&format!("{ACCEPTED}, {RESOLVED}"), route)
}

pub(super) fn grpc(name: &str, rules: &str) -> String {
    route(name, &format!("hostnames: [shop.example]\n{rules}")).replace("kind: HTTPRoute", "kind: GRPCRoute")
}

/// `shop/shop` has `/` and wants a session; beside it a route of another's, with a policy that is open.
pub(super) fn shop_and(host: &str, other: String) -> PolicyIndex {
    let kind = if other.contains("kind: GRPCRoute") { "GRPCRoute" } else { "HTTPRoute" };
    compile(&all(&[
        gateway(),
        taken(route("shop/shop", &format!("hostnames: ['{host}']"))),
        named("shop/shop", &on("HTTPRoute", "shop")),
        other,
        named("evil/open", &format!("{}\n{OPEN}", on(kind, "claim"))),
    ]))
    .0
}

pub(super) fn claim(rules: &str) -> String {
    route("evil/claim", &format!("hostnames: [shop.example]\n{rules}"))
}

/// What the status of the one route says, and whether it judges what the other matches too.
#[test]
fn p27_a_route_that_the_proxy_did_not_take_does_not_judge_what_another_is_sent() {
    let admin = || claim(PATH);
    let untold = |conditions: &str| told(conditions, admin());
    let because = |reason: &str| format!("{{ type: ResolvedRefs, status: 'False', reason: {reason}, {NOW} }}");
    let refused = "403 conflicting_routes";
    for (world, want) in [
        (taken(admin()), "anonymous by open"),
        (told(ACCEPTED, admin()), "anonymous by open"),
        // It answers 500 itself where a Service is not there.
        (untold(&format!("{ACCEPTED}, {}", because("BackendNotFound"))), "anonymous by open"),
        (untold(&format!("{ACCEPTED}, {}", because("RefNotPermitted"))), "anonymous by open"),
        (admin(), refused),
        (untold(""), refused),
        // It has not got it at all, and the shop's is the next.
        (
            untold(&format!("{{ type: Accepted, status: 'False', reason: NotAllowedByListeners, {NOW} }}")),
            "401 no_credential by default",
        ),
        (untold(&format!("{{ type: Accepted, status: Unknown, reason: Pending, {NOW} }}")), refused),
        // So Istio says of a route that it left out whole.
        (untold(&format!("{ACCEPTED}, {}", because("InvalidFilter"))), refused),
        (untold(&format!("{ACCEPTED}, {}", because("InvalidKind"))), refused),
        (untold(&format!("{ACCEPTED}, {RESOLVED}, {{ type: PartiallyInvalid, status: 'True', {NOW} }}")), refused),
        (untold(&format!("{ACCEPTED}, {RESOLVED}, {{ type: Programmed, status: 'False', {NOW} }}")), refused),
        // An earlier generation was another route.
        (taken(admin()).replace("generation: 2,", "generation: 3,"), refused),
        (taken(admin()).replace("generation: 2,", ""), refused),
        (
            untold(&format!("{ACCEPTED}, {}", RESOLVED.replace("observedGeneration: 2", "observedGeneration: 1"))),
            refused,
        ),
        // Another parent.
        (told_of("{ name: front, namespace: infra }", &format!("{ACCEPTED}, {RESOLVED}"), admin()), refused),
        (told_of("{ name: front, sectionName: https }", &format!("{ACCEPTED}, {RESOLVED}"), admin()), refused),
    ] {
        let index = shop_and("shop.example", world.clone());
        let said = say(&decide(&index, &ask("GET shop.example/admin/users"), &active(|_| {})));
        assert_eq!(said, want, "{world}");
        // What it does not match is nobody's but the shop's.
        meets(&index, &ask("GET shop.example/cart"), "401 no_credential by default");
    }
}

#[test]
fn p27_of_two_controllers_both_must_have_taken_a_route() {
    let two = |one: &str, two: &str| {
        taken(claim(PATH)).replace(
            "parents: [",
            &format!("parents: [{{ parentRef: {PARENT}, controllerName: a.example/b, conditions: [{one}] }}, {two}"),
        )
    };
    let older = ACCEPTED.replace("observedGeneration: 2", "observedGeneration: 1");
    let no = ACCEPTED.replace("'True'", "'False'");
    for (one, want) in [
        // Words about other things, and words of who was there before.
        ("{ type: example.com/Affected, status: 'False', reason: None }", "anonymous by open"),
        (older.as_str(), "anonymous by open"),
        (no.as_str(), "403 conflicting_routes"),
    ] {
        meets(&shop_and("shop.example", two(one, "")), &ask("GET shop.example/admin"), want);
    }
}

/// A proxy that does not have the narrower host sends its requests to the wider one.
#[test]
fn p27_a_host_that_the_proxy_does_not_have_is_a_wider_ones() {
    let everything = || claim("rules: [{}]");
    let admin = ask("GET shop.example/admin");
    for wider in ["*.example", "shop.example"] {
        meets(&shop_and(wider, everything()), &admin, "403 conflicting_routes");
    }
    meets(&shop_and("*.example", taken(everything())), &admin, "anonymous by open");
    meets(&shop_and("other.example", everything()), &admin, "anonymous by open");
    // With one taken route the host is there, and what it does not match is answered with 404.
    let beside =
        taken(route("evil/beside", "hostnames: [shop.example]\nrules: [{ matches: [{ path: { value: /beside } }] }]"));
    meets(&shop_and("*.example", all(&[everything(), beside])), &admin, "anonymous by open");
}

/// Which of both kinds comes first is the proxy's choice; the Gateway API wants it to refuse one of them.
#[test]
fn p27_a_grpc_route_of_one_namespace_does_not_judge_what_an_http_route_of_another_is_sent() {
    let call = ask("POST shop.example/shop.v1.Orders/List");
    let orders = "rules: [{ matches: [{ method: { service: shop.v1.Orders } }] }]";
    let no = format!("{{ type: Accepted, status: 'False', reason: Conflicted, {NOW} }}");
    for other in [grpc("evil/claim", orders), taken(grpc("evil/claim", orders))] {
        let index = shop_and("shop.example", other);
        meets(&index, &call, "403 conflicting_routes");
        meets(&index, &ask("POST shop.example/cart"), "401 no_credential by default");
    }
    // Istio takes every method for such a route, and may put it first.
    let every = |conditions: &str| told(conditions, grpc("evil/claim", "rules: [{}]"));
    meets(&shop_and("shop.example", every(ACCEPTED)), &ask("GET shop.example/cart"), "403 conflicting_routes");
    // A refused one takes nothing from the route that is there.
    meets(&shop_and("shop.example", told(&no, grpc("evil/claim", orders))), &call, "401 no_credential by default");
    meets(&shop_and("shop.example", every(&no)), &ask("GET shop.example/cart"), "401 no_credential by default");
}

#[test]
fn p27_an_expression_is_never_sure() {
    let header = "rules: [{ matches: [{ path: { value: /admin }, headers: [{ name: x-a, value: '[a-z&&[b]]', type: RegularExpression }] }] }]";
    let path = "rules: [{ matches: [{ path: { value: '/adm.*', type: RegularExpression } }] }]";
    for rules in [header, path] {
        let asking = ask("GET shop.example/admin").with("x-a", "b");
        meets(&shop_and("shop.example", taken(claim(rules))), &asking, "403 conflicting_routes");
    }
}

/// Everything here is what people do.
#[test]
fn ordinary_routes_need_no_status_or_are_taken() {
    let own = |rest: &[String]| {
        let own =
            [gateway(), route("shop/shop", "hostnames: [shop.example]"), named("shop/shop", &on("HTTPRoute", "shop"))];
        index(&all(&own.into_iter().chain(rest.iter().cloned()).collect::<Vec<_>>()))
    };
    let admin = ask("GET shop.example/admin");
    // One tenant, several routes of both kinds, nothing told.
    let second = own(&[
        route("shop/claim", &format!("hostnames: [shop.example]\n{PATH}")),
        named("shop/open", &format!("{}\n{OPEN}", on("HTTPRoute", "claim"))),
        grpc("shop/calls", "rules: [{ matches: [{ method: { service: shop.v1.Orders } }] }]"),
        named("shop/calls", &format!("{}\ndefault: Deny", on("GRPCRoute", "calls"))),
    ]);
    meets(&second, &admin, "anonymous by open");
    meets(&second, &ask("POST shop.example/shop.v1.Orders/List"), "403 denied_by_default by default");
    // Of several namespaces, nothing told, no overlap; what matches nothing is as before.
    let beside = |paths: [&str; 2]| {
        let of = |path: &str| {
            format!("hostnames: [shop.example]\nrules: [{{ matches: [{{ path: {{ value: {path} }} }}] }}]")
        };
        compile(&all(&[
            gateway(),
            route("a/a", &of(paths[0])),
            named("a/a", &format!("{}\n{OPEN}", on("HTTPRoute", "a"))),
            route("b/b", &of(paths[1])),
            named("b/b", &on("HTTPRoute", "b")),
        ]))
        .0
    };
    let apart = beside(["/cart", "/shop"]);
    meets(&apart, &ask("GET shop.example/cart"), "anonymous by open");
    meets(&apart, &ask("GET shop.example/shop"), "401 no_credential by default");
    meets(&apart, &ask("GET shop.example/"), "403 no_policy");
    // A part of a host is another team's, by routes that are there.
    let delegated = shop_and("shop.example", taken(claim("rules: [{ matches: [{ path: { value: /cart } }] }]")));
    meets(&delegated, &ask("GET shop.example/cart"), "anonymous by open");
    meets(&delegated, &ask("GET shop.example/shop"), "401 no_credential by default");
    // A proxy that names the route says which it is.
    let named_by_proxy = shop_and("shop.example", claim(PATH));
    meets(&named_by_proxy, &admin.clone().routed("HTTPRoute/evil/claim"), "anonymous by open");
    meets(&named_by_proxy, &admin.routed("HTTPRoute/shop/shop"), "403 unknown_route");
}

#[test]
fn a_route_is_judged_anew_when_its_status_changes() {
    let world = |status: bool| {
        let claim = if status { taken(claim(PATH)) } else { claim(PATH) };
        all(&[
            gateway(),
            taken(route("shop/shop", "hostnames: [shop.example]")),
            named("shop/shop", &on("HTTPRoute", "shop")),
            claim,
            named("evil/open", &format!("{}\n{OPEN}", on("HTTPRoute", "claim"))),
        ])
    };
    let mut index: Option<PolicyIndex> = None;
    for (is_taken, want) in
        [(false, "403 conflicting_routes"), (true, "anonymous by open"), (false, "403 conflicting_routes")]
    {
        let (next, _) = PolicyIndex::compile(&objects(&world(is_taken)), &install(), index.as_ref());
        meets(&next, &ask("GET shop.example/admin"), want);
        index = Some(next);
    }
}

#[test]
fn a_conflict_is_explained_and_advised_in_words() {
    let claimed = || claim(PATH);
    for (other, want) in [
        (claimed(), "HTTPRoute evil/claim has no status that says `Accepted` for this Gateway"),
        (taken(claimed()).replace("generation: 2,", "generation: 3,"), "does not tell of this generation yet"),
        (taken(grpc("evil/claim", "rules: [{}]")), "proxies differ in which of the two kinds comes first"),
        (
            taken(claim("rules: [{ matches: [{ path: { value: '/[a&&b]', type: RegularExpression } }] }]")),
            "HTTPRoute evil/claim has a match that cannot be read here",
        ),
    ] {
        let index = shop_and("shop.example", other);
        let words = index.conflict(&ask("POST shop.example/admin").read()).unwrap();
        assert!(words.contains(want), "{words}");
        assert!(words.contains("HTTPRoute shop/shop rules[0]"), "{words}");
        assert_eq!(index.conflict(&ask("GET other.example/").read()), None);
    }
    let advice = |other: String| {
        let (_, problems) = compile(&all(&[
            gateway(),
            taken(route("shop/shop", "hostnames: [shop.example]")),
            named("shop/shop", &on("HTTPRoute", "shop")),
            other,
            named("evil/open", &format!("{}\n{OPEN}", on("HTTPRoute", "claim"))),
        ]));
        problems.iter().map(|it| (it.object.clone(), it.path.clone(), it.kind.label())).collect::<Vec<_>>()
    };
    let told = ("AuthPolicy evil/open".to_owned(), "spec.targetRefs[0]".to_owned(), "Advice");
    assert_eq!(advice(claimed()), [told]);
    assert_eq!(advice(taken(claimed())), []);
    // A change is on its way.
    assert_eq!(advice(taken(claimed()).replace("generation: 2,", "generation: 3,")), []);
    // Alone on its host it needs no status.
    assert_eq!(advice(claimed().replace("shop.example", "blog.example")), []);
}
