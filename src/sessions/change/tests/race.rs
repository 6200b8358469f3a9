//! Many at once, over each store, in one process and in two.

use std::collections::BTreeSet;

use tokio::task::JoinSet;

use super::*;

/// A store, and how many replicas share it.
fn houses(first: House, replicas: usize) -> Vec<Arc<House>> {
    let others: Vec<_> = (1..replicas).map(|_| Arc::new(first.replica())).collect();
    std::iter::once(Arc::new(first)).chain(others).collect()
}

/// 100 changes of one session: every one that was answered with success is in the record, and nothing else is.
async fn p20_of_a_hundred_changes_none_is_lost_in_silence(houses: Vec<Arc<House>>) {
    let sid = houses[0].create("ada").await.session.id;
    let mut all = JoinSet::new();
    for n in 0..100_usize {
        let house = Arc::clone(&houses[n % houses.len()]);
        all.spawn(async move {
            let (claims, version) = match n % 10 {
                // Of these at most one is in time.
                7 => (json!({"made": {format!("n{n}"): n}, "last": n}), Some(1)),
                // These are never good.
                8 => (json!({"made": {format!("n{n}"): "x".repeat(17_000)}}), None),
                9 => (json!({"made": {format!("n{n}"): "x".repeat(6_000)}}), None),
                // These meet in a name of the object and in a value.
                _ => (json!({"made": {format!("n{n}"): n}, "last": n}), None),
            };
            (n, house.sessions.update(&house.realm, sid, &patch(claims), version, house.start).await)
        });
    }
    let mut made = BTreeSet::new();
    while let Some(answered) = all.join_next().await {
        let (n, answer) = answered.unwrap();
        match (n % 10, answer) {
            (0..8, Ok(session)) => {
                assert!(session.claims.to_object()["made"].get(format!("n{n}")).is_some(), "what was answered has it");
                made.insert(n);
            }
            (7, Err(SessionError::VersionMismatch(_)))
            | (8, Err(SessionError::OutOfBounds { field: "claims", .. }))
            | (9, Err(SessionError::JwtTooLarge(..))) => {}
            // Not even `Contended`: two replicas get through well within the time that a change has.
            (_, other) => panic!("{n}: {other:?}"),
        }
    }
    assert_eq!(made.iter().filter(|n| **n % 10 < 7).count(), 70, "{made:?}");
    assert!(made.iter().filter(|n| **n % 10 == 7).count() <= 1, "{made:?}");
    let stored = houses[0].stored(sid).await;
    let claims = stored.claims.to_object();
    let kept: BTreeSet<_> = claims["made"].as_object().unwrap().values().map(number).collect();
    assert_eq!(kept, made);
    assert!(made.contains(&number(&claims["last"])));
    assert!(stored.version <= 1 + made.len() as u64);
}

fn number(value: &Value) -> usize {
    serde_json::from_value(value.clone()).unwrap()
}

/// One session is changed and used through every replica while it is ended. Once the end has been answered it is over: in the
/// store, by a fresh load, and for whoever looks in the replica that ended it. The others hear of it from the store's link,
/// for which `changed` stands here.
async fn race(houses: Vec<Arc<House>>, round: usize) {
    let Issued { token, session } = houses[0].create("ada").await;
    let (sid, now) = (session.id, session.created);
    let mut racing = JoinSet::new();
    for house in &houses {
        for n in 0..2 {
            let house = Arc::clone(house);
            racing.spawn(async move {
                match update(&house, sid, json!({ format!("key-{n}"): round })).await {
                    Ok(_) | Err(SessionError::NotFound) => {}
                    Err(error) => panic!("{error}"),
                }
            });
        }
        let (house, token) = (Arc::clone(house), token.clone());
        racing.spawn(async move {
            let lookup = house.lookup(&token, now).await;
            assert!(matches!(lookup, Lookup::Active(_) | Lookup::Revoked), "{lookup:?}");
        });
    }
    for _ in 0..round % 4 {
        tokio::task::yield_now().await;
    }
    let ender = &houses[round % houses.len()];
    if round % 8 == 7 {
        // The rounds share a subject: another one may have ended it.
        ender.sessions.revoke_subject(&ender.realm, "ada").await.unwrap();
    } else {
        ender.sessions.revoke(&ender.realm, sid).await.unwrap();
    }
    is_over(&houses, ender, &token, now).await;
    while let Some(raced) = racing.join_next().await {
        raced.unwrap();
    }
    // Nor is it after what was under way has come to its end.
    is_over(&houses, ender, &token, now).await;
}

async fn is_over(
    houses: &[Arc<House>],
    ender: &Arc<House>,
    token: &crate::authz::credential::AccessToken,
    now: Timestamp,
) {
    let sid = token.sid();
    for house in houses {
        if !Arc::ptr_eq(house, ender) {
            house.sessions.view().changed(sid);
        }
        let lookup = house.lookup(token, now).await;
        assert!(matches!(lookup, Lookup::Revoked), "{lookup:?}");
        assert!(matches!(update(house, sid, json!({"late": true})).await, Err(SessionError::NotFound)));
        assert!(matches!(house.sessions.get(&house.realm, sid, now).await, Err(SessionError::NotFound)));
    }
    assert!(matches!(ender.store.load(&ender.realm, sid).await, Ok(Loaded::Revoked)));
}

async fn p17_p19_an_update_that_races_a_revoke_revives_nothing(houses: Vec<Arc<House>>) {
    // A thousand rounds, some at once, so that a durable store writes several with one flush.
    for begun in (0..1_000).step_by(40) {
        let mut rounds = JoinSet::new();
        for round in begun..begun + 40 {
            rounds.spawn(race(houses.clone(), round));
        }
        while let Some(round) = rounds.join_next().await {
            round.unwrap();
        }
    }
}

/// Loads have read the living session, and changes wait, when the end is answered.
async fn p17_an_end_is_felt_by_what_is_in_flight(houses: Vec<Arc<House>>) {
    let ender = Arc::clone(&houses[0]);
    for round in 0..20 {
        let token = ender.create("ada").await.token;
        let gate = &ender.sessions.view().gate;
        gate.hold_after(true);
        let mut looks = JoinSet::new();
        for _ in 0..10 {
            let (house, token) = (Arc::clone(&ender), token.clone());
            looks.spawn(async move { house.lookup(&token, house.start).await });
        }
        gate.reached(round + 1).await;
        let mut changes = JoinSet::new();
        for n in 0..40 {
            let house = Arc::clone(&houses[n % houses.len()]);
            let sid = token.sid();
            changes.spawn(async move { update(&house, sid, json!({ format!("key-{n}"): n })).await });
        }
        assert!(ender.sessions.revoke(&ender.realm, token.sid()).await.unwrap());
        gate.hold_after(false);
        while let Some(looked) = looks.join_next().await {
            assert!(matches!(looked.unwrap(), Lookup::Revoked), "what was loaded before the end does not count");
        }
        let mut versions = BTreeSet::from([1]);
        while let Some(changed) = changes.join_next().await {
            match changed.unwrap() {
                Ok(session) => _ = versions.insert(session.version),
                Err(SessionError::NotFound) => {}
                Err(error) => panic!("{error}"),
            }
        }
        is_over(&houses, &ender, &token, ender.start).await;
    }
}

macro_rules! suite {
    ($($name:ident($store:expr, $replicas:literal))*) => {
        $(mod $name {
            use super::*;

            suite! { @checks $store, $replicas:
                p20_of_a_hundred_changes_none_is_lost_in_silence
                p17_p19_an_update_that_races_a_revoke_revives_nothing
                p17_an_end_is_felt_by_what_is_in_flight
            }
        })*
    };
    (@checks $store:expr, $replicas:literal: $($check:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $check() {
            super::$check(houses($store, $replicas)).await;
        })*
    };
}

suite! {
    memory(House::new(), 1)
    memory_shared_by_two(House::new(), 2)
    embedded(House::embedded(), 1)
    embedded_shared_by_two(House::embedded(), 2)
}
