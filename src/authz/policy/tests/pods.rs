//! Policies that select the own pod, as a sidecar sees them.

use super::super::{HostsFrom, Install, OwnPod, PolicyIndex, PolicyProblem};
use super::fixture::*;
use super::routes::*;

/// What a sidecar in a pod of `shop` with `app: cart` and `tier: web` makes of it.
fn beside_cart(yaml: &str) -> (PolicyIndex, Vec<PolicyProblem>) {
    let labels = [("app", "cart"), ("tier", "web")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let pod = OwnPod { namespace: "shop".to_owned(), labels: labels.into() };
    let hosts = HostsFrom::Namespace("cloakroom-system".to_owned());
    PolicyIndex::compile(&objects(yaml), &Install { pod: Some(pod), hosts, ..install() }, None)
}

fn selecting(name: &str, labels: &str, rest: &str) -> String {
    named(name, &format!("selector: {{ matchLabels: {labels} }}\n{rest}"))
}

const OPEN: &str = "rules: [{ name: open, access: Public }]";

#[test]
fn a_selector_judges_the_pods_that_have_its_labels() {
    for (policy, want) in [
        (selecting("shop/p", "{ app: cart }", ""), "401 no_credential by default"),
        (selecting("shop/p", "{ app: cart, tier: web }", ""), "401 no_credential by default"),
        (selecting("shop/p", "{}", ""), "401 no_credential by default"),
        (named("shop/p", "selector: {}"), "401 no_credential by default"),
        (selecting("shop/p", "{ app: cart, tier: db }", ""), "403 no_policy"),
        (selecting("shop/p", "{ app: Cart }", ""), "403 no_policy"),
        (selecting("shop/p", "{ absent: '' }", ""), "403 no_policy"),
    ] {
        let (index, problems) = beside_cart(&policy);
        assert!(problems.is_empty(), "{problems:?}");
        meets(&index, &ask("GET any.example/"), want);
    }
}

#[test]
fn p27_a_selector_never_reaches_another_namespace() {
    for policy in
        [selecting("evil/p", "{ app: cart }", OPEN), selecting("evil/p", "{}", OPEN), selecting("infra/p", "{}", OPEN)]
    {
        let (index, problems) = beside_cart(&policy);
        assert!(problems.is_empty(), "passed over, and nobody's mistake: {problems:?}");
        meets(&index, &ask("GET any.example/"), "403 no_policy");
    }
}

#[test]
fn a_shared_gate_passes_selectors_over() {
    let yaml = all(&[
        selecting("shop/p", "{}", OPEN),
        selecting("shop/q", "{ app: cart }", "hosts: [shop.example]\nrules: [{ access: Deny }]"),
        selecting("shop/broken", "{}", "mode: Nonsense"),
    ]);
    let (index, problems) = compile(&yaml);
    assert_eq!(problems.len(), 1, "{problems:?}");
    meets(&index, &ask("GET shop.example/"), "403 no_policy");
}

#[test]
fn p27_hosts_narrow_a_selector_and_claim_nothing() {
    let (index, problems) =
        beside_cart(&selecting("shop/p", "{ app: cart }", "hosts: [shop.example, '*.cart.example']"));
    assert!(problems.is_empty(), "{problems:?}");
    meets(&index, &ask("GET shop.example/").cookie(), "ada for shop/p by default");
    meets(&index, &ask("GET eu.cart.example/").cookie(), "ada for shop/p by default");
    meets(&index, &ask("GET other.example/").cookie(), "403 no_policy");
}

#[test]
fn labels_are_more_specific_than_the_namespace_and_narrow_hosts_than_wide() {
    let rule = |name: &str| format!("rules: [{{ name: {name}, access: Public }}]");
    let (index, problems) = beside_cart(&all(&[
        selecting("shop/all", "{}", &rule("all")),
        selecting("shop/all-a", "{}", &format!("hosts: [a.example]\n{}", rule("all-a"))),
        selecting("shop/b", "{ app: cart }", &format!("hosts: [b.example]\n{}", rule("b"))),
        selecting("shop/wide", "{ app: cart }", &format!("hosts: ['*.c.example']\n{}", rule("wide"))),
        selecting("shop/deep", "{}", &format!("hosts: [x.c.example]\n{}", rule("deep"))),
    ]));
    assert!(problems.is_empty(), "{problems:?}");
    for (host, want) in [("z", "all"), ("a", "all-a"), ("b", "b"), ("x.c", "wide"), ("y.c", "wide")] {
        meets(&index, &ask(&format!("GET {host}.example/")), &format!("anonymous by {want}"));
    }
}

#[test]
fn a_required_selector_of_the_namespace_is_checked_in_addition() {
    let (index, _) = beside_cart(&all(&[
        selecting("shop/all", "{}", "inheritance: Required\nrules: [{ name: all, require: { roles: [user] } }]"),
        selecting("shop/cart", "{ app: cart }", OPEN),
    ]));
    meets(&index, &ask("GET any.example/"), "401 no_credential by all");
    meets(&index, &ask("GET any.example/").cookie(), "403 missing_role by all");
}

#[test]
fn p27_the_older_selector_keeps_the_pod() {
    let dated = |name: &str, labels: &str, created: &str, rest: &str| {
        selecting(&format!("shop/{name}"), labels, rest)
            .replace(&format!("name: {name},"), &format!("name: {name}, creationTimestamp: '{created}',"))
    };
    let (index, problems) = beside_cart(&all(&[
        dated("alpha", "{ app: cart }", "2026-02-01T00:00:00Z", OPEN),
        dated("zebra", "{ tier: web }", "2026-01-01T00:00:00Z", "default: Deny"),
        // Another pod's: no conflict here.
        dated("other", "{ app: other }", "2025-01-01T00:00:00Z", OPEN),
    ]));
    meets(&index, &ask("GET any.example/"), "403 denied_by_default by default");
    let words: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        words,
        [
            "test.yaml:0: AuthPolicy shop/alpha: spec.selector: this pod by its labels has the older policy shop/zebra, so this one does not count there: remove the target from one of them"
        ]
    );
}

#[test]
fn a_selector_is_more_specific_than_routes_and_hosts() {
    let parts = |above: &str, host: &str| {
        all(&[
            gateway(),
            route("shop/shop", "hostnames: [shop.example]"),
            named("infra/gateway", &format!("{}\n{above}", on("Gateway", "front"))),
            named("cloakroom-system/host", &format!("hosts: [shop.example]\n{host}")),
            selecting("shop/pod", "{ app: cart }", "rules: [{ name: pod, access: Public }]"),
        ])
    };
    for (above, host, want) in [
        ("default: Deny", "default: Deny", "anonymous by pod"),
        ("inheritance: Required\ndefault: Deny", "", "403 denied_by_default by default"),
        ("", "inheritance: Required\ndefault: Deny", "403 denied_by_default by default"),
    ] {
        meets(&beside_cart(&parts(above, host)).0, &ask("GET shop.example/"), want);
    }
}

#[test]
fn p26_a_broken_selector_closes_the_pods_that_it_selects() {
    let broken = |labels: &str, hosts: &str| selecting("shop/p", labels, &format!("{hosts}\nmode: Nonsense"));
    let open = selecting("shop/all", "{}", OPEN);
    for (policy, want) in [
        (broken("{ app: cart }", ""), "403 broken_policy by broken"),
        (broken("{ app: cart }", "hosts: [shop.example]"), "403 broken_policy by broken"),
        (broken("{ app: cart }", "hosts: [other.example]"), "anonymous by open"),
        (broken("{ app: other }", ""), "anonymous by open"),
    ] {
        meets(&beside_cart(&all(&[open.clone(), policy])).0, &ask("GET shop.example/"), want);
    }
}

#[test]
fn explained_by_the_pod() {
    let (index, _) = beside_cart(&selecting("shop/p", "{ app: cart }", "hosts: ['*.example']"));
    let ask = ask("GET shop.example/");
    let explained = crate::authz::explain(&index, &ask.read(), None, |_| None, NOW);
    assert_eq!(explained.rules[0].target, "this pod, host *.example");
}
