use super::*;
use crate::sessions::NewSession;
use crate::sessions::fixtures::{HOUR, House, SECOND, claims, new};

fn texts(count: usize, length: usize) -> Vec<String> {
    vec!["x".repeat(length); count]
}

#[tokio::test]
async fn every_value_has_its_bounds() {
    let house = House::new();
    let long = |length: usize| "x".repeat(length);
    let device = |label: &str| Some(Device { label: Some(label.to_owned()), ..Device::default() });
    let issuer = |iss: &str| Some(Provider { iss: iss.to_owned(), sid: None });
    let rows: Vec<(NewSession, Option<&str>)> = vec![
        (new("a"), None),
        (new(&long(255)), None),
        (new("jürgen@example"), None),
        (new(""), Some("subject")),
        (new(&long(256)), Some("subject")),
        (new("a\nb"), Some("subject")),
        (new("a\u{85}b"), Some("subject")),
        (NewSession { acr: Some("urn:mfa".to_owned()), ..new("a") }, None),
        (NewSession { acr: Some(String::new()), ..new("a") }, Some("acr")),
        (NewSession { amr: texts(16, 8), ..new("a") }, None),
        (NewSession { amr: texts(17, 8), ..new("a") }, Some("amr")),
        (NewSession { scopes: vec!["!#[]~".to_owned()], ..new("a") }, None),
        (NewSession { scopes: vec!["a b".to_owned()], ..new("a") }, Some("scopes")),
        (NewSession { scopes: vec!["a\"b".to_owned()], ..new("a") }, Some("scopes")),
        (NewSession { scopes: vec!["a\\b".to_owned()], ..new("a") }, Some("scopes")),
        (NewSession { scopes: vec!["ä".to_owned()], ..new("a") }, Some("scopes")),
        (NewSession { scopes: vec![String::new()], ..new("a") }, Some("scopes")),
        (NewSession { scopes: texts(129, 1), ..new("a") }, Some("scopes")),
        (NewSession { roles: vec!["head chef".to_owned()], ..new("a") }, None),
        (NewSession { roles: texts(1, 129), ..new("a") }, Some("roles")),
        (NewSession { device: device("Ada's laptop"), ..new("a") }, None),
        (NewSession { device: device("a\u{7}"), ..new("a") }, Some("device.label")),
        (NewSession { provider: issuer("https://id.example"), ..new("a") }, None),
        (NewSession { provider: issuer(""), ..new("a") }, Some("provider.iss")),
        (NewSession { absolute: Some(24 * HOUR), ..new("a") }, None),
        (NewSession { absolute: Some(24 * HOUR + SECOND), ..new("a") }, Some("absolute")),
        (NewSession { absolute: Some(Duration::ZERO), ..new("a") }, Some("absolute")),
        (NewSession { absolute: Some(10 * SECOND), ..new("a") }, None),
        (NewSession { idle: Some(SECOND), ..new("a") }, None),
        (NewSession { idle: Some(Duration::from_millis(999)), ..new("a") }, Some("idle")),
        (NewSession { idle: Some(2 * HOUR), absolute: Some(HOUR), ..new("a") }, Some("idle")),
        (NewSession { auth_time: Some(house.start), ..new("a") }, None),
        (NewSession { auth_time: Some(house.after(SECOND)), ..new("a") }, Some("authTime")),
        (NewSession { claims: serde_json::from_str("[1]").unwrap(), ..new("a") }, Some("claims")),
        (NewSession { claims: serde_json::from_str("null").unwrap(), ..new("a") }, Some("claims")),
    ];
    for (wanted, field) in rows {
        let shown = format!("{wanted:?}");
        match (house.sessions.create(wanted, house.start).await, field) {
            (Ok(_), None) => {}
            (Err(SessionError::OutOfBounds { field, problem }), Some(want)) => {
                assert_eq!(field, want, "{shown}");
                assert!(!problem.is_empty());
            }
            (got, _) => panic!("{shown}: {got:?}"),
        }
    }
}

#[tokio::test]
async fn a_session_whose_jwt_no_service_could_get_is_not_made() {
    let house = House::new();
    let sized = |bytes: usize| NewSession { claims: claims(serde_json::json!({"a": "x".repeat(bytes)})), ..new("ada") };
    assert!(house.sessions.create(sized(3_000), house.start).await.is_ok());
    match house.sessions.create(sized(6_000), house.start).await {
        Err(SessionError::JwtTooLarge(size, most)) => assert!(size > most && most == 6 * 1024),
        other => panic!("{other:?}"),
    }
}

#[test]
fn pages_are_bounded() {
    for (limit, good) in [(0, false), (1, true), (1000, true), (1001, false)] {
        assert_eq!(page(limit).is_ok(), good, "{limit}");
    }
}
