use super::*;

fn path(dotted: &str) -> Vec<Box<str>> {
    dotted.split('.').map(Into::into).collect()
}

fn replaced(body: &str, dotted: &str) -> Result<Option<String>, Unreadable> {
    let found = find(&Bytes::copy_from_slice(body.as_bytes()), &path(dotted), false)?;
    Ok(found.map(|found| String::from_utf8(found.replace("ckr_\"1\"").to_vec()).unwrap()))
}

#[test]
fn the_field_is_replaced_and_nothing_else() {
    for (body, dotted, want) in [
        (r#"{"access_token":"jwt"}"#, "access_token", r#"{"access_token":"ckr_\"1\""}"#),
        (
            "{ \"a\" : 1e5,\n\t\"t\"  :\"j\\u0077t\" , \"b\":[ ] }\n",
            "t",
            "{ \"a\" : 1e5,\n\t\"t\"  :\"ckr_\\\"1\\\"\" , \"b\":[ ] }\n",
        ),
        (
            r#"{"data":{"x":{"t":"no"},"t":"jwt"},"t":"other"}"#,
            "data.t",
            r#"{"data":{"x":{"t":"no"},"t":"ckr_\"1\""},"t":"other"}"#,
        ),
        (r#"{"\u0074":"jwt"}"#, "t", r#"{"\u0074":"ckr_\"1\""}"#),
        ("\u{feff}{\"t\":\"jwt\"}", "t", "\u{feff}{\"t\":\"ckr_\\\"1\\\"\"}"),
        (r#"{"é":{"t":"jwt"}}"#, "é.t", r#"{"é":{"t":"ckr_\"1\""}}"#),
    ] {
        assert_eq!(replaced(body, dotted), Ok(Some(want.to_owned())), "{body}");
    }
}

#[test]
fn the_text_is_read_without_its_escapes() {
    let body = Bytes::from_static(br#"{"t":"a\u002eb\/c"}"#);
    assert_eq!(find(&body, &path("t"), false).unwrap().unwrap().text(), "a.b/c");
}

#[test]
fn what_has_no_such_text_passes_as_it_is() {
    for body in [
        "",
        " ",
        "null",
        "<html>",
        "[{\"t\":\"jwt\"}]",
        "\"t\"",
        "{}",
        "{\"T\":\"jwt\"}",
        "{\"t\":null}",
        "{\"t\":\"\"}",
        "{\"d\":{\"t\":\"jwt\"}}",
    ] {
        assert_eq!(replaced(body, "t"), Ok(None), "{body}");
    }
    assert_eq!(replaced("{\"d\":\"jwt\"}", "d.t"), Ok(None));
}

#[test]
fn p11_what_only_lenient_clients_read_is_refused() {
    for body in [
        &b"{"[..],
        b"{\"t\":\"jwt\"",
        b"{\"t\":\"jwt\"} {}",
        b"{\"t\":\"jwt\"}\n{\"t\":\"jwt\"}",
        b"{\"t\":\"jwt\",}",
        b"{'t':'jwt'}",
        b"{t:\"jwt\"}",
        b"{\"t\":\"jwt\"/**/}",
        b"{\"u\":\"\xff\",\"t\":\"jwt\"}",
        b"{\"t\":\"\xff\"}",
        b"{\"t\":7}",
        b"{\"t\":{\"t\":\"jwt\"}}",
        b"{\"t\":[\"jwt\"]}",
        b"{\"t\":\"\\ud800\"}",
        b"{\"\\ud800\":1,\"t\":\"jwt\"}",
        b"\xff\xfe{\0\"\0t\0",
        b"\xfe\xff\0{\0\"\0t",
        b"{\0\"\0t\0\"\0",
        b"\0{\0\"\0t\0\"",
    ] {
        let found = find(&Bytes::copy_from_slice(body), &path("t"), false);
        assert!(matches!(found, Err(Unreadable)), "{}", String::from_utf8_lossy(body));
    }
    // What is said to be JSON must be.
    for body in [&b")]}',\n{\"t\":\"jwt\"}"[..], b"callback({\"t\":\"jwt\"})", b"\x1e{\"t\":\"jwt\"}", b"nonsense"] {
        let body = Bytes::copy_from_slice(body);
        assert!(matches!(find(&body, &path("t"), true), Err(Unreadable)), "{}", String::from_utf8_lossy(&body));
        assert!(matches!(find(&body, &path("t"), false), Ok(None)));
    }
    // Other kinds of bodies begin with zeros too.
    assert!(matches!(find(&Bytes::from_static(b"\0\0\x01\0"), &path("t"), false), Ok(None)));
    for nothing in [&b""[..], b" \n", b"null", b"[]"] {
        assert!(matches!(find(&Bytes::copy_from_slice(nothing), &path("t"), true), Ok(None)));
    }
}

#[test]
fn a_field_that_is_there_twice_is_refused() {
    for (body, dotted) in [
        (r#"{"t":"a","t":"b"}"#, "t"),
        (r#"{"t":"a","\u0074":"b"}"#, "t"),
        (r#"{"t":"a","t":null}"#, "t"),
        (r#"{"d":{"t":"a"},"d":{}}"#, "d.t"),
        (r#"{"d":{"t":"a","t":"b"}}"#, "d.t"),
    ] {
        assert_eq!(replaced(body, dotted), Err(Unreadable), "{body}");
    }
    // Another member may be there as often as it likes.
    assert!(replaced(r#"{"u":1,"u":2,"t":"a"}"#, "t").unwrap().is_some());
}

#[test]
fn p32_an_object_over_the_bound_is_refused_and_other_bodies_are_not_looked_into() {
    let fill = "x".repeat(MAX_BODY);
    assert_eq!(replaced(&format!(r#"{{"u":"{fill}","t":"jwt"}}"#), "t"), Err(Unreadable));
    assert_eq!(replaced(&format!("<html>{fill}"), "t"), Ok(None));
    let exact = format!(r#"{{"u":"{}","t":"jwt"}}"#, "x".repeat(MAX_BODY - r#"{"u":"","t":"jwt"}"#.len()));
    assert!(replaced(&exact, "t").unwrap().is_some());
}

#[test]
fn p32_deep_nesting_is_no_recursion() {
    let deep = format!(r#"{{"u":{}{},"t":"jwt"}}"#, "[".repeat(30_000), "]".repeat(30_000));
    assert!(replaced(&deep, "t").is_ok());
}

#[test]
fn p31_what_was_found_is_not_shown() {
    let found = find(&Bytes::from_static(b"{\"t\":\"CANARY\"}"), &path("t"), false).unwrap().unwrap();
    assert_eq!(format!("{found:?}"), "Found { at: 5..13, .. }");
}

mod properties {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 5, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::from),
                vec(("[a-d]|\\PC{0,3}", inner), 0..4).prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// The new body is the old one but for the field, read by a reader that knows nothing of places.
        #[test]
        fn a_reader_sees_the_new_text_and_all_else_as_before(
            body in json(), text in ".{1,40}", new in ".{0,40}", pretty: bool, nested: bool,
        ) {
            let mut body = match body { Value::Object(members) => Value::Object(members), other => json!({ "a": other }) };
            let place = if nested { json!({ "deep": { "t": text } }) } else { json!(text) };
            body["field"] = place;
            let written = if pretty { serde_json::to_vec_pretty(&body) } else { serde_json::to_vec(&body) }.unwrap();
            let dotted = if nested { "field.deep.t" } else { "field" };
            let found = find(&Bytes::from(written), &path(dotted), true).unwrap().unwrap();
            prop_assert_eq!(found.text(), text);
            let mut read: Value = serde_json::from_slice(&found.replace(&new)).unwrap();
            let at = if nested { read.pointer_mut("/field/deep/t") } else { read.pointer_mut("/field") };
            let old = if nested { body.pointer_mut("/field/deep/t") } else { body.pointer_mut("/field") };
            prop_assert_eq!(at.unwrap().take(), json!(new));
            old.unwrap().take();
            prop_assert_eq!(read, body);
        }

        #[test]
        fn any_bytes_are_read_or_refused(body in vec(any::<u8>(), 0..200)) {
            let body = Bytes::from([&b"{"[..], &body].concat());
            if let Ok(Some(found)) = find(&body, &path("a"), true) {
                prop_assert!(serde_json::from_slice::<Value>(&found.replace("x")).is_ok());
            }
        }

        #[test]
        fn what_is_replaced_by_itself_is_what_it_was(text in "[ -~]{1,40}", before in "[ \n]{0,3}", after in "[ \n]{0,3}") {
            let string = Value::from(text.clone()).to_string();
            let body = Bytes::from(format!("{before}{{{after}\"t\"{before}:{after}{string}{before}}}{after}"));
            prop_assert_eq!(find(&body, &path("t"), false).unwrap().unwrap().replace(&text), body);
        }
    }
}
