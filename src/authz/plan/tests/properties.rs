//! What holds for every policy, request and session.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// A rule, and whether it could let somebody pass who shows no live session.
fn any_rule() -> impl Strategy<Value = (String, bool)> {
    let paths = ["/", "/a", "/a/b", "/b"];
    let body = select(vec![
        ("access: Public", true),
        ("access: Deny", false),
        ("require: { roles: [admin] }", false),
        ("require: { scopes: [s], acr: [urn:mfa] }", false),
        ("require: { maxAge: 5m, claims: [{ name: c, values: [v] }] }", false),
        ("authenticate: [{ session: {} }, { anonymous: {} }]", true),
        ("authenticate: [{ session: { carriers: [{ bearer: {} }] } }]", false),
        ("authenticate: [{ sessionJwt: { audiences: [a], namespaces: [shop] } }, { session: {} }]", false),
    ]);
    let methods = select(vec!["", ", method: POST"]);
    (select(paths.to_vec()), methods, body).prop_map(|(path, method, (body, opens))| {
        (format!("{{ matches: [{{ path: {{ value: {path} }}{method} }}], {body} }}"), opens)
    })
}

#[derive(Clone, Debug)]
struct AnyPolicy {
    spec: String,
    opens: bool,
}

fn any_policy() -> impl Strategy<Value = AnyPolicy> {
    let default = select(vec!["Session", "Deny"]);
    (prop::collection::vec(any_rule(), 0..5), default).prop_map(|(rules, default)| AnyPolicy {
        opens: rules.iter().any(|(_, opens)| *opens),
        spec: format!(
            "default: {default}\nrules: [{}]",
            rules.iter().map(|(rule, _)| rule.as_str()).collect::<Vec<_>>().join(", ")
        ),
    })
}

fn any_request() -> impl Strategy<Value = Ask> {
    let line = (select(vec!["GET", "POST"]), select(vec!["/", "/a", "/a/b", "/b/c", "/c"]));
    let credential = select(vec!["none", "cookie", "bearer", "junk", "jwt", "two"]);
    let site = select(vec!["", "cross-site", "same-origin"]);
    (line, credential, site).prop_map(|((method, path), credential, site)| {
        let request = ask(&format!("{method} shop.example{path}"));
        let request = match credential {
            "cookie" => request.cookie(),
            "bearer" => request.bearer(),
            "junk" => request.with("x-ticket", "junk"),
            "jwt" => request.with("authorization", "Bearer eyJ0eXAiOiJzZXNzaW9uK2p3dCIsImFsZyI6IkVTMjU2In0.e30.eA"),
            "two" => request.cookie().with("x-ticket", "another"),
            _ => request,
        };
        if site.is_empty() { request } else { request.with("sec-fetch-site", site) }
    })
}

fn any_lookup() -> impl Strategy<Value = Lookup> {
    let live =
        (any::<bool>(), any::<bool>(), any::<bool>(), -60_000..60_000_i64).prop_map(|(role, scope, acr, end)| {
            active(|it| {
                it.absolute_end = Timestamp::from_millis(NOW.as_millis() + end);
                it.roles = if role { vec!["admin".into()] } else { Vec::new() };
                it.scopes = if scope { vec!["s".into()] } else { Vec::new() };
                it.acr = acr.then(|| "urn:mfa".into());
            })
        });
    prop_oneof![
        4 => live,
        1 => Just(Lookup::Unknown),
        1 => Just(Lookup::Revoked),
        1 => Just(Lookup::Idle),
        1 => Just(Lookup::Expired),
        1 => Just(Lookup::Invalid),
        1 => Just(Lookup::Unavailable(DenyReason::StoreUnavailable)),
    ]
}

fn passes(decision: &Decision) -> bool {
    !matches!(decision, Decision::Deny(_))
}

proptest! {
    #[test]
    fn p01_nobody_passes_without_a_live_session_or_an_open_rule(
        policy_ in any_policy(), request in any_request(), found in any_lookup(),
    ) {
        let index = index(&policy(&policy_.spec));
        let is_live = matches!(&found, Lookup::Active(session) if session.absolute_end > NOW);
        match decide(&index, &request, &found) {
            Decision::Permit(permit) => {
                prop_assert!(is_live, "{}", permit.rule().rule);
            }
            Decision::Anonymous { audit, .. } => prop_assert!(policy_.opens && audit.is_none()),
            Decision::Deny(_) => {}
        }
    }

    #[test]
    fn p13_two_credentials_pass_only_where_none_is_looked_at(policy_ in any_policy(), found in any_lookup()) {
        let index = index(&policy(&policy_.spec));
        let two = ask("GET shop.example/a").cookie().with("x-ticket", "another");
        let one = ask("GET shop.example/a").with("x-ticket", "junk");
        // Where junk passes, credentials are not looked at.
        prop_assert_eq!(passes(&decide(&index, &two, &found)), passes(&decide(&index, &one, &found)));
    }

    #[test]
    fn a_required_policy_can_only_narrow(
        outer in any_policy(), inner in any_policy(), request in any_request(), found in any_lookup(),
    ) {
        let outer = format!("inheritance: Required\n{}", outer.spec);
        let alone = index(&named("infra/all", &format!("hosts: ['*.example']\n{outer}")));
        let inside = index(&policy(&inner.spec));
        let both = index(&format!("{}\n---\n{}", named("infra/all", &format!("hosts: ['*.example']\n{outer}")), policy(&inner.spec)));
        let both = decide(&both, &request, &found);
        prop_assert_eq!(
            passes(&both),
            passes(&decide(&alone, &request, &found)) && passes(&decide(&inside, &request, &found)),
            "{:?}", both
        );
    }

    #[test]
    fn audit_changes_no_identity_and_no_400(policy_ in any_policy(), request in any_request(), found in any_lookup()) {
        let enforced = decide(&index(&policy(&policy_.spec)), &request, &found);
        let audited = decide(&index(&policy(&format!("mode: Audit\n{}", policy_.spec))), &request, &found);
        match (&enforced, &audited) {
            (Decision::Deny(denial), Decision::Anonymous { audit, .. }) => {
                prop_assert_eq!(Some(denial.reason), *audit);
                prop_assert_ne!(denial.reason.class(), RefusalClass::BadRequest);
            }
            (Decision::Deny(denial), Decision::Deny(same)) => {
                prop_assert_eq!(denial.reason, same.reason);
                prop_assert_eq!(denial.reason.class(), RefusalClass::BadRequest);
            }
            _ => prop_assert_eq!(say(&enforced), say(&audited)),
        }
    }

    #[test]
    fn explain_tells_what_is_decided(policy_ in any_policy(), request in any_request(), found in any_lookup()) {
        let index = index(&policy(&policy_.spec));
        let explained = explain::explain(&index, &request.read(), Some(&found), |_| None, NOW);
        let decision = decide(&index, &request, &found);
        let verdict = match &decision {
            Decision::Permit(_) => explain::Saying::AllowSession,
            Decision::Anonymous { .. } => explain::Saying::AllowAnonymous,
            Decision::Deny(_) => explain::Saying::Deny,
        };
        prop_assert_eq!(explained.verdict, verdict);
        if let Decision::Deny(denial) = &decision {
            prop_assert_eq!(explained.reason, Some(denial.reason.label()));
        }
        prop_assert!(!serde_json::to_string(&explained).unwrap().contains("ckr_"));
    }

    #[test]
    fn p07_what_passes_loses_every_credential_of_ours(
        policy_ in any_policy(), request in any_request(), found in any_lookup(),
    ) {
        let index = index(&policy(&policy_.spec));
        let request = request.with("X_Session_JWT", "forged");
        let take_off = match decide(&index, &request, &found) {
            Decision::Permit(permit) => permit.take_off,
            Decision::Anonymous { take_off, .. } => take_off,
            Decision::Deny(_) => return Ok(()),
        };
        prop_assert!(take_off.headers.iter().any(|name| &**name == b"X_Session_JWT"));
        prop_assert_eq!(take_off, index.take_off(&request.read(), &[]));
    }
}
