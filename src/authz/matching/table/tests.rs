use super::*;
use crate::api::http_match::{HttpNameMatch, HttpPathMatch, HttpRouteMatch, PathMatchType, ValueMatchType};
use crate::authz::attributes::{LetterCase, RawRequest, RequestAttributes};

mod properties;

/// A match in one line: `GET /prefix`, `=/exact`, `~/expression`, then `name:value` for a header and `?name=value` for a parameter.
fn written(line: &str) -> HttpRouteMatch {
    let mut it = HttpRouteMatch::default();
    let path = |kind, value: &str| Some(HttpPathMatch { kind, value: value.to_owned() });
    for word in line.split_whitespace() {
        let named = |name: &str, value: &str| HttpNameMatch {
            kind: ValueMatchType::Exact,
            name: name.to_owned(),
            value: value.to_owned(),
        };
        match word.as_bytes()[0] {
            b'=' => it.path = path(PathMatchType::Exact, &word[1..]),
            b'~' => it.path = path(PathMatchType::RegularExpression, &word[1..]),
            b'/' => it.path = path(PathMatchType::PathPrefix, word),
            b'?' => it.query_params.extend(word[1..].split_once('=').map(|(name, value)| named(name, value))),
            _ => match word.split_once(':') {
                Some((name, value)) => it.headers.push(named(name, value)),
                None => it.method = Some(word.to_owned()),
            },
        }
    }
    it
}

fn table<T: PartialEq + Copy>(matches: &[(&str, T)]) -> MatchTable<T> {
    let compile = |line: &str| RouteMatch::compile(&written(line)).expect(line);
    MatchTable::build(matches.iter().map(|(line, value)| (compile(line), *value)).collect::<Vec<_>>())
}

/// A request in one line: `GET /path?query name:value`.
fn request(line: &str) -> RequestAttributes<'_> {
    let mut words = line.split(' ');
    let method = words.next().expect("a method").as_bytes();
    let path = words.next().expect("a path").as_bytes();
    let headers = words
        .filter_map(|word| word.split_once(':'))
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    let raw = RawRequest { method, host: b"shop.example", path, headers, ..RawRequest::default() };
    RequestAttributes::read(raw).expect(line)
}

/// What the table says when letter case counts, as the Gateway API has it.
fn find<T: PartialEq + Copy>(table: &MatchTable<T>, request: &RequestAttributes<'_>) -> Result<Option<T>, DenyReason> {
    let value = |entry: usize| table.entries[entry].1;
    request.judge(LetterCase::Sensitive, |reading| table.as_policies_match(reading).map(|it| it.map(value)))?
}

/// The same with the paths beside it, as policies are asked.
fn find_beside<T: PartialEq + Copy>(table: &MatchTable<T>, line: &str) -> Result<Option<T>, DenyReason> {
    find_in_any_case(table, &request(line))
}

/// The same where it does not (`paths` unset).
fn find_in_any_case<T: PartialEq + Copy>(
    table: &MatchTable<T>,
    request: &RequestAttributes<'_>,
) -> Result<Option<T>, DenyReason> {
    let letter_case = LetterCase::Unambiguous.needed(request, table.has_capitals());
    request.judge(letter_case, |reading| table.find(reading).map(|it| it.copied()))?
}

#[test]
fn paths_match_by_segment() {
    for (pattern, path, want) in [
        ("/cart", "/cart", true),
        ("/cart", "/cart/", true),
        ("/cart", "/cart/7", true),
        ("/cart", "/cartwheel", false), // whole segments only
        ("/cart/", "/cart", true),      // a `/` at the end does not count
        ("/cart/", "/cart/7", true),
        ("/", "/", true),
        ("/", "/anything/at/all", true),
        ("/a/b", "/a", false),
        ("/a/b", "/x/a/b", false),
        ("=/cart", "/cart", true),
        ("=/cart", "/cart/", false),
        ("=/cart/", "/cart/", true),
        ("=/cart/", "/cart", false),
        ("=/", "/", true),
        ("=/caf%C3%A9", "/caf%C3%A9", true),
        ("/caf%c3%a9", "/caf%C3%A9/menu", true),
        ("/a%20b", "/a%20b/c", true),
        ("/%61", "/a/b", true),
        ("~/v[0-9]+/.*", "/v12/x", true),
        ("~/v[0-9]+/.*", "/v12", false),
        ("~/v[0-9]+/.*", "/x/v12/x", false),
        ("~/caf\u{e9}", "/caf%C3%A9", true),
    ] {
        let found = find(&table(&[(pattern, ())]), &request(&format!("GET {path}")));
        assert_eq!(found, Ok(want.then_some(())), "{pattern} {path}");
    }
}

#[test]
fn the_best_match_wins() {
    // Best first; any two are met by the request, and the table is built in both orders.
    let ranked = [
        "=/a/b GET version:one ?x=1",
        "=/a/b GET",
        "=/a/b version:one",
        "=/a/b",
        "~/a/.* GET",
        "~/a/.*",
        "/a/b GET color:red version:one",
        "/a/b GET version:one ?x=1",
        "/a/b GET version:one",
        "/a/b GET ?x=1 ?y=2",
        "/a/b GET ?x=1",
        "/a/b GET",
        "/a/b color:red version:one",
        "/a/b version:one ?x=1 ?y=2",
        "/a/b version:one",
        "/a/b ?x=1",
        "/a/b",
        "/a GET color:red version:one ?x=1 ?y=2",
        "/a",
        "/",
    ];
    let request = request("GET /a/b?x=1&y=2 version:one color:red");
    for (better, worse) in
        ranked.iter().enumerate().flat_map(|(rank, it)| ranked[rank + 1..].iter().map(move |other| (it, other)))
    {
        for matches in [[(*better, true), (*worse, false)], [(*worse, false), (*better, true)]] {
            assert_eq!(find(&table(&matches), &request), Ok(Some(true)), "{better} before {worse}");
        }
    }
    // Nothing else tells them apart: the earlier.
    assert_eq!(find(&table(&[("/a ?x=1", 1), ("/a ?y=2", 2)]), &request), Ok(Some(1)));
    assert_eq!(find(&table(&[("~/a/b", 1), ("~/.*", 2)]), &request), Ok(Some(1)));
}

#[test]
fn get_judges_head_where_nothing_names_head() {
    let plain = table(&[("/ GET", 1), ("/a", 2), ("/b POST", 3)]);
    assert_eq!(find(&plain, &request("HEAD /")), Ok(Some(1)));
    assert_eq!(find(&plain, &request("HEAD /a")), Ok(Some(2)));
    assert_eq!(find(&plain, &request("HEAD /b")), Ok(Some(1)));
    assert_eq!(find(&plain, &request("OPTIONS /")), Ok(None));
    // A match on HEAD counts where it holds, and nowhere else.
    let named = table(&[("/ GET", 1), ("/a HEAD", 2), ("/b GET", 3), ("/b HEAD tier:gold", 4)]);
    assert_eq!(find(&named, &request("HEAD /")), Ok(Some(1)));
    assert_eq!(find(&named, &request("HEAD /a")), Ok(Some(2)));
    assert_eq!(find(&named, &request("HEAD /b")), Ok(Some(3)));
    assert_eq!(find(&named, &request("HEAD /b tier:gold")), Ok(Some(4)));
    assert_eq!(find(&named, &request("HEAD /b tier:gold,iron")), Err(DenyReason::AmbiguousRequest));
    assert_eq!(find(&named, &request("GET /a")), Ok(Some(1)));
    let same = table(&[("/b HEAD tier:gold", 1), ("/b", 1)]);
    assert_eq!(find(&same, &request("HEAD /b tier:gold,iron")), Ok(Some(1)));
}

#[test]
fn p03_letter_case_is_ambiguous_where_it_matters() {
    let ambiguous = Err(DenyReason::AmbiguousRequest);
    let admin = table(&[("/admin", 1), ("/", 2)]);
    assert_eq!(find_in_any_case(&admin, &request("GET /admin/x")), Ok(Some(1)));
    assert_eq!(find_in_any_case(&admin, &request("GET /Admin/x")), ambiguous);
    assert_eq!(find_in_any_case(&admin, &request("GET /Shop/x")), Ok(Some(2)));
    assert_eq!(find(&admin, &request("GET /Admin/x")), Ok(Some(2)));
    let capital = table(&[("/Admin", 1), ("/", 2)]);
    assert_eq!(find_in_any_case(&capital, &request("GET /Admin/x")), Ok(Some(1)));
    assert_eq!(find_in_any_case(&capital, &request("GET /admin/x")), ambiguous);
    // Two rules that differ in case alone: neither spelling is safe; two spellings of one rule: both are.
    let two = table(&[("/Admin", 1), ("/admin", 2), ("/ADMIN", 1)]);
    for line in ["GET /Admin", "GET /admin", "GET /ADMIN", "GET /aDMIN"] {
        assert_eq!(find_in_any_case(&two, &request(line)), ambiguous, "{line}");
    }
    let one = table(&[("/Admin", 1), ("/admin", 1), ("/", 2)]);
    assert_eq!(find_in_any_case(&one, &request("GET /Admin")), Ok(Some(1)));
    assert_eq!(find_in_any_case(&one, &request("GET /admin")), Ok(Some(1)));
    assert_eq!(find_in_any_case(&one, &request("GET /ADMIN")), ambiguous);
    let expression = table(&[("~/admin/.*", 1), ("/", 2)]);
    assert!(expression.has_capitals());
    assert_eq!(find_in_any_case(&expression, &request("GET /Admin/x")), ambiguous);
    assert!(!admin.has_capitals() && capital.has_capitals());
}

#[test]
fn p03_headers_and_parameters_are_ambiguous_only_where_a_rule_hangs_on_them() {
    let ambiguous = Err(DenyReason::AmbiguousRequest);
    let gold =
        table(&[("/a tier:gold", 1), ("/a", 2), ("/b ?tier=gold", 3), ("/b", 4), ("/c x-tier:gold", 5), ("/c", 5)]);
    for (line, want) in [
        ("GET /a tier:gold", Ok(Some(1))),
        ("GET /a Tier:gold", Ok(Some(1))),
        ("GET /a tier:iron", Ok(Some(2))),
        ("GET /a tier:iron tier:gold", ambiguous),
        ("GET /a tier:iron,gold", ambiguous),
        ("GET /a tier:iron tier:zinc", Ok(Some(2))),
        ("GET /x tier:iron tier:gold", Ok(None)), // no rule looks at it here
        ("GET /b?tier=gold", Ok(Some(3))),
        ("GET /b?tier=iron", Ok(Some(4))),
        ("GET /b?tier=iron&tier=gold", ambiguous),
        ("GET /b?tier=gold;x", ambiguous),
        ("GET /b?Tier=gold", ambiguous),
        ("GET /a?tier=iron&tier=gold", Ok(Some(2))),
        ("GET /c x-tier:gold", Ok(Some(5))),
        ("GET /c x_tier:gold", Ok(Some(5))), // the same rule either way
    ] {
        assert_eq!(find(&gold, &request(line)), want, "{line}");
    }
    // What follows a decoded `?` in the path may be the query, and may hide the request's own; what follows a decoded `#` is none.
    let rules = table(&[("/x ?admin=1", 1), ("/", 2), ("/open ?safe=1", 3), ("/wiki", 4), ("/old ?v=~", 5)]);
    for (line, want) in [
        ("GET /x?admin=1", Ok(Some(1))),
        ("GET /x%3Fadmin=1", ambiguous),
        ("GET /x%3fadmin=1", ambiguous),
        ("GET /x%253Fadmin=1", ambiguous),
        ("GET /x%3Fadmin%3D1", ambiguous),
        ("GET /x%3Fadmin%253D1", ambiguous),
        ("GET /x%3F%61dmin=1", ambiguous),
        ("GET /x%3FAdmin=1", ambiguous),
        ("GET /x%3Fb=2%26admin=1", ambiguous),
        ("GET /x%3Fb=2&admin=1", ambiguous),
        ("GET /x%3Fb=2;admin=1", ambiguous),
        ("GET /x%3Fadmin=1%23", ambiguous),
        ("GET /x%3Fadmin=1?b=2", ambiguous),
        ("GET /x%3Fadmin=%31", ambiguous),
        ("GET /x%3F?admin=1", ambiguous),
        ("GET /x/%3Fadmin=1", ambiguous),
        ("GET /x%3Fb=2", Ok(Some(2))),
        ("GET /open?safe=1", Ok(Some(3))),
        ("GET /open%23?safe=1", ambiguous),
        ("GET /open/%23?safe=1", ambiguous),
        ("GET /open/%3Fx?safe=1", ambiguous),
        ("GET /wiki/What%3F", Ok(Some(4))),
        ("GET /wiki/What%3F?admin=1", Ok(Some(4))), // no rule looks at it here
        ("GET /wiki/C%23?safe=1", Ok(Some(4))),
    ] {
        assert_eq!(find(&rules, &request(line)), want, "{line}");
    }
    // Nothing behind the doubtful rule: it matters whether it is met.
    assert_eq!(find(&table(&[("/ x-tier:gold", 1)]), &request("GET / x_tier:gold")), ambiguous);
    // Two doubtful rules before a sure one that agrees with the first only.
    let doubtful = table(&[("/ a:1 b:1", 1), ("/ a:1", 2), ("/", 1)]);
    assert_eq!(find(&doubtful, &request("GET / a:1,2 b:1")), ambiguous);
    let doubtful = table(&[("/ a:1 b:1", 2), ("/ a:1", 1), ("/", 1)]);
    assert_eq!(find(&doubtful, &request("GET / a:1,2 b:1")), ambiguous);
}

#[test]
fn ten_thousand_rules_are_searched_by_look_ups() {
    let lines: Vec<String> = (0..10_000).map(|index| format!("/api/v{}/{index}", index % 7)).collect();
    let matches: Vec<_> = lines.iter().enumerate().map(|(index, line)| (line.as_str(), index)).collect();
    let table = table(&matches);
    assert_eq!(find(&table, &request("GET /api/v3/9887/x")), Ok(Some(9887)));
    assert_eq!(find(&table, &request("GET /api/v3/9888/x")), Ok(None));
    // What a search would look at: never more than one list a segment.
    assert!(table.as_written.lists(b"/api/v3/9887/x").map(<[_]>::len).sum::<usize>() <= 1);
}

const AMBIGUOUS: Result<Option<u8>, DenyReason> = Err(DenyReason::AmbiguousRequest);

#[test]
fn p03_a_slash_at_the_end_leaves_no_exact_rule() {
    let exact = table(&[("=/admin", 1), ("=/cart/", 2), ("/", 3)]);
    for (line, want) in [
        ("GET /admin", Ok(Some(1))),
        ("GET /admin/", AMBIGUOUS),
        ("GET /admin%2f", AMBIGUOUS),
        ("GET /Admin/", AMBIGUOUS),
        ("GET /admin/x", Ok(Some(3))),
        ("GET /cart/", Ok(Some(2))),
        ("GET /cart", AMBIGUOUS),
        ("GET /", Ok(Some(3))),
        ("GET /other", Ok(Some(3))),
        ("GET /other/", Ok(Some(3))),
    ] {
        assert_eq!(find_beside(&exact, line), want, "{line}");
    }
    let alike = table(&[("=/cart", 1), ("/cart", 1), ("/", 2)]);
    assert_eq!(find_beside(&alike, "GET /cart/"), Ok(Some(1)));
    let expression = table(&[("~/users/[0-9]+", 1), ("/", 2)]);
    assert_eq!(find_beside(&expression, "GET /users/7"), Ok(Some(1)));
    assert_eq!(find_beside(&expression, "GET /users/7/"), AMBIGUOUS);
}

#[test]
fn p03_an_extension_leaves_no_rule() {
    let rules = table(&[("=/healthz", 1), ("/admin", 2), ("=/robots.txt", 3), ("~/.*[.]css", 4), ("/", 5)]);
    for (line, want) in [
        ("GET /healthz", Ok(Some(1))),
        ("GET /healthz.json", AMBIGUOUS),
        ("GET /HEALTHZ.json", AMBIGUOUS),
        ("GET /admin.json", AMBIGUOUS),
        ("GET /admin/users.json", Ok(Some(2))),
        ("GET /robots.txt", Ok(Some(3))), // written in a rule
        ("GET /app.css", Ok(Some(4))),    // nothing is said of `/app` alone
        ("GET /app.js", Ok(Some(5))),
        ("GET /archive.tar.gz", Ok(Some(5))),
        ("GET /.well-known/x", Ok(Some(5))),
        ("GET /.env", Ok(Some(5))),
        // A server that takes off the one as well as the other, as often as it can.
        ("GET /admin.json/", AMBIGUOUS),
        ("GET /admin.x/", AMBIGUOUS),
        ("GET /admin.json//", AMBIGUOUS),
        ("GET /admin%2ejson/", AMBIGUOUS),
        ("GET /admin.json%2f", AMBIGUOUS),
        ("GET /Admin.json/", AMBIGUOUS),
        ("GET /admin.json./", AMBIGUOUS),
        ("GET /admin.json;x/", AMBIGUOUS),
        ("GET /admin.tar.gz", AMBIGUOUS),
        ("GET /admin.tar.gz/", AMBIGUOUS),
        ("GET /admin%20.json", AMBIGUOUS),
        ("GET /admin%C2%A0.json/", AMBIGUOUS),
        ("GET /healthz.json/", AMBIGUOUS),
        ("GET /healthz/.json", Ok(Some(5))), // the extension of nothing
        ("GET /admin.json/x", Ok(Some(5))),
        ("GET /app.js/", Ok(Some(5))),
        ("GET /admin/users.json/", Ok(Some(2))),
    ] {
        assert_eq!(find_beside(&rules, line), want, "{line}");
    }
    // The other order: what a rule writes ends with a `/`.
    let slash = table(&[("=/cart/", 1), ("/cart", 2), ("/", 2)]);
    assert_eq!(find_beside(&slash, "GET /cart.json"), AMBIGUOUS);
    assert_eq!(find_beside(&slash, "GET /cart.json/"), AMBIGUOUS);
    // One that the path without its extension meets with a `/` only, which the path itself does not meet.
    let below = table(&[("=/cart", 1), ("=/other/", 1), ("/cart", 2), ("/", 1)]);
    assert_eq!(find_beside(&below, "GET /cart.json"), AMBIGUOUS);
}

#[test]
fn p28_ends_are_taken_off_within_a_bound() {
    let rules = table(&[("/admin", 1), ("/", 2)]);
    for (path, want) in [
        (format!("/{}", "a.".repeat(2000) + "b"), AMBIGUOUS),
        (format!("/{}/x.js", "a".repeat(8000)), Ok(Some(2))),
        (format!("/{}", "a.".repeat(40) + "b"), Ok(Some(2))),
    ] {
        assert_eq!(find_beside(&rules, &format!("GET {path}")), want, "{} bytes", path.len());
    }
}

#[test]
fn p01_p03_routes_take_head_for_head() {
    let routes = table(&[("GET =/x", 1), ("=/x", 2), ("GET /y", 3), ("/y", 4)]);
    let find = |line: &str| {
        let request = request(line);
        request.judge(LetterCase::Sensitive, |reading| routes.find_exact(reading).map(|it| it.copied())).unwrap()
    };
    for (line, want) in [("GET /x", 1), ("HEAD /x", 2), ("POST /x", 2), ("GET /y", 3), ("HEAD /y", 4)] {
        assert_eq!(find(line), Ok(Some(want)), "{line}");
    }
    assert_eq!(find_beside(&routes, "HEAD /x"), Ok(Some(1)), "policies judge it as GET");
}
