//! What is written down about responses.

use serde_json::Value;

use super::*;
use crate::telemetry::testing::Page;

/// The JSON lines that these responses leave, one after the other, in a house where `ada` is logged in.
fn lines(responses: &[(&str, &[(&str, &str)])]) -> (Vec<Value>, AccessToken, House) {
    let page = Page::default();
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(page.clone()).finish();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (token, house) = runtime.block_on(async {
        let house = House::new();
        (house.log_in("ada").await, house)
    });
    tracing::subscriber::with_default(subscriber, || {
        runtime.block_on(async {
            // A place in the code that another thread came by first, with nobody to write for, is kept as one that writes
            // nothing: come by each once, and have all of them asked again.
            let other = House::new();
            for header in [("x-session-create", "{"), ("x-session-create", r#"{"subject":"bob"}"#)] {
                let handle = other.handle("login", None);
                other.response(Sent { handle, headers: &[header], ..Sent::default() }).await;
            }
            tracing::callsite::rebuild_interest_cache();
            page.clear();
            for (rule, headers) in responses {
                house.response(Sent { handle: house.handle(rule, Some(&token)), headers, ..Sent::default() }).await;
            }
        });
    });
    (page.lines(), token, house)
}

#[test]
fn p31_lines_say_who_and_why_and_nothing_of_what_was_sent() {
    let canary = format!("CANARY.{}.c2ln", "e30");
    let (lines, token, _) = lines(&[
        ("cart", &[("etag", "1")]),
        ("cart", &[("x-session-update", r#"{"CANARY":1}"#)]),
        ("by-header", &[("x-login-jwt", &canary)]),
        ("cart", &[("x-session-update", r#"{"cart":["CANARY"]}"#)]),
        ("cart", &[("x-session-update", r#"{"cart":["CANARY"]}"#)]),
        ("login", &[("x-session-create", r#"{"subject":"bob","claims":{"x":"CANARY"}}"#)]),
    ]);
    let (told, rule) =
        (token.sid().to_string(), |line: &Value| format!("{}/{}", line["policy"], line["rule"]).replace('"', ""));
    let [unwritable, jwt, updated, created, replaced] = &lines[..] else { panic!("{lines:#?}") };
    assert_eq!((&*rule(unwritable), &unwritable["reason"]), ("shop/web/cart", &json!("claim_not_writable")));
    assert_eq!(
        (&*rule(jwt), &jwt["reason"], &jwt["why"]),
        ("shop/web/by-header", &json!("invalid_jwt"), &json!("not a signed JWT"))
    );
    assert_eq!((&unwritable["sid"], &unwritable["level"]), (&json!(told), &json!("WARN")));
    for (line, verb, actor, subject) in [
        (updated, "update", "service shop/web/cart", Value::Null),
        (created, "create", "service shop/web/login", json!("bob")),
        (replaced, "revoke", "service shop/web/login", Value::Null),
    ] {
        let seen = ["target", "verb", "actor", "realm", "result", "subject"].map(|field| line[field].clone());
        assert_eq!(seen, [json!("audit"), json!(verb), json!(actor), json!("shop"), json!("ok"), subject]);
        assert_eq!(line["sid"] == told, verb != "create", "a creation names the new session");
    }
    let all = format!("{lines:?}");
    assert!(!all.contains("CANARY") && !all.contains(&*token.reveal()), "{all}");
}

#[test]
fn p32_a_flood_of_refused_wishes_is_no_flood_of_lines() {
    let flood = 300;
    let refused: Vec<(&str, &[(&str, &str)])> = vec![("cart", &[("x-session-end", "nonsense")]); flood];
    let (lines, _, house) = lines(&refused);
    assert_eq!(house.counted("malformed_command"), flood as u64, "each is counted");
    let written = lines.iter().filter(|line| line["reason"] == "malformed_command").count();
    let families = house.registry.gather();
    let dropped = families.iter().find(|it| it.name() == "cloakroom_response_records_dropped_total").unwrap();
    let dropped = dropped.get_metric()[0].get_counter().get_value();
    assert_eq!(format!("{dropped}"), (flood - written).to_string(), "each is written or counted as not");
    // The flood may have lasted some seconds; each has a bound of its own, and says once that it was reached.
    let told = lines.len() - written;
    assert!(written < flood && told >= 1, "{written} {told}");
}
