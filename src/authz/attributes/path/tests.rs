use super::*;

fn parse(path: &str) -> Result<RequestPath<'_>, DenyReason> {
    RequestPath::parse(path.as_bytes())
}

fn readings(path: &str) -> Vec<String> {
    let path = parse(path).unwrap_or_else(|reason| panic!("{path}: {reason:?}"));
    path.readings().iter().map(|it| String::from_utf8(it.to_vec()).expect("UTF-8")).collect()
}

#[test]
fn an_ordinary_path_has_one_reading() {
    for path in [
        "/",
        "/cart",
        "/cart/",
        "/a.b/c-d/_e~f/@g",
        "/v1.2/files/report.final.pdf",
        "/main...feature",
        "/.well-known/jwks.json",
        "/users/ada@example.com",
        "/a:b,c=d!$&'()*+",
        "/Admin",
        "/{id}/[x]|\"<>^`",
    ] {
        let read = parse(path).expect(path);
        assert_eq!(read.readings(), [path.as_bytes()], "{path}");
        assert_eq!(read.has_capitals(), path.bytes().any(|it| it.is_ascii_uppercase()), "{path}");
    }
}

#[test]
fn what_must_be_encoded_has_one_reading_too() {
    for (path, want) in [
        ("/caf%C3%A9", "/café"),
        ("/caf%c3%a9", "/café"),
        ("/a%20b", "/a b"),
        ("/50%25off", "/50%off"),
        ("/100%25", "/100%"),
        ("/%7Bid%7D", "/{id}"),
    ] {
        assert_eq!(readings(path), [want], "{path}");
    }
}

#[test]
fn servers_differ_and_every_way_is_listed() {
    for (path, want) in [
        ("/%61dmin", &["/admin", "/%61dmin"][..]),
        ("/%2561dmin", &["/%61dmin", "/admin"]),
        ("/group%2Fname", &["/group/name", "/group%2Fname"]),
        ("/group%2fname", &["/group/name", "/group%2Fname"]),
        ("/%61%3Bb", &["/a;b", "/%61%3Bb", "/a%3Bb", "/a"]),
        ("/%2561%252Fb", &["/%61%2Fb", "/a/b", "/a%2Fb"]),
        ("/x%2Fb%2561", &["/x/b%61", "/x/ba", "/x%2Fb%61", "/x%2Fba"]),
        ("/a%2Fb%252Fc%2561", &["/a/b%2Fc%61", "/a/b/ca", "/a%2Fb%2Fc%61", "/a/b%2Fca", "/a%2Fb%2Fca"]),
        ("/a//b", &["/a//b", "/a/b"]),
        ("/a///b", &["/a///b", "/a/b"]),
        ("/list;sort=asc", &["/list;sort=asc", "/list"]),
        ("/list;v=1/item", &["/list;v=1/item", "/list/item", "/list"]),
        ("/admin%3bx", &["/admin;x", "/admin%3Bx", "/admin"]),
        ("/admin.", &["/admin.", "/admin"]),
        ("/admin%20", &["/admin ", "/admin"]),
        ("/%20admin", &["/ admin", "/admin"]),
        ("/%20a/b%20", &["/ a/b ", "/ a/b", "/a/b ", "/a/b"]),
        ("/admin%C2%A0", &["/admin\u{a0}", "/admin"]),
        ("/admin%C2%A0/x.", &["/admin\u{a0}/x.", "/admin/x", "/admin\u{a0}/x"]),
        ("/%2Eenv.local", &["/.env.local", "/%2Eenv.local"]),
        ("/..%2Eitems", &["/...items", "/..%2Eitems"]),
        ("/admin%2e", &["/admin.", "/admin%2E", "/admin"]),
        ("/admin./x", &["/admin./x", "/admin/x"]),
        ("/admin%3Fx", &["/admin?x", "/admin"]),
        ("/admin%23x", &["/admin#x", "/admin"]),
        ("/a%23b%3Fc", &["/a#b?c", "/a", "/a#b"]), // a server that cuts at a query may know no fragment
        ("/a%3Fb%23c", &["/a?b#c", "/a", "/a?b"]),
        ("/img/https://cdn/x", &["/img/https://cdn/x", "/img/https:/cdn/x"]),
        ("/a;x%2Fb/c", &["/a;x/b/c", "/a;x%2Fb/c", "/a/c", "/a", "/a/b/c"]),
        ("/a;x/b%3By", &["/a;x/b;y", "/a;x/b%3By", "/a/b;y", "/a/b%3By", "/a", "/a/b"]),
    ] {
        let (mut found, mut want) = (readings(path), want.to_vec());
        assert_eq!(found[0], want[0], "{path}: decoded once comes first");
        found.sort();
        want.sort();
        assert_eq!(found, want, "{path}");
    }
}

#[test]
fn p03_what_no_two_servers_agree_about_is_refused() {
    for path in [
        "",
        "*",
        "cart",
        "http://shop.example/cart",
        "//evil.example/x",
        "/%2Fevil.example/x",
        "/%252Fevil.example",
        "/a\\b",
        "/a%5cb",
        "/a%5Cb",
        "/a%255cb",
        "/a b",
        "/a\tb",
        "/a\0b",
        "/a\x7fb",
        "/a\nb",
        "/a#b",
        "/café",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%u002e",
        "/a%00",
        "/a%2500",
        "/a%0d%0aSet-Cookie:x",
        "/a%7f",
        "/a%C2%85b",
        // dot segments, in any reading
        "/.",
        "/..",
        "/./a",
        "/a/.",
        "/a/..",
        "/a/../b",
        "/a/%2e%2e/b",
        "/a/.%2E/b",
        "/a/%2e",
        "/a/%252e%252e/b",
        "/a/..%2fb",
        "/a/..%252fb",
        "/a%2f..%2fb",
        "/a/..;/b",
        "/a/..;x=1/b",
        "/a/.;/b",
        "/a/..%3bx/b",
        "/a/..%253bx/b",
        "/a/..%20/b",
        "/a/.%20/b",
        "/a/%20../b",
        "/a/.%20./b",
        "/a/.../b",
        "/a/..%3fx",
        "/a/..%23",
        "/a/..%C2%A0/b",
        "/a;x/../b",
        // ... in that of a server that drops an extension before it decodes
        "/a/%2E..items",
        "/a/%2e..items",
        "/a/.%2E.items",
        "/a/%2E.a.b",
        "/a/%252E..items",
        "/a/%2E.items;x/b",
        // not UTF-8: overlong forms, surrogates, Latin-1
        "/%c0%ae%c0%ae/a",
        "/a%c0%afb",
        "/a%e0%80%afb",
        "/a%ed%a0%80",
        "/caf%E9",
        "/a%25c0%25af",
        // parameters that leave `//` at the start
        "/;x//evil.example",
        "/;x/evil.example",
    ] {
        assert_eq!(parse(path).err(), Some(DenyReason::MalformedPath), "{path:?}");
    }
    let long = format!("/{}", "a".repeat(MAX_LEN));
    assert_eq!(parse(&long).err(), Some(DenyReason::MalformedPath));
    assert!(parse(&long[..MAX_LEN]).is_ok());
}

#[test]
fn p28_readings_have_an_end() {
    let path = "/a;b%3bc%253bd/e%2ff%252fg//h%3fi./j%61%2561 ".trim_end().repeat(100);
    match parse(&path) {
        Ok(read) => assert!(read.readings().len() <= 64),
        Err(reason) => assert_eq!(reason, DenyReason::AmbiguousRequest),
    }
}

#[test]
fn p28_readings_times_bytes_have_an_end() {
    let filled = |start: &str| format!("{start}{}", "a".repeat(MAX_LEN - start.len()));
    let tricks = "/%2561;b%2Fc//d.%20/";
    assert!(readings(tricks).len() > 8, "many readings of a short path are nobody's harm");
    assert_eq!(parse(&filled(tricks)).err(), Some(DenyReason::AmbiguousRequest));
    for start in
        ["/", "/%C3%A9/", "/a%20b/", "/~user/%7Euser/", "/group%2Fname/", "/list;sort=asc/", "/a//b/", "/J.R.R./"]
    {
        assert!(parse(&filled(start)).is_ok(), "{start}: a long path that is ordinary");
    }
}

#[test]
fn letter_case_folds_as_servers_fold_it() {
    for (one, two) in [("/Admin", "/aDMIN"), ("/É", "/é"), ("/\u{212a}ey", "/key"), ("/ſtop", "/STOP"), ("/ß", "/SS")]
    {
        assert_eq!(fold_case(one.as_bytes()), fold_case(two.as_bytes()), "{one} {two}");
    }
    assert!(parse("/caf%C3%89").expect("ordinary").has_capitals());
    assert!(!parse("/caf%C3%A9").expect("ordinary").has_capitals());
}

#[test]
fn patterns_are_decoded_or_refused() {
    for (written, want) in [
        ("/", Ok("/")),
        ("/caf%C3%A9", Ok("/café")),
        ("/%61", Ok("/a")),
        ("/50%25off", Ok("/50%off")),
        ("/a;b", Ok("/a;b")),
        ("cart", Err(PatternProblem::NoSlash)),
        ("/café", Err(PatternProblem::Character('é'))),
        ("/a b", Err(PatternProblem::Character(' '))),
        ("/a?b", Err(PatternProblem::Character('?'))),
        ("/a#b", Err(PatternProblem::Character('#'))),
        ("/a\\b", Err(PatternProblem::Character('\\'))),
        ("/a%5cb", Err(PatternProblem::Encoding)),
        ("/a%", Err(PatternProblem::Encoding)),
        ("/a%ff", Err(PatternProblem::Encoding)),
        ("/a%00", Err(PatternProblem::Encoding)),
        ("/a%2Fb", Err(PatternProblem::EncodedSlash)),
        ("/a%2fb", Err(PatternProblem::EncodedSlash)),
        ("//a", Err(PatternProblem::EmptySegment)),
        ("/a//", Err(PatternProblem::EmptySegment)),
        ("/a/../b", Err(PatternProblem::DotSegment)),
        ("/a/%2e", Err(PatternProblem::DotSegment)),
    ] {
        assert_eq!(parse_pattern(written).as_deref(), want.as_ref().copied(), "{written}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Paths of the pieces that servers differ about.
    fn tricky() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "/", "//", "a", "Admin", ".", "..", ";", ";x=1", "%2f", "%2F", "%252f", "%2e", "%252e", "%3b", "%253b",
            "%20", "%3f", "%23", "%61", "%2561", "%25", "%c3%a9", "%C3%A9", "%5c", "\\", "%00", "+", "=", "b.", " ",
            "%", "%4", "é", "~", "%c0%af",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    /// Servers, from the sloppy to the odd, written without regard to how the code above works.
    fn served(path: &str) -> Vec<String> {
        fn percent(path: &str, keep: &[u8]) -> String {
            let (bytes, mut out, mut at) = (path.as_bytes(), Vec::new(), 0);
            while at < bytes.len() {
                let digits = (bytes[at] == b'%').then(|| path.get(at + 1..at + 3)).flatten();
                let byte = digits.filter(|it| it.bytes().all(|it| it.is_ascii_hexdigit()));
                match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    Some(byte) if !keep.contains(&byte) => {
                        out.push(byte);
                        at += 3;
                    }
                    _ => {
                        out.push(bytes[at]);
                        at += 1;
                    }
                }
            }
            String::from_utf8_lossy(&out).into_owned()
        }
        let strip = |path: &str| -> String {
            let segments: Vec<_> = path.split('/').map(|it| it.split(';').next().unwrap_or_default()).collect();
            segments.join("/")
        };
        let merge = |path: &str| -> String {
            let mut path = path.to_owned();
            while path.contains("//") {
                path = path.replace("//", "/");
            }
            path
        };
        let windows = |path: &str| -> String {
            let segments: Vec<_> = path.split('/').map(|it| it.trim_end_matches(['.', ' '])).collect();
            segments.join("/")
        };
        vec![
            percent(path, b""),
            percent(&percent(path, b""), b""),
            percent(path, b"/").replace("%2f", "%2F"),
            strip(&percent(path, b"")),
            percent(&strip(path), b""),
            merge(&percent(path, b"")),
            merge(&strip(&percent(path, b""))),
            windows(&percent(path, b"")),
            windows(&strip(&percent(&percent(path, b""), b""))),
            merge(&windows(&strip(&percent(&percent(path, b""), b"")))),
            percent(path, b"").split(';').next().unwrap_or_default().to_owned(),
        ]
    }

    proptest! {
        #[test]
        fn p03_every_server_is_among_the_readings(path in tricky()) {
            if let Ok(read) = parse(&path) {
                // What stays encoded may be spelt in either case.
                let readings: Vec<_> = read.readings().iter().map(|it| it.to_ascii_lowercase()).collect();
                for seen in served(&path) {
                    let seen = seen.to_ascii_lowercase().into_bytes();
                    prop_assert!(readings.contains(&seen), "{path} is served as {seen:?}: {read:?}");
                }
            }
        }

        #[test]
        fn p03_no_reading_has_a_dot_segment(path in tricky()) {
            if let Ok(read) = parse(&path) {
                for reading in read.readings() {
                    let text = std::str::from_utf8(reading).expect("UTF-8");
                    prop_assert!(text.starts_with('/') && !text.contains('\\') && !text.chars().any(char::is_control));
                    prop_assert!(text.split('/').all(|it| !matches!(it.trim(), "." | "..")), "{path} reads {text}");
                }
            }
        }

        #[test]
        fn reading_a_path_is_total(path in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = RequestPath::parse(&path);
        }

        #[test]
        fn plain_paths_pass_unchanged(path in "(/[a-z0-9_~!$&'()*+,=:@-]{1,8}){1,6}/?") {
            let read = parse(&path).expect("an ordinary path");
            prop_assert_eq!(read.readings(), [path.as_bytes()]);
        }

        #[test]
        fn any_text_passes_when_it_is_encoded(text in "[^\\x00-\\x20\\x7f-\\xa0/\\\\.%;?#\\p{White_Space}]{1,8}") {
            let encoded: String = text.bytes().map(|it| format!("%{it:02X}")).collect();
            let sent = format!("/{encoded}");
            let read = parse(&sent).expect("encoded text");
            let want = format!("/{text}");
            prop_assert_eq!(read.decoded(), want.as_bytes());
        }
    }
}
