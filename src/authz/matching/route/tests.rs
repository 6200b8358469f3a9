use super::*;

fn path(kind: PathMatchType, value: &str) -> HttpRouteMatch {
    HttpRouteMatch { path: Some(HttpPathMatch { kind, value: value.to_owned() }), ..HttpRouteMatch::default() }
}

fn named(name: &str, value: &str) -> HttpNameMatch {
    HttpNameMatch { kind: ValueMatchType::Exact, name: name.to_owned(), value: value.to_owned() }
}

fn message(written: &HttpRouteMatch) -> String {
    RouteMatch::compile(written).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn an_empty_match_is_the_root_prefix() {
    let compiled = RouteMatch::compile(&HttpRouteMatch::default()).expect("a good match");
    assert!(matches!(compiled.path, PathPattern::Prefix(prefix) if prefix.is_empty()));
}

#[test]
fn errors_name_the_field_and_the_cure() {
    use PathMatchType::{Exact, PathPrefix, RegularExpression};
    for (written, want) in [
        (path(Exact, ""), "path.value: must not be empty"),
        (path(Exact, "cart"), "path.value: must begin with `/`"),
        (
            path(PathPrefix, "/a//b"),
            "path.value: `//` cannot be matched, since servers differ in whether they merge it",
        ),
        (path(PathPrefix, "/a/../b"), "path.value: has a dot segment, which no request may have"),
        (path(Exact, "/a b"), "path.value: ' ' may not stand in a path; write it percent-encoded"),
        (path(RegularExpression, "a(b"), "path.value: is not an expression that can be used: unclosed group"),
        (path(RegularExpression, "a)|(b"), "path.value: is not an expression that can be used: unopened group"),
        (
            HttpRouteMatch { method: Some("get".into()), ..HttpRouteMatch::default() },
            "method: \"get\" is not one of GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH",
        ),
        (
            HttpRouteMatch { headers: vec![named("a", "1"), named("b c", "1")], ..HttpRouteMatch::default() },
            "headers[1].name: \"b c\" is not a header name",
        ),
        (
            HttpRouteMatch { headers: vec![named("Host", "x")], ..HttpRouteMatch::default() },
            "headers[0].name: a match on `host` never holds; use hostnames",
        ),
        (
            HttpRouteMatch { query_params: vec![named("a", "")], ..HttpRouteMatch::default() },
            "queryParams[0].value: must not be empty",
        ),
        (
            HttpRouteMatch { query_params: vec![named("", "1")], ..HttpRouteMatch::default() },
            "queryParams[0].name: must not be empty",
        ),
    ] {
        assert_eq!(message(&written), want);
    }
}

#[test]
fn p28_sizes_and_counts_are_bounded() {
    use PathMatchType::{Exact, RegularExpression};
    let long = |len: usize| "a".repeat(len);
    assert_eq!(message(&path(Exact, &format!("/{}", long(1023)))), "");
    assert_eq!(message(&path(Exact, &format!("/{}", long(1024)))), "path.value: has 1025 bytes, more than 1024");
    let headers = |count: usize| HttpRouteMatch {
        headers: (0..count).map(|index| named(&format!("h{index}"), "1")).collect(),
        ..HttpRouteMatch::default()
    };
    assert_eq!(message(&headers(16)), "");
    assert_eq!(message(&headers(17)), "headers: has 17 entries, more than 16");
    let header = |name: usize, value: usize| HttpRouteMatch {
        headers: vec![named(&long(name), &long(value))],
        ..HttpRouteMatch::default()
    };
    assert_eq!(message(&header(256, 4096)), "");
    assert_eq!(message(&header(257, 1)), "headers[0].name: has 257 bytes, more than 256");
    assert_eq!(message(&header(1, 4097)), "headers[0].value: has 4097 bytes, more than 4096");
    let query = HttpRouteMatch { query_params: vec![named("a", &long(1025))], ..HttpRouteMatch::default() };
    assert_eq!(message(&query), "queryParams[0].value: has 1025 bytes, more than 1024");
    for huge in ["(a{1000}){1000}", "\\pL{900}{900}", &"(".repeat(100)] {
        assert!(message(&path(RegularExpression, huge)).starts_with("path.value: is not an expression"), "{huge}");
    }
    for fine in ["/\\w+/\\d{1,10}", "/v[0-9]+/(users|orders)(/.*)?", "(?i)/[^/]+", "/(\\p{L}|-)+"] {
        assert_eq!(message(&path(RegularExpression, fine)), "", "{fine}");
    }
}

#[test]
fn expressions_match_the_whole_text() {
    for (written, text, want) in [
        ("/a", "/a", true),
        ("/a", "/ab", false),
        ("/a", "x/a", false),
        ("/a|/b", "/b", true),
        ("/a|/b", "/ax", false), // the alternatives stand together
        ("/a$", "/a", true),
        ("(?m)/a$", "/a\n/b", false),
        ("/a", "/a\n", false),
    ] {
        let compiled = expression(written, false).expect("a good expression");
        assert_eq!(compiled.is_match(text.as_bytes()), want, "{written} {text:?}");
    }
    assert!(expression("/Admin", true).expect("a good expression").is_match(b"/aDMIN"));
}

#[test]
fn of_two_with_one_name_the_first_counts() {
    let written = HttpRouteMatch {
        headers: vec![named("Version", "one"), named("version", "two")],
        query_params: vec![named("a", "1"), named("a", "2"), named("A", "3")],
        ..HttpRouteMatch::default()
    };
    let compiled = RouteMatch::compile(&written).expect("a good match");
    let shown = |list: &[(String, ValuePattern)]| {
        let value = |pattern: &ValuePattern| match pattern {
            ValuePattern::Exact(text) => text.clone(),
            ValuePattern::Expression(expression) => expression.to_string(),
        };
        list.iter().map(|(name, pattern)| format!("{name}={}", value(pattern))).collect::<Vec<_>>()
    };
    assert_eq!(shown(&compiled.headers), ["version=one"]);
    assert_eq!(shown(&compiled.query), ["a=1", "A=3"]);
}
