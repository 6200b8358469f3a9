use super::*;

const NAME: &[u8] = b"__Host-session";

fn find_in(field: &str) -> Cookie<'_> {
    find(field.as_bytes(), NAME)
}

fn rest(lines: &[&str]) -> Option<String> {
    without(lines.iter().map(|it| it.as_bytes()), std::iter::once("__Host-session")).map(|rest| match rest {
        CookieRest::Nothing => String::new(),
        CookieRest::Others(rest) => String::from_utf8(rest.to_vec()).expect("UTF-8"),
    })
}

#[test]
fn p13_our_cookie_is_found_where_everyone_finds_it() {
    for field in [
        "__Host-session=T",
        "a=1; __Host-session=T",
        "a=1;__Host-session=T",
        "__Host-session=T; b=2",
        "a=1; __Host-session=T; b=2",
        "a=1,2; __Host-session=T; b=3,4", // other commas are the app's
        "a={\"x\":1,\"y\":\"z\"}; __Host-session=T",
        "a=\"quoted\"; __Host-session=T",
        "a=\"quo\\\"ted\"; __Host-session=T",
        "a=hello world; __Host-session=T",
        "a=5\"; __Host-session=T", // a quote inside a value opens nothing
        "x__Host-session=no; __Host-session=T; __Host-session2=no; __Host-session-id=no",
        "a=__Host-session; __Host-session=T",
        "Host-session=no; __Host-session=T",
        "; __Host-session=T;",
        "=; __Host-session=T",
        "a; __Host-session=T",
    ] {
        assert_eq!(find_in(field), Cookie::Value(b"T"), "{field}");
    }
    assert_eq!(find_in("__Host-session="), Cookie::Value(b""));
    assert_eq!(find_in("__Host-session=a=b"), Cookie::Value(b"a=b"));
    assert_eq!(find_in("__Host-session=\"T\""), Cookie::Value(b"\"T\""));
}

#[test]
fn p13_another_name_is_not_ours() {
    for field in [
        "",
        "a=1",
        "a=__Host-session",
        "a=__Host-session=T",
        "x__Host-session=T",
        "__Host-session2=T",
        "__Host-session-id=T",
        "__Host-sess=T",
        "__Secure-session=T",
        "a=1,b=2",
        ";;;",
    ] {
        assert_eq!(find_in(field), Cookie::Absent, "{field}");
    }
}

#[test]
fn p13_cookies_that_servers_would_find_differently_are_refused() {
    for field in [
        // two of them
        "__Host-session=T; __Host-session=U",
        "__Host-session=T; __Host-session=T",
        "__Host-session=T; a=1; __Host-session=U",
        // joined lines
        "a=1,__Host-session=T",
        "a=1, __Host-session=T",
        "__Host-session=T,b=2",
        "__Host-session=T,",
        "__Host-session=T,__Host-session=U",
        // another spelling, alone or beside
        "__host-session=T",
        "__HOST-SESSION=T",
        "__Host-session=T; __host-session=U",
        "__%48ost-session=T",
        "%5f%5fHost-session=T",
        "..Host-session=T",
        "_.Host-session=T",
        "_[Host-session=T",
        "__Host-session[a]=T",
        "__Host-session[]=U; __Host-session=T",
        // blanks and other bytes around the name
        "__Host-session =T",
        "  __Host-session=T",
        "a=1;  __Host-session=T",
        "a=1;\t__Host-session=T",
        "\t__Host-session=T",
        "a=1;\0__Host-session=T",
        "__Host-session\0=T",
        "__Host-session\0x=T",
        "a=1; \u{a0}__Host-session=T",
        "a=1; \u{2000}__Host-session=T",
        "a=1; __Host-session\u{85}=T",
        "a=1; \x0b__Host-session=T",
        "\"__Host-session\"=T",
        "'__Host-session=T",
        "=__Host-session=T",
        "$__Host-session=T",
        "!__Host-session=T",
        "a=1; __Host-session!=T",
        // blanks that some take for separators
        "a=1 __Host-session=T",
        "__Host-session=T __Host-session=U",
        "__Host-session=T\tb=2",
        "__Host-session=T ; b=2",
        // no value
        "__Host-session",
        "a=1; __Host-session; b=2",
        "__Host-session; __Host-session=T",
        // inside a quoted value, or not, as one likes
        "a=\"x; __Host-session=T",
        "a=\"x; __Host-session=T\"",
        "a=\"x; __Host-session=T; b=\"y",
        "a=\"x\\\"; __Host-session=T; b=\"y\"",
        "a=\"x\\\\\\\"; __Host-session=T; b=\"",
        "a= \"x; __Host-session=T",
        "a=\"x\\\"=\"; __Host-session=T",
        // RFC 2965
        "$Version=1; __Host-session=T",
        "$Version=\"1\"; __Host-session=T; $Path=\"/\"",
        "$version=1,__Host-session=T",
        "a=1; $Version=1; __Host-session=T",
    ] {
        assert_eq!(find_in(field), Cookie::Ambiguous, "{field:?}");
    }
}

#[test]
fn p07_our_cookie_is_taken_off_and_others_stay() {
    for (lines, want) in [
        (&["a=1"][..], None),
        (&["a=1,b=2; c=\"x; y\""], None),
        (&["x__Host-session=1; __Host-session2=3"], None),
        (&["__Host-session=T"], Some("")),
        (&["__Host-session=T;"], Some("")),
        (&[" __Host-session=T ; "], Some("")),
        (&["__Host-session=T; __Host-session=U"], Some("")),
        (&["a=1; __Host-session=T"], Some("a=1")),
        (&["__Host-session=T; b=2"], Some("b=2")),
        (&["__Host-session=T;b=2"], Some("b=2")),
        (&["a=1; __Host-session=T; b=2"], Some("a=1; b=2")),
        (&["a=1;__Host-session=T;b=2"], Some("a=1;b=2")),
        (&["a=1;  b = \"x,y\" ; __Host-session=T; c"], Some("a=1;  b = \"x,y\" ; c")),
        (&["a=1; __Host-session=T; b=2; __Host-session=U; c=3"], Some("a=1; b=2; c=3")),
        (&["a=1,__Host-session=T; b=2"], Some("a=1; b=2")),
        (&["a=1,__Host-session=T,b=2"], Some("a=1,b=2")),
        (&["__Host-session=T,b=2"], Some("b=2")),
        (&["__Host-session=T,rest; b=2"], Some("b=2")), // part of our value for most
        (&["a=\"x; __Host-session=T\"; b=2"], Some("a=\"x; b=2")),
        (&["__host-session=T; b=2"], Some("b=2")),
        (&["__%48ost-session=T; b=2"], Some("b=2")),
        (&["b=2; __Host-session"], Some("b=2")),
        (&["b=2; a=1 __Host-session=T"], Some("b=2")),
        (&["b=2;\t__Host-session = T"], Some("b=2")),
        (&["a=1", "__Host-session=T"], Some("a=1")),
        (&["__Host-session=T", "b=2"], Some("b=2")),
        (&["a=1; __Host-session=T", "b=2; c=3,4"], Some("a=1; b=2; c=3,4")),
        (&["a=1", "b=2"], None),
        (&["__Host-session=T", "__Host-session=U"], Some("")),
    ] {
        assert_eq!(rest(lines).as_deref(), want, "{lines:?}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "a=1",
            "b=2,3",
            "__Host-session=T",
            "__host-session=U",
            "__Host-session",
            "__Host-session =V",
            "c=\"x",
            "\"",
            "; ",
            ";",
            ",",
            ", ",
            " ",
            "\t",
            "$Version=1",
            "x__Host-session=W",
            "__Host-session2=X",
            "d=__Host-session",
            "=",
            "%5f_Host-session=Y",
            "\\\"",
            "__Host-session[a]=Z",
            "\u{2000}",
        ]);
        prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
    }

    /// Servers' parsers, written without regard to how the code above works: each gives the names it sees.
    fn names(field: &str) -> Vec<Vec<String>> {
        let split = |text: &str, marks: &[char], trim: &dyn Fn(&str) -> String| -> Vec<String> {
            text.split(marks).map(|pair| trim(pair.split('=').next().unwrap_or_default())).collect()
        };
        let exact = |name: &str| name.strip_prefix(' ').unwrap_or(name).to_owned();
        let unicode = |name: &str| name.trim().to_owned();
        let quotes = |name: &str| name.trim_matches(|it: char| it.is_whitespace() || it == '"').to_owned();
        let folded = |name: &str| name.trim().to_lowercase().replace("__host", "__Host");
        let index = |name: &str| name.trim().split('[').next().unwrap_or_default().to_owned();
        vec![
            split(field, &[';'], &exact),
            split(field, &[';'], &unicode),
            split(field, &[';', ','], &unicode),
            split(field, &[';', ','], &quotes),
            split(field, &[';'], &folded),
            split(field, &[';'], &index),
            split(&field.replace("%5f", "_"), &[';'], &unicode),
            split(field, &[';', ',', '\t'], &quotes),
        ]
    }

    fn ours(names: &[String]) -> usize {
        names.iter().filter(|it| *it == "__Host-session").count()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn p13_a_cookie_that_counts_is_seen_once_by_all(field in pieces()) {
            let seen: Vec<usize> = names(&field).iter().map(|it| ours(it)).collect();
            match find_in(&field) {
                Cookie::Value(_) => prop_assert!(seen.iter().all(|count| *count == 1), "{field:?} {seen:?}"),
                Cookie::Absent => prop_assert!(seen.iter().take(8).all(|count| *count == 0), "{field:?} {seen:?}"),
                Cookie::Ambiguous => {}
            }
        }

        #[test]
        fn p07_nothing_of_ours_is_left(lines in prop::collection::vec(pieces(), 1..3)) {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let left = rest(&lines).unwrap_or_else(|| lines.join("; "));
            for names in names(&left).iter().take(8) {
                prop_assert_eq!(ours(names), 0, "{:?} leaves {:?}", lines, left);
            }
        }

        #[test]
        fn p14_other_cookies_keep_their_bytes(
            before in prop::collection::vec("[a-z]{1,4}=[!-+\\--:<-~]{0,8}", 0..4),
            after in prop::collection::vec("[a-z]{1,4}=[!-+\\--:<-~]{0,8}", 0..4),
        ) {
            let ours = ["__Host-session=T".to_owned()];
            let field = before.iter().chain(&ours).chain(&after).cloned().collect::<Vec<_>>().join("; ");
            let others = before.iter().chain(&after).cloned().collect::<Vec<_>>().join("; ");
            prop_assert_eq!(rest(&[&field]), Some(others));
        }

        #[test]
        fn finding_and_taking_off_are_total(field in prop::collection::vec(any::<u8>(), 0..64), name in "[!-~]{0,4}") {
            let found = find(&field, name.as_bytes());
            let rest = without([&field[..]].into_iter(), std::iter::once(name.as_str()));
            prop_assert_eq!(found == Cookie::Absent, rest.is_none());
        }
    }
}
