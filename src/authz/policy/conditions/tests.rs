//! The life of a policy, told step by step.

use super::super::PolicyIndex;
use super::super::install::{HostsFrom, Install};
use super::super::tests::fixture::*;
use super::words::cut;
use super::*;

/// A policy and its status, as the objects around it change.
struct Story {
    install: Install,
    index: Option<PolicyIndex>,
    status: Vec<AncestorStatus>,
    steps: usize,
}

impl Story {
    fn new() -> Self {
        Self { install: install(), index: None, status: Vec::new(), steps: 0 }
    }

    /// The first policy of `yaml` has this generation; tells its status after these objects were seen.
    fn see(&mut self, generation: i64, yaml: &[&str]) -> String {
        let yaml = yaml.join("\n---\n");
        let yaml = yaml.replacen("metadata: {", &format!("metadata: {{ generation: {generation},"), 1);
        let objects = objects(&yaml);
        let (index, problems) = PolicyIndex::compile(&objects, &self.install, self.index.as_ref());
        let told = Told::new(&objects, &index, &problems);
        self.steps += 1;
        let now = format!("2026-01-01T00:00:{:02}Z", self.steps);
        let policy = &objects.policies.first().expect("a policy").object;
        self.status = told.policy(policy, Some(generation), &self.status, &now);
        drop(told);
        self.index = Some(index);
        self.said()
    }

    /// The same with a new controller: all that it knows is what the status says.
    fn see_anew(&mut self, generation: i64, yaml: &[&str]) -> String {
        self.index = None;
        self.see(generation, yaml)
    }

    /// `HTTPRoute shop: Accepted True Accepted 1, …; …`
    fn said(&self) -> String {
        let one = |it: &Condition| {
            let status = format!("{:?}", it.status);
            format!("{} {status} {} {}", it.kind, it.reason, it.observed_generation.unwrap_or_default())
        };
        let entry = |it: &AncestorStatus| {
            let conditions = it.conditions.iter().map(one).collect::<Vec<_>>().join(", ");
            format!("{} {}: {conditions}", it.ancestor_ref.kind, it.ancestor_ref.name)
        };
        self.status.iter().map(entry).collect::<Vec<_>>().join("; ")
    }

    fn message(&self, kind: &str) -> &str {
        let conditions = &self.status[0].conditions;
        &conditions.iter().find(|it| it.kind == kind).expect("a condition of this type").message
    }

    fn since(&self, kind: &str) -> &str {
        let conditions = &self.status[0].conditions;
        &conditions.iter().find(|it| it.kind == kind).expect("a condition of this type").last_transition_time
    }
}

const GATEWAY: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: edge, namespace: shop }
spec: { listeners: [{ name: web, port: 80, protocol: HTTP }] }";

const ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: shop, namespace: shop }
spec: { parentRefs: [{ name: edge }], hostnames: [shop.example] }";

const GRANT: &str = "\
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: { name: friends, namespace: shop }
spec:
  from: [{ group: cloakroom.dev, kind: AuthPolicy, namespace: friend }]
  to: [{ group: gateway.networking.k8s.io, kind: HTTPRoute }]";

const GOOD: &str = "Accepted True Accepted 1, ResolvedRefs True ResolvedRefs 1, Programmed True Programmed 1";

fn on_route(name: &str) -> String {
    named(name, "targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop }]")
}

fn on_gateway(name: &str, rest: &str) -> String {
    named(name, &format!("targetRefs: [{{ group: gateway.networking.k8s.io, kind: Gateway, name: edge }}]\n{rest}"))
}

#[test]
fn a_target_that_is_missing_appears_and_goes() {
    let mut story = Story::new();
    let policy = on_route("shop/shop");
    let missing = "HTTPRoute shop: Accepted False TargetNotFound 1, ResolvedRefs False TargetNotFound 1, \
                   Programmed False TargetNotFound 1";
    assert_eq!(story.see(1, &[&policy]), missing);
    assert_eq!(story.message(ACCEPTED), "spec.targetRefs[0]: there is no HTTPRoute `shop/shop`");
    let unattached = "HTTPRoute shop: Accepted True Accepted 1, ResolvedRefs True ResolvedRefs 1, \
                      Programmed False NotAttached 1";
    assert_eq!(story.see(1, &[&policy, ROUTE]), unattached);
    assert_eq!(story.see(1, &[&policy, ROUTE, GATEWAY]), format!("HTTPRoute shop: {GOOD}"));
    assert_eq!(story.see_anew(1, &[&policy, ROUTE, GATEWAY]), format!("HTTPRoute shop: {GOOD}"));
    assert_eq!(story.see(1, &[&policy]), missing);
}

#[test]
fn a_listener_that_selects_by_labels_that_nobody_knows_is_why() {
    let gateway = GATEWAY.replace(
        "protocol: HTTP }",
        "protocol: HTTP, allowedRoutes: { namespaces: { from: Selector, selector: { matchLabels: { team: shop } } } } }",
    );
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { team: shop } }";
    for policy in [on_route("shop/shop"), on_gateway("shop/shop", "")] {
        let mut story = Story::new();
        let said = story.see(1, &[&policy, ROUTE, &gateway]);
        assert!(said.ends_with("Programmed False NotAttached 1"), "{said}");
        let message = story.message(PROGRAMMED);
        let why = "Gateway shop/edge: spec.listeners[web].allowedRoutes.namespaces.from: `Selector` needs the labels";
        assert!(message.contains(why), "{message}");
        let said = story.see(1, &[&policy, ROUTE, &gateway, namespace]);
        assert!(said.ends_with(GOOD), "{said}");
    }
}

#[test]
fn times_stay_until_a_condition_turns() {
    let mut story = Story::new();
    let policy = on_route("shop/shop");
    story.see(1, &[&policy, ROUTE]);
    story.see(2, &[&policy, ROUTE, GATEWAY]);
    assert_eq!(story.since(ACCEPTED), "2026-01-01T00:00:01Z");
    assert_eq!(story.since(PROGRAMMED), "2026-01-01T00:00:02Z");
    let before = story.status.clone();
    story.see(2, &[&policy, ROUTE, GATEWAY]);
    assert_eq!(story.status, before, "nothing new, nothing to write");
}

#[test]
fn the_younger_of_two_is_in_conflict_until_the_older_one_goes() {
    let mut story = Story::new();
    let (young, old) = (on_route("shop/young"), on_route("shop/old"));
    let conflict = "HTTPRoute shop: Accepted False Conflicted 1, ResolvedRefs True ResolvedRefs 1, \
                    Programmed False Conflicted 1";
    for _ in 0..2 {
        assert_eq!(story.see_anew(1, &[&young, &old, ROUTE, GATEWAY]), conflict);
        assert!(story.message(ACCEPTED).contains("the older policy shop/old"), "{}", story.message(ACCEPTED));
    }
    assert_eq!(story.see(1, &[&young, ROUTE, GATEWAY]), format!("HTTPRoute shop: {GOOD}"));
}

#[test]
fn a_policy_that_others_replace_everywhere_is_overridden() {
    let mut story = Story::new();
    let (wide, narrow) = (on_gateway("shop/wide", ""), on_route("shop/narrow"));
    assert_eq!(story.see(1, &[&wide, ROUTE, GATEWAY]), format!("Gateway edge: {GOOD}"));
    let overridden =
        "Gateway edge: Accepted True Accepted 1, ResolvedRefs True ResolvedRefs 1, Programmed False Overridden 1";
    assert_eq!(story.see(1, &[&wide, &narrow, ROUTE, GATEWAY]), overridden);
    assert!(story.message(PROGRAMMED).contains("(shop/narrow)"), "{}", story.message(PROGRAMMED));
    assert_eq!(story.see_anew(1, &[&wide, &narrow, ROUTE, GATEWAY]), overridden);
    // One route that has no policy of its own is enough to be in force.
    let other = ROUTE.replace("name: shop,", "name: other,").replace("shop.example", "other.example");
    assert_eq!(story.see(1, &[&wide, &narrow, ROUTE, &other, GATEWAY]), format!("Gateway edge: {GOOD}"));
    let required = on_gateway("shop/wide", "inheritance: Required");
    let good = GOOD.replace('1', "2");
    assert_eq!(story.see(2, &[&required, &narrow, ROUTE, GATEWAY]), format!("Gateway edge: {good}"));
}

#[test]
fn p27_a_foreign_target_counts_while_its_owner_consents() {
    let mut story = Story::new();
    let target = "targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop, namespace: shop }]";
    let policy = named("friend/guest", target);
    let refused = "HTTPRoute shop: Accepted False RefNotPermitted 1, ResolvedRefs False RefNotPermitted 1, \
                   Programmed False RefNotPermitted 1";
    assert_eq!(story.see(1, &[&policy, ROUTE, GATEWAY]), refused);
    // Whether there is such an object is not told.
    assert_eq!(Story::new().see(1, &[&policy]), refused);
    assert_eq!(story.see(1, &[&policy, ROUTE, GATEWAY, GRANT]), format!("HTTPRoute shop: {GOOD}"));
    assert_eq!(story.see(1, &[&policy, ROUTE, GATEWAY]), refused);
    assert!(story.message(RESOLVED_REFS).contains("ReferenceGrant"), "{}", story.message(RESOLVED_REFS));
}

#[test]
fn p26_an_invalid_update_leaves_the_last_good_generation_in_force() {
    let mut story = Story::new();
    let good = on_route("shop/shop");
    let bad = good.replace("spec:", "spec:\n  realm: nowhere");
    let unreadable = good.replace("spec:", "spec:\n  mode: Nonsense");
    story.see(1, &[&good, ROUTE, GATEWAY]);
    let kept = "HTTPRoute shop: Accepted False Invalid 2, ResolvedRefs Unknown Invalid 2, Programmed True Programmed 1";
    assert_eq!(story.see(2, &[&bad, ROUTE, GATEWAY]), kept);
    assert!(story.message(ACCEPTED).starts_with("spec.realm: no realm `nowhere`"), "{}", story.message(ACCEPTED));
    assert!(story.message(PROGRAMMED).contains("generation 1 stays in force"), "{}", story.message(PROGRAMMED));
    let before = story.status.clone();
    assert_eq!(story.see_anew(2, &[&bad, ROUTE, GATEWAY]), kept);
    assert_eq!(story.status, before, "a new controller has nothing to add");
    assert_eq!(story.see_anew(3, &[&unreadable, ROUTE, GATEWAY]), kept.replace('2', "3"));
    assert_eq!(story.see(4, &[&good, ROUTE, GATEWAY]), format!("HTTPRoute shop: {}", GOOD.replace('1', "4")));
}

#[test]
fn p26_one_that_was_never_good_says_what_it_closes() {
    let mut story = Story::new();
    let bad = on_route("shop/shop").replace("spec:", "spec:\n  mode: Nonsense");
    let closed = "HTTPRoute shop: Accepted False Invalid 1, ResolvedRefs Unknown Invalid 1, Programmed False Invalid 1";
    assert_eq!(story.see(1, &[&bad, ROUTE, GATEWAY]), closed);
    assert_eq!(story.see_anew(1, &[&bad, ROUTE, GATEWAY]), closed);
    assert!(
        story.message(PROGRAMMED).contains("every request that it is for is refused"),
        "{}",
        story.message(PROGRAMMED)
    );
}

#[test]
fn p26_a_target_that_a_bad_update_adds_is_not_in_force() {
    let mut story = Story::new();
    let one = on_route("shop/shop");
    let two =
        one.replace("name: shop }]", "name: shop }, { group: gateway.networking.k8s.io, kind: Gateway, name: edge }]");
    let bad = two.replace("spec:", "spec:\n  realm: nowhere");
    story.see(1, &[&one, ROUTE, GATEWAY]);
    let said = story.see(2, &[&bad, ROUTE, GATEWAY]);
    assert!(said.contains(
        "Gateway edge: Accepted False Invalid 2, ResolvedRefs Unknown Invalid 2, Programmed False Invalid 2"
    ));
    assert!(said.starts_with("HTTPRoute shop: Accepted False Invalid 2"), "{said}");
}

#[test]
fn p27_hosts_claimed_by_a_tenant_are_told_of_on_the_policy_itself() {
    let mut story = Story::new();
    let policy = named("shop/shop", "hosts: [shop.example]");
    assert_eq!(story.see(1, &[&policy]), format!("AuthPolicy shop: {GOOD}"));
    let mut tenant = Story::new();
    tenant.install.hosts = HostsFrom::Namespace("cloakroom-system".to_owned());
    let refused =
        "AuthPolicy shop: Accepted False Invalid 1, ResolvedRefs Unknown Invalid 1, Programmed False Invalid 1";
    assert_eq!(tenant.see(1, &[&policy]), refused);
    assert!(tenant.message(ACCEPTED).contains("would claim hosts"), "{}", tenant.message(ACCEPTED));
}

#[test]
fn whom_a_selector_selects_is_not_known_here() {
    let mut story = Story::new();
    let policy = named("shop/shop", "selector: { matchLabels: { app: cart } }");
    let selected =
        "AuthPolicy shop: Accepted True Accepted 1, ResolvedRefs True ResolvedRefs 1, Programmed Unknown Selected 1";
    assert_eq!(story.see(1, &[&policy]), selected);
    assert_eq!(story.see_anew(1, &[&policy]), selected);
}

#[test]
fn entries_and_messages_are_bounded() {
    let mut story = Story::new();
    let targets: String =
        (0..20).map(|i| format!("{{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: r{i} }},")).collect();
    let policy = named("shop/shop", &format!("targetRefs: [{targets}]\nhosts: [shop.example]"));
    story.see(1, &[&policy]);
    assert_eq!(story.status.len(), MAX_ANCESTORS);
    assert_eq!(story.status[0].ancestor_ref.kind, "AuthPolicy");

    let rules = format!("rules: [{}]", format!("{{ name: '{}' }},", "é".repeat(1500)).repeat(64));
    story.see(2, &[&named("shop/shop", &format!("hosts: [shop.example]\n{rules}"))]);
    let message = story.message(ACCEPTED);
    assert!(message.len() <= 32 * 1024 && message.matches('…').count() > 8, "{}", message.len());
    assert_eq!(cut("é…", 4), "…");
    assert_eq!(cut("éé", 4), "éé");
}
