use serde_json::{Value, json};

use super::*;
use crate::authz::policy::Fingerprint;

fn grants(writable: &[&str], create: bool, end: bool) -> Grants {
    let writable = writable.iter().map(|claim| (*claim).into()).collect();
    Grants { writable, create, end, exchange: None, fingerprint: Fingerprint([0; 8]) }
}

fn read(headers: &[(&str, &str)], grants: &Grants) -> Wish {
    Wish::read(headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())), grants)
}

fn check(headers: &[(&str, &str)], grants: &Grants, want: Result<Option<Command>, CommandRefusal>) {
    let got = read(headers, grants);
    let want = match want {
        Ok(command) => Wish { command, refused: None },
        Err(refusal) => Wish { command: None, refused: Some(refusal) },
    };
    assert_eq!(got, want, "{headers:?}");
}

fn patch(value: Value) -> Result<Option<Command>, CommandRefusal> {
    Ok(Some(Command::Update(serde_json::value::to_raw_value(&value).unwrap())))
}

#[test]
fn a_response_without_commands_wishes_nothing() {
    let all = grants(&["cart"], false, true);
    for headers in [
        &[][..],
        &[("content-type", "text/html"), ("set-cookie", "a=1")],
        // Other spellings are taken off, and are no commands.
        &[("x_session_end", "current"), ("x.session.update", "{}"), ("x-session-jwt", "e30")],
    ] {
        check(headers, &all, Ok(None));
    }
}

#[test]
fn p22_an_update_says_only_claims_that_the_rule_lists() {
    let cart = grants(&["cart", "theme"], false, false);
    for (value, want) in [
        (r#"{"cart":[1,2]}"#, patch(json!({"cart": [1, 2]}))),
        (r#" {"cart":null,"theme":"dark"} "#, patch(json!({"cart": null, "theme": "dark"}))),
        ("{}", patch(json!({}))),
        (r#"{"cart":{"sid":"another"}}"#, patch(json!({"cart": {"sid": "another"}}))),
        (r#"{"sid":"another"}"#, Err(CommandRefusal::ClaimNotWritable)),
        (r#"{"cart":1,"role":"admin"}"#, Err(CommandRefusal::ClaimNotWritable)),
        (r#"{"Cart":1}"#, Err(CommandRefusal::ClaimNotWritable)),
        (r#"{"cart":1,"cart":2}"#, Err(CommandRefusal::MalformedCommand)),
        (r#"[{"cart":1}]"#, Err(CommandRefusal::MalformedCommand)),
        ("null", Err(CommandRefusal::MalformedCommand)),
        ("", Err(CommandRefusal::MalformedCommand)),
        (r#"{"cart":1} x"#, Err(CommandRefusal::MalformedCommand)),
        (r#"{"cart":"#, Err(CommandRefusal::MalformedCommand)),
    ] {
        check(&[("x-session-update", value)], &cart, want);
    }
}

#[test]
fn p32_a_command_has_a_largest_size() {
    let cart = grants(&["cart"], true, true);
    let large = format!(r#"{{"cart":"{}"}}"#, "x".repeat(MAX_VALUE));
    check(&[("x-session-update", &large)], &cart, Err(CommandRefusal::OutOfBounds));
    let deep = format!(r#"{{"cart":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
    check(&[("x-session-update", &deep)], &cart, Err(CommandRefusal::MalformedCommand));
    let claims = format!(r#"{{"subject":"ada","claims":{{"a":"{}"}}}}"#, "x".repeat(Claims::MAX_BYTES));
    check(&[("x-session-create", &claims)], &cart, Err(CommandRefusal::OutOfBounds));
}

#[test]
fn p22_nothing_is_done_that_the_rule_does_not_grant() {
    let nothing = grants(&[], false, false);
    for command in
        [("x-session-update", "{}"), ("x-session-end", "current"), ("x-session-create", r#"{"subject":"ada"}"#)]
    {
        check(&[command], &nothing, Err(CommandRefusal::NotGranted));
    }
}

#[test]
fn a_session_is_made_of_what_the_service_says() {
    let create = grants(&[], true, false);
    let Some(Command::Create(ada)) = read(
        &[(
            "x-session-create",
            r#"{"subject":"ada","scopes":["read"],"roles":["customer"],"claims":{"tenant":"acme"},"acr":"urn:mfa","amr":["otp"],"device":{"label":"Phone"}}"#,
        )],
        &create,
    )
    .command
    else {
        panic!("a session is to be made")
    };
    assert_eq!((ada.subject.as_str(), ada.acr.as_deref()), ("ada", Some("urn:mfa")));
    assert_eq!((ada.scopes, ada.roles, ada.amr), (vec!["read".into()], vec!["customer".into()], vec!["otp".into()]));
    assert_eq!(ada.claims.as_json(), r#"{"tenant":"acme"}"#);
    assert_eq!(ada.device.unwrap().label.as_deref(), Some("Phone"));
    for malformed in [
        "{}",
        r#"{"subject":1}"#,
        r#"["ada"]"#,
        r#"{"subject":"ada","sid":"x"}"#,
        r#"{"subject":"ada","realm":"other"}"#,
        r#"{"subject":"ada","subject":"eve"}"#,
        r#"{"subject":"ada","device":{"address":"10.0.0.1"}}"#,
        r#"{"subject":"ada","claims":{"tier":"a","tier":"b"}}"#,
        r#"{"subject":"ada","claims":[]}"#,
    ] {
        check(&[("x-session-create", malformed)], &create, Err(CommandRefusal::MalformedCommand));
    }
}

#[test]
fn an_end_names_its_scope() {
    let end = grants(&[], false, true);
    check(&[("x-session-end", "current")], &end, Ok(Some(Command::End(EndScope::Current))));
    check(&[("x-session-end", "subject")], &end, Ok(Some(Command::End(EndScope::Subject))));
    for other in ["", "Current", "all", "current,subject", "\"current\""] {
        check(&[("x-session-end", other)], &end, Err(CommandRefusal::MalformedCommand));
    }
}

#[test]
fn a_command_that_stands_there_twice_is_not_done() {
    let all = grants(&["cart"], false, true);
    check(&[("x-session-update", "{}"), ("x-session-update", "{}")], &all, Err(CommandRefusal::RepeatedCommand));
}

#[test]
fn p20_a_log_out_that_is_said_twice_is_done() {
    let end = grants(&[], false, true);
    for (values, want) in [
        (["current", "current"], Ok(EndScope::Current)),
        (["subject", "subject"], Ok(EndScope::Subject)),
        (["current", "subject"], Ok(EndScope::Subject)),
        (["current", "nonsense"], Err(CommandRefusal::MalformedCommand)),
    ] {
        let headers = values.map(|value| ("x-session-end", value));
        check(&headers, &end, want.map(|scope| Some(Command::End(scope))));
    }
}

#[test]
fn ending_wins_over_everything_beside_it() {
    let all = grants(&["cart"], false, true);
    let both = read(&[("x-session-update", r#"{"cart":1}"#), ("x-session-end", "current")], &all);
    assert_eq!(both.command, Some(Command::End(EndScope::Current)));
    assert_eq!(both.refused, Some(CommandRefusal::ConflictingCommands));
    let create = grants(&[], true, true);
    check(
        &[("x-session-create", r#"{"subject":"ada"}"#), ("x-session-update", "{}")],
        &create,
        Err(CommandRefusal::ConflictingCommands),
    );
}

#[test]
fn p31_debug_shows_no_claim() {
    let create = grants(&["cart"], true, false);
    for command in [
        ("x-session-update", r#"{"cart":"sesame"}"#),
        ("x-session-create", r#"{"subject":"a","claims":{"b":"sesame"}}"#),
    ] {
        let wish = read(&[command], &create);
        assert!(wish.command.is_some() && !format!("{wish:?}").contains("sesame"), "{wish:?}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_header_value_is_a_panic_or_more_than_is_granted(
            name in prop::sample::select(vec![CREATE, UPDATE, END]),
            value in prop::collection::vec(any::<u8>(), 0..200),
            writable in any::<bool>(), create in any::<bool>(), end in any::<bool>(),
        ) {
            let grants = grants(if writable { &["cart"] } else { &[] }, create, end);
            match Wish::read([(name.as_bytes(), value.as_slice())], &grants).command {
                None => {}
                Some(Command::Create(_)) => prop_assert!(create),
                Some(Command::Update(patch)) => {
                    let patch: serde_json::Map<String, Value> = serde_json::from_str(patch.get()).unwrap();
                    prop_assert!(writable && patch.keys().all(|claim| claim == "cart"));
                }
                Some(Command::End(_)) => prop_assert!(end),
            }
        }
    }
}
