//! Policies on Services: what is behind a route.

use super::fixture::*;
use super::routes::*;

const OPEN: &str = "rules: [{ name: open, access: Public }]";
const ADMIN: &str = "rules: [{ name: admin, require: { roles: [admin] } }]";

fn leading_to(name: &str, backends: &str) -> String {
    route(name, &format!("hostnames: [shop.example]\nrules: [{{ backendRefs: [{backends}] }}]"))
}

/// A policy on the Service `cart` of its namespace.
fn on_cart(namespace: &str, rest: &str) -> String {
    named(&format!("{namespace}/cart"), &format!("{}\n{rest}", on_service("cart")))
}

#[test]
fn a_service_alone_behind_a_route_of_its_namespace_is_the_most_specific_target() {
    let objects = |above: &str, service: &str| {
        all(&[
            gateway(),
            leading_to("shop/shop", "{ name: cart, port: 80 }"),
            named("shop/route", &format!("{}\n{above}", on("HTTPRoute", "shop"))),
            on_cart("shop", service),
        ])
    };
    for (above, service, request, want) in [
        (ADMIN, OPEN, ask("GET shop.example/"), "anonymous by open"),
        (OPEN, ADMIN, ask("GET shop.example/"), "401 no_credential by admin"),
        (OPEN, "", ask("GET shop.example/").cookie(), "ada for shop/cart by default"),
        ("inheritance: Required\ndefault: Deny", OPEN, ask("GET shop.example/"), "403 denied_by_default by default"),
    ] {
        meets(&index(&objects(above, service)), &request, want);
    }
}

#[test]
fn p27_a_service_of_another_namespace_only_narrows() {
    let parts = |route_policy: &str, service_policy: &str| {
        all(&[
            gateway(),
            leading_to("shop/shop", "{ name: cart, namespace: carts, port: 80 }"),
            grant("HTTPRoute", "shop", "Service", "carts"),
            named("shop/route", &format!("{}\n{route_policy}", on("HTTPRoute", "shop"))),
            on_cart("carts", service_policy),
        ])
    };
    for (of_route, of_service, request, want) in [
        (ADMIN, OPEN, ask("GET shop.example/"), "401 no_credential by admin"),
        (OPEN, ADMIN, ask("GET shop.example/"), "401 no_credential by admin"),
        (OPEN, OPEN, ask("GET shop.example/"), "anonymous by open"),
        // The route's policy says what the service is told.
        ("", "", ask("GET shop.example/").cookie(), "ada for shop/shop by default"),
    ] {
        meets(&index(&parts(of_route, of_service)), &request, want);
    }
}

#[test]
fn p27_without_the_services_consent_its_policy_has_no_say() {
    let parts = [
        gateway(),
        leading_to("shop/shop", "{ name: cart, namespace: carts, port: 80 }"),
        named("shop/route", &format!("{}\n{OPEN}", on("HTTPRoute", "shop"))),
        on_cart("carts", "default: Deny"),
    ];
    let with = |extra: &str| all(&parts.iter().cloned().chain([extra.to_owned()]).collect::<Vec<_>>());
    for (extra, want) in [
        (grant("HTTPRoute", "shop", "Service", "carts"), "403 denied_by_default by default"),
        (grant("HTTPRoute", "blog", "Service", "carts"), "anonymous by open"),
        (grant("GRPCRoute", "shop", "Service", "carts"), "anonymous by open"),
        (grant("HTTPRoute", "shop", "Service", "shop"), "anonymous by open"),
    ] {
        meets(&compile(&with(&extra)).0, &ask("GET shop.example/"), want);
    }
}

#[test]
fn where_a_request_may_go_to_several_backends_each_has_its_say() {
    let deny = named("shop/deny", &format!("{}\nrules: [{{ name: nobody, access: Deny }}]", on_service("deny")));
    let open = |name: &str| named(&format!("shop/{name}"), &format!("{}\n{OPEN}", on_service(name)));
    let route_policy = named("shop/route", &format!("{}\n{OPEN}", on("HTTPRoute", "shop")));
    for (backends, policies, want) in [
        // All must let it pass.
        ("{ name: a }, { name: b }", vec![open("a"), open("b")], "anonymous by open"),
        ("{ name: a }, { name: deny }", vec![open("a"), deny.clone()], "403 denied_by_rule by nobody"),
        (
            "{ name: a, weight: 100 }, { name: deny, weight: 0 }",
            vec![open("a"), deny.clone()],
            "403 denied_by_rule by nobody",
        ),
        // What no policy is for stays closed, unless the route has one.
        ("{ name: a }, { name: bare }", vec![open("a")], "403 no_policy"),
        ("{ name: a }, { name: bare }", vec![open("a"), route_policy.clone()], "anonymous by open"),
        ("{ name: a }, { group: example.com, kind: Bucket, name: b }", vec![open("a")], "403 no_policy"),
        ("{ name: bare }", vec![open("a")], "403 no_policy"),
        // Copies are requests too.
        (
            "{ name: a, filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: deny } } }] }",
            vec![open("a"), deny.clone()],
            "403 denied_by_rule by nobody",
        ),
    ] {
        let parts: Vec<_> = [gateway(), leading_to("shop/shop", backends)].into_iter().chain(policies).collect();
        meets(&compile(&all(&parts)).0, &ask("GET shop.example/"), want);
    }
    let mirroring = route(
        "shop/shop",
        "hostnames: [shop.example]\nrules: [{ backendRefs: [{ name: a }], filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: deny } } }] }]",
    );
    let index = index(&all(&[gateway(), mirroring, open("a"), deny]));
    meets(&index, &ask("GET shop.example/"), "403 denied_by_rule by nobody");
}

#[test]
fn the_hosts_policy_judges_a_partly_covered_route() {
    let index = index(&all(&[
        gateway(),
        leading_to("shop/shop", "{ name: a }, { name: bare }"),
        named("shop/a", &format!("{}\n{OPEN}", on_service("a"))),
        named("shop/host", &format!("hosts: [shop.example]\n{ADMIN}")),
    ]));
    meets(&index, &ask("GET shop.example/"), "401 no_credential by admin");
}

#[test]
fn p22_a_policy_grants_nothing_where_another_service_may_answer() {
    let login = "rules: [{ name: login, access: Public, session: { create: true } }]";
    let scope_of = |parts: &[String]| match decide(&index(&all(parts)), &ask("GET shop.example/"), &active(|_| {})) {
        crate::authz::verdict::Decision::Anonymous { scope, .. } => scope.is_some(),
        other => panic!("{other:?}"),
    };
    let on_a = named("shop/a", &format!("{}\n{login}", on_service("a")));
    let on_b = named("shop/b", &format!("{}\n{login}", on_service("b")));
    let alone = [gateway(), leading_to("shop/shop", "{ name: a }"), on_a.clone()];
    let together = [gateway(), leading_to("shop/shop", "{ name: a }, { name: b }"), on_a, on_b];
    // A route of another namespace can set headers on the response, and so say anything.
    let foreign = [
        gateway(),
        leading_to("other/shop", "{ name: a, namespace: shop }"),
        grant("HTTPRoute", "other", "Service", "shop"),
        alone[2].clone(),
    ];
    assert!(scope_of(&alone));
    assert!(!scope_of(&together));
    assert!(!scope_of(&foreign));
}

#[test]
fn p27_the_older_policy_keeps_the_service() {
    let dated = |name: &str, created: &str, rest: &str| {
        named(&format!("shop/{name}"), &format!("{}\n{rest}", on_service("cart")))
            .replace(&format!("name: {name},"), &format!("name: {name}, creationTimestamp: '{created}',"))
    };
    let (index, problems) = compile(&all(&[
        gateway(),
        leading_to("shop/shop", "{ name: cart }"),
        dated("alpha", "2026-02-01T00:00:00Z", OPEN),
        dated("zebra", "2026-01-01T00:00:00Z", "default: Deny"),
    ]));
    meets(&index, &ask("GET shop.example/"), "403 denied_by_default by default");
    let said: Vec<_> = problems.iter().map(|problem| (problem.kind.label(), problem.path.as_str())).collect();
    assert_eq!(said, [("Conflicted", "spec.targetRefs[0]")]);
}

#[test]
fn a_service_that_no_served_route_leads_to_is_told() {
    let elsewhere = route_on(
        "{ name: other }",
        "shop/shop",
        "hostnames: [shop.example]\nrules: [{ backendRefs: [{ name: cart }] }]",
    );
    let (_, problems) = compile(&all(&[gateway(), elsewhere, on_cart("shop", "")]));
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!((problems[0].kind.label(), problems[0].target()), ("Advice", Some(0)));
    assert!(
        problems[0].words.starts_with("no route that is on a served Gateway leads to Service `shop/cart`"),
        "{problems:?}"
    );
}

#[test]
fn p26_a_broken_policy_closes_its_service() {
    let broken = on_cart("shop", "mode: Nonsense");
    let open = named("shop/route", &format!("{}\n{OPEN}", on("HTTPRoute", "shop")));
    for backends in ["{ name: cart }", "{ name: cart }, { name: other }"] {
        let (index, _) = compile(&all(&[gateway(), leading_to("shop/shop", backends), open.clone(), broken.clone()]));
        meets(&index, &ask("GET shop.example/"), "403 broken_policy by broken");
    }
}

#[test]
fn grpc_routes_lead_to_services_too() {
    let grpc = "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: { name: orders, namespace: shop }\nspec:\n  \
                parentRefs: [{ name: front, namespace: infra }]\n  hostnames: [shop.example]\n  rules: [{ backendRefs: [{ name: cart }] }]";
    let index = index(&all(&[gateway(), grpc.to_owned(), on_cart("shop", ADMIN)]));
    meets(&index, &ask("POST shop.example/shop.v1.Orders/List").cookie(), "403 missing_role by admin");
}

/// Filters run after the check: the path that was judged must be the path that the Service of another is sent.
#[test]
fn p27_a_foreign_route_that_rewrites_does_not_get_past_a_services_policy() {
    let of_cart = "rules: [{ name: open, matches: [{ path: { value: /public } }], access: Public }, { name: admin, require: { roles: [admin] } }]";
    let world = |owner: &str, kind: &str, rule: &str, backend: &str| {
        let namespace = if owner == "carts" { "" } else { "namespace: carts, " };
        let foreign = route(
            &format!("{owner}/x"),
            &format!(
                "hostnames: [{owner}.example]\nrules: [{{ matches: [{{ path: {{ value: /public }} }}]{rule}, backendRefs: [{{ {namespace}name: cart, port: 80{backend} }}] }}]"
            ),
        );
        let foreign = foreign.replace(
            "matches: [{ path: { value: /public } }]",
            if kind == "GRPCRoute" { "matches: []" } else { "matches: [{ path: { value: /public } }]" },
        );
        compile(&all(&[
            gateway(),
            foreign.replace("kind: HTTPRoute", &format!("kind: {kind}")),
            named(&format!("{owner}/x"), &format!("{}\n{OPEN}", on(kind, "x"))),
            on_cart("carts", of_cart),
            grant(kind, "evil", "Service", "carts"),
        ]))
    };
    let rewrite = ", filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /admin } } }]";
    let header = |name: &str| {
        format!(
            ", filters: [{{ type: RequestHeaderModifier, requestHeaderModifier: {{ set: [{{ name: {name}, value: /admin }}] }} }}]"
        )
    };
    let (method, url, jwt, host) =
        (header("X-HTTP-Method-Override"), header("x_original-url"), header("X-Session-JWT"), header("Host"));
    let added = url.replace("set:", "add:");
    let unknown = ", filters: [{ type: ExtensionRef, extensionRef: { group: x.example, kind: Rewrite, name: any } }]";
    for changes in [rewrite, &method, &url, &added, &jwt, &host, unknown] {
        for (rule, backend) in [(changes, ""), ("", changes)] {
            let (index, problems) = world("evil", "HTTPRoute", rule, backend);
            meets(&index, &ask("GET evil.example/public/users"), "403 broken_policy by broken");
            let mut told: Vec<_> = problems.iter().map(|it| (it.object.as_str(), it.kind.label())).collect();
            told.sort_unstable();
            assert_eq!(told, [("AuthPolicy carts/cart", "Advice"), ("AuthPolicy evil/x", "Advice")], "{problems:?}");
            // One's own routes may: who writes them could as well write the policy.
            let (index, problems) = world("carts", "HTTPRoute", rule, backend);
            meets(&index, &ask("GET carts.example/public/users"), "anonymous by open");
            assert_eq!(problems, []);
        }
    }
    let grpc = world("evil", "GRPCRoute", &method, "").0;
    meets(&grpc, &ask("POST evil.example/public/users"), "403 broken_policy by broken");
    // What changes nothing that is judged.
    let (plain, away) = (
        header("x-team"),
        header("X-Original-URL").replace("set: [{ name: X-Original-URL, value: /admin }]", "remove: [X-Original-URL]"),
    );
    let response = ", filters: [{ type: ResponseHeaderModifier, responseHeaderModifier: { set: [{ name: x-original-url, value: a }] } }]";
    for rule in ["", plain.as_str(), &away, response] {
        let (index, problems) = world("evil", "HTTPRoute", rule, "");
        meets(&index, &ask("GET evil.example/public/users"), "anonymous by open");
        assert_eq!(problems, []);
    }
}
