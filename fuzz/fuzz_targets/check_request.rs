//! A check from its bytes to its answer: read, planned, settled, rendered and encoded (P1, P2, P3, P6, P7).
#![no_main]

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use cloakroom::authz::attributes::{RawRequest, RequestAttributes};
use cloakroom::authz::identity::Holder;
use cloakroom::authz::plan::{Pending, Plan, Wanted, plan, settle};
use cloakroom::authz::policy::{PolicyIndex, RuleName};
use cloakroom::authz::reason::{DenyReason, RefusalClass};
use cloakroom::authz::verdict::{Decision, Lookup};
use cloakroom::ext_authz::metrics::CheckMetrics;
use cloakroom::ext_authz::record::Decisions;
use cloakroom::ext_authz::service::{Gate, GateConfig};
use cloakroom::ext_authz::{request, wire};
use cloakroom::identity::Identities;
use cloakroom::identity::outbound::OutboundConfig;
use cloakroom::identity::stats::ProviderStats;
use cloakroom::sessions::clock::Clock;
use cloakroom::sessions::keyring::algorithm::SigningAlgorithm;
use cloakroom_fuzz::{ask, install, servers};
use envoy_types::pb::envoy::service::auth::v3 as full;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

/// The bytes of gRPC before a message.
const PREFIX: usize = 5;

struct House {
    index: Arc<PolicyIndex>,
    gate: Gate,
    runtime: tokio::runtime::Runtime,
}

static HOUSE: LazyLock<House> = LazyLock::new(|| {
    let clock = Arc::new(Clock::start());
    let keyring = Arc::new(install::keyring(SigningAlgorithm::Es256, clock.now()));
    let sessions = Arc::new(install::sessions(keyring, Arc::clone(&clock)));
    let index = Arc::new(install::policies());
    let config = GateConfig {
        realm: install::realm(),
        jwt_header: install::JWT_HEADER.into(),
        deadline: Duration::from_secs(5),
        decisions: Decisions::All,
    };
    let metrics = CheckMetrics::register(&prometheus::Registry::new()).expect("an empty registry");
    let policies = Arc::new(arc_swap::ArcSwap::new(Arc::clone(&index)));
    let stats = Arc::new(ProviderStats::new().expect("good names"));
    let identities = Arc::new(Identities::new(&OutboundConfig::default(), stats).expect("no file"));
    let gate = Gate::new(config, policies, sessions, identities, clock, metrics);
    House { index, gate, runtime: install::runtime() }
});

fuzz_target!(|input: &[u8]| {
    let Some(message) = ask::message(input) else { return };
    let house = &*HOUSE;
    let raw = request::read(&message);
    hold_against_full(&message, &raw);
    let allowed = match raw.and_then(|raw| RequestAttributes::read(raw.clone()).map(|attributes| (raw, attributes))) {
        Ok((raw, attributes)) => decided(&house.index, &raw, &attributes),
        Err(reason) => {
            assert_eq!(reason.class(), RefusalClass::BadRequest, "{reason:?}");
            None
        }
    };
    let answer = house.runtime.block_on(house.gate.check(Ok(message)));
    hold_answer(&answer, allowed.as_ref());
});

/// What the full decode of Envoy's types takes, ours takes, and both read the same out of it.
fn hold_against_full(message: &Bytes, raw: &Result<RawRequest<'_>, DenyReason>) {
    let Ok(full) = full::CheckRequest::decode(message.clone()) else { return };
    assert!(wire::CheckRequest::read(message).is_ok(), "only the full decode takes it");
    let Ok(raw) = raw else { return };
    let attributes = full.attributes.expect("ours has them");
    let http = attributes.request.and_then(|it| it.http).expect("ours has a request");
    assert_eq!([raw.method, raw.host, raw.path], [&http.method, &http.host, &http.path].map(String::as_bytes));
    let pinned = attributes.context_extensions.get("cloakroom.policy");
    assert_eq!(raw.pinned.as_ref().map(ToString::to_string).as_ref(), pinned);
    match http.header_map {
        Some(map) => {
            let listed: Vec<(&[u8], &[u8])> = map
                .headers
                .iter()
                .map(|it| {
                    assert!(it.value.is_empty() || it.raw_value.is_empty(), "two values");
                    (it.key.as_bytes(), if it.value.is_empty() { &it.raw_value } else { it.value.as_bytes() })
                })
                .collect();
            assert!(http.headers.is_empty() && listed == raw.headers);
        }
        None => {
            let mapped: HashMap<&[u8], &[u8]> = raw.headers.iter().copied().collect();
            assert_eq!(mapped.len(), raw.headers.len(), "no name comes twice");
            assert_eq!(mapped, http.headers.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())).collect());
        }
    }
}

/// What becomes of the request when no session is behind its credential: the rule that lets it pass all the same, if one does.
fn decided(index: &PolicyIndex, raw: &RawRequest<'_>, attributes: &RequestAttributes<'_>) -> Option<Arc<RuleName>> {
    match plan(index, attributes) {
        Plan::Settled(decision) => open(*decision, raw, attributes),
        Plan::Lookup(pending) => {
            for found in [
                Lookup::Expired,
                Lookup::Idle,
                Lookup::Revoked,
                Lookup::Invalid,
                Lookup::Unavailable(DenyReason::StoreUnavailable),
            ] {
                open(settle((*pending).clone(), &found, install::NOW), raw, attributes);
            }
            with_a_session((*pending).clone());
            open(settle(*pending, &Lookup::Unknown, install::NOW), raw, attributes)
        }
    }
}

/// Only a rule that says so lets pass without a session.
fn open(decision: Decision, raw: &RawRequest<'_>, attributes: &RequestAttributes<'_>) -> Option<Arc<RuleName>> {
    let (rule, take_off, audit) = match decision {
        Decision::Permit(permit) => panic!("a permit of {:?} without a session", permit.rule()),
        Decision::Deny(_) => return None,
        Decision::Anonymous { rule, take_off, audit, .. } => (rule, take_off, audit),
    };
    let presented = install::install().carriers.present(attributes, &[]);
    match rule.rule.split('-').next() {
        _ if audit.is_some() => assert_eq!(&*rule.policy.name, "trial", "only one policy is in Audit mode"),
        Some("public") => {}
        // A credential that is present and bad is not a missing one (P6).
        Some("anonymous") => assert!(presented.is_ok_and(|it| it.credential.is_none()), "a credential was passed over"),
        _ => panic!("{rule:?} let pass"),
    }
    if &*rule.rule == "public-files" {
        let path = raw.path.split(|it| *it == b'?').next().unwrap_or_default();
        for served in servers::served(std::str::from_utf8(path).expect("a path is ASCII")) {
            let below = served.get(..7).is_some_and(|it| it.eq_ignore_ascii_case("/public"));
            assert!(
                below && served[7..].chars().next().is_none_or(|it| "/;?#. ".contains(it)),
                "{served} was let pass"
            );
        }
    }
    let own = install::install().own_headers;
    let stays = |name: &[u8]| own.owns(name) && !take_off.headers.iter().any(|it| it == name);
    assert!(!attributes.headers.lines().iter().any(|(name, _)| stays(name)), "a header of ours is left on");
    Some(rule)
}

/// With a session a request may pass by any rule but a closed one, and as that session alone.
fn with_a_session(pending: Pending) {
    let Wanted::Token(token) = pending.wanted() else { return };
    let session = Arc::new(install::session_of(token, install::NOW));
    let sid = session.id;
    match settle(pending, &Lookup::Active(session), install::NOW) {
        Decision::Permit(permit) => {
            let rule = permit.rule();
            let asks = ["session", "anonymous", "default"].contains(&rule.rule.split('-').next().unwrap_or_default());
            assert!(asks && &*rule.rule != "session-admin", "{rule:?} let an unprivileged session pass");
            assert!(matches!(permit.holder(), Holder::Session(session) if session.id == sid));
        }
        Decision::Anonymous { audit, rule, .. } => assert!(audit.is_some() && &*rule.policy.name == "trial"),
        Decision::Deny(_) => {}
    }
}

/// The answer is one that Envoy decodes, and says what was decided.
fn hold_answer(answer: &Bytes, allowed: Option<&Arc<RuleName>>) {
    let (prefix, message) = answer.split_at(PREFIX);
    assert_eq!(prefix, [&[0][..], &(message.len() as u32).to_be_bytes()].concat());
    let response = full::CheckResponse::decode(message).expect("an answer that Envoy cannot decode");
    let headers = |options: &[envoy_types::pb::envoy::config::core::v3::HeaderValueOption]| {
        for header in options.iter().map(|it| it.header.as_ref().expect("a header")) {
            assert!(!header.value.contains(['\r', '\n', '\0']), "{} is split", header.key);
            assert_ne!(header.key, install::JWT_HEADER, "there is no session");
        }
    };
    match response.http_response.expect("a decision") {
        HttpResponse::OkResponse(ok) => {
            assert!(allowed.is_some(), "allowed what was refused");
            headers(&ok.headers);
            assert!(ok.headers_to_remove.iter().any(|it| it == install::JWT_HEADER));
            assert!(ok.response_headers_to_add.is_empty(), "a cookie without a session");
        }
        HttpResponse::DeniedResponse(denied) => {
            headers(&denied.headers);
            let status = denied.status.expect("a status").code;
            // What was let pass may be unsayable, and is malformed then.
            assert!(matches!(status, 302 | 400 | 401 | 403) && (allowed.is_none() || status == 400), "{status}");
        }
        other => panic!("{other:?}"),
    }
}
