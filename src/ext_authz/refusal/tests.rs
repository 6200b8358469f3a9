use std::time::Duration;

use super::*;
use crate::authz::reason::DenyReason;
use crate::authz::verdict::Challenge;

fn renderer() -> Renderer {
    Renderer::new(&Realm::parse("shop").unwrap())
}

fn from(client: Client) -> Hints {
    Hints { client, method: "GET".into(), ..Hints::default() }
}

fn field<'a>(refusal: &'a Refusal, name: &str) -> Option<&'a str> {
    refusal.headers.iter().find(|(field, _)| *field == name).map(|(_, value)| &**value)
}

#[test]
fn p37_refusals_of_one_class_look_alike_to_every_client() {
    for client in [Client::Api, Client::Browser, Client::Grpc] {
        for reason in DenyReason::ALL {
            for other in DenyReason::ALL.iter().filter(|other| other.class() == reason.class()) {
                // A client knows whether it sent a credential.
                if (*reason == DenyReason::NoCredential) != (*other == DenyReason::NoCredential) {
                    continue;
                }
                let render = |reason| renderer().render(&Denial::bare(reason), &from(client));
                assert_eq!(render(*reason), render(*other), "{client:?} {reason:?} {other:?}");
            }
        }
    }
}

#[test]
fn p37_no_refusal_names_its_reason_or_may_be_stored() {
    for client in [Client::Api, Client::Browser, Client::Grpc] {
        for reason in DenyReason::ALL {
            let refusal = renderer().render(&Denial::bare(*reason), &from(client));
            assert_eq!(refusal.status, reason.class().status());
            assert_eq!(field(&refusal, "cache-control"), Some("no-store"));
            assert!(field(&refusal, "vary").is_some());
            let challenge = field(&refusal, "www-authenticate").unwrap_or_default();
            // `invalid_token` and the like are RFC 6750's words for a whole class.
            let told = format!("{} {}", refusal.body, challenge.replace("invalid_token", ""));
            assert!(!told.contains(reason.label()), "{told}");
            assert_eq!(field(&refusal, "retry-after").is_some(), refusal.status == StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(
                !challenge.is_empty(),
                refusal.status == StatusCode::UNAUTHORIZED || *reason == DenyReason::MissingScope
            );
        }
    }
}

#[test]
fn each_client_is_answered_in_its_own_words() {
    let denial = Denial::bare(DenyReason::NoCredential);
    let api = renderer().render(&denial, &from(Client::Api));
    assert_eq!(field(&api, "content-type"), Some("application/problem+json"));
    assert_eq!(
        api.body,
        r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"This needs a valid session."}"#
    );
    let browser = renderer().render(&denial, &from(Client::Browser));
    assert_eq!(field(&browser, "content-type"), Some("text/html; charset=utf-8"));
    assert!(browser.body.starts_with("<!doctype html>"));
    assert!(field(&browser, "content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'")));
    for (reason, status) in [
        (DenyReason::MalformedPath, "3"),
        (DenyReason::NoCredential, "16"),
        (DenyReason::AuthenticationTooOld, "16"),
        (DenyReason::MissingRole, "7"),
        (DenyReason::MissingScope, "7"),
        (DenyReason::StoreUnavailable, "14"),
    ] {
        let grpc = renderer().render(&Denial::bare(reason), &from(Client::Grpc));
        assert_eq!(field(&grpc, "grpc-status"), Some(status), "{reason:?}");
        // The proxy makes a `grpc-message` of it.
        assert!(!grpc.body.is_empty() && grpc.body.is_ascii() && !grpc.body.contains('<'));
    }
}

#[test]
fn challenges_say_what_would_help() {
    let with = |reason, challenge| Denial { challenge, ..Denial::bare(reason) };
    let scopes =
        |list: &[&str]| Challenge { scopes: list.iter().map(ToString::to_string).collect(), ..Default::default() };
    let step_up = Challenge {
        acr_values: vec!["urn:mfa".into(), "urn:\"x\\".into()],
        max_age: Some(Duration::from_secs(900)),
        ..Default::default()
    };
    const STEP_UP: &str = r#"Bearer realm="shop", error="insufficient_user_authentication", error_description="A more recent or a stronger authentication is needed.""#;
    const SCOPE: &str = r#"Bearer realm="shop", error="insufficient_scope", error_description="A scope is missing.""#;
    for (denial, want) in [
        (Denial::bare(DenyReason::NoCredential), Some(r#"Bearer realm="shop""#.to_owned())),
        (
            Denial::bare(DenyReason::RevokedSession),
            Some(
                r#"Bearer realm="shop", error="invalid_token", error_description="The token is not valid here.""#
                    .into(),
            ),
        ),
        (
            with(DenyReason::InsufficientAcr, step_up),
            Some(format!(r#"{STEP_UP}, acr_values="urn:mfa urn:\"x\\", max_age="900""#)),
        ),
        (Denial::bare(DenyReason::AuthenticationTooOld), Some(STEP_UP.into())),
        (
            with(DenyReason::MissingScope, scopes(&["orders:read", "orders:write"])),
            Some(format!(r#"{SCOPE}, scope="orders:read orders:write""#)),
        ),
        // What cannot stand in a header says nothing.
        (with(DenyReason::MissingScope, scopes(&["a\r\nset-cookie: x", "two words", "é", ""])), Some(SCOPE.into())),
        (with(DenyReason::MissingRole, scopes(&["x"])), None),
        (Denial::bare(DenyReason::MalformedPath), None),
        (Denial::bare(DenyReason::StoreUnavailable), None),
    ] {
        let refusal = renderer().render(&denial, &from(Client::Api));
        assert_eq!(field(&refusal, "www-authenticate"), want.as_deref(), "{denial:?}");
    }
}

#[test]
fn p16_a_person_is_sent_elsewhere_only_where_it_helps() {
    const LOGIN: &str = "https://login.example/?app=shop";
    for (reason, method, target, status, location) in [
        (DenyReason::NoCredential, "GET", LOGIN, 302, Some(LOGIN)),
        (DenyReason::NoCredential, "HEAD", LOGIN, 302, Some(LOGIN)),
        (DenyReason::NoCredential, "POST", LOGIN, 303, Some(LOGIN)),
        (DenyReason::InsufficientAcr, "GET", LOGIN, 302, Some(LOGIN)),
        (DenyReason::MissingRole, "GET", LOGIN, 403, None), // they would come back as often as they are sent
        (DenyReason::MalformedPath, "GET", LOGIN, 400, None),
        (DenyReason::StoreUnavailable, "GET", LOGIN, 503, None),
        (DenyReason::NoCredential, "GET", "https://a\r\nset-cookie: x", 401, None),
        (DenyReason::NoCredential, "GET", "", 401, None),
    ] {
        let denial = Denial { redirect_to: Some(target.into()), ..Denial::bare(reason) };
        let hints = Hints { method: method.into(), ..from(Client::Browser) };
        let refusal = renderer().render(&denial, &hints);
        assert_eq!((refusal.status.as_u16(), field(&refusal, "location")), (status, location), "{reason:?} {method}");
        assert_eq!(location.is_some(), refusal.body.is_empty());
        assert_eq!(field(&refusal, "cache-control"), Some("no-store"));
    }
}

#[test]
fn p14_a_dead_cookie_is_expired_in_every_form_of_answer() {
    for client in [Client::Api, Client::Browser, Client::Grpc] {
        for redirect_to in [None, Some("https://login.example/".into())] {
            let expire_cookie = Some("__Host-session".into());
            let denial = Denial { expire_cookie, redirect_to, ..Denial::bare(DenyReason::ExpiredSession) };
            let refusal = renderer().render(&denial, &from(client));
            let cookie = field(&refusal, "set-cookie").unwrap();
            assert!(cookie.starts_with("__Host-session=;") && cookie.contains("Max-Age=0"), "{cookie}");
        }
    }
}

mod properties {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever a policy and a request hold, no header of a refusal has a control in it, and a quoted value ends where it should.
        #[test]
        fn no_header_can_be_broken(
            reason in prop::sample::select(DenyReason::ALL),
            client in prop::sample::select(vec![Client::Api, Client::Browser, Client::Grpc]),
            scopes in vec("\\PC{0,9}|[\\x00-\\x7f]{0,9}", 0..4),
            acr_values in vec("\\PC{0,9}|[\\x00-\\x7f]{0,9}", 0..4),
            seconds in option::of(any::<u32>()),
            redirect_to in option::of("\\PC{0,30}|[\\x00-\\x7f]{0,30}"),
            method: Vec<u8>,
        ) {
            let max_age = seconds.map(|seconds| Duration::from_secs(seconds.into()));
            let denial = Denial {
                challenge: Challenge { scopes, acr_values, max_age },
                redirect_to: redirect_to.map(Into::into),
                ..Denial::bare(reason)
            };
            let refusal = renderer().render(&denial, &Hints { client, method: method.into(), ..Hints::default() });
            for (name, value) in &refusal.headers {
                prop_assert!(value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{} {:?}", name, value);
                prop_assert!(http::HeaderName::from_bytes(name.as_bytes()).is_ok());
            }
            if let Some(challenge) = field(&refusal, "www-authenticate") {
                let unescaped = challenge.replace("\\\\", "").replace("\\\"", "");
                prop_assert_eq!(unescaped.matches('"').count() % 2, 0);
            }
        }
    }
}
