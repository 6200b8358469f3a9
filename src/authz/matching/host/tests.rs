use super::*;

fn host(name: &str) -> Host<'_> {
    Host::parse(name.as_bytes()).expect("a host").0
}

fn pattern(text: &str) -> HostPattern {
    HostPattern::parse(text).expect("a pattern")
}

#[test]
fn patterns_are_hosts_suffixes_or_any() {
    for (text, want) in [
        ("shop.example", Some(HostPattern::Exact("shop.example".into()))),
        ("SHOP.example", Some(HostPattern::Exact("shop.example".into()))),
        ("localhost", Some(HostPattern::Exact("localhost".into()))),
        ("*.example", Some(HostPattern::Below("example".into()))),
        ("*", Some(HostPattern::Any)),
        ("", None),
        ("*.", None),
        ("*.*.example", None),
        ("*example", None),
        ("a.*.example", None),
        ("shop.example:443", None),
        ("shop.example.", None),
        (".example", None),
        ("shop example", None),
        ("sh\u{f6}p.example", None),
    ] {
        assert_eq!(HostPattern::parse(text).ok(), want, "{text:?}");
    }
    for text in ["shop.example", "*.example", "*"] {
        assert_eq!(pattern(text).to_string(), text);
    }
}

#[test]
fn the_most_specific_host_wins() {
    let table = HostTable::build(
        ["shop.example", "*.shop.example", "*.example", "a.b.shop.example", "*.b.shop.example", "shop.example"]
            .into_iter()
            .enumerate()
            .map(|(index, text)| (pattern(text), index)),
    );
    for (name, want) in [
        ("shop.example", Some(0)), // the first of two stands
        ("a.shop.example", Some(1)),
        ("b.shop.example", Some(1)),
        ("x.y.shop.example", Some(1)), // several labels
        ("other.example", Some(2)),
        ("example", None), // at least one label
        ("a.b.shop.example", Some(3)),
        ("x.b.shop.example", Some(4)),
        ("x.a.b.shop.example", Some(4)),
        ("myshop.example", Some(2)),
        ("shop.example.org", None),
        ("[::1]", None),
    ] {
        assert_eq!(table.find(&host(name)).copied(), want, "{name}");
    }
    let any = HostTable::build([(HostPattern::Any, "any"), (pattern("*.example"), "below")]);
    assert_eq!(any.find(&host("elsewhere")), Some(&"any"));
    assert_eq!(any.all(&host("shop.example")).collect::<Vec<_>>(), [&"below", &"any"]);
    assert_eq!(HostTable::<()>::default().find(&host("shop.example")), None);
}

#[test]
fn patterns_intersect() {
    for (one, two, want) in [
        ("*", "*.example", Some("*.example")),
        ("shop.example", "shop.example", Some("shop.example")),
        ("shop.example", "other.example", None),
        ("shop.example", "*.example", Some("shop.example")),
        ("example", "*.example", None),
        ("*.example", "*.shop.example", Some("*.shop.example")),
        ("*.example", "*.example", Some("*.example")),
        ("*.example", "*.myexample", None),
        ("*.shop.example", "*.other.example", None),
    ] {
        let want = want.map(pattern);
        assert_eq!(pattern(one).intersect(&pattern(two)), want, "{one} {two}");
        assert_eq!(pattern(two).intersect(&pattern(one)), want, "{two} {one}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn pattern_text() -> impl Strategy<Value = String> {
        "(\\*|(\\*\\.)?[ab](\\.[ab]){0,3})"
    }

    proptest! {
        #[test]
        fn the_table_finds_what_a_scan_finds(texts in prop::collection::vec(pattern_text(), 0..8), name in "[ab](\\.[ab]){0,3}") {
            let patterns: Vec<_> = texts.iter().map(|text| pattern(text)).collect();
            let specificity = |it: &HostPattern| match it {
                HostPattern::Exact(_) => usize::MAX,
                HostPattern::Below(suffix) => suffix.len(),
                HostPattern::Any => 0,
            };
            let scan = patterns.iter().filter(|it| it.matches(&host(&name))).map(specificity).max();
            let table = HostTable::build(patterns.iter().map(|it| (it.clone(), specificity(it))));
            prop_assert_eq!(table.find(&host(&name)).copied(), scan);
        }

        #[test]
        fn an_intersection_holds_what_both_hold(one in pattern_text(), two in pattern_text(), name in "[ab](\\.[ab]){0,3}") {
            let (one, two, host) = (pattern(&one), pattern(&two), host(&name));
            let both = one.matches(&host) && two.matches(&host);
            prop_assert_eq!(one.intersect(&two).is_some_and(|it| it.matches(&host)), both);
        }
    }
}
