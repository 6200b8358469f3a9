//! What policies judge: hosts, routes, Gateways; who wins, and whose consent it takes.

use super::super::{HostsFrom, PolicyIndex};
use super::fixture::*;
use super::routes::*;
use super::taken::taken;

#[test]
fn a_policy_on_a_route_judges_what_the_route_gets() {
    let index = index(&all(&[
        gateway(),
        route("shop/shop", "hostnames: [shop.example]\nrules: [{ matches: [{ path: { value: /shop } }] }]"),
        route("shop/blog", "hostnames: [shop.example]\nrules: [{ matches: [{ path: { value: /blog } }] }]"),
        named("shop/shop", &on("HTTPRoute", "shop")),
        named("shop/blog", &format!("{}\nrules: [{{ name: open, access: Public }}]", on("HTTPRoute", "blog"))),
    ]));
    for (request, want) in [
        (ask("GET shop.example/shop/7").cookie(), "ada for shop/shop by default"),
        (ask("GET shop.example/shop/7"), "401 no_credential by default"),
        (ask("GET shop.example/blog"), "anonymous by open"),
        (ask("GET shop.example/other").cookie(), "403 no_policy"),
        (ask("GET other.example/shop").cookie(), "403 no_policy"),
    ] {
        meets(&index, &request, want);
    }
}

#[test]
fn the_more_specific_target_wins() {
    let parts = [
        gateway(),
        route(
            "shop/shop",
            "hostnames: [shop.example]\nrules: [{ name: a, matches: [{ path: { value: /a } }] }, { name: b, matches: [{ path: { value: /b } }] }]",
        ),
        route("shop/blog", "hostnames: [blog.example]"),
        route_on("{ name: front, namespace: infra, sectionName: http }", "shop/plain", "hostnames: [plain.example]"),
        named("infra/gateway", &format!("{}\ndefault: Deny", on("Gateway", "front"))),
        named(
            "infra/listener",
            "targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: front, sectionName: https }]",
        ),
        named("shop/route", &format!("{}\nrules: [{{ name: route, access: Public }}]", on("HTTPRoute", "shop"))),
        named(
            "shop/section",
            "targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop, sectionName: b }]\nrules: [{ name: section, access: Deny }]",
        ),
    ];
    let index = index(&all(&parts));
    meets(&index, &ask("GET shop.example/a"), "anonymous by route");
    meets(&index, &ask("GET shop.example/b"), "403 denied_by_rule by section");
    meets(&index, &ask("GET blog.example/").cookie(), "ada for infra/front by default");
    meets(&index, &ask("GET plain.example/").cookie(), "403 denied_by_default by default");
}

#[test]
fn the_key_is_of_the_routes_namespace_wherever_the_policy_hangs() {
    let index = index(&all(&[
        gateway(),
        route("shop/shop", "hostnames: [shop.example]"),
        route("blog/blog", "hostnames: [blog.example]"),
        named("infra/gateway", &on("Gateway", "front")),
    ]));
    for (host, namespace) in [("shop.example", "shop"), ("blog.example", "blog")] {
        let decision = decide(&index, &ask(&format!("GET {host}/")).cookie(), &active(|_| {}));
        let crate::authz::verdict::Decision::Permit(permit) = decision else { panic!("passes") };
        assert_eq!((&*permit.mint().namespace, &*permit.mint().audience), (namespace, "infra/front"));
    }
}

#[test]
fn a_required_policy_on_the_gateway_is_checked_in_addition() {
    let index = index(&all(&[
        gateway(),
        route("shop/shop", "hostnames: [shop.example]"),
        named(
            "infra/gateway",
            &format!(
                "{}\ninheritance: Required\nrules: [{{ name: g, require: {{ roles: [user] }} }}]",
                on("Gateway", "front")
            ),
        ),
        named("shop/shop", &format!("{}\nrules: [{{ name: open, access: Public }}]", on("HTTPRoute", "shop"))),
    ]));
    meets(&index, &ask("GET shop.example/"), "401 no_credential by g");
    meets(&index, &ask("GET shop.example/").cookie(), "403 missing_role by g");
}

#[test]
fn p03_a_required_policy_above_a_route_does_not_hide_the_hosts_own() {
    let index = index(&all(&[
        gateway(),
        route("shop/shop", "hostnames: [shop.example]"),
        named(
            "infra/gateway",
            &format!("{}\ninheritance: Required\nrules: [{{ name: g, access: Public }}]", on("Gateway", "front")),
        ),
        named("shop/host", "hosts: [shop.example]\nrules: [{ name: h, require: { roles: [admin] } }]"),
    ]));
    meets(&index, &ask("GET shop.example/"), "401 no_credential by h");
    meets(&index, &ask("GET shop.example/").cookie(), "403 missing_role by h");
}

#[test]
fn p27_a_route_that_no_listener_admits_claims_nothing() {
    let victim = route("shop/shop", "hostnames: [shop.example]");
    let guard = named("shop/shop", &on("HTTPRoute", "shop"));
    let open = |name: &str| named(name, &format!("{}\nrules: [{{ access: Public }}]", on("HTTPRoute", "claim")));
    let closed_gateway = gateway().replace("from: All", "from: Same");
    let shared = [
        // Without a Gateway, on one that is not there, on one that admits only its own namespace, under another host.
        (gateway(), route_on("", "evil/claim", "hostnames: [shop.example]")),
        (gateway(), route_on("{ name: front }", "evil/claim", "hostnames: [shop.example]")),
        (
            gateway(),
            route_on("{ name: front, namespace: infra, sectionName: tcp }", "evil/claim", "hostnames: [shop.example]"),
        ),
        (
            gateway(),
            route_on("{ name: front, namespace: infra, port: 8080 }", "evil/claim", "hostnames: [shop.example]"),
        ),
        (gateway(), route("evil/claim", "hostnames: [shop.other]")),
        (gateway(), route("evil/claim", "hostnames: ['*']")),
    ];
    for (gateway, claim) in shared {
        let (index, _) = compile(&all(&[gateway, victim.clone(), claim.clone(), guard.clone(), open("evil/open")]));
        meets(&index, &ask("GET shop.example/"), "401 no_credential by default");
        meets(&index, &ask("GET shop.other/"), "403 no_policy");
    }
    let claim = route("evil/claim", "hostnames: [shop.example]\nrules: [{ matches: [{ path: { value: /deep } }] }]");
    let (index, _) = compile(&all(&[closed_gateway, victim, claim, guard, open("evil/open")]));
    meets(&index, &ask("GET shop.example/deep"), "403 no_policy");
}

#[test]
fn p27_a_gateway_that_is_not_served_gives_nothing() {
    let yaml = all(&[
        gateway(),
        route("shop/shop", "hostnames: [shop.example]"),
        named("shop/shop", &on("HTTPRoute", "shop")),
    ]);
    let install =
        super::super::Install { gateways: Some([("infra".to_owned(), "other".to_owned())].into()), ..install() };
    let (index, problems) = PolicyIndex::compile(&objects(&yaml), &install, None);
    meets(&index, &ask("GET shop.example/").cookie(), "403 no_policy");
    assert_eq!(problems[0].kind.label(), "Advice");
}

#[test]
fn p27_hosts_are_for_the_installs_own_namespace() {
    let install = super::super::Install { hosts: HostsFrom::Namespace("infra".to_owned()), ..install() };
    let yaml = all(&[policy("rules: [{ access: Public }]"), named("infra/own", "hosts: [own.example]")]);
    let (index, problems) = PolicyIndex::compile(&objects(&yaml), &install, None);
    // Not even closed: that would be a claim too.
    meets(&index, &ask("GET shop.example/"), "403 no_policy");
    meets(&index, &ask("GET own.example/").cookie(), "ada for infra/own by default");
    assert!(problems[0].words.starts_with("would claim hosts that no Gateway gave this namespace"), "{problems:?}");
}

#[test]
fn p27_another_namespaces_route_needs_its_consent() {
    let cross = named(
        "infra/cross",
        "targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop, namespace: shop }]",
    );
    let grant = |from: &str, to: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {{ name: g, namespace: {to} }}\nspec:\n  \
             from: [{{ group: cloakroom.dev, kind: AuthPolicy, namespace: {from} }}]\n  \
             to: [{{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop }}]"
        )
    };
    let parts = [gateway(), route("shop/shop", "hostnames: [shop.example]"), cross];
    for (extra, want, kind) in [
        (None, "403 no_policy", Some("RefNotPermitted")),
        (Some(grant("infra", "other")), "403 no_policy", Some("RefNotPermitted")),
        (Some(grant("other", "shop")), "403 no_policy", Some("RefNotPermitted")),
        (
            Some(grant("infra", "shop").replace("name: shop }", "name: blog }")),
            "403 no_policy",
            Some("RefNotPermitted"),
        ),
        (Some(grant("infra", "shop")), "ada for shop/shop by default", None),
    ] {
        let yaml = all(&parts.iter().cloned().chain(extra).collect::<Vec<_>>());
        let (index, _) = compile(&yaml);
        meets(&index, &ask("GET shop.example/").cookie(), want);
        assert_eq!(kinds(&yaml).first().copied(), kind);
    }
}

#[test]
fn p27_the_older_policy_keeps_the_target() {
    let dated = |name: &str, created: &str, spec: &str| {
        policy(spec).replace("name: shop,", &format!("name: {name}, creationTimestamp: '{created}',"))
    };
    let old = dated("zebra", "2026-01-01T00:00:00Z", "default: Deny");
    let new = dated("alpha", "2026-02-01T00:00:00Z", "rules: [{ access: Public }]");
    for yaml in [all(&[old.clone(), new.clone()]), all(&[new, old])] {
        let (index, problems) = compile(&yaml);
        meets(&index, &ask("GET shop.example/").cookie(), "403 denied_by_default by default");
        let words = problems[0].to_string();
        assert!(words.ends_with("AuthPolicy shop/alpha: spec.hosts[0]: host `shop.example` has the older policy shop/zebra, so this one does not count there: remove the target from one of them"), "{words}");
        assert_eq!(problems.len(), 1);
    }
}

#[test]
fn p27_being_broken_makes_no_policy_older() {
    let dated = |name: &str, created: &str, spec: &str| {
        policy(spec).replace("name: shop,", &format!("name: {name}, creationTimestamp: '{created}',"))
    };
    let old = dated("zebra", "2026-01-01T00:00:00Z", "");
    let broken = dated("alpha", "2026-02-01T00:00:00Z", "mode: Nonsense");
    let (index, _) = compile(&all(&[broken, old]));
    meets(&index, &ask("GET shop.example/").cookie(), "ada for shop/zebra by default");
}

#[test]
fn p27_two_listeners_must_agree_about_a_request() {
    let other = gateway().replace("name: front", "name: back").replace("namespace: infra", "namespace: evil");
    let back = "{ name: back, namespace: evil, sectionName: https }";
    let parts = [
        gateway(),
        other,
        route("shop/shop", "hostnames: [shop.example]"),
        named("shop/shop", &on("HTTPRoute", "shop")),
        route_on(back, "evil/claim", "hostnames: [shop.example]\nrules: [{ matches: [{ path: { value: /admin } }] }]"),
        named("evil/open", &format!("{}\nrules: [{{ access: Public }}]", on("HTTPRoute", "claim"))),
    ];
    let index = index(&all(&parts));
    meets(&index, &ask("GET shop.example/admin"), "403 conflicting_routes");
    meets(&index, &ask("GET shop.example/admin").cookie(), "403 conflicting_routes");
    meets(&index, &ask("GET shop.example/").cookie(), "ada for shop/shop by default");
    // The proxy knows which of them it is (P30).
    meets(&index, &ask("GET shop.example/admin").cookie().pinned("shop", "shop"), "ada for shop/shop by default");
}

#[test]
fn p30_the_proxy_may_only_name_a_policy_that_applies_anyway() {
    let index = index(&all(&[policy(""), named("shop/open", "hosts: [open.example]\nrules: [{ access: Public }]")]));
    meets(&index, &ask("GET shop.example/").pinned("shop", "open"), "403 no_policy");
    meets(&index, &ask("GET shop.example/").pinned("shop", "shop"), "401 no_credential by default");
}

#[test]
fn a_redirect_to_https_on_the_plain_listener_does_not_close_the_route() {
    let redirect = route_on(
        "{ name: front, namespace: infra, sectionName: http }",
        "shop/redirect",
        "rules: [{ filters: [{ type: RequestRedirect, requestRedirect: { scheme: https } }] }]",
    );
    let index = index(&all(&[
        gateway(),
        redirect,
        route("shop/shop", "hostnames: [shop.example]"),
        named("shop/shop", &on("HTTPRoute", "shop")),
    ]));
    meets(&index, &ask("GET shop.example/").cookie(), "ada for shop/shop by default");
}

#[test]
fn routes_on_both_listeners_are_found_once() {
    let index = index(&all(&[
        gateway(),
        route_on("{ name: front, namespace: infra }", "shop/shop", "hostnames: [shop.example]"),
        named("shop/shop", &on("HTTPRoute", "shop")),
    ]));
    assert_eq!(index.ports.all.len(), 1);
    meets(&index, &ask("GET shop.example/").cookie(), "ada for shop/shop by default");
}

#[test]
fn the_most_specific_hostname_has_the_request() {
    let index = index(&all(&[
        gateway(),
        route("shop/wide", "hostnames: ['*.shop.example']"),
        taken(route(
            "shop/narrow",
            "hostnames: [a.shop.example]\nrules: [{ matches: [{ path: { value: /narrow } }] }]",
        )),
        named("shop/wide", &format!("{}\nrules: [{{ name: wide, access: Public }}]", on("HTTPRoute", "wide"))),
        named("shop/narrow", &format!("{}\nrules: [{{ name: narrow, access: Deny }}]", on("HTTPRoute", "narrow"))),
    ]));
    meets(&index, &ask("GET b.shop.example/narrow"), "anonymous by wide");
    meets(&index, &ask("GET a.shop.example/narrow"), "403 denied_by_rule by narrow");
    // A host of its own that is there is not served by wider routes: proxies keep one virtual host for it.
    meets(&index, &ask("GET a.shop.example/other"), "403 no_policy");
}

#[test]
fn grpc_routes_are_posts_of_service_and_method() {
    let grpc = |rules: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {{ name: orders, namespace: shop }}\nspec:\n  \
             parentRefs: [{{ name: front, namespace: infra }}]\n  hostnames: [grpc.example]\n  rules: [{rules}]"
        )
    };
    let index = index(&all(&[
        gateway(),
        grpc(
            "{ name: list, matches: [{ method: { service: shop.v1.Orders, method: List } }] }, { matches: [{ method: { service: shop.v1.Orders } }] }",
        ),
        named("shop/orders", &on("GRPCRoute", "orders")),
        named(
            "shop/list",
            "targetRefs: [{ group: gateway.networking.k8s.io, kind: GRPCRoute, name: orders, sectionName: list }]\nrules: [{ name: open, access: Public }]",
        ),
    ]));
    meets(&index, &ask("POST grpc.example/shop.v1.Orders/List"), "anonymous by open");
    meets(&index, &ask("POST grpc.example/shop.v1.Orders/Cancel"), "401 no_credential by default");
    meets(&index, &ask("POST grpc.example/shop.v1.Carts/List"), "403 no_policy");
    meets(&index, &ask("GET grpc.example/shop.v1.Orders/List"), "403 no_policy");
}

#[test]
fn a_route_that_cannot_be_told_closes_what_no_other_rule_matches() {
    let (index, problems) = compile(&all(&[
        gateway(),
        route(
            "shop/shop",
            "hostnames: [shop.example]\nrules: [{ matches: [{ path: { value: /good } }, { path: { type: RegularExpression, value: '(' } }] }]",
        ),
        named("shop/shop", &on("HTTPRoute", "shop")),
        named("shop/all", "hosts: [shop.example]\nrules: [{ access: Public }]"),
    ]));
    assert_eq!(problems.len(), 1, "{problems:?}");
    meets(&index, &ask("GET shop.example/good").cookie(), "ada for shop/shop by default");
    meets(&index, &ask("GET shop.example/other").cookie(), "403 broken_policy by broken");
}

#[test]
fn hosts_judge_what_no_policy_on_a_route_does() {
    let index = index(&all(&[
        gateway(),
        route("shop/shop", "hostnames: [shop.example]\nrules: [{ matches: [{ path: { value: /routed } }] }]"),
        named("shop/route", &on("HTTPRoute", "shop")),
        named("shop/host", "hosts: [shop.example]\nrules: [{ name: host, access: Public }]"),
    ]));
    meets(&index, &ask("GET shop.example/routed"), "401 no_credential by default");
    meets(&index, &ask("GET shop.example/else"), "anonymous by host");
}

#[test]
fn targets_that_are_not_there_are_told() {
    let section = "targetRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: front, sectionName: tls }]";
    let (_, problems) = compile(&all(&[gateway(), named("infra/p", section)]));
    assert_eq!(
        problems[0].words,
        "there is no Gateway `infra/front` section `tls`; its sections are `http` and `https`"
    );
    assert_eq!(problems[0].kind.label(), "TargetNotFound");
}

#[test]
fn equal_specs_share_one_allocation() {
    let index = index(&policy(
        "rules: [{ name: a, matches: [{ path: { value: /a } }] }, { name: b, matches: [{ path: { value: /b } }] }]",
    ));
    let mint = |path: &str| match decide(&index, &ask(&format!("GET shop.example{path}")).cookie(), &active(|_| {})) {
        crate::authz::verdict::Decision::Permit(permit) => permit.mint().clone(),
        other => panic!("{other:?}"),
    };
    assert!(std::sync::Arc::ptr_eq(&mint("/a"), &mint("/b")));
}

#[test]
fn many_gateways_judge_as_few_do() {
    let of = |number: usize| {
        let name = format!("front-{number}");
        [
            gateway().replace("name: front", &format!("name: {name}")),
            route_on(
                &format!("{{ name: {name}, namespace: infra, sectionName: https }}"),
                &format!("shop/r{number}"),
                &format!("hostnames: [h{number}.example, '*.w{number}.example']"),
            ),
            named(
                &format!("shop/p{number}"),
                &format!("{}\nrules: [{{ name: p{number}, access: Public }}]", on("HTTPRoute", &format!("r{number}"))),
            ),
        ]
    };
    for count in [2, 12] {
        let mut parts: Vec<_> = (0..count).flat_map(of).collect();
        // A wide route on one Gateway, and the host of the last one on the first as well.
        parts.push(route_on(
            "{ name: front-0, namespace: infra, sectionName: https }",
            "shop/wide",
            "hostnames: ['*.example']",
        ));
        parts.push(named(
            "shop/wide",
            &format!("{}\nrules: [{{ name: wide, access: Public }}]", on("HTTPRoute", "wide")),
        ));
        let index = index(&all(&parts));
        let last = count - 1;
        meets(&index, &ask("GET other.example/"), "anonymous by wide");
        meets(&index, &ask("GET h0.example/"), "anonymous by p0");
        meets(&index, &ask(&format!("GET a.w{last}.example/")), "403 conflicting_routes");
        meets(
            &index,
            &ask(&format!("GET h{last}.example/")).routed(&format!("HTTPRoute/shop/r{last}")),
            &format!("anonymous by p{last}"),
        );
        meets(&index, &ask("GET nowhere.test/"), "403 no_policy");
    }
}
