//! The rows of the Gateway API's conformance tests for HTTPRoute matching (v1.6), against our tables. Where they expect 404, nothing
//! matches. Values name the backend that a row expects.

use super::*;

fn check(matches: &[(&str, u8)], rows: &[(&str, Option<u8>)]) {
    let table = table(matches);
    for (line, want) in rows {
        assert_eq!(find(&table, &request(line)), Ok(*want), "{line}");
    }
}

/// HTTPRouteExactPathMatching
#[test]
fn exact_path_matching() {
    let matches = [("=/one", 1), ("=/two", 2)];
    check(
        &matches,
        &[
            ("GET /one", Some(1)),
            ("GET /two", Some(2)),
            ("GET /", None),
            ("GET /one/example", None),
            ("GET /two/", None),
            ("GET /Two", None),
        ],
    );
    // The last row is refused unless the policy says that letter case counts (DESIGN 5).
    assert_eq!(find_in_any_case(&table(&matches), &request("GET /Two")), Err(DenyReason::AmbiguousRequest));
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
    check(
        &[
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
        ],
        &[
            ("POST /", Some(1)),
            ("GET /", Some(2)),
            // 404 by the conformance test, which asks whether a route has a backend. A policy is asked who may read, and HEAD
            // reads what GET reads: its rule judges both (DESIGN 5).
            ("HEAD /", Some(2)),
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

/// A listener's hostname (none: any), and the routes attached to its Gateway.
type Routes = [(&'static [&'static str], &'static [(&'static str, u8)])];

/// The table of a Gateway: each route counts for the hosts that it shares with a listener, the oldest first.
fn gateway(listeners: &[&str], routes: &Routes) -> HostTable<MatchTable<u8>> {
    let pattern = |text: &&str| HostPattern::parse(text).expect(text);
    let mut hosts: Vec<(HostPattern, Vec<(RouteMatch, u8)>)> = Vec::new();
    for (names, matches) in routes {
        for listener in listeners.iter().map(pattern) {
            for host in names.iter().map(pattern).filter_map(|name| name.intersect(&listener)) {
                let compiled =
                    matches.iter().map(|(line, value)| (RouteMatch::compile(&written(line)).expect(line), *value));
                match hosts.iter_mut().find(|(it, _)| *it == host) {
                    Some((_, all)) => all.extend(compiled),
                    None => hosts.push((host, compiled.collect())),
                }
            }
        }
    }
    HostTable::build(hosts.into_iter().map(|(host, matches)| (host, MatchTable::build(matches))))
}

fn check_hosts(gateway: &HostTable<MatchTable<u8>>, rows: &[(&str, &str, Option<u8>)]) {
    for (host, line, want) in rows {
        let request = request_to(host, line);
        let found = gateway.find(&request.host).map_or(Ok(None), |table| find(table, &request));
        assert_eq!(found, Ok(*want), "{host} {line}");
    }
}

/// HTTPRouteMatchingAcrossRoutes
#[test]
fn matching_across_routes() {
    let gateway = gateway(
        &["*"],
        &[
            (&["example.com", "example.net"], &[("/", 1), ("version:one", 1)]),
            (&["example.com"], &[("/v2", 2), ("version:two", 2)]),
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
    let specific = gateway(
        &["very.specific.com", "*.wildcard.io", "*.anotherwildcard.io"],
        &[
            (&["non.matching.com", "*.nonmatchingwildcard.io", "very.specific.com"], &[("/s1", 1)]),
            (
                &["non.matching.com", "wildcard.io", "foo.wildcard.io", "bar.wildcard.io", "foo.bar.wildcard.io"],
                &[("/s2", 2)],
            ),
            (&["non.matching.com", "*.specific.com"], &[("/s3", 3)]),
            (&["*.anotherwildcard.io"], &[("/s4", 1)]),
            (&["specific.but.wrong.com", "wildcard.io"], &[("/s5", 2)]),
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
    let all = gateway(&["*"], &[(&["first.com", "sub.first.com", "second.com", "sub.second.com"], &[("/", 2)])]);
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
