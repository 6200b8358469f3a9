use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::*;
use crate::authz::policy::{Fingerprint, PolicyName, RuleName};
use crate::authz::session::Claims;
use crate::authz::verdict::Lookup;
use crate::sessions::fixtures::{HOUR, House, claims, new, realm};
use crate::store::Store;

fn scope(session: Option<SessionId>) -> ResponseScope {
    let policy = PolicyName { namespace: "shop".into(), name: "shop".into() };
    ResponseScope {
        rule: Arc::new(RuleName { policy, rule: "cart".into() }),
        namespace: "shop".into(),
        realm: realm("shop"),
        fingerprint: Fingerprint([0; 8]),
        session,
        cookie: None,
        dead: false,
        exchanges: false,
        subject: session.map(|_| "ada".into()),
    }
}

fn create(subject: &str) -> Command {
    Command::Create(Box::new(NewIdentity {
        subject: subject.to_owned(),
        auth_time: None,
        acr: None,
        amr: vec!["pwd".to_owned()],
        scopes: vec!["cart:write".to_owned()],
        roles: Vec::new(),
        claims: claims(json!({"tenant": "eu"})),
        device: None,
        provider: None,
    }))
}

fn update(patch: Value) -> Command {
    Command::Update(serde_json::value::to_raw_value(&patch).unwrap())
}

async fn respond(house: &House, session: Option<SessionId>, command: Command) -> Result<Responded, CommandRefusal> {
    let done = house.sessions.respond(&scope(session), command, house.start, |_| {}).await;
    done.map_err(|refused| refused.refusal)
}

/// What came of it, as a word.
fn told(done: &Result<Responded, CommandRefusal>) -> String {
    match done {
        Ok(Responded::Created { replaced, .. }) => format!("created, replaced: {replaced}"),
        Ok(Responded::Updated) => "updated".to_owned(),
        Ok(Responded::Unchanged) => "unchanged".to_owned(),
        Ok(Responded::Ended(count)) => format!("ended {count}"),
        Err(refusal) => refusal.label().to_owned(),
    }
}

async fn live(house: &House, subject: &str) -> usize {
    house.sessions.list(&house.realm, subject, 1_000, None, house.start).await.unwrap().0.len()
}

#[tokio::test]
async fn claims_are_merged_into_the_requests_session() {
    let house = House::new();
    let first = crate::sessions::NewSession { claims: claims(json!({"tenant": "eu"})), ..new("ada") };
    let sid = house.sessions.create(first, house.start).await.unwrap().session.id;
    for (patch, want, after) in [
        (json!({"cart": ["apple"]}), "updated", r#"{"cart":["apple"],"tenant":"eu"}"#),
        (json!({"cart": ["apple"]}), "unchanged", r#"{"cart":["apple"],"tenant":"eu"}"#),
        (json!({}), "unchanged", r#"{"cart":["apple"],"tenant":"eu"}"#),
        (json!({"cart": {"pear": 1}}), "updated", r#"{"cart":{"pear":1},"tenant":"eu"}"#),
        (json!({"cart": {"fig": 2, "pear": null}}), "updated", r#"{"cart":{"fig":2},"tenant":"eu"}"#),
        (json!({"cart": "x".repeat(Claims::MAX_BYTES)}), "out_of_bounds", r#"{"cart":{"fig":2},"tenant":"eu"}"#),
        (json!({"cart": "x".repeat(6_000)}), "jwt_too_large", r#"{"cart":{"fig":2},"tenant":"eu"}"#),
        (json!({"cart": null}), "updated", r#"{"tenant":"eu"}"#),
    ] {
        let done = respond(&house, Some(sid), update(patch)).await;
        assert_eq!((told(&done).as_str(), house.stored(sid).await.claims.as_json()), (want, after));
    }
}

#[tokio::test]
async fn p22_a_command_reaches_the_session_of_its_scope_and_no_other() {
    let house = House::new();
    let (own, other) = (house.create("ada").await, house.create("ada").await);
    let mut elsewhere = new("ada");
    elsewhere.realm = realm("bank");
    let elsewhere = house.sessions.create(elsewhere, house.start).await.unwrap().session.id;
    let over = house.create("ada").await.session.id;
    house.sessions.revoke(&house.realm, over).await.unwrap();
    for (session, command, want) in [
        (None, update(json!({"cart": 1})), "session_over"),
        (None, Command::End(EndScope::Current), "ended 0"),
        (None, Command::End(EndScope::Subject), "ended 0"),
        (Some(over), update(json!({"cart": 1})), "session_over"),
        (Some(over), Command::End(EndScope::Current), "ended 0"),
        (Some(elsewhere), update(json!({"cart": 1})), "session_over"),
        (Some(elsewhere), Command::End(EndScope::Current), "ended 0"),
        (Some(SessionId::from_bytes([3; 16])), update(json!({"cart": 1})), "session_over"),
        (Some(own.session.id), update(json!({"cart": 1})), "updated"),
        (Some(own.session.id), Command::End(EndScope::Current), "ended 1"),
    ] {
        let shown = format!("{command:?} of {session:?}");
        assert_eq!(told(&respond(&house, session, command).await), want, "{shown}");
    }
    assert_eq!(house.stored(other.session.id).await.version, 1);
    assert!(matches!(house.lookup(&other.token, house.start).await, Lookup::Active(_)));
    assert!(house.sessions.get(&realm("bank"), elsewhere, house.start).await.is_ok());
}

#[tokio::test]
async fn p15_a_log_in_makes_a_new_token_and_ends_the_old_one() {
    let house = House::new();
    // Whoever planted it: the victim's browser comes to the log-in with somebody else's token.
    let planted = house.create("mallory").await;
    let mut before = None;
    for (session, want) in [
        (None, "created, replaced: false"),
        (Some(planted.session.id), "created, replaced: true"),
        (Some(planted.session.id), "created, replaced: false"),
    ] {
        let done = respond(&house, session, create("ada")).await;
        assert_eq!(told(&done), want);
        let Ok(Responded::Created { issued, .. }) = done else { unreachable!() };
        assert_ne!(Some(issued.session.id), before);
        before = Some(issued.session.id);
        let Lookup::Active(session) = house.lookup(&issued.token, house.start).await else { panic!("not alive") };
        assert_eq!((session.subject.as_str(), session.claims.as_json()), ("ada", r#"{"tenant":"eu"}"#));
        assert_eq!((&session.scopes[..], &session.amr[..]), (&["cart:write".to_owned()][..], &["pwd".to_owned()][..]));
        assert_eq!((session.idle, session.absolute_end), (HOUR, house.after(24 * HOUR)));
    }
    assert!(matches!(house.lookup(&planted.token, house.start).await, Lookup::Revoked));
    assert_eq!((live(&house, "ada").await, live(&house, "mallory").await), (3, 0));
}

#[tokio::test]
async fn a_log_in_that_is_refused_ends_nothing() {
    let house = House::new();
    let present = house.create("ada").await;
    let Command::Create(good) = create("ada") else { unreachable!() };
    for (wrong, want) in [
        (NewIdentity { subject: String::new(), ..(*good).clone() }, "out_of_bounds"),
        (NewIdentity { scopes: vec!["a b".to_owned()], ..(*good).clone() }, "out_of_bounds"),
        (NewIdentity { auth_time: Some(house.after(HOUR)), ..(*good).clone() }, "out_of_bounds"),
        (NewIdentity { claims: claims(json!({"x": "y".repeat(6_000)})), ..(*good).clone() }, "jwt_too_large"),
    ] {
        let done = respond(&house, Some(present.session.id), Command::Create(Box::new(wrong))).await;
        assert_eq!(told(&done), want);
    }
    assert!(matches!(house.lookup(&present.token, house.start).await, Lookup::Active(_)));
    assert_eq!(live(&house, "ada").await, 1);
}

#[tokio::test]
async fn p17_what_was_ended_by_a_response_is_refused() {
    for (which, ended, left) in [(EndScope::Current, 1, 2), (EndScope::Subject, 3, 0)] {
        let house = House::new();
        let mut all = Vec::new();
        for _ in 0..3 {
            let issued = house.create("ada").await;
            assert!(matches!(house.lookup(&issued.token, house.start).await, Lookup::Active(_)));
            all.push(issued);
        }
        let bob = house.create("bob").await;
        let sid = all[0].session.id;
        let done = respond(&house, Some(sid), Command::End(which)).await;
        assert_eq!(told(&done), format!("ended {ended}"));
        for (n, issued) in all.iter().enumerate() {
            let lookup = house.lookup(&issued.token, house.start).await;
            assert_eq!(matches!(lookup, Lookup::Revoked), n < ended, "{n}: {lookup:?}");
        }
        assert_eq!(live(&house, "ada").await, left);
        assert!(matches!(house.lookup(&bob.token, house.start).await, Lookup::Active(_)));
        assert_eq!(told(&respond(&house, Some(sid), Command::End(which)).await), "ended 0");
        assert_eq!(told(&respond(&house, Some(sid), update(json!({"late": 1}))).await), "session_over");
    }
}

#[tokio::test]
async fn p20_a_store_that_fails_is_never_a_success() {
    let house = House::embedded();
    let sid = house.create("ada").await.session.id;
    house.store.close().await.unwrap();
    for command in
        [create("ada"), update(json!({"cart": 1})), Command::End(EndScope::Current), Command::End(EndScope::Subject)]
    {
        let shown = format!("{command:?}");
        assert_eq!(told(&respond(&house, Some(sid), command).await), "store_unavailable", "{shown}");
    }
}

#[tokio::test]
async fn p15_p20_a_log_in_that_cannot_end_the_old_session_leaves_no_new_one() {
    let house = House::new();
    let planted = house.create("mallory").await.session.id;
    let Store::Memory(store) = &*house.store else { unreachable!() };
    // What cannot be read cannot be ended either.
    store.plant(&house.realm, planted, vec![0; 40]);
    let done = respond(&house, Some(planted), create("ada")).await;
    assert_eq!(told(&done), "store_unavailable");
    assert_eq!(live(&house, "ada").await, 0);
    assert_eq!(told(&respond(&house, None, create("ada")).await), "created, replaced: false");
    assert_eq!(live(&house, "ada").await, 1);
}

#[tokio::test]
async fn p20_an_update_that_finds_no_place_is_told_so() {
    let house = House::new();
    let sid = house.create("ada").await.session.id;
    let all = join_all((0..300).map(|n| respond(&house, Some(sid), update(json!({ "n": n }))))).await;
    let refused = all.iter().filter(|done| told(done) == "update_conflict").count();
    let made = all.iter().filter(|done| told(done) == "updated").count();
    assert_eq!((made, refused), (256, 44));
}

#[tokio::test]
async fn what_was_begun_is_done_although_the_response_goes_away() {
    let house = House::embedded();
    let old = house.create("ada").await;
    for (command, left) in [(create("ada"), 1), (Command::End(EndScope::Subject), 0)] {
        let sid = house.sessions.list(&house.realm, "ada", 10, None, house.start).await.unwrap().0[0].id;
        {
            let mut gone = Box::pin(respond(&house, Some(sid), command));
            assert!(futures_util::poll!(&mut gone).is_pending());
        }
        house.settled().await;
        assert!(matches!(house.lookup(&old.token, house.start).await, Lookup::Revoked));
        assert_eq!(live(&house, "ada").await, left);
    }
}

#[test]
fn each_error_is_told_as_one_refusal() {
    let out = SessionError::OutOfBounds { field: "claims", problem: String::new() };
    for (error, want) in [
        (out, CommandRefusal::OutOfBounds),
        (StoreError::from(crate::store::record::TooLarge(70_000)).into(), CommandRefusal::OutOfBounds),
        (SessionError::JwtTooLarge(2, 1), CommandRefusal::JwtTooLarge),
        (SessionError::NotFound, CommandRefusal::SessionOver),
        (SessionError::Contended, CommandRefusal::UpdateConflict),
        (StoreError::Closed.into(), CommandRefusal::StoreUnavailable),
        (StoreError::Busy.into(), CommandRefusal::StoreUnavailable),
        (StoreError::Full(1).into(), CommandRefusal::StoreUnavailable),
        (SessionError::Keys, CommandRefusal::KeysUnavailable),
        (SessionError::VersionMismatch(1), CommandRefusal::Internal),
        (SessionError::WrongToken, CommandRefusal::Internal),
    ] {
        assert_eq!(refusal(&error).refusal, want, "{error}");
    }
}

/// Whoever asks to be logged out everywhere is, also when this session has ended in between.
#[tokio::test]
async fn p20_a_log_out_everywhere_needs_no_live_session() {
    let house = House::new();
    let (own, other) = (house.create("ada").await, house.create("ada").await);
    let bob = house.create("bob").await;
    house.sessions.revoke(&house.realm, own.session.id).await.unwrap();
    let done = respond(&house, Some(own.session.id), Command::End(EndScope::Subject)).await;
    assert_eq!(told(&done), "ended 1");
    assert!(matches!(house.lookup(&other.token, house.start).await, Lookup::Revoked));
    assert!(matches!(house.lookup(&bob.token, house.start).await, Lookup::Active(_)));
}
