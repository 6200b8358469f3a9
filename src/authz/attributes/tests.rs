use super::*;

type Lines = &'static [(&'static str, &'static str)];

fn read<'a>(
    method: &'a str,
    host: &'a str,
    path: &'a str,
    headers: &[(&'a str, &'a str)],
) -> Result<RequestAttributes<'a>, DenyReason> {
    RequestAttributes::read(RawRequest {
        method: method.as_bytes(),
        host: host.as_bytes(),
        path: path.as_bytes(),
        headers: headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect(),
        ..RawRequest::default()
    })
}

fn get(path: &str) -> Result<RequestAttributes<'_>, DenyReason> {
    read("GET", "shop.example", path, &[])
}

/// A policy in miniature: `/admin` for staff, `/public` for all, a lone DELETE rule, the rest needs a session.
fn rule(reading: &Reading<'_>) -> &'static str {
    let path = if reading.fold_case { path::fold_case(reading.path) } else { reading.path.into() };
    let under = |prefix: &[u8]| path.strip_prefix(prefix).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')));
    match () {
        () if *reading.method == Method::DELETE => "delete",
        () if under(b"/admin") => "admin",
        () if under(b"/public") => "public",
        () => "session",
    }
}

#[test]
fn methods_are_tokens() {
    for (method, want) in [
        ("GET", Ok(())),
        ("PROPFIND", Ok(())),
        ("M-SEARCH", Ok(())),
        ("get", Ok(())),
        ("", Err(DenyReason::MalformedMethod)),
        ("GE T", Err(DenyReason::MalformedMethod)),
        ("GET\r\n", Err(DenyReason::MalformedMethod)),
        ("GÉT", Err(DenyReason::MalformedMethod)),
        ("GET,POST", Err(DenyReason::MalformedMethod)),
    ] {
        assert_eq!(read(method, "shop.example", "/", &[]).map(|_| ()), want, "{method:?}");
    }
    assert_eq!(read("CONNECT", "shop.example:443", "", &[]).err(), Some(DenyReason::MalformedMethod));
    assert!(read("CONNECT", "shop.example", "/chat", &[(":protocol", "websocket")]).is_ok());
}

#[test]
fn p03_a_host_has_one_spelling() {
    for (sent, want) in [
        ("shop.example", Some(("shop.example", None))),
        ("Shop.EXAMPLE", Some(("shop.example", None))),
        ("shop.example:8443", Some(("shop.example", Some(8443)))),
        ("shop.example:65535", Some(("shop.example", Some(65535)))),
        ("localhost:1", Some(("localhost", Some(1)))),
        ("127.0.0.1:80", Some(("127.0.0.1", Some(80)))),
        ("[::1]", Some(("[::1]", None))),
        ("[0:0::1]:8080", Some(("[::1]", Some(8080)))),
        ("[2001:DB8::1]", Some(("[2001:db8::1]", None))),
        ("orders_v2.shop.svc", Some(("orders_v2.shop.svc", None))),
        ("", None),
        (":80", None),
        ("shop.example:", None),
        ("shop.example:0", None),
        ("shop.example:65536", None),
        ("shop.example:080808", None),
        ("shop.example:8a", None),
        ("shop.example:+80", None),
        ("shop.example.", None),
        (".shop.example", None),
        ("shop..example", None),
        ("ada@shop.example", None),
        ("shop%2eexample", None),
        ("shop.éxample", None),
        ("shop .example", None),
        (" shop.example", None),
        ("shop.example, evil.example", None),
        ("shop.example,evil.example", None),
        ("shop.example/x", None),
        ("shop.example?x", None),
        ("shop.example#x", None),
        ("shop.example\\x", None),
        ("*.example", None),
        ("[::1", None),
        ("[::1]x", None),
        ("[::1]:", None),
        ("[fe80::1%25eth0]", None),
        ("[127.0.0.1]", None),
        ("::1", None),
    ] {
        let found = read("GET", sent, "/", &[]).map(|it| (it.host.as_str().to_owned(), it.port));
        let want = want.map(|(host, port)| (host.to_owned(), port)).ok_or(DenyReason::MalformedHost);
        assert_eq!(found, want, "{sent:?}");
    }
    let long = format!("{}.example", "a".repeat(64));
    assert_eq!(read("GET", &long, "/", &[]).err(), Some(DenyReason::MalformedHost));
}

#[test]
fn p03_a_second_host_must_be_the_same() {
    for (headers, want) in [
        (&[("host", "shop.example")][..], Ok(())),
        (&[("host", "SHOP.example:443")], Ok(())),
        (&[("host", "evil.example")], Err(DenyReason::MalformedHost)),
        (&[("Host", "evil.example")], Err(DenyReason::MalformedHost)),
        (&[("host", "shop.example,evil.example")], Err(DenyReason::MalformedHost)),
        (&[("host", "shop.example"), ("host", "evil.example")], Err(DenyReason::MalformedHost)),
        (&[("host", "shop.example"), ("host", "shop.example")], Err(DenyReason::MalformedHost)),
        (&[("host", "")], Err(DenyReason::MalformedHost)),
        (&[(":authority", "shop.example"), (":path", "/"), (":method", "GET"), (":scheme", "https")], Ok(())),
        (&[(":authority", "evil.example")], Err(DenyReason::MalformedRequest)),
        (&[(":path", "/admin")], Err(DenyReason::MalformedRequest)),
        (&[(":method", "POST")], Err(DenyReason::MalformedRequest)),
        (&[("", "x")], Err(DenyReason::MalformedRequest)),
        (&[("a b", "x")], Err(DenyReason::MalformedRequest)),
        (&[("x-session-jwt ", "x")], Err(DenyReason::MalformedRequest)),
        (&[("a\0", "x")], Err(DenyReason::MalformedRequest)),
        // a client's hints are read by nobody here (P4)
        (
            &[("x-forwarded-host", "evil.example"), ("x-forwarded-proto", "http"), ("forwarded", "host=evil.example")],
            Ok(()),
        ),
    ] {
        assert_eq!(read("GET", "shop.example", "/", headers).map(|_| ()), want, "{headers:?}");
    }
}

#[test]
fn p03_p07_a_value_stays_one_line() {
    for (value, want) in [
        ("a=1; b=\"x y\"\t; c=\u{e9}\u{1}", Ok(())),
        ("", Ok(())),
        ("a=1\r\nx-session-jwt: forged", Err(DenyReason::MalformedRequest)),
        ("a=1\nx-session-jwt: forged", Err(DenyReason::MalformedRequest)),
        ("a=1\rx-session-jwt: forged", Err(DenyReason::MalformedRequest)),
        ("a=1\0", Err(DenyReason::MalformedRequest)),
    ] {
        for name in ["cookie", "x-anything"] {
            assert_eq!(read("GET", "shop.example", "/", &[(name, value)]).map(|_| ()), want, "{value:?}");
        }
    }
}

#[test]
fn queries_are_kept_as_sent() {
    for (path, want) in [
        ("/?q=a%20b", Ok("q=a%20b")),
        ("/?", Ok("")),
        ("/", Ok("")),
        ("/?a=1?b=2", Ok("a=1?b=2")),
        ("/?next=//evil.example/../x", Ok("next=//evil.example/../x")),
        ("/?q=caf\u{e9}", Ok("q=caf\u{e9}")),
        ("/?{\"a\":[1]}", Ok("{\"a\":[1]}")),
        ("/?a b", Err(DenyReason::MalformedPath)),
        ("/?a\r\nb", Err(DenyReason::MalformedPath)),
        ("/?a#b", Err(DenyReason::MalformedPath)),
        ("/a#b?c", Err(DenyReason::MalformedPath)),
        ("?a=/x", Err(DenyReason::MalformedPath)),
    ] {
        let found = get(path).map(|it| it.query);
        assert_eq!(found.as_deref(), want.map(str::as_bytes).as_ref().copied(), "{path:?}");
    }
}

#[test]
fn p03_ordinary_odd_looking_requests_pass_unchanged() {
    for (path, want) in [
        ("/projects/group%2Fname", "session"),
        ("/img/https://cdn.example/x.png", "session"),
        ("/img/https%3A%2F%2Fcdn.example%2Fx.png", "session"),
        ("/list;sort=asc", "session"),
        ("/list;jsessionid=1;v=2/item;v=3", "session"),
        ("/50%25off", "session"),
        ("/caf%C3%A9", "session"),
        ("/Shop/Cart", "session"),
        ("/a%20file.txt", "session"),
        ("/wiki/C%2B%2B_(language)", "session"),
        ("/compare/main...feature", "session"),
        ("/.well-known/openid-configuration", "session"),
        ("/a//b", "session"),
        ("/note%20", "session"),
        ("/J.R.R.", "session"),
        ("/search/%3Fwhat%3F", "session"),
        ("/%E6%97%A5%E6%9C%AC", "session"),
        ("/public/img/https://cdn.example/x.png", "public"),
        ("/public/a%2Fb", "public"),
        ("/public/%61", "public"),
        ("/public/x;v=1", "public"),
        ("/admin/users/caf%C3%A9", "admin"),
        ("/admin/users/a%2Fb;x=1//c.", "admin"),
    ] {
        let request = get(path).expect(path);
        assert_eq!(request.path.as_sent(), path.as_bytes());
        assert_eq!(request.judge(LetterCase::Unambiguous, rule), Ok(want), "{path}");
    }
}

#[test]
fn p03_requests_that_servers_would_judge_differently_are_refused() {
    for path in [
        "/%61dmin",
        "/%2561dmin",
        "/Admin",
        "/ADMIN/x",
        "/%41dmin",
        "/public//x/../../admin",
        "/public/..%2fadmin",
        "/public%2fx",
        "/x%2fadmin/../admin",
        "/admin;x",
        "/admin;x/users",
        "/admin%3bx",
        "/admin%253bx",
        "/admin.",
        "/admin./users",
        "/admin%20",
        "/admin%20/users",
        "/admin%C2%A0/users",
        "/admin%3fx",
        "/admin%23",
        "/admin%2fusers",
        "/admin%252fusers",
        "/;x=1/admin",
        "/%20/admin",
        "/%20admin",
        "/%C2%A0admin/users",
        "/%20admin%20",
        "/admın",
        "/adm%C4%B1n", // dotless i is I in capitals
        "/public;x/../admin",
        "/%2e%2e/admin",
        "/public/%c0%ae%c0%ae/admin",
        "/public\\..\\admin",
    ] {
        let outcome = get(path).and_then(|request| request.judge(LetterCase::Unambiguous, rule).map(str::to_owned));
        assert!(
            matches!(outcome, Err(DenyReason::AmbiguousRequest | DenyReason::MalformedPath)),
            "{path}: {outcome:?}"
        );
    }
}

#[test]
fn letter_case_counts_where_a_policy_says_so() {
    let request = get("/Admin").expect("ordinary");
    assert_eq!(request.judge(LetterCase::Unambiguous, rule), Err(DenyReason::AmbiguousRequest));
    assert_eq!(request.judge(LetterCase::Sensitive, rule), Ok("session"));
    // ... and nothing else does.
    let request = get("/admin.").expect("ordinary");
    assert_eq!(request.judge(LetterCase::Sensitive, rule), Err(DenyReason::AmbiguousRequest));
    for (path, patterns, want) in [
        ("/admin", false, LetterCase::Sensitive),
        ("/Admin", false, LetterCase::Unambiguous),
        ("/%41dmin", false, LetterCase::Unambiguous),
        ("/admin", true, LetterCase::Unambiguous),
    ] {
        assert_eq!(LetterCase::Unambiguous.needed(&get(path).expect(path), patterns), want, "{path}");
    }
    let overridden = read("GET", "shop.example", "/a", &[("x-rewrite-url", "/Admin")]).expect("ordinary");
    assert_eq!(LetterCase::Unambiguous.needed(&overridden, false), LetterCase::Unambiguous);
}

#[test]
fn p04_overrides_must_meet_the_same_rule() {
    let ambiguous = Err(DenyReason::AmbiguousRequest);
    let rows: [(&str, &str, Lines, Result<&str, DenyReason>); 37] = [
        ("POST", "/x", &[("x-http-method-override", "PUT")], Ok("session")),
        ("POST", "/x", &[("x-http-method-override", "DELETE")], ambiguous),
        ("POST", "/x", &[("X-HTTP-Method-Override", "DELETE")], ambiguous),
        ("POST", "/x", &[("x_http_method_override", "DELETE")], ambiguous),
        ("POST", "/x", &[("x-http-method", "DELETE")], ambiguous),
        ("POST", "/x", &[("x.method.override", "delete")], ambiguous),
        ("POST", "/x", &[("x-http-method-override", " DELETE ")], ambiguous),
        ("POST", "/x", &[("x-http-method-override", "PUT,DELETE")], ambiguous),
        ("POST", "/x", &[("x-http-method-override", "PUT"), ("x-http-method-override", "DELETE")], ambiguous),
        ("POST", "/x", &[("x-http-method-override", "")], ambiguous),
        ("delete", "/x", &[], ambiguous), // some frameworks put methods into capitals
        ("patch", "/x", &[], Ok("session")),
        ("GET", "/x", &[("x-original-url", "/x?y")], Ok("session")),
        ("GET", "/x", &[("x-original-url", "/admin")], ambiguous),
        ("GET", "/x", &[("X_Rewrite_Url", "/admin")], ambiguous),
        ("GET", "/x", &[("x-rewrite-url", "/%61dmin")], ambiguous),
        ("GET", "/x", &[("x-original-url", "https://shop.example/y")], Ok("session")),
        ("GET", "/x", &[("x-original-url", "https://shop.example/admin")], ambiguous),
        ("GET", "/x", &[("x-original-url", "https://evil.example/y")], ambiguous),
        ("GET", "/x", &[("x-original-url", "/x,/admin")], ambiguous), // two lines, joined
        ("GET", "/x", &[("x-original-url", "/x,y")], Ok("session")),
        ("GET", "/x", &[("x-original-url", "../admin")], ambiguous),
        ("GET", "/x", &[("x-original-url", "/y"), ("x-original-url", "/admin")], ambiguous),
        ("GET", "/x", &[("x-original-url", "/y"), ("x_original.url", "/y")], ambiguous),
        ("POST", "/x?_method=PUT", &[], Ok("session")),
        ("POST", "/x?_method=DELETE", &[], ambiguous),
        ("POST", "/x?a=1&_method=delete", &[], ambiguous),
        ("POST", "/x?%5fmethod=%44ELETE", &[], ambiguous),
        ("POST", "/x?_method=a%20b", &[], ambiguous),
        ("POST", "/x?_method=A&_method=B&_method=C&_method=D&_method=E", &[], ambiguous),
        ("GET", "/x?_method=DELETE", &[], Ok("session")), // read with POST alone
        ("POST", "/x?a=1%26_method=DELETE", &[], ambiguous),
        ("POST", "/x%3F_method=DELETE", &[], ambiguous),
        ("POST", "/x%253F_method=delete", &[], ambiguous),
        ("POST", "/x%3F_method=DELETE%23x", &[], ambiguous),
        ("POST", "/x", &[("x-original-url", "/x%3F_method=DELETE")], ambiguous),
        ("POST", "/x%3F_method=PUT", &[], Ok("session")),
    ];
    for (method, path, headers, want) in rows {
        let outcome =
            read(method, "shop.example", path, headers).and_then(|it| it.judge(LetterCase::Unambiguous, rule));
        assert_eq!(outcome, want, "{method} {path} {headers:?}");
    }
}

#[test]
fn p28_the_readings_of_a_request_are_bounded() {
    let path = format!("/C//d/%2Ff/g%253Bh/l;m%3Bn/o%20/{}", "%C3%A9".repeat(600));
    let calls = std::cell::Cell::new(0);
    let judge = |headers: &[(&str, &str)]| {
        calls.set(0);
        let choose = |_: &Reading<'_>| calls.set(calls.get() + 1);
        read("GET", "shop.example", &path, headers).and_then(|it| it.judge(LetterCase::Unambiguous, choose))
    };
    let aliases = |name: &str, number: usize| -> Vec<String> {
        let signs = ["-", "_", ".", "!", "~", "^", "|", "*", "+"];
        let mut names = Vec::new();
        for (one, two) in signs.iter().flat_map(|one| signs.map(|two| (one, two))).take(number) {
            names.push(name.replacen('-', one, 1).replacen('-', two, 1));
        }
        names
    };
    let (urls, methods) = (aliases("x-original-url", 8), aliases("x-http-method-override", 78));
    let numbered: Vec<_> = (0..78).map(|it| format!("M{it}")).collect();
    let mut worst: Vec<_> = urls.iter().map(|name| (name.as_str(), path.as_str())).collect();
    worst.extend(methods.iter().zip(&numbered).map(|(name, value)| (name.as_str(), value.as_str())));
    assert_eq!(judge(&worst), Err(DenyReason::AmbiguousRequest));
    assert_eq!(calls.get(), 0, "refused before any rule is looked at");
    // What no line forbids by itself stays within the bound.
    for headers in [
        &[][..],
        &[("x-original-url", path.as_str())],
        &[
            ("x-original-url", &path),
            ("x-rewrite-url", "/a//b;c%2Fd"),
            ("x-http-method", "PUT"),
            ("x-method-override", "a"),
        ],
    ] {
        let _ = judge(headers);
        assert!(calls.get() <= MOST_READINGS + 1, "{} calls", calls.get());
    }
    // The same target again is no further reading.
    let _ = read("GET", "shop.example", "/A//b", &[("x-original-url", "/A//b")]).and_then(|it| {
        calls.set(0);
        it.judge(LetterCase::Unambiguous, |_| calls.set(calls.get() + 1))
    });
    assert_eq!(calls.get(), 5);
}

#[test]
fn p28_the_bytes_that_rules_are_asked_about_are_bounded() {
    let ways: Vec<String> =
        ["", "//b", ";c", "%2Fd", "%20", "%61", "%2562", ".", "//b;c", "//b;c%2Fd%20", ";c%2Fd%2561//."]
            .iter()
            .flat_map(|trick| {
                [64, 500, 1000, 2000, 4000, 8000].map(|filler| format!("/A{trick}/{}", "a".repeat(filler)))
            })
            .collect();
    for path in &ways {
        for headers in [&[][..], &[("x-http-method", "PUT")], &[("x-original-url", &**path), ("x-http-method", "a")]] {
            let bytes = std::cell::Cell::new(0);
            let choose = |reading: &Reading<'_>| bytes.set(bytes.get() + reading.path.len());
            let judged =
                read("GET", "shop.example", path, headers).and_then(|it| it.judge(LetterCase::Unambiguous, choose));
            // The path as sent is asked about once more.
            assert!(bytes.get() <= MOST_BYTES + path::MAX_LEN, "{} bytes of {}: {judged:?}", bytes.get(), &path[..20]);
        }
    }
    // The longest path that is ordinary passes, in any case.
    let longest = format!("/A{}", "a".repeat(path::MAX_LEN - 2));
    assert_eq!(get(&longest).and_then(|it| it.judge(LetterCase::Unambiguous, |_| ())), Ok(()));
}

#[test]
fn fields_hold_alike_from_lines_and_joined() {
    let holds = |headers: &[(&str, &str)]| {
        let request = read("GET", "shop.example", "/", headers).expect("ordinary");
        request.headers.holds(b"x-tenant", |value| value == b"gold")
    };
    let rows: [(Lines, Holds); 13] = [
        (&[("x-tenant", "gold")], Holds::Yes),
        (&[("X-Tenant", "gold")], Holds::Yes),
        (&[("x-tenant", "iron")], Holds::No),
        (&[], Holds::No),
        (&[("x-tenant", "")], Holds::No),
        (&[("x-tenant", "iron, gold")], Holds::No), // one value with a comma
        (&[("x-tenant", "iron,gold")], Holds::Unclear),
        (&[("x-tenant", "iron"), ("x-tenant", "gold")], Holds::Unclear),
        (&[("x-tenant", "gold"), ("x-tenant", "gold")], Holds::Unclear),
        (&[("x-tenant", "iron"), ("x-tenant", "zinc")], Holds::No),
        (&[("x_tenant", "gold")], Holds::Unclear),
        (&[("x_tenant", "iron")], Holds::No),
        (&[("x-tenant", "gold"), ("x.tenant", "iron")], Holds::Unclear),
    ];
    for (headers, want) in rows {
        assert_eq!(holds(headers), want, "{headers:?}");
    }
    let agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0";
    let request = read("GET", "shop.example", "/", &[("user-agent", agent), ("accept", "text/html,*/*;q=0.8")]);
    let headers = request.expect("ordinary").headers;
    assert_eq!(headers.holds(b"user-agent", |value| value.ends_with(b"Chrome/140.0")), Holds::Yes);
    assert_eq!(headers.holds(b"accept", |value| value.starts_with(b"text/html")), Holds::Yes);
}

#[test]
fn what_several_servers_say() {
    assert_eq!(Holds::of([]), Holds::No);
    assert_eq!(Holds::of([true, true]), Holds::Yes);
    assert_eq!(Holds::of([false, false]), Holds::No);
    assert_eq!(Holds::of([true, false]), Holds::Unclear);
    let all = [Holds::Yes, Holds::No, Holds::Unclear];
    for (one, two) in all.into_iter().flat_map(|one| all.map(|two| (one, two))) {
        let want = match (one, two) {
            (Holds::No, _) | (_, Holds::No) => Holds::No,
            (Holds::Yes, Holds::Yes) => Holds::Yes,
            _ => Holds::Unclear,
        };
        assert_eq!(one.and(|| two), want, "{one:?} and {two:?}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..most)
    }

    proptest! {
        #[test]
        fn reading_is_total(
            method in bytes(8), host in bytes(24), path in bytes(48),
            headers in prop::collection::vec((bytes(12), bytes(24)), 0..6),
        ) {
            let headers = headers.iter().map(|(name, value)| (&name[..], &value[..])).collect();
            let raw = RawRequest { method: &method, host: &host, path: &path, headers, ..RawRequest::default() };
            if let Err(reason) = RequestAttributes::read(raw) {
                prop_assert_eq!(reason.class(), crate::authz::reason::RefusalClass::BadRequest);
            }
        }

        #[test]
        fn a_host_that_is_read_reads_as_itself(host in "[A-Za-z0-9._:\\[\\]@%-]{0,24}") {
            if let Some((host, _)) = Host::parse(host.as_bytes()) {
                let again = Host::parse(host.as_str().as_bytes());
                prop_assert_eq!(again, Some((host.clone(), None)));
            }
        }

        /// Whatever a rule looks at: a request passes only when all its readings give the same answer.
        #[test]
        fn p03_a_request_is_refused_or_all_readings_agree(
            path in "(/|//|;|%2f|%252f|%3b|\\.|%20|%61|a|b|B|x){0,10}",
            rules in prop::collection::vec("(/|a|b|x){1,6}", 1..4),
            folds: bool,
        ) {
            let path = format!("/{path}");
            let Ok(request) = get(&path) else { return Ok(()) };
            let choose = |reading: &Reading<'_>| {
                let path = if reading.fold_case { path::fold_case(reading.path) } else { reading.path.into() };
                rules.iter().position(|rule| path.starts_with(rule.as_bytes()))
            };
            let letter_case = if folds { LetterCase::Unambiguous } else { LetterCase::Sensitive };
            let query = Query { sent: b"", in_path: &[] };
            let answers: Vec<_> = request.path.readings().iter().flat_map(|path| {
                let as_sent = request.reading(&request.method, path, query, None);
                let in_small = path::fold_case(path);
                let folded = request.reading(&request.method, path, query, Some(&in_small));
                std::iter::once(choose(&as_sent)).chain(folds.then(|| choose(&folded)))
            }).collect();
            match request.judge(letter_case, choose) {
                Ok(answer) => prop_assert!(answers.iter().all(|it| *it == answer)),
                Err(reason) => {
                    prop_assert_eq!(reason, DenyReason::AmbiguousRequest);
                    prop_assert!(answers.iter().any(|it| *it != answers[0]));
                }
            }
        }

        #[test]
        fn both_encodings_give_the_same_answer(values in prop::collection::vec("(gold|iron|,|, | |x){0,3}", 1..4)) {
            let lines: Vec<_> = values.iter().map(|it| ("x-tenant", it.trim())).collect();
            let joined = lines.iter().map(|(_, value)| *value).collect::<Vec<_>>().join(",");
            let raw = read("GET", "shop.example", "/", &lines).expect("ordinary").headers;
            let map = read("GET", "shop.example", "/", &[("x-tenant", &joined)]).expect("ordinary").headers;
            let is_gold = |value: &[u8]| value == b"gold";
            prop_assert_eq!(raw.holds(b"x-tenant", is_gold), map.holds(b"x-tenant", is_gold));
            prop_assert_eq!(raw.get("x-tenant"), map.get("x-tenant"));
        }
    }
}
