use std::io;

use tracing::subscriber::with_default;

use super::testing::Page;
use super::*;

fn logged(filter: &str, format: LogFormat, events: impl FnOnce()) -> String {
    let page = Page::default();
    with_default(subscriber(filter, format, page.clone()).unwrap(), events);
    page.text()
}

#[test]
fn json_lines_have_their_fields_beside_their_message() {
    let text = logged("info", LogFormat::Json, || tracing::info!(answer = 42, "told"));
    let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
    assert_eq!((line["message"].as_str(), line["answer"].as_i64()), (Some("told"), Some(42)));
    assert_eq!((line["level"].as_str(), line["target"].as_str()), (Some("INFO"), Some("cloakroom::telemetry::tests")));
}

#[test]
fn a_filter_that_is_none_is_an_error() {
    assert!(subscriber("cloakroom=loud", LogFormat::Json, io::sink).is_err());
}

#[test]
fn p38_decision_records_and_the_audit_log_do_not_hang_on_the_level_of_the_rest() {
    assert_eq!(DECISIONS, crate::ext_authz::record::TARGET);
    let events = || {
        tracing::info!("chatter");
        tracing::info!(target: "cloakroom::decision", "record");
        tracing::info!(target: "audit", "change");
    };
    for (filter, want) in [
        ("info", (true, true, true)),
        ("warn", (false, true, true)),
        ("off", (false, true, true)),
        ("warn,cloakroom::decision=off", (false, false, true)),
        ("warn,audit=off", (false, true, false)),
    ] {
        let text = logged(filter, LogFormat::Text, events);
        let got = (text.contains("chatter"), text.contains("record"), text.contains("change"));
        assert_eq!(got, want, "{filter}");
    }
}

#[test]
fn p31_libraries_stay_quiet_below_info_at_any_level() {
    let text = logged("trace", LogFormat::Text, || {
        tracing::debug!(target: "h2::codec", "library frame");
        tracing::debug!(target: "cloakroomx", "other crate");
        tracing::info!(target: "h2::codec", "library news");
        tracing::trace!(target: "cloakroom::store", "our own");
    });
    for (part, shown) in [("library frame", false), ("other crate", false), ("library news", true), ("our own", true)] {
        assert_eq!(text.contains(part), shown, "{part}");
    }
}

#[test]
fn p31_a_panic_shows_only_words_of_the_program() {
    let secret = "ckr_SECRET";
    for (payload, want) in [
        (Box::new("as written") as Box<dyn Any + Send>, "as written"),
        (Box::new(format!("no such session: {secret}")), "(withheld)"),
        (Box::new(7), "(withheld)"),
    ] {
        assert_eq!(cause(&*payload), want);
    }
}
