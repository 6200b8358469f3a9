//! The rows of the Gateway API's conformance tests for what a request meets (v1.6), from objects to the verdict: each backend is a
//! policy on the rules of its routes, and where the rows say 404 no policy applies. Rows of one route are asked of the same
//! matches in the rules of a policy, too.
//!
//! Where we mean to answer otherwise, a row stands under `OURS` of its test, with the reason (docs/policies.md has them as well).

use serde_json::{Value, json};

use super::super::PolicyIndex;
use super::fixture::*;
use crate::authz::verdict::Lookup;

/// A route: its listeners (none: all), its hostnames, and its rules, each a match and a backend.
type Route<'a> = (&'a [&'a str], &'a [&'a str], &'a [(&'a str, u8)]);

/// A match in one line: `GET /prefix`, `=/exact`, then `name:value` for a header and `?name=value` for a parameter.
fn written(line: &str) -> Value {
    let (mut it, mut headers, mut parameters) = (json!({}), Vec::new(), Vec::new());
    for word in line.split_whitespace() {
        match (word.as_bytes()[0], word.split_once(':')) {
            (b'=', _) => it["path"] = json!({ "type": "Exact", "value": &word[1..] }),
            (b'/', _) => it["path"] = json!({ "type": "PathPrefix", "value": word }),
            (b'?', _) => {
                let (name, value) = word[1..].split_once('=').unwrap();
                parameters.push(json!({ "name": name, "value": value }));
            }
            (_, Some((name, value))) => headers.push(json!({ "name": name, "value": value })),
            (_, None) => it["method"] = json!(word),
        }
    }
    it["headers"] = json!(headers);
    it["queryParams"] = json!(parameters);
    it
}

/// A Gateway whose listeners, all on one port, have these hostnames (empty: any), these routes on it, and a policy for each
/// backend.
fn routed(listeners: &[&str], routes: &[Route<'_>]) -> PolicyIndex {
    const GROUP: &str = "gateway.networking.k8s.io";
    let named = |i: usize| format!("l{i}");
    let listening: Vec<Value> = (listeners.iter().enumerate())
        .map(|(i, hostname)| json!({ "name": named(i), "port": 80, "protocol": "HTTP", "hostname": hostname }))
        .collect();
    let meta = |name: &str| json!({ "name": name, "namespace": "infra" });
    let mut objects = vec![json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "Gateway", "metadata": meta("gate"),
        "spec": { "gatewayClassName": "any", "listeners": listening } })];
    let mut targets = std::collections::BTreeMap::<u8, Vec<Value>>::new();
    for (i, (on, hostnames, rules)) in routes.iter().enumerate() {
        let name = format!("route{i}");
        let parents: Vec<Value> = match on {
            [] => vec![json!({ "name": "gate" })],
            on => on.iter().map(|it| json!({ "name": "gate", "sectionName": it })).collect(),
        };
        let section = |j: usize| format!("r{j}");
        let rules = rules.iter().enumerate().map(|(j, (line, backend))| {
            let target = json!({ "group": GROUP, "kind": "HTTPRoute", "name": name, "sectionName": section(j) });
            targets.entry(*backend).or_default().push(target);
            json!({ "name": section(j), "matches": [written(line)] })
        });
        let rules: Vec<Value> = rules.collect();
        objects.push(json!({ "apiVersion": format!("{GROUP}/v1"), "kind": "HTTPRoute", "metadata": meta(&name),
            "spec": { "parentRefs": parents, "hostnames": hostnames, "rules": rules } }));
    }
    for (backend, targets) in targets {
        let spec = json!({ "targetRefs": targets, "rules": [{ "name": format!("v{backend}"), "access": "Public" }] });
        objects.push(policy_of(&format!("v{backend}"), spec));
    }
    index(&objects.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n"))
}

fn policy_of(name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "cloakroom.dev/v1alpha1", "kind": "AuthPolicy",
        "metadata": { "name": name, "namespace": "infra" }, "spec": spec })
}

/// The same matches as the rules of one policy.
fn ruled(matches: &[(&str, u8)]) -> PolicyIndex {
    let rules = matches.iter().enumerate().map(|(i, (line, backend))| {
        json!({ "name": format!("v{backend}-{i}"), "matches": [written(line)], "access": "Public" })
    });
    let rules: Vec<Value> = rules.collect();
    index(&policy_of("rules", json!({ "hosts": ["shop.example"], "default": "Deny", "rules": rules })).to_string())
}

/// What a request in one line, `GET host/path?query name:value`, meets: a backend, nothing, or a refusal of our own.
fn met(index: &PolicyIndex, line: &str) -> Result<Option<u8>, String> {
    let mut words = line.split(' ');
    let start = [words.next().unwrap(), words.next().unwrap()].join(" ");
    let ask =
        words.filter_map(|word| word.split_once(':')).fold(ask(&start), |ask, (name, value)| ask.with(name, value));
    let said = say(&decide(index, &ask, &Lookup::Unknown));
    match said.strip_prefix("anonymous by v").map(|rule| rule.split('-').next().unwrap().parse().unwrap()) {
        Some(backend) => Ok(Some(backend)),
        None if said.starts_with("403 no_policy") || said.starts_with("403 denied_by_default") => Ok(None),
        None => Err(said),
    }
}

fn at_shop(line: &str) -> String {
    line.replacen(" /", " shop.example/", 1)
}

/// Rows of one route.
fn check(matches: &[(&str, u8)], rows: &[(&str, Option<u8>)]) {
    let (routed, ruled) = (routed(&[""], &[(&[], &["shop.example"], matches)]), ruled(matches));
    for (line, want) in rows {
        assert_eq!(met(&routed, &at_shop(line)), Ok(*want), "{line}");
        assert_eq!(met(&ruled, &at_shop(line)), Ok(*want), "{line}, by the rules of a policy");
    }
}

/// A row that is refused as ambiguous, whichever way it is asked.
fn refused(matches: &[(&str, u8)], lines: &[&str]) {
    for index in [routed(&[""], &[(&[], &["shop.example"], matches)]), ruled(matches)] {
        for line in lines {
            let said = met(&index, &at_shop(line)).unwrap_err();
            assert!(said.starts_with("400 ambiguous_request"), "{line}: {said}");
        }
    }
}

fn check_hosts(index: &PolicyIndex, rows: &[(&str, &str, Option<u8>)]) {
    for (host, line, want) in rows {
        assert_eq!(met(index, &line.replacen(" /", &format!(" {host}/"), 1)), Ok(*want), "{host} {line}");
    }
}

/// HTTPRouteExactPathMatching
#[test]
fn exact_path_matching() {
    let matches = [("=/one", 1), ("=/two", 2)];
    check(&matches, &[("GET /one", Some(1)), ("GET /two", Some(2)), ("GET /", None), ("GET /one/example", None)]);
    // OURS: 404 there. Servers that drop a `/` at the end, or fold letter case, would serve `/two`.
    refused(&matches, &["GET /two/", "GET /Two"]);
}

/// HTTPRoutePathMatchOrder
#[test]
fn path_match_order() {
    check(
        &[
            ("=/match", 1),
            ("=/match/exact", 2),
            ("=/match/exact/one", 3),
            ("/match/", 3),
            ("/match/prefix/", 1),
            ("/match/prefix/one", 2),
        ],
        &[
            ("GET /match/exact/one", Some(3)),
            ("GET /match/exact", Some(2)),
            ("GET /match", Some(1)),
            ("GET /match/prefix/one/any", Some(2)),
            ("GET /match/prefix/any", Some(1)),
            ("GET /match/any", Some(3)),
        ],
    );
}

/// HTTPRouteMatching
#[test]
fn matching() {
    check(
        &[("/", 1), ("version:one", 1), ("/v2", 2), ("version:two", 2)],
        &[
            ("GET /", Some(1)),
            ("GET /example", Some(1)),
            ("GET / Version:one", Some(1)),
            ("GET /v2", Some(2)),
            ("GET /v2/example", Some(2)),
            ("GET / Version:two", Some(2)),
            ("GET /v2/", Some(2)),
            ("GET /v2example", Some(1)), // not a segment
            ("GET /foo/v2/example", Some(1)),
        ],
    );
}

/// HTTPRouteMethodMatching
#[test]
fn method_matching() {
    let matches = [
        ("POST", 1),
        ("GET", 2),
        ("/path1 GET", 1),
        ("PUT version:one", 2),
        ("/path2 POST version:two", 3),
        ("/path3 PATCH", 1),
        ("/path4 DELETE version:three", 1),
        ("/path5", 1),
        ("PATCH", 2),
        ("version:four", 3),
    ];
    check(
        &matches,
        &[
            ("POST /", Some(1)),
            ("GET /", Some(2)),
            ("GET /path1", Some(1)),
            ("PUT / version:one", Some(2)),
            ("POST /path2 version:two", Some(3)),
            ("PATCH /path3", Some(1)),
            ("DELETE /path4 version:three", Some(1)),
            ("PUT /", None),
            ("DELETE /path4", None),
            ("PATCH /path5", Some(1)),
            ("PATCH / version:four", Some(2)),
        ],
    );
    // A route is taken as proxies take it. OURS: a policy is asked who may read, and HEAD reads what GET reads.
    assert_eq!(met(&routed(&[""], &[(&[], &["shop.example"], &matches)]), "HEAD shop.example/"), Ok(None));
    assert_eq!(met(&ruled(&matches), "HEAD shop.example/"), Ok(Some(2)));
}

/// HTTPRouteHeaderMatching
#[test]
fn header_matching() {
    check(
        &[
            ("version:one", 1),
            ("version:two", 2),
            ("version:two color:orange", 1),
            ("color:blue", 1),
            ("color:green", 1),
            ("color:red", 2),
            ("color:yellow", 2),
        ],
        &[
            ("GET / Version:one", Some(1)),
            ("GET / Version:two", Some(2)),
            ("GET / Version:two Color:orange", Some(1)),
            ("GET / Version:two Color:blue", Some(2)),
            ("GET / Color:orange", None),
            ("GET / Some-Other-Header:one", None),
            ("GET / Color:blue", Some(1)),
            ("GET / Color:green", Some(1)),
            ("GET / Color:red", Some(2)),
            ("GET / Color:yellow", Some(2)),
            ("GET / Color:purple", None),
        ],
    );
}

/// HTTPRouteQueryParamMatching
#[test]
fn query_param_matching() {
    check(
        &[
            ("?animal=whale", 1),
            ("?animal=dolphin", 2),
            ("?animal=dolphin ?color=blue", 3),
            ("?ANIMAL=Whale", 3),
            ("/path1 ?animal=whale", 1),
            ("version:one ?animal=whale", 2),
            ("/path2 version:two ?animal=whale", 3),
            ("/path3 ?animal=shark", 1),
            ("/path4 version:three ?animal=kraken", 1),
            ("/path5", 1),
            ("?animal=hydra", 2),
            ("version:four", 3),
        ],
        &[
            ("GET /?animal=whale", Some(1)),
            ("GET /?animal=dolphin", Some(2)),
            ("GET /?animal=dolphin&color=blue", Some(3)),
            ("GET /?ANIMAL=Whale", Some(3)),
            ("GET /?animal=whale&otherparam=irrelevant", Some(1)),
            ("GET /?animal=dolphin&color=yellow", Some(2)),
            ("GET /?color=blue", None),
            ("GET /?animal=dog", None),
            ("GET /?animal=whaledolphin", None),
            ("GET /", None),
            ("GET /path1?animal=whale", Some(1)),
            ("GET /?animal=whale version:one", Some(2)),
            ("GET /path2?animal=whale version:two", Some(3)),
            ("GET /path3?animal=shark", Some(1)),
            ("GET /path4?animal=kraken version:three", Some(1)),
            ("GET /?animal=shark", None),
            ("GET /path4?animal=kraken", None),
            ("GET /path5?animal=hydra", Some(1)),
            ("GET /?animal=hydra version:four", Some(3)),
        ],
    );
}

/// HTTPRouteMatchingAcrossRoutes
#[test]
fn matching_across_routes() {
    let gateway = routed(
        &[""],
        &[
            (&[], &["example.com", "example.net"], &[("/", 1), ("version:one", 1)]),
            (&[], &["example.com"], &[("/v2", 2), ("version:two", 2)]),
        ],
    );
    check_hosts(
        &gateway,
        &[
            ("example.com", "GET /", Some(1)),
            ("example.com", "GET /example", Some(1)),
            ("example.net", "GET /example", Some(1)),
            ("example.com", "GET /example Version:one", Some(1)),
            ("example.com", "GET /v2", Some(2)),
            ("example.net", "GET /v2", Some(1)), // v2 is for example.com alone
            ("example.com", "GET /v2/example", Some(2)),
            ("example.com", "GET / Version:two", Some(2)),
        ],
    );
}

/// HTTPRouteHostnameIntersection
#[test]
fn hostname_intersection() {
    let specific = routed(
        &["very.specific.com", "*.wildcard.io", "*.anotherwildcard.io"],
        &[
            (&[], &["non.matching.com", "*.nonmatchingwildcard.io", "very.specific.com"], &[("/s1", 1)]),
            (
                &[],
                &["non.matching.com", "wildcard.io", "foo.wildcard.io", "bar.wildcard.io", "foo.bar.wildcard.io"],
                &[("/s2", 2)],
            ),
            (&[], &["non.matching.com", "*.specific.com"], &[("/s3", 3)]),
            (&[], &["*.anotherwildcard.io"], &[("/s4", 1)]),
            (&[], &["specific.but.wrong.com", "wildcard.io"], &[("/s5", 2)]),
        ],
    );
    check_hosts(
        &specific,
        &[
            ("very.specific.com", "GET /s1", Some(1)),
            ("very.specific.com:1234", "GET /s1", Some(1)),
            ("non.matching.com", "GET /s1", None),
            ("foo.nonmatchingwildcard.io", "GET /s1", None),
            ("foo.wildcard.io", "GET /s1", None),
            ("very.specific.com", "GET /non-matching-prefix", None),
            ("foo.wildcard.io", "GET /s2", Some(2)),
            ("bar.wildcard.io", "GET /s2", Some(2)),
            ("foo.bar.wildcard.io", "GET /s2", Some(2)),
            ("non.matching.com", "GET /s2", None),
            ("wildcard.io", "GET /s2", None),
            ("very.specific.com", "GET /s2", None),
            ("foo.wildcard.io", "GET /non-matching-prefix", None),
            ("very.specific.com", "GET /s3", Some(3)),
            ("non.matching.com", "GET /s3", None),
            ("foo.specific.com", "GET /s3", None),
            ("foo.wildcard.io", "GET /s3", None),
            ("very.specific.com", "GET /non-matching-prefix", None),
            ("foo.anotherwildcard.io", "GET /s4", Some(1)),
            ("bar.anotherwildcard.io", "GET /s4", Some(1)),
            ("foo.bar.anotherwildcard.io", "GET /s4", Some(1)),
            ("anotherwildcard.io", "GET /s4", None),
            ("foo.wildcard.io", "GET /s4", None),
            ("very.specific.com", "GET /s4", None),
            ("foo.anotherwildcard.io", "GET /non-matching-prefix", None),
            ("specific.but.wrong.com", "GET /s5", None),
            ("wildcard.io", "GET /s5", None),
        ],
    );
    let all = routed(&[""], &[(&[], &["first.com", "sub.first.com", "second.com", "sub.second.com"], &[("/", 2)])]);
    check_hosts(
        &all,
        &[
            ("first.com", "GET /", Some(2)),
            ("sub.first.com", "GET /", Some(2)),
            ("second.com", "GET /", Some(2)),
            ("sub.second.com", "GET /", Some(2)),
            ("third.com", "GET /", None),
            ("sub.third.com", "GET /", None),
        ],
    );
}

/// HTTPRouteListenerHostnameMatching
#[test]
fn listener_hostname_matching() {
    let gateway = routed(
        &["bar.com", "foo.bar.com", "*.bar.com", "*.foo.com"],
        &[(&["l0"], &[], &[("/", 1)]), (&["l1"], &[], &[("/", 2)]), (&["l2", "l3"], &[], &[("/", 3)])],
    );
    check_hosts(
        &gateway,
        &[
            ("bar.com", "GET /", Some(1)),
            ("foo.bar.com", "GET /", Some(2)),
            ("baz.bar.com", "GET /", Some(3)),
            ("boo.bar.com", "GET /", Some(3)),
            ("multiple.prefixes.bar.com", "GET /", Some(3)),
            ("multiple.prefixes.foo.com", "GET /", Some(3)),
            ("foo.com", "GET /", None),
            ("no.matching.host", "GET /", None),
        ],
    );
}

/// GatewayHTTPListenerIsolation
#[test]
fn listener_isolation() {
    const LISTENERS: [&str; 4] = ["", "*.example.com", "*.foo.example.com", "abc.foo.example.com"];
    const PATHS: [&str; 4] = ["/empty", "/wildcard", "/foo", "/abc"];
    // A host for each listener, the narrowest that has it.
    const HOSTS: [&str; 4] = ["bar.com", "bar.example.com", "bar.foo.example.com", "abc.foo.example.com"];
    let hostnames = ["bar.com", "*.example.com", "*.foo.example.com", "abc.foo.example.com"];
    let gateway = |hostnames: &[&str]| {
        let (zero, one, two, three) = ([(PATHS[0], 1)], [(PATHS[1], 2)], [(PATHS[2], 3)], [(PATHS[3], 4)]);
        routed(
            &LISTENERS,
            &[
                (&["l0"], hostnames, &zero),
                (&["l1"], hostnames, &one),
                (&["l2"], hostnames, &two),
                (&["l3"], hostnames, &three),
            ],
        )
    };
    let (of_listeners, of_both) = (gateway(&[]), gateway(&hostnames));
    for (i, host) in HOSTS.into_iter().enumerate() {
        for (j, path) in PATHS.into_iter().enumerate() {
            let line = format!("GET {host}{path}");
            let own = u8::try_from(j + 1).unwrap();
            // OURS, above the diagonal: nothing is told of these routes, so the proxy may not have the narrower ones; and where routes
            // name the host as well, one that does not isolate listeners serves it by those of a wider one. So their policies judge
            // it; 404 there.
            assert_eq!(met(&of_listeners, &line), Ok((j <= i).then_some(own)), "{line}");
            assert_eq!(met(&of_both, &line), Ok((j <= i).then_some(own)), "{line}, hostnames in routes too");
        }
    }
}

/// Where a proxy that isolates listeners and one that does not would serve a request by different policies, neither is believed.
#[test]
fn p03_listeners_that_may_be_isolated_must_agree() {
    let gateway =
        routed(&["", "*.example.com"], &[(&["l0"], &["a.example.com"], &[("/", 1)]), (&["l1"], &[], &[("/", 2)])]);
    let said = met(&gateway, "GET a.example.com/x").unwrap_err();
    assert!(said.starts_with("403 conflicting_routes"), "{said}");
    assert_eq!(met(&gateway, "GET b.example.com/x"), Ok(Some(2)));
}
