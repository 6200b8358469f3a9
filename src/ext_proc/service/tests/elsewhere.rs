//! A JWT that is not where the rule looks, and stands in plain sight: it does not leave (P11).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::house::{House, Sent, jwt};

/// What the body says around the JWT of an exchange by `data.token`, which has `{J}` in its place.
async fn refuses_bodies(bodies: &[(&str, &str)]) {
    let house = House::new();
    let (first, second) = (jwt("ada"), jwt("bob"));
    let (head, rest) = second.split_once('.').unwrap();
    let header = String::from_utf8(URL_SAFE_NO_PAD.decode(head).unwrap()).unwrap();
    let spaced = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(format!(" {header}")));
    let escaped = second.replace('.', "\\u002e");
    for (what, body) in bodies {
        let body = body.replace("{J}", &first).replace("{J2}", &second);
        let body = body.replace("{SPACED}", &spaced).replace("{PADDED}", &format!("{head}=.{rest}"));
        let body = body.replace("{ESCAPED}", &escaped);
        let before = house.counted("unreadable_body");
        let sent = Sent { handle: house.handle("by-body", None), body: Some(&body), buffered: true, ..Sent::default() };
        let got = house.response(sent).await;
        assert_eq!(got.instead, Some(502), "{what}: {got:?}");
        assert_eq!(house.counted("unreadable_body"), before + 1, "{what}");
        let shown = format!("{got:?}");
        assert!(!shown.contains(&first[..40]) && !shown.contains(&rest[..40]), "{what}");
    }
    assert_eq!((house.sessions_of("ada").await, house.sessions_of("bob").await), (0, 0));
}

#[tokio::test]
async fn p11_a_second_jwt_in_the_body_keeps_the_first_from_being_swapped() {
    refuses_bodies(&[
        ("another member", r#"{"data":{"token":"{J}","id_token":"{J2}"}}"#),
        ("the same again", r#"{"data":{"token":"{J}"},"copy":"{J}"}"#),
        ("before it", r#"{"copy":"{J}","data":{"token":"{J}"}}"#),
        ("another letter case", r#"{"data":{"token":"{J}","Token":"{J2}"}}"#),
        ("a name", r#"{"data":{"token":"{J}","{J2}":1}}"#),
        ("within a text", r#"{"data":{"token":"{J}"},"url":"https://shop.example/#t={J2}&x=1"}"#),
    ])
    .await;
}

#[tokio::test]
async fn p11_a_second_jwt_is_seen_in_other_spellings() {
    refuses_bodies(&[
        ("white space in its header", r#"{"data":{"token":"{J}"},"copy":"{SPACED}"}"#),
        ("padding", r#"{"data":{"token":"{J}"},"copy":"{PADDED}"}"#),
        ("escapes", r#"{"data":{"token":"{J}"},"copy":"{ESCAPED}"}"#),
        ("escapes before it", r#"{"copy":"{ESCAPED}","data":{"token":"{J}"}}"#),
        ("none where the rule looks", r#"{"copy":"{ESCAPED}"}"#),
        ("none where the rule looks, with white space", r#"{"copy":"{SPACED}"}"#),
    ])
    .await;
}

#[tokio::test]
async fn p11_a_jwt_elsewhere_in_the_headers_does_not_leave() {
    let house = House::new();
    let (good, other) = (jwt("ada"), jwt("bob"));
    let (bearer, fragment) = (format!("Bearer {other}"), format!("/#access_token={other}&token_type=bearer"));
    let (cookie, attribute) = (format!("x={other}"), format!("app_jwt=; Path=/, app_jwt={other}"));
    let (taken, again) = (format!("app_jwt={good}"), format!("app_jwt=; Path=/{other}"));
    let body = format!(r#"{{"data":{{"token":"{good}"}}}}"#);
    let plain = Sent { body: Some(&body), buffered: true, ..Sent::default() };
    for (name, value) in [
        ("authorization", &*bearer),
        ("location", &fragment),
        ("set-cookie", &cookie),
        ("set-cookie", &attribute),
        ("set-cookie", &again),
        ("x-other", &other),
        ("x-login-jwt2", &other),
    ] {
        let line = (name, value);
        for (rule, headers) in [
            ("by-body", vec![line]),
            ("by-header", vec![line]),
            ("by-header", vec![("x-login-jwt", &*good), line]),
            ("by-header", vec![line, ("x-login-jwt", "")]),
            ("by-cookie", vec![line]),
            ("by-cookie", vec![line, ("set-cookie", &taken)]),
            ("by-cookie", vec![("set-cookie", &taken), line]),
        ] {
            let before = house.counted("invalid_jwt");
            let sent = Sent { handle: house.handle(rule, None), headers: &headers, ..plain.clone() };
            let got = house.response(sent).await;
            let what = format!("{rule} {headers:?}");
            assert_eq!(got.instead, Some(502), "{what}: {got:?}");
            assert_eq!(house.counted("invalid_jwt"), before + 1, "{what}");
            assert!(!format!("{got:?}").contains(&other[..40]), "{what}");
        }
    }
    assert_eq!((house.sessions_of("ada").await, house.sessions_of("bob").await), (0, 0));
}

#[tokio::test]
async fn p11_a_grpc_message_that_may_hide_a_jwt_does_not_leave() {
    let house = House::new();
    let grpc = [("content-type", "application/grpc")];
    for (what, body, passes) in [
        ("nothing", "", true),
        ("an empty message", "\0\0\0\0\0", true),
        ("two messages", "\0\0\0\0\u{2}hi\0\0\0\0\0", true),
        ("a compressed message", "\u{1}\0\0\0\u{2}hi", false),
        ("one behind another", "\0\0\0\0\0\u{1}\0\0\0\0", false),
        ("another flag", "\u{2}\0\0\0\u{2}hi", false),
        ("a part of a message", "\0\0\0\0\u{3}hi", false),
        ("a part of a prefix", "\0\0\0", false),
    ] {
        let sent = Sent { handle: house.handle("by-body", None), headers: &grpc, body: Some(body), buffered: true };
        let got = house.response(sent).await;
        assert_eq!(got.instead.is_none(), passes, "{what}: {got:?}");
        assert!(!passes || got.body.as_deref() == Some(body), "{what}");
    }
    assert_eq!(house.counted("unreadable_body"), 5);
}

#[tokio::test]
async fn what_is_not_a_jwt_or_not_read_passes_beside_one_that_is_swapped() {
    let house = House::new();
    let (good, other) = (jwt("ada"), jwt("bob"));
    let copy = format!(r#"{{"copy":"{other}"}}"#);
    // A session of Flask's: three parts, of which the first is JSON.
    let flask = "session=eyJfZnJlc2giOmZhbHNlfQ.aMxYzQ.c2lnbmF0dXJl; HttpOnly; Path=/";
    let headers = [
        ("x-login-jwt", &*good),
        ("set-cookie", flask),
        ("location", "https://example.com.au/"),
        ("x-session-jwt", &other), // ours, and taken off
    ];
    // A body is read only where the rule looks in it.
    let sent =
        Sent { handle: house.handle("by-header", None), headers: &headers, body: Some(&copy), ..Sent::default() };
    let got = house.response(sent).await;
    assert_eq!((got.instead, got.body.as_deref()), (None, Some(&*copy)));
    assert_eq!(got.set_cookies, [flask]);
    assert_eq!((got.header("location"), got.header("x-session-jwt")), (Some("https://example.com.au/"), None));
    assert_eq!(house.sessions_of("ada").await, 1);
}
