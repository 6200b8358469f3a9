use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::TextEncoder;

use super::*;
use crate::authz::policy::{PolicyName, RuleName};
use crate::authz::verdict::{Allow, Denial};

fn allow(jwt: Option<&'static str>, audit: Option<DenyReason>) -> Verdict {
    let policy = PolicyName { namespace: "shop".into(), name: "web".into() };
    let rule = Arc::new(RuleName { policy, rule: "admin".into() });
    Verdict::Allow(Allow {
        rule,
        jwt: jwt.map(Into::into),
        take_off: Default::default(),
        set_cookie: None,
        handle: None,
        audit,
        provider: None,
    })
}

/// The verdicts that are not zero.
fn verdicts(registry: &Registry) -> BTreeMap<(String, String), f64> {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == "cloakroom_check_verdicts_total").unwrap();
    let series = family.get_metric().iter().filter(|metric| metric.get_counter().get_value() > 0.0);
    series
        .map(|metric| {
            let label = |name| {
                let labels = metric.get_label().iter();
                labels.filter(|label| label.name() == name).map(|label| label.value().to_owned()).next().unwrap()
            };
            ((label("verdict"), label("reason")), metric.get_counter().get_value())
        })
        .collect()
}

#[test]
fn p38_each_reason_has_a_series_of_its_own_from_the_start() {
    let registry = Registry::new();
    let metrics = CheckMetrics::register(&registry).unwrap();
    let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    for reason in DenyReason::ALL {
        for verdict in ["deny", "audit"] {
            let series = format!("{{reason=\"{}\",verdict=\"{verdict}\"}} 0", reason.label());
            assert!(text.contains(&series), "{series}");
        }
    }
    for reason in DenyReason::ALL {
        metrics.start().finish(&Verdict::Deny(Denial::bare(*reason)));
    }
    let counted = verdicts(&registry);
    assert_eq!(counted.len(), DenyReason::ALL.len());
    assert!(DenyReason::ALL.iter().all(|reason| counted[&("deny".to_owned(), reason.label().to_owned())] == 1.0));
}

#[test]
fn p38_verdicts_are_told_apart() {
    for (verdict, want) in [
        (Some(allow(Some("jwt"), None)), ("allow", "session")),
        (Some(allow(None, None)), ("allow", "anonymous")),
        (Some(allow(None, Some(DenyReason::MissingRole))), ("audit", "missing_role")),
        (Some(Verdict::Deny(Denial::bare(DenyReason::Internal))), ("deny", "internal_error")),
        (None, ("cancelled", "cancelled")),
    ] {
        let registry = Registry::new();
        let metrics = CheckMetrics::register(&registry).unwrap();
        let in_flight = metrics.start();
        assert_eq!(metrics.in_flight.get(), 1);
        match verdict {
            Some(verdict) => in_flight.finish(&verdict),
            None => drop(in_flight),
        }
        assert_eq!(metrics.in_flight.get(), 0);
        assert_eq!(metrics.seconds.get_sample_count(), 1);
        assert_eq!(verdicts(&registry), BTreeMap::from([((want.0.to_owned(), want.1.to_owned()), 1.0)]));
    }
}

#[test]
fn the_sessions_counters_are_read_when_asked() {
    let registry = Registry::new();
    register_sessions(&registry, Arc::new(SessionsStats::default())).unwrap();
    let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    for series in [
        "cloakroom_view_lookups_total{outcome=\"hit\"} 0",
        "cloakroom_view_lookups_total{outcome=\"stale\"} 0",
        "cloakroom_session_jwts_total{source=\"minted\"} 0",
        "cloakroom_store_loads_total 0",
        "cloakroom_touch_failures_total 0",
    ] {
        assert!(text.lines().any(|line| line == series), "{series}\n{text}");
    }
    assert!(register_sessions(&registry, Arc::new(SessionsStats::default())).is_err(), "twice");
}
