//! Objects that come, change, go and do not read.

use super::*;

#[test]
fn objects_come_change_and_go() {
    let mut house = House::new();
    house.known.replace(POLICIES, version(5), vec![arrived_policy("a", "one", 3), arrived_policy("b", "one", 4)]);
    house.publish();
    assert_eq!((house.judged("a.example"), house.judged("b.example")), ("one".to_owned(), "one".to_owned()));
    assert!(house.known.apply(POLICIES, arrived_policy("a", "two", 6)));
    assert!(house.known.remove(POLICIES, &arrived_policy("b", "one", 7)));
    house.publish();
    assert_eq!((house.judged("a.example"), house.judged("b.example")), ("two".to_owned(), "no_policy".to_owned()));
    assert_eq!(house.known.version(POLICIES), Some(version(7)));
    house.known.replace(POLICIES, version(9), vec![arrived_policy("c", "one", 8)]);
    house.publish();
    assert_eq!((house.judged("a.example"), house.judged("c.example")), ("no_policy".to_owned(), "one".to_owned()));
}

#[test]
fn p29_no_object_gives_way_to_an_older_form() {
    let mut house = House::new();
    house.known.replace(POLICIES, version(10), vec![arrived_policy("a", "new", 10)]);
    assert!(!house.known.apply(POLICIES, arrived_policy("a", "old", 9)));
    assert!(!house.known.remove(POLICIES, &arrived_policy("a", "old", 9)));
    house.known.replace(POLICIES, version(11), vec![arrived_policy("a", "old", 9)]);
    house.publish();
    assert_eq!(house.judged("a.example"), "new");
    assert!(house.known.apply(POLICIES, arrived_policy("a", "newer", 12)));
    assert_eq!(house.publish().judged("a.example"), "newer");
}

#[test]
fn p26_an_object_that_does_not_read_is_its_own_trouble() {
    let mut house = House::new();
    house.known.replace(POLICIES, version(2), vec![arrived_policy("a", "one", 1), arrived_policy("b", "one", 2)]);
    house.publish();
    for (step, spec) in
        [json!({ "hosts": ["a.example"], "rulez": [] }), json!(42), json!({ "hosts": 7 })].into_iter().enumerate()
    {
        let mut bad = policy("a", "one", 3 + step as u64);
        bad["spec"] = spec;
        house.known.apply(POLICIES, arrived(Kind::AuthPolicy, bad));
        house.known.apply(POLICIES, arrived_policy("b", &format!("rule-{step}"), 3 + step as u64));
        house.publish();
        assert_eq!(house.judged("a.example"), "one", "the last good form");
        assert_eq!(house.judged("b.example"), format!("rule-{step}"));
        let problems = house.problems();
        assert!(problems.iter().any(|it| it.starts_with("cluster: AuthPolicy shop/a: ")), "{problems:?}");
    }
    // What never had a good form closes what it names.
    let mut bad = policy("c", "one", 9);
    bad["spec"]["rulez"] = json!([]);
    house.known.apply(POLICIES, arrived(Kind::AuthPolicy, bad));
    assert_eq!(house.publish().judged("c.example"), "broken_policy");
    let mut unknown = policy("d", "one", 9);
    unknown["spec"] = json!(42);
    house.known.apply(POLICIES, arrived(Kind::AuthPolicy, unknown));
    assert_eq!(house.publish().judged("d.example"), "no_policy");
    let of_d: Vec<_> = house.problems().into_iter().filter(|it| it.contains("shop/d")).collect();
    assert!(of_d.len() == 1 && of_d[0].ends_with("so nothing is refused for it)"), "{of_d:?}");
    // It reads, and is wrong: no rule has such a name.
    assert!(house.known.apply(POLICIES, arrived_policy("a", "a rule", 10)));
    assert_eq!(house.publish().judged("a.example"), "one");
    assert!(house.known.apply(POLICIES, arrived_policy("a", "two", 11)));
    assert_eq!(house.publish().judged("a.example"), "two");
}

#[test]
fn p26_a_route_that_does_not_read_keeps_its_last_form_or_closes_its_hosts() {
    let mut house = House::new();
    house.known.replace(GATEWAYS, version(1), vec![arrived(Kind::Gateway, gateway())]);
    let routes = [("wide", "/", 2), ("admin", "/admin", 3)];
    let routes =
        routes.map(|(name, path, version)| arrived(Kind::HttpRoute, route(name, "shop.example", path, version)));
    house.known.replace(ROUTES, version(3), routes.into());
    let policies = [policy_on("wide", "open", 4), policy_on("admin", "narrow", 5)];
    house.known.replace(POLICIES, version(5), policies.map(|it| arrived(Kind::AuthPolicy, it)).into());
    house.publish();
    assert_eq!(house.judged_at("shop.example", "/admin"), "narrow");

    let mut bad = route("admin", "shop.example", "/admin", 6);
    bad["spec"]["rules"][0]["matches"][0]["cookies"] = json!([]);
    house.known.apply(ROUTES, arrived(Kind::HttpRoute, bad.clone()));
    house.publish();
    assert_eq!(house.judged_at("shop.example", "/admin"), "narrow", "{:?}", house.problems());
    assert!(house.problems().iter().any(|it| it.contains("HTTPRoute shop/admin") && it.contains("cookies")));

    // Left out, its requests would fall to the wider route's rule.
    bad["metadata"]["name"] = json!("new");
    bad["spec"]["hostnames"] = json!(["new.example"]);
    house.known.apply(ROUTES, arrived(Kind::HttpRoute, bad));
    house.publish();
    assert_eq!(house.judged_at("new.example", "/anything"), "broken_policy", "{:?}", house.problems());
    assert_eq!(house.judged_at("shop.example", "/"), "open");
}

#[test]
fn p26_what_was_deleted_and_made_again_between_two_looks_has_no_past() {
    let of = |uid: &str, mut object: Value| {
        object["metadata"]["uid"] = json!(uid);
        object
    };
    let bad = |uid: &str, version: u64| arrived(Kind::AuthPolicy, of(uid, policy("a", "a rule", version)));
    let good = |uid: &str, version: u64| arrived(Kind::AuthPolicy, of(uid, policy("a", "one", version)));
    // In one batch of a watch.
    let mut house = House::new();
    house.known.replace(POLICIES, version(1), vec![good("1", 1)]);
    house.publish();
    assert!(house.known.apply(POLICIES, bad("1", 2)));
    assert_eq!(house.publish().judged("a.example"), "one", "edited");
    assert!(house.known.remove(POLICIES, &bad("1", 3)) && house.known.apply(POLICIES, bad("2", 4)));
    assert_eq!(house.publish().judged("a.example"), "broken_policy", "{:?}", house.problems());
    // In two lists, and for what has its last good form here.
    let unreadable = |uid: &str, version: u64| {
        let mut route = route("a", "shop.example", "/", version);
        route["spec"]["rules"][0]["matches"][0]["cookies"] = json!([]);
        arrived(Kind::HttpRoute, of(uid, route))
    };
    let readable = arrived(Kind::HttpRoute, of("1", route("a", "shop.example", "/", 1)));
    house.known.replace(GATEWAYS, version(1), vec![arrived(Kind::Gateway, gateway())]);
    house.known.replace(POLICIES, version(5), vec![arrived(Kind::AuthPolicy, policy_on("a", "routed", 5))]);
    house.known.replace(ROUTES, version(1), vec![readable]);
    for (uid, number, want) in [("1", 2, "routed"), ("2", 3, "broken_policy")] {
        house.known.replace(ROUTES, version(number), vec![unreadable(uid, number)]);
        assert_eq!(house.publish().judged("shop.example"), want, "{:?}", house.problems());
    }
}

#[test]
fn p27_a_gate_without_the_labels_of_namespaces_admits_nothing_by_them() {
    let mut sources = sources();
    sources.push(Source { kind: Kind::Namespace, namespace: None });
    let namespaces = sources.len() - 1;
    let mut house = House { known: Known::nothing(&sources), publisher: Publisher::new(install()) };
    let mut gateway = gateway();
    gateway["spec"]["listeners"][0]["allowedRoutes"] =
        json!({ "namespaces": { "from": "Selector", "selector": { "matchLabels": { "team": "shop" } } } });
    house.known.replace(GATEWAYS, version(1), vec![arrived(Kind::Gateway, gateway)]);
    house.known.replace(ROUTES, version(1), vec![arrived(Kind::HttpRoute, route("a", "shop.example", "/", 1))]);
    house.known.replace(POLICIES, version(1), vec![arrived(Kind::AuthPolicy, policy_on("a", "routed", 1))]);
    assert_eq!(house.publish().judged("shop.example"), "no_policy");
    assert!(house.problems().iter().any(|it| it.contains("namespaceLabels")), "{:?}", house.problems());
    let shop = |team: &str, version: u64| {
        let metadata =
            json!({ "name": "shop", "uid": "1", "resourceVersion": version.to_string(), "labels": { "team": team } });
        arrived(
            Kind::Namespace,
            json!({ "metadata": metadata, "spec": { "finalizers": ["kubernetes"] }, "status": {} }),
        )
    };
    house.known.replace(namespaces, version(2), vec![shop("shop", 2)]);
    assert_eq!(house.publish().judged("shop.example"), "routed", "{:?}", house.problems());
    assert!(house.problems().is_empty());
    // A restart from what was kept goes on.
    let kept = house.known.keep(&house.publisher.index().load()).unwrap();
    let mut after = House { known: Known::nothing(&sources), publisher: Publisher::new(install()) };
    after.known.take_up(kept);
    assert_eq!(after.publish().judged("shop.example"), "routed", "{:?}", after.problems());
    assert!(after.known.apply(namespaces, shop("bank", 3)));
    assert_eq!(after.publish().judged("shop.example"), "no_policy");
    assert!(after.known.remove(namespaces, &shop("bank", 4)));
    assert_eq!(after.publish().judged("shop.example"), "no_policy");
}

#[test]
fn a_kind_that_the_server_does_not_know_takes_nothing_away() {
    let mut house = House::new();
    house.known.replace(ROUTES, version(3), vec![arrived(Kind::HttpRoute, route("a", "a.example", "/", 2))]);
    assert!(!house.known.without(ROUTES));
    assert_eq!(house.known.found().objects.http_routes.len(), 1);
    let awaited = |house: &House| house.known.awaited().map(|(part, _)| part).collect::<Vec<_>>();
    assert_eq!(awaited(&house), [0, 1, 3, 4, 5]);
    assert!(house.known.without(1) && !house.known.without(1));
    assert_eq!(awaited(&house), [0, 3, 4, 5]);
}

#[test]
fn what_is_no_object_is_nothing() {
    for value in [json!(null), json!("x"), json!([]), json!({}), json!({ "metadata": 7 })] {
        assert!(Arrived::of(Kind::AuthPolicy, "v1alpha1", value.clone()).is_none(), "{value}");
    }
}

/// A route of another namespace, and what is told of its first generation.
fn claim(version: u64, accepted: &str, words: &str) -> Value {
    let mut claim = route("claim", "shop.example", "/admin", version);
    claim["metadata"]["namespace"] = json!("evil");
    claim["metadata"]["generation"] = json!(1);
    claim["spec"]["parentRefs"] = json!([{ "name": "web", "namespace": "shop" }]);
    claim["status"] = json!({ "parents": [{
        "parentRef": { "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "web", "namespace": "shop" },
        "controllerName": "example.com/gateway",
        "conditions": [{
            "type": "Accepted", "status": accepted, "reason": "Any", "observedGeneration": 1,
            "message": words, "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    }] });
    claim
}

#[test]
fn p27_what_is_told_of_a_route_counts_and_is_kept() {
    let mut house = House::new();
    let mut open = gateway();
    open["spec"]["listeners"][0]["allowedRoutes"] = json!({ "namespaces": { "from": "All" } });
    house.known.replace(GATEWAYS, version(1), vec![arrived(Kind::Gateway, open)]);
    let shop = arrived(Kind::HttpRoute, route("shop", "shop.example", "/", 2));
    house.known.replace(ROUTES, version(3), vec![shop, arrived(Kind::HttpRoute, claim(3, "True", "one"))]);
    let mut theirs = policy_on("claim", "open", 4);
    theirs["metadata"]["namespace"] = json!("evil");
    let policies = [policy_on("shop", "own", 3), theirs];
    house.known.replace(POLICIES, version(4), policies.map(|it| arrived(Kind::AuthPolicy, it)).into());
    let judged = |house: &House| house.publish().judged_at("shop.example", "/admin");
    assert_eq!(judged(&house), "open", "{:?}", house.problems());

    // Other words are no change, another word is one.
    assert!(!house.known.apply(ROUTES, arrived(Kind::HttpRoute, claim(5, "True", "two"))));
    assert_eq!(judged(&house), "open");
    assert!(house.known.apply(ROUTES, arrived(Kind::HttpRoute, claim(6, "False", "two"))));
    assert_eq!(judged(&house), "own");
    assert!(house.known.apply(ROUTES, arrived(Kind::HttpRoute, claim(7, "True", "two"))));
    let kept = house.known.keep(&house.publisher.index().load()).unwrap();
    let mut after = House::new();
    after.known.take_up(serde_json::from_value(serde_json::to_value(kept).unwrap()).unwrap());
    assert_eq!(judged(&after), "open");

    // A newest form that does not read: what is told is not about the last one that did.
    let mut unreadable = claim(8, "True", "two");
    unreadable["spec"]["rules"][0]["matches"][0]["cookies"] = json!([]);
    assert!(house.known.apply(ROUTES, arrived(Kind::HttpRoute, unreadable)));
    assert_eq!(judged(&house), "conflicting_routes");
    assert!(house.known.apply(ROUTES, arrived(Kind::HttpRoute, claim(9, "True", "two"))));
    assert_eq!(judged(&house), "open");
}
