use futures_util::future::join_all;
use serde_json::json;

use super::*;
use crate::authz::verdict::Lookup;
use crate::sessions::Issued;
use crate::sessions::fixtures::{House, MINUTE};
use crate::store::{Loaded, StoreError};

mod race;

fn patch(claims: Value) -> SessionChange {
    SessionChange { claims: Some(serde_json::value::to_raw_value(&claims).unwrap()), ..SessionChange::default() }
}

async fn update(house: &House, sid: SessionId, claims: Value) -> Result<Arc<Session>, SessionError> {
    house.sessions.update(&house.realm, sid, &patch(claims), None, house.start).await
}

#[tokio::test]
async fn what_waits_is_made_as_one() {
    let house = House::new();
    let sid = house.create("ada").await.session.id;
    // All of them wait before the first has its turn: tasks of this runtime run when this one waits.
    let made = join_all((0..100).map(|n| update(&house, sid, json!({ format!("key-{n}"): n })))).await;
    assert!(made.iter().all(Result::is_ok));
    let stored = house.stored(sid).await;
    assert_eq!(stored.claims.to_object().len(), 100);
    assert_eq!(stored.version, 1 + 100_u64.div_ceil(32));
    assert_eq!(format!("{:?}", house.sessions.changes), "Changes { waiting: 0, .. }");
}

#[tokio::test]
async fn each_change_is_judged_and_answered_apart() {
    let house = House::new();
    let sid = house.create("ada").await.session.id;
    let (house, realm, now) = (&house, &house.realm, house.start);
    let ask = |claims, version, now| {
        let change = patch(claims);
        async move { house.sessions.update(realm, sid, &change, version, now).await }
    };
    let answers = join_all([
        ask(json!({"a": 1}), None, now),
        ask(json!({"b": "x".repeat(17_000)}), None, now),
        ask(json!({"c": "x".repeat(6_000)}), None, now),
        ask(json!(["no object"]), None, now),
        ask(json!({"d": 1}), None, house.after(48 * 60 * MINUTE)),
        ask(json!({}), None, now),
        ask(json!({"e": 1}), None, now),
        // Judged by the session as the changes before have left it.
        ask(json!({"f": 1}), Some(1), now),
        ask(json!({"g": 1}), Some(2), now),
        ask(json!({"a": null}), None, now),
    ])
    .await;
    let told: Vec<_> = answers
        .iter()
        .map(|answer| match answer {
            Ok(session) => format!("version {}", session.version),
            Err(SessionError::OutOfBounds { field, .. }) => (*field).to_owned(),
            Err(SessionError::JwtTooLarge(..)) => "jwt".to_owned(),
            Err(error) => error.to_string(),
        })
        .collect();
    let want = [
        "version 2",
        "claims",
        "jwt",
        "claims",
        "no such session",
        "version 2",
        "version 2",
        "the session has changed: its version is 2",
        "version 3",
        "version 3",
    ];
    assert_eq!(told, want);
    assert_eq!(house.stored(sid).await.claims.as_json(), r#"{"e":1,"g":1}"#);
}

#[tokio::test]
async fn a_change_is_made_although_its_caller_goes_away() {
    let house = House::embedded();
    let sid = house.create("ada").await.session.id;
    {
        let mut left = Box::pin(update(&house, sid, json!({"a": 1})));
        assert!(futures_util::poll!(&mut left).is_pending());
    }
    house.settled().await;
    assert_eq!(house.stored(sid).await.claims.as_json(), r#"{"a":1}"#);
}

#[tokio::test]
async fn p32_what_waits_is_bounded_and_the_rest_is_told() {
    let house = House::new();
    let mut sids = Vec::new();
    for _ in 0..9 {
        sids.push(house.create("ada").await.session.id);
    }
    for (sessions, want) in [(&sids[..1], 256), (&sids[..], 2_048)] {
        let all = sessions.iter().flat_map(|sid| (0..300).map(|n| update(&house, *sid, json!({ "n": n }))));
        let (made, refused): (Vec<_>, Vec<_>) = join_all(all).await.into_iter().partition(Result::is_ok);
        assert_eq!(made.len(), want);
        assert!(refused.iter().all(|it| matches!(it, Err(SessionError::Contended))));
    }
    // And there is place again.
    assert!(update(&house, sids[0], json!({"after": true})).await.is_ok());
}

#[tokio::test]
async fn p20_a_store_that_fails_is_told_to_all_who_wait() {
    let house = House::embedded();
    let sid = house.create("ada").await.session.id;
    house.store.close().await.unwrap();
    let answers = join_all((0..40).map(|n| update(&house, sid, json!({ format!("key-{n}"): n })))).await;
    assert!(answers.iter().all(|it| matches!(it, Err(SessionError::Store(StoreError::Closed)))), "{answers:?}");
}

#[tokio::test]
async fn a_task_that_dies_leaves_no_queue_behind() {
    let house = House::new();
    let sid = house.create("ada").await.session.id;
    let dying = tokio::runtime::Builder::new_current_thread().build().unwrap();
    {
        // The change's task is of a runtime that never runs it, and ends.
        let _entered = dying.enter();
        let mut waits = Box::pin(update(&house, sid, json!({"lost": true})));
        assert!(futures_util::poll!(&mut waits).is_pending());
        dying.shutdown_background();
        assert!(matches!(waits.await, Err(SessionError::Store(StoreError::Closed))));
    }
    assert_eq!(format!("{:?}", house.sessions.changes), "Changes { waiting: 0, .. }");
    assert_eq!(update(&house, sid, json!({"next": true})).await.unwrap().version, 2);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// A patch of a few names, so that they meet; some are too large, some are for a version.
    fn asked() -> impl Strategy<Value = (Value, Option<u64>)> {
        let value = prop_oneof![
            4 => (0..10).prop_map(Value::from),
            2 => Just(Value::Null),
            2 => ("[a-c]", 0..10).prop_map(|(name, n)| json!({ name: n })),
            1 => Just(Value::from("x".repeat(9_000))),
            1 => Just(Value::from("x".repeat(3_000))),
        ];
        let patch = prop::collection::btree_map("[a-e]", value, 0..3).prop_map(|map| json!(map));
        (patch, prop::option::weighted(0.1, 1_u64..6))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_answered_with_success_is_what_the_record_says(
            asks in prop::collection::vec(asked(), 1..80),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let (stored, answers) = runtime.block_on(async {
                let house = House::new();
                let sid = house.create("ada").await.session.id;
                let changes: Vec<_> = asks.iter().map(|(claims, _)| patch(claims.clone())).collect();
                let all = asks.iter().zip(&changes).map(|((_, version), change)| {
                    house.sessions.update(&house.realm, sid, change, *version, house.start)
                });
                let answers = join_all(all).await;
                (house.stored(sid).await, answers)
            });
            let mut model = json!({});
            for ((claims, version), answer) in asks.iter().zip(answers) {
                match answer {
                    Ok(session) => {
                        json_patch::merge(&mut model, claims);
                        prop_assert!(session.version <= stored.version);
                    }
                    Err(SessionError::VersionMismatch(now)) => prop_assert!(version.is_some_and(|it| it != now)),
                    Err(SessionError::OutOfBounds { .. } | SessionError::JwtTooLarge(..)) => {
                        let mut wanted = model.clone();
                        json_patch::merge(&mut wanted, claims);
                        prop_assert!(wanted.to_string().len() > 3_000, "no reason to refuse it");
                    }
                    Err(error) => prop_assert!(false, "{error}"),
                }
            }
            prop_assert_eq!(Value::Object(stored.claims.to_object()), model);
        }
    }
}
