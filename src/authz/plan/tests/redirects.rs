//! Where people are sent who have to sign in, and who is not sent.

use super::*;

fn with_login(target: &str) -> PolicyIndex {
    index(&policy(&format!(
        "rules: [{{ name: r, require: {{ roles: [x], acr: [urn:mfa] }}, deny: {{ redirectTo: \"{target}\" }} }}]"
    )))
}

fn location(index: &PolicyIndex, request: &Ask, found: &Lookup) -> Option<String> {
    match decide(index, request, found) {
        Decision::Deny(denial) => denial.redirect_to.map(|to| to.to_string()),
        Decision::Permit(_) | Decision::Anonymous { .. } => panic!("{request:?} passes"),
    }
}

fn visit(line: &str) -> Ask {
    ask(line).with("sec-fetch-mode", "navigate")
}

#[test]
fn p16_only_interactive_requests_are_redirected_and_only_for_a_401() {
    let index = with_login("https://login.example/");
    let admin = || active(|it| it.roles = vec!["x".into()]);
    for (request, found, redirected) in [
        (visit("GET shop.example/"), Lookup::Unknown, true),
        (visit("GET shop.example/").cookie(), Lookup::Revoked, true),
        (visit("GET shop.example/").cookie(), admin(), true), // step up
        (ask("GET shop.example/").with("accept", "text/html,*/*;q=0.8"), Lookup::Unknown, true),
        (visit("GET shop.example/").cookie(), active(|_| {}), false), // 403: signing in again would not help
        (visit("GET shop.example/").cookie(), Lookup::Unavailable(DenyReason::StoreUnavailable), false),
        (ask("GET shop.example/"), Lookup::Unknown, false),
        (ask("GET shop.example/").with("accept", "*/*"), Lookup::Unknown, false),
        (ask("GET shop.example/").with("accept", "application/json"), Lookup::Unknown, false),
        (ask("GET shop.example/").with("sec-fetch-mode", "cors").with("accept", "text/html"), Lookup::Unknown, false),
        (visit("POST shop.example/").with("content-type", "application/grpc"), Lookup::Unknown, false),
        (visit("GET shop.example/").cookie().with("x-ticket", "two"), Lookup::Unknown, false), // 400
    ] {
        assert_eq!(location(&index, &request, &found).is_some(), redirected, "{request:?} {found:?}");
    }
}

#[test]
fn p16_the_way_back_is_the_requests_own_address() {
    for (target, request, want) in [
        (
            "https://login.example/",
            visit("GET shop.example/a/b?c=d&e=%20"),
            "https://login.example/?return_to=https%3A%2F%2Fshop.example%2Fa%2Fb%3Fc%3Dd%26e%3D%2520",
        ),
        (
            "https://login.example/in?app=shop",
            visit("GET shop.example:8443/"),
            "https://login.example/in?app=shop&return_to=https%3A%2F%2Fshop.example%3A8443%2F",
        ),
        ("/login", visit("GET shop.example:443/x"), "/login?return_to=https%3A%2F%2Fshop.example%2Fx"),
        // A form that was posted is lost, so there is no page to come back to.
        ("https://login.example/?a=b", visit("POST shop.example/buy"), "https://login.example/?a=b"),
    ] {
        assert_eq!(location(&with_login(target), &request, &Lookup::Unknown).as_deref(), Some(want));
    }
}

#[test]
fn an_address_that_is_too_long_does_not_come_back() {
    let request = visit(&format!("GET shop.example/{}", "a".repeat(5000)));
    let index = with_login("https://login.example/");
    assert_eq!(location(&index, &request, &Lookup::Unknown).as_deref(), Some("https://login.example/"));
}
