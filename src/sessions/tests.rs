use serde_json::{Value, json};

use super::fixtures::{HOUR, House, MINUTE, SECOND, claims, new, realm};
use super::*;

mod fleet;
mod history;

fn change(claims: Value) -> SessionChange {
    SessionChange { claims: Some(serde_json::value::to_raw_value(&claims).unwrap()), ..SessionChange::default() }
}

#[tokio::test]
async fn p12_the_store_keeps_a_hash_and_the_token_is_seen_once() {
    let house = House::new();
    let issued = house.create("ada").await;
    let stored = house.stored(issued.session.id).await;
    assert!(stored.secret.matches(&token::secret_digest(issued.token.secret())));
    let shown =
        format!("{stored:?} {issued:?} {:?} {:?}", house.sessions, house.resolve(&issued.token, house.start).await);
    let text = issued.token.reveal();
    assert!(!shown.contains(&text[AccessToken::PREFIX.len()..]), "p31: no token shows");
    assert!(shown.contains("redacted"), "{shown}");
}

#[tokio::test]
async fn a_session_begins_with_what_was_asked_for() {
    let house = House::new();
    let at = house.start;
    let wanted = NewSession {
        auth_time: Some(Timestamp::from_millis(at.as_millis() - 60_000)),
        idle: Some(10 * MINUTE),
        absolute: Some(2 * HOUR),
        scopes: vec!["cart:read".to_owned()],
        claims: claims(json!({"tenant": "eu"})),
        ..new("ada")
    };
    let made = house.sessions.create(wanted, at).await.unwrap().session;
    assert_eq!(made.subject, "ada");
    assert_eq!((made.created, made.last_seen, made.rotated_at, made.version), (at, at, at, 1));
    assert_eq!((made.idle, made.absolute_end), (10 * MINUTE, at.plus(2 * HOUR)));
    assert_eq!(made.auth_time.as_millis(), at.as_millis() - 60_000);
    let got = house.sessions.get(&house.realm, made.id, at).await.unwrap();
    assert_eq!(got.claims.as_json(), r#"{"tenant":"eu"}"#);
    let short = NewSession { absolute: Some(MINUTE), ..new("ada") };
    assert_eq!(house.sessions.create(short, at).await.unwrap().session.idle, MINUTE, "idle never outlasts the life");
}

#[tokio::test]
async fn claims_are_merged_as_rfc_7396_says() {
    let house = House::new();
    let begin = json!({"a": "b", "c": {"d": "e", "f": "g"}, "l": [1, 2]});
    let wanted = NewSession { claims: claims(begin), ..new("ada") };
    let sid = house.sessions.create(wanted, house.start).await.unwrap().session.id;
    for (version, patch, want) in [
        (2, json!({"a": "z", "c": {"f": null}}), json!({"a": "z", "c": {"d": "e"}, "l": [1, 2]})),
        (3, json!({"l": [3]}), json!({"a": "z", "c": {"d": "e"}, "l": [3]})),
        (3, json!({}), json!({"a": "z", "c": {"d": "e"}, "l": [3]})),
        (3, json!({"missing": null}), json!({"a": "z", "c": {"d": "e"}, "l": [3]})),
        (4, json!({"c": "flat"}), json!({"a": "z", "c": "flat", "l": [3]})),
        (5, Value::Null, json!({})),
    ] {
        let shown = patch.to_string();
        let changed = house.sessions.update(&house.realm, sid, &change(patch), None, house.start).await.unwrap();
        assert_eq!(Value::Object(changed.claims.to_object()), want, "{shown}");
        assert_eq!(changed.version, version, "{shown}");
    }
    for wrong in [json!([1]), json!("x"), json!(1)] {
        let refused = house.sessions.update(&house.realm, sid, &change(wrong), None, house.start).await;
        assert!(matches!(refused, Err(SessionError::OutOfBounds { field: "claims", .. })));
    }
    let large = change(json!({"x": "y".repeat(17_000)}));
    let refused = house.sessions.update(&house.realm, sid, &large, None, house.start).await;
    assert!(matches!(refused, Err(SessionError::OutOfBounds { field: "claims", .. })));
    let wide = change(json!({"x": "y".repeat(6_000)}));
    let refused = house.sessions.update(&house.realm, sid, &wide, None, house.start).await;
    assert!(matches!(refused, Err(SessionError::JwtTooLarge(..))));
    assert_eq!(house.stored(sid).await.version, 5, "what was refused changed nothing");
}

#[tokio::test]
async fn a_change_sets_clears_or_leaves_alone() {
    let house = House::new();
    let device = Device { label: Some("laptop".to_owned()), ..Device::default() };
    let wanted = NewSession {
        acr: Some("urn:pwd".to_owned()),
        roles: vec!["cook".to_owned()],
        device: Some(device.clone()),
        ..new("ada")
    };
    let sid = house.sessions.create(wanted, house.start).await.unwrap().session.id;
    let update =
        async |change: SessionChange| house.sessions.update(&house.realm, sid, &change, None, house.start).await;
    let changed = update(SessionChange { acr: Some(Some("urn:mfa".to_owned())), ..SessionChange::default() }).await;
    let changed = changed.unwrap();
    assert_eq!((changed.acr.as_deref(), changed.device.as_ref()), (Some("urn:mfa"), Some(&device)));
    let clearing =
        SessionChange { acr: Some(None), roles: Some(vec![]), device: Some(None), ..SessionChange::default() };
    let cleared = update(clearing).await.unwrap();
    assert!(cleared.acr.is_none() && cleared.roles.is_empty() && cleared.device.is_none());
    for (idle, good) in [(24 * HOUR, true), (24 * HOUR + SECOND, false), (Duration::ZERO, false)] {
        let changed = update(SessionChange { idle: Some(idle), ..SessionChange::default() }).await;
        assert_eq!(changed.is_ok(), good, "{idle:?}");
    }
    let refused = update(SessionChange { scopes: Some(vec!["a b".to_owned()]), ..SessionChange::default() }).await;
    assert!(matches!(refused, Err(SessionError::OutOfBounds { field: "scopes", .. })));
}

#[tokio::test]
async fn p21_no_change_moves_the_absolute_end() {
    let house = House::new();
    let ada = house.create("ada").await.session;
    let longest = SessionChange { idle: Some(24 * HOUR), ..SessionChange::default() };
    for hours in [0, 1, 23] {
        let at = house.after(hours * HOUR);
        let _ = house.sessions.update(&house.realm, ada.id, &longest, None, at).await;
        house.store.touch(&house.realm, ada.id, at).await.unwrap();
    }
    assert_eq!(house.stored(ada.id).await.absolute_end, ada.absolute_end);
    assert!(matches!(house.sessions.get(&house.realm, ada.id, ada.absolute_end).await, Err(SessionError::NotFound)));
    let late = house.sessions.update(&house.realm, ada.id, &change(json!({"a": 1})), None, ada.absolute_end).await;
    assert!(matches!(late, Err(SessionError::NotFound)));
}

#[tokio::test]
async fn if_version_means_that_version() {
    let house = House::new();
    let sid = house.create("ada").await.session.id;
    let update = async |n: u64, version: u64| {
        house.sessions.update(&house.realm, sid, &change(json!({ "n": n })), Some(version), house.start).await
    };
    assert_eq!(update(1, 1).await.unwrap().version, 2);
    for wrong in [0, 1, 3] {
        assert!(matches!(update(2, wrong).await, Err(SessionError::VersionMismatch(2))), "{wrong}");
    }
    assert_eq!(update(2, 2).await.unwrap().version, 3);
}

#[tokio::test]
async fn a_list_has_the_live_sessions_only() {
    let house = House::new();
    let (one, two, three) = (house.create("ada").await, house.create("ada").await, house.create("ada").await);
    house.create("bob").await;
    house.sessions.revoke(&house.realm, two.session.id).await.unwrap();
    house.store.touch(&house.realm, one.session.id, house.after(HOUR)).await.unwrap();
    let at = house.after(HOUR);
    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let (page, next) = house.sessions.list(&house.realm, "ada", 1, after, at).await.unwrap();
        listed.extend(page.into_iter().map(|session| session.id));
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed, [one.session.id], "{:?} is idle, {:?} revoked", three.session.id, two.session.id);
}

#[tokio::test]
async fn another_realms_sessions_do_not_exist() {
    let house = House::new();
    let ada = house.create("ada").await;
    let (bank, sid, now) = (realm("bank"), ada.session.id, house.start);
    assert!(matches!(house.sessions.get(&bank, sid, now).await, Err(SessionError::NotFound)));
    let update = house.sessions.update(&bank, sid, &change(json!({"a": 1})), None, now).await;
    assert!(matches!(update, Err(SessionError::NotFound)));
    assert!(matches!(house.sessions.rotate(&bank, sid, &ada.token, now).await, Err(SessionError::WrongToken)));
    assert!(!house.sessions.revoke(&bank, sid).await.unwrap());
    assert_eq!(house.sessions.revoke_subject(&bank, "ada").await.unwrap(), 0);
    assert!(matches!(house.lookup(&ada.token, now).await, Lookup::Active(_)), "and nothing there touches ours");
}
