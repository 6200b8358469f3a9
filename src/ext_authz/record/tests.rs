use std::sync::Arc;

use super::*;
use crate::authz::policy::{PolicyName, RuleName};
use crate::telemetry::testing::Page;

/// The JSON lines that `events` leave.
fn lines(events: impl FnOnce()) -> Vec<serde_json::Value> {
    let page = Page::default();
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(page.clone()).finish();
    tracing::subscriber::with_default(subscriber, events);
    page.lines()
}

fn records(which: Decisions) -> Records {
    Records::new(which, IntCounter::new("dropped", "dropped").unwrap())
}

fn rule() -> RuleRef {
    let policy = PolicyName { namespace: "shop".into(), name: "web".into() };
    Arc::new(RuleName { policy, rule: "admin".into() })
}

fn allowed(audit: Option<DenyReason>) -> Allow {
    Allow {
        rule: rule(),
        jwt: None,
        take_off: Default::default(),
        set_cookie: None,
        handle: None,
        audit,
        provider: None,
    }
}

fn hints() -> Hints {
    Hints {
        method: "POST".into(),
        host: "shop.example".into(),
        path: "/admin/orders?card=4111".into(),
        request_id: "r-1".into(),
        ..Hints::default()
    }
}

#[test]
fn a_denial_says_why_and_for_what() {
    let denial = Denial { rule: Some(rule()), ..Denial::bare(DenyReason::MissingRole) };
    let sid = SessionId::from_bytes([7; 16]);
    let lines = lines(|| records(Decisions::Denials).denied(&denial, Some(sid), &hints()));
    let [line] = &lines[..] else { panic!("{lines:?}") };
    for (field, want) in [
        ("target", TARGET),
        ("verdict", "deny"),
        ("reason", "missing_role"),
        ("class", "forbidden"),
        ("policy", "shop/web"),
        ("rule", "admin"),
        ("sid", &sid.to_string()),
        ("method", "POST"),
        ("host", "shop.example"),
        ("path", "/admin/orders"),
        ("request_id", "r-1"),
    ] {
        assert_eq!(line[field], want, "{field}");
    }
}

#[test]
fn records_are_left_as_asked() {
    for (which, audit, wanted, denials) in [
        (Decisions::Denials, None, false, true),
        (Decisions::Denials, Some(DenyReason::NoPolicy), true, true),
        (Decisions::All, None, true, true),
        (Decisions::None, Some(DenyReason::NoPolicy), false, false),
    ] {
        let records = records(which);
        assert_eq!((records.wants(&allowed(audit)), records.wants_denials()), (wanted, denials), "{which:?} {audit:?}");
    }
    let lines = lines(|| {
        records(Decisions::All).allowed(&allowed(None), None, &hints());
        records(Decisions::All).allowed(&allowed(Some(DenyReason::NoPolicy)), None, &hints());
    });
    assert_eq!(lines.iter().map(|line| &line["verdict"]).collect::<Vec<_>>(), ["allow", "audit"]);
    assert_eq!((lines[0].get("reason"), &lines[1]["reason"]), (None, &"no_policy".into()));
}

#[test]
fn p32_a_flood_of_refusals_is_no_flood_of_lines() {
    let flood = 3 * MAX_PER_SECOND;
    let records = records(Decisions::Denials);
    let denial = Denial::bare(DenyReason::InvalidToken);
    let (mut written, mut told) = (0, 0);
    for line in lines(|| (0..flood).for_each(|_| records.denied(&denial, None, &hints()))) {
        if line["target"] == TARGET { written += 1 } else { told += 1 }
    }
    assert_eq!(written + records.dropped.get(), flood, "each is written or counted");
    // The flood may have lasted into the next second.
    assert!(written < flood && told >= 1 && told <= flood / MAX_PER_SECOND, "{written} {told}");
}
