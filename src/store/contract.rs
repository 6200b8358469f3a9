//! What every store keeps, written once. A store more is a row more: [`suite!`] below, and a `Home` for it.

mod history;
mod home;

use std::sync::Arc;

use self::home::{Home, Place};
use super::fixtures::{at, realm, secret, session, sid};
use super::record::{self, DecodeError};
use super::{Changed, Loaded, SecretChange, StoreError};
use crate::authz::session::{Claims, PreviousSecret, Session, SessionId, Timestamp};

fn done(changed: Changed) -> Session {
    match changed {
        Changed::Done(session) => *session,
        other => panic!("not done: {other:?}"),
    }
}

fn is_revoked(loaded: &Loaded) -> bool {
    matches!(loaded, Loaded::Revoked)
}

/// All of a session, with its secrets: `Debug` does not show those. Epochs are the store's own business.
fn whole(session: &Session) -> (Vec<u8>, Timestamp) {
    (record::encode(&Session { epoch: 0, ..session.clone() }).unwrap(), session.last_seen)
}

fn rotation(from: u8, to: u8, previous: Option<(u8, Option<i64>)>) -> SecretChange {
    let previous = previous.map(|(byte, ends)| PreviousSecret { digest: secret(byte), ends: ends.map(at) });
    SecretChange { from: secret(from), to: secret(to), previous, rotated_at: at(5_000) }
}

async fn what_was_created_is_loaded(home: Home) {
    let made = home.create(session(1, "ada")).await;
    assert_eq!(whole(&made), whole(&session(1, "ada")));
    assert_eq!(whole(&home.live(&made).await), whole(&made));
    assert!(matches!(home.load(&session(2, "ada")).await, Loaded::Absent));
    let home = home.restart().await;
    if home.is_durable() {
        assert_eq!(whole(&home.live(&made).await), whole(&made));
    }
}

async fn a_creation_may_be_repeated(home: Home) {
    let made = home.create(session(1, "ada")).await;
    home.store.touch(&made.realm, made.id, at(3_000)).await.unwrap();
    let again = home.create(Session { epoch: 99, ..session(1, "ada") }).await;
    assert_eq!(again.last_seen, at(3_000));
    let other = home.store.create(session(1, "eve")).await.unwrap();
    assert!(matches!(&other, Changed::Conflict(stored) if stored.subject == "ada"), "{other:?}");
    let other = home.store.create(Session { secret: secret(9), ..session(1, "ada") }).await.unwrap();
    assert!(matches!(other, Changed::Conflict(_)));
    assert_eq!(home.ids("ada", 10).await, [[made.id]]);
    assert_eq!(home.ids("eve", 10).await, [[]; 1]);
}

async fn p21_an_update_changes_what_it_may(home: Home) {
    let made = home.create(session(1, "ada")).await;
    let wanted = Session {
        roles: vec!["admin".to_owned()],
        acr: None,
        idle: std::time::Duration::from_secs(7),
        // None of these is the caller's to change.
        subject: "eve".to_owned(),
        secret: secret(9),
        previous: Some(PreviousSecret { digest: secret(8), ends: None }),
        rotated_at: at(9),
        created: at(9),
        last_seen: at(99_000),
        absolute_end: at(i64::MAX),
        epoch: 77,
        version: 500,
        ..made.clone()
    };
    let want = Session { roles: wanted.roles.clone(), acr: None, idle: wanted.idle, version: 2, ..made.clone() };
    let updated = done(home.store.update(1, wanted.clone()).await.unwrap());
    assert_eq!(whole(&updated), whole(&want));
    assert_eq!(whole(&home.live(&made).await), whole(&want));
    let late = home.store.update(1, wanted.clone()).await.unwrap();
    assert!(matches!(&late, Changed::Conflict(stored) if whole(stored) == whole(&want)), "{late:?}");
    let absent = home.store.update(1, session(2, "ada")).await.unwrap();
    assert!(matches!(absent, Changed::Gone(Loaded::Absent)));
}

async fn a_rotation_needs_the_present_secret(home: Home) {
    let made = home.create(session(1, "ada")).await;
    let (realm, id) = (&made.realm, made.id);
    let rotated = done(home.store.rotate(realm, id, rotation(1, 2, Some((1, None)))).await.unwrap());
    assert_eq!((rotated.version, rotated.last_seen, rotated.rotated_at), (1, made.last_seen, at(5_000)));
    assert!(rotated.secret.matches(&secret(2)));
    assert!(rotated.previous.is_some_and(|it| it.digest.matches(&secret(1)) && it.ends.is_none()));
    assert_eq!(whole(&home.live(&made).await), whole(&rotated));

    let late = home.store.rotate(realm, id, rotation(1, 3, None)).await.unwrap();
    assert!(matches!(&late, Changed::Conflict(stored) if whole(stored) == whole(&rotated)), "{late:?}");
    let absent = home.store.rotate(realm, sid(2), rotation(1, 2, None)).await.unwrap();
    assert!(matches!(absent, Changed::Gone(Loaded::Absent)));
}

async fn p19_an_overlap_that_ends_is_not_opened_again(home: Home) {
    let made = home.create(session(1, "ada")).await;
    let (realm, id) = (&made.realm, made.id);
    let rotate = |change| home.store.rotate(realm, id, change);
    done(rotate(rotation(1, 2, Some((1, None)))).await.unwrap());
    // Its owner lost the answer, and is given another successor while the overlap is open.
    done(rotate(rotation(2, 3, Some((1, None)))).await.unwrap());
    // The successor is presented: the overlap now has an end.
    done(rotate(rotation(3, 3, Some((1, Some(35_000))))).await.unwrap());
    // A gate that did not see that would replace the secret its owner holds, or move the end out.
    assert!(matches!(rotate(rotation(3, 4, Some((1, None)))).await.unwrap(), Changed::Conflict(_)));
    let again = done(rotate(rotation(3, 3, Some((1, Some(90_000))))).await.unwrap());
    assert_eq!(again.previous.unwrap().ends, Some(at(35_000)));
    // The next rotation's overlap is another one.
    let next = done(rotate(rotation(3, 4, Some((3, None)))).await.unwrap());
    assert!(next.previous.is_some_and(|it| it.digest.matches(&secret(3)) && it.ends.is_none()));
}

async fn a_touch_never_moves_back_and_makes_nothing(home: Home) {
    let made = home.create(session(1, "ada")).await;
    for (seen, want) in [(2_000, 2_000), (1_500, 2_000), (2_000, 2_000), (2_001, 2_001), (i64::MIN, 2_001)] {
        home.store.touch(&made.realm, made.id, at(seen)).await.unwrap();
        assert_eq!(home.live(&made).await.last_seen, at(want), "after {seen}");
    }
    assert_eq!(home.live(&made).await.version, 1);
    home.store.touch(&made.realm, sid(2), at(3_000)).await.unwrap();
    assert!(matches!(home.load(&session(2, "ada")).await, Loaded::Absent));
    // Created afterwards, the session knows nothing of it.
    assert_eq!(home.create(session(2, "ada")).await.last_seen, at(1_000));
    assert_eq!(home.live(&session(2, "ada")).await.last_seen, at(1_000));
    // A touch survives a change of the record, and a clean restart.
    done(home.store.update(1, made.clone()).await.unwrap());
    let home = home.restart().await;
    if home.is_durable() {
        assert_eq!(home.live(&made).await.last_seen, at(2_001));
    }
}

async fn p17_revoked_is_revoked(home: Home) {
    let made = home.create(session(1, "ada")).await;
    assert!(home.store.revoke(&made.realm, made.id).await.unwrap());
    assert!(is_revoked(&home.load(&made).await));
    assert!(!home.store.revoke(&made.realm, made.id).await.unwrap(), "a second time it was not there");
    assert!(!home.store.revoke(&made.realm, sid(2)).await.unwrap());
    assert!(matches!(home.load(&session(2, "ada")).await, Loaded::Absent), "an unknown id leaves no tombstone");
    assert_eq!(home.ids("ada", 10).await, [[]; 1]);
    assert_eq!(home.store.by_provider(&made.realm, "https://id.example", "op-1").await.unwrap(), []);
    let home = home.restart().await;
    if home.is_durable() {
        assert!(is_revoked(&home.load(&made).await));
    }
}

async fn p19_a_tombstone_wins_over_every_late_write(home: Home) {
    for (number, by_epoch) in [(1, false), (2, true)] {
        let made = home.create(session(number, "ada")).await;
        if by_epoch {
            assert_eq!(home.store.revoke_subject(&made.realm, "ada").await.unwrap(), [made.id]);
        } else {
            home.store.revoke(&made.realm, made.id).await.unwrap();
        }
        let gone = |changed: &Changed| matches!(changed, Changed::Gone(Loaded::Revoked));
        let late = home.store.update(1, made.clone()).await.unwrap();
        assert!(gone(&late), "{late:?}");
        let late = home.store.rotate(&made.realm, made.id, rotation(1, 2, None)).await.unwrap();
        assert!(gone(&late), "{late:?}");
        let late = home.store.create(session(number, "ada")).await.unwrap();
        assert!(gone(&late), "{late:?}");
        let late = home.store.create(session(number, "eve")).await.unwrap();
        assert!(gone(&late), "{late:?}");
        home.store.touch(&made.realm, made.id, at(9_000)).await.unwrap();
        assert!(is_revoked(&home.load(&made).await));
        assert_eq!(home.ids("ada", 10).await, [[]; 1]);
    }
}

async fn p17_a_subject_is_logged_out_everywhere(home: Home) {
    let before = [home.create(session(1, "ada")).await, home.create(session(2, "ada")).await];
    let other = home.create(session(3, "adam")).await;
    let elsewhere = home.create(Session { realm: realm("bank"), ..session(1, "ada") }).await;
    home.store.revoke(&realm("shop"), sid(2)).await.unwrap();

    assert_eq!(home.store.revoke_subject(&realm("shop"), "ada").await.unwrap(), [sid(1)]);
    let after = home.create(session(4, "ada")).await;
    for session in &before {
        assert!(is_revoked(&home.load(session).await));
    }
    for session in [&other, &elsewhere, &after] {
        assert_eq!(whole(&home.live(session).await), whole(session));
    }
    assert_eq!(home.ids("ada", 10).await, [[sid(4)]]);

    // Again, also after a restart: only what was made since.
    let home = home.restart().await;
    if home.is_durable() {
        assert_eq!(home.store.revoke_subject(&realm("shop"), "ada").await.unwrap(), [sid(4)]);
        assert!(is_revoked(&home.load(&after).await));
        assert_eq!(home.store.revoke_subject(&realm("shop"), "ada").await.unwrap(), []);
    }
    assert_eq!(home.store.revoke_subject(&realm("shop"), "nobody").await.unwrap(), []);
}

async fn a_forgotten_epoch_revokes_and_revives_nothing(home: Home) {
    let shop = realm("shop");
    home.create(Session { absolute_end: at(10_000), ..session(1, "ada") }).await;
    home.store.revoke_subject(&shop, "ada").await.unwrap();
    let long = home.create(session(2, "ada")).await;
    // The epoch that ended session 1 is forgotten with it; session 2 was made under it and lives on.
    assert_eq!(home.store.sweep(at(10_001)).await.unwrap(), usize::from(home.forgets_by_sweep()));
    assert_eq!(home.live(&long).await.epoch, long.epoch);
    let newest = home.create(session(3, "ada")).await;
    assert_eq!(home.store.revoke_subject(&shop, "ada").await.unwrap(), [long.id, newest.id]);
    assert!(is_revoked(&home.load(&long).await) && is_revoked(&home.load(&newest).await));
}

async fn p17_creations_fall_on_one_side_of_a_log_out(home: Home) {
    let store = &home.store;
    let creations: Vec<_> = (0..64)
        .map(|number| {
            let store = Arc::clone(store);
            tokio::spawn(async move { done(store.create(session(number, "ada")).await.unwrap()) })
        })
        .collect();
    let mut ended = Vec::new();
    for _ in 0..4 {
        ended.extend(store.revoke_subject(&realm("shop"), "ada").await.unwrap());
    }
    for creation in creations {
        let made = creation.await.unwrap();
        assert_eq!(is_revoked(&home.load(&made).await), ended.contains(&made.id), "{}", made.id);
    }
}

async fn pages_are_complete_and_in_order(home: Home) {
    let mut want: Vec<_> = (0..25).rev().map(sid).collect();
    for id in &want {
        home.create(Session { id: *id, ..session(0, "ada") }).await;
    }
    // The ends of the id space, and neighbours in name.
    for id in [SessionId::from_bytes([0xff; 16]), SessionId::from_bytes([0; 16])] {
        home.store.create(Session { id, ..session(0, "ada") }).await.unwrap();
        want.push(id);
    }
    home.create(Session { id: sid(100), ..session(0, "ad") }).await;
    home.create(Session { id: sid(101), ..session(0, "adaa") }).await;
    home.create(Session { id: sid(102), realm: realm("shop2"), ..session(0, "ada") }).await;
    want.sort_unstable();
    want.dedup();
    for limit in [1, 2, 5, 13, 26, 27, 1_000] {
        let pages = home.ids("ada", limit).await;
        assert!(pages.iter().all(|page| page.len() <= limit));
        assert_eq!(pages.len(), want.len().div_ceil(limit), "no page is empty");
        assert_eq!(pages.concat(), want, "{limit} a page");
    }
    // What goes while someone turns pages moves nothing else.
    let first = home.store.list(&realm("shop"), "ada", 5, None).await.unwrap();
    home.store.revoke(&realm("shop"), first.next.unwrap()).await.unwrap();
    home.store.revoke(&realm("shop"), sid(6)).await.unwrap();
    let second = home.store.list(&realm("shop"), "ada", 3, first.next).await.unwrap();
    let ids: Vec<_> = second.sessions.iter().map(|session| session.id).collect();
    assert_eq!(ids, [sid(5), sid(7), sid(8)]);
    let last = home.store.list(&realm("shop"), "ada", 5, Some(SessionId::from_bytes([0xff; 16]))).await.unwrap();
    assert!(last.sessions.is_empty() && last.next.is_none());
    // A page of nothing is a page of one.
    assert_eq!(home.store.list(&realm("shop"), "ada", 0, None).await.unwrap().sessions.len(), 1);
}

async fn realms_are_separate(home: Home) {
    let shop = home.create(session(1, "ada")).await;
    let elsewhere = Session { realm: realm("bank"), secret: secret(9), ..session(1, "ada") };
    assert!(matches!(home.load(&elsewhere).await, Loaded::Absent));
    assert!(!home.store.revoke(&elsewhere.realm, elsewhere.id).await.unwrap());
    home.store.touch(&elsewhere.realm, elsewhere.id, at(7_000)).await.unwrap();
    assert_eq!(home.store.revoke_subject(&elsewhere.realm, "ada").await.unwrap(), []);
    assert!(matches!(home.store.update(1, elsewhere.clone()).await.unwrap(), Changed::Gone(Loaded::Absent)));
    assert_eq!(home.store.by_provider(&elsewhere.realm, "https://id.example", "op-1").await.unwrap(), []);
    assert_eq!(whole(&home.live(&shop).await), whole(&shop));
    let bank = home.create(elsewhere).await;
    home.store.revoke(&bank.realm, bank.id).await.unwrap();
    assert_eq!(whole(&home.live(&shop).await), whole(&shop));
}

async fn a_providers_session_leads_to_ours(home: Home) {
    let shop = realm("shop");
    let found = |sid: &'static str| home.store.by_provider(&shop, "https://id.example", sid);
    let same = session(1, "ada").provider;
    home.create(session(1, "ada")).await;
    home.create(Session { provider: same, ..session(2, "ada") }).await;
    home.create(Session { provider: None, ..session(3, "ada") }).await;
    assert_eq!(found("op-1").await.unwrap(), [sid(1), sid(2)]);
    assert_eq!(found("op").await.unwrap(), []);
    let moved = session(9, "ada").provider;
    done(home.store.update(1, Session { provider: moved, ..session(2, "ada") }).await.unwrap());
    assert_eq!(found("op-1").await.unwrap(), [sid(1)]);
    assert_eq!(found("op-9").await.unwrap(), [sid(2)]);
    if home.forgets_by_sweep() {
        home.store.sweep(at(100_001)).await.unwrap();
        assert_eq!(found("op-9").await.unwrap(), []);
    }
}

async fn p19_a_sweep_forgets_only_what_is_over(home: Home) {
    if !home.forgets_by_sweep() {
        assert_eq!(home.store.sweep(at(i64::MAX)).await.unwrap(), 0);
        return;
    }
    let until = |number, ends| Session { absolute_end: at(ends), ..session(number, "ada") };
    let short = home.create(until(1, 10_000)).await;
    let revoked = home.create(until(2, 10_000)).await;
    let long = home.create(until(3, 20_000)).await;
    let longer = home.create(until(4, 20_000)).await;
    home.store.revoke(&revoked.realm, revoked.id).await.unwrap();
    home.store.revoke(&longer.realm, longer.id).await.unwrap();
    assert_eq!(home.store.sweep(at(10_000)).await.unwrap(), 0, "not over at its last moment");
    assert!(is_revoked(&home.load(&revoked).await));
    assert_eq!(home.store.sweep(at(10_001)).await.unwrap(), 2);
    assert_eq!(home.store.sweep(at(10_001)).await.unwrap(), 0);
    assert!(matches!(home.load(&short).await, Loaded::Absent));
    assert!(matches!(home.load(&revoked).await, Loaded::Absent));
    assert_eq!(whole(&home.live(&long).await), whole(&long));
    assert!(is_revoked(&home.load(&longer).await), "its tombstone stays as long as the session would have");
    assert_eq!(home.ids("ada", 10).await, [[long.id]]);
    assert_eq!(home.store.sweep(at(i64::MAX)).await.unwrap(), 2);
}

async fn a_long_sweep_takes_all(home: Home) {
    if !home.forgets_by_sweep() {
        assert_eq!(home.store.sweep(at(i64::MAX)).await.unwrap(), 0);
        return;
    }
    let creations: Vec<_> = (0..2_100)
        .map(|number| {
            let store = Arc::clone(&home.store);
            tokio::spawn(async move { store.create(session(number, "ada")).await.map(done) })
        })
        .collect();
    for creation in creations {
        creation.await.unwrap().unwrap();
    }
    home.store.revoke_subject(&realm("shop"), "ada").await.unwrap();
    assert_eq!(home.store.sweep(at(100_001)).await.unwrap(), 2_100);
    assert_eq!(home.ids("ada", 10).await, [[]; 1]);
}

async fn p19_planted_records_are_refused(home: Home) {
    let victim = home.create(session(1, "ada")).await;
    let attacker = home.create(session(2, "eve")).await;
    let corrupt = |error| matches!(error, StoreError::Corrupt(DecodeError::OtherKey));
    // The record of one session under the key of another, and of another realm under the same id.
    let elsewhere = Session { realm: realm("bank"), ..session(1, "ada") };
    for (key, bytes) in [(&attacker, &victim), (&victim, &elsewhere)] {
        home.plant(key, record::encode(bytes).unwrap()).await;
        assert!(corrupt(home.store.load(&key.realm, key.id).await.unwrap_err()));
        assert!(corrupt(home.store.update(1, key.clone()).await.unwrap_err()));
        assert!(corrupt(home.store.create(key.clone()).await.unwrap_err()));
        assert!(corrupt(home.store.touch(&key.realm, key.id, at(5_000)).await.unwrap_err()));
        assert!(corrupt(home.store.rotate(&key.realm, key.id, rotation(1, 2, None)).await.unwrap_err()));
        assert!(corrupt(home.store.revoke(&key.realm, key.id).await.unwrap_err()));
        assert!(corrupt(home.store.list(&key.realm, &key.subject, 10, None).await.unwrap_err()));
        // Its subject can be logged out all the same.
        assert_eq!(home.store.revoke_subject(&key.realm, &key.subject).await.unwrap(), [key.id]);
    }
    home.plant(&victim, b"\x01nonsense, and long enough".to_vec()).await;
    let error = home.store.load(&victim.realm, victim.id).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(DecodeError::Damaged)), "{error:?}");
    // Others are not held up, and a sweep clears the rest away.
    home.create(session(3, "bob")).await;
    if home.forgets_by_sweep() {
        assert_eq!(home.store.sweep(at(i64::MAX)).await.unwrap(), 3);
        assert!(matches!(home.load(&victim).await, Loaded::Absent));
    }
}

async fn large_records_are_kept_and_too_large_ones_refused(home: Home) {
    let text = "x".repeat(Claims::MAX_BYTES - 20);
    let claims = serde_json::json!({ "text": text });
    let mut large = session(1, &"s".repeat(255));
    large.claims = Claims::from_object(claims.as_object().unwrap()).unwrap();
    large.roles = vec!["r".repeat(100); 400];
    let made = home.create(large.clone()).await;
    assert_eq!(whole(&home.live(&made).await), whole(&made));
    large.roles = vec!["r".repeat(100); 500];
    assert!(matches!(home.store.update(1, large.clone()).await, Err(StoreError::TooLarge(_))));
    assert!(matches!(home.store.create(Session { id: sid(2), ..large }).await, Err(StoreError::TooLarge(_))));
    assert_eq!(whole(&home.live(&made).await), whole(&made));
    assert_eq!(home.ids(&made.subject, 10).await, [[made.id]]);
}

async fn of_many_at_once_exactly_one_wins(home: Home) {
    let made = home.create(session(1, "ada")).await;
    for round in 0..10_u64 {
        let version = home.live(&made).await.version;
        let updates = (0..24_u64).map(|writer| {
            let (store, roles) = (Arc::clone(&home.store), vec![format!("{round}-{writer}")]);
            let wanted = Session { roles, ..made.clone() };
            tokio::spawn(async move { store.update(version, wanted).await.unwrap() })
        });
        let mut won = Vec::new();
        for update in updates.collect::<Vec<_>>() {
            match update.await.unwrap() {
                Changed::Done(session) => won.push(session.roles),
                Changed::Conflict(session) => assert_eq!(session.version, version + 1),
                Changed::Gone(loaded) => panic!("{loaded:?}"),
            }
        }
        let now = home.live(&made).await;
        assert_eq!((won, now.version), (vec![now.roles.clone()], version + 1));
    }
    let rotations = (10..40_u8).map(|to| {
        let (store, realm, id) = (Arc::clone(&home.store), made.realm.clone(), made.id);
        tokio::spawn(async move { store.rotate(&realm, id, rotation(1, to, Some((1, None)))).await.unwrap() })
    });
    let mut won = 0;
    for rotation in rotations.collect::<Vec<_>>() {
        won += usize::from(matches!(rotation.await.unwrap(), Changed::Done(_)));
    }
    assert_eq!(won, 1);
    let revocations = (0..24).map(|_| {
        let (store, realm, id) = (Arc::clone(&home.store), made.realm.clone(), made.id);
        tokio::spawn(async move { store.revoke(&realm, id).await.unwrap() })
    });
    let mut was_there = 0;
    for revocation in revocations.collect::<Vec<_>>() {
        was_there += usize::from(revocation.await.unwrap());
    }
    assert_eq!(was_there, 1);
}

/// Every check for one store. With `together`, in one test, over servers that take seconds to start.
macro_rules! suite {
    ($store:ident: $($check:ident)*) => {
        mod $store {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    super::$check(super::Place::$store().await.home().await).await;
                }
            )*

            mod properties {
                #[test]
                fn histories_are_those_of_the_model() {
                    super::super::history::check(async || super::super::Place::$store().await, 64);
                }
            }
        }
    };
    (together $store:ident: $($check:ident)*) => {
        mod $store {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn p17_p19_p20_p21_it_keeps_the_whole_contract() {
                let place = super::Place::$store().await;
                $(
                    println!(stringify!($check));
                    super::$check(place.home().await).await;
                )*
            }

            mod properties {
                #[test]
                fn histories_are_those_of_the_model() {
                    super::super::history::check(async || super::super::Place::$store().await, 16);
                }
            }
        }
    };
    ($($store:ident)*; $($together:ident)*) => {
        $(suite! { @all $store })*
        $(suite! { @all together $together })*
    };
    (@all $($which:ident)+) => {
        suite! { $($which)+:
            what_was_created_is_loaded
            a_creation_may_be_repeated
            p21_an_update_changes_what_it_may
            a_rotation_needs_the_present_secret
            p19_an_overlap_that_ends_is_not_opened_again
            a_touch_never_moves_back_and_makes_nothing
            p17_revoked_is_revoked
            p19_a_tombstone_wins_over_every_late_write
            p17_a_subject_is_logged_out_everywhere
            a_forgotten_epoch_revokes_and_revives_nothing
            p17_creations_fall_on_one_side_of_a_log_out
            pages_are_complete_and_in_order
            realms_are_separate
            a_providers_session_leads_to_ours
            p19_a_sweep_forgets_only_what_is_over
            a_long_sweep_takes_all
            p19_planted_records_are_refused
            large_records_are_kept_and_too_large_ones_refused
            of_many_at_once_exactly_one_wins
        }
    };
}

suite! { memory embedded redis; sentinel cluster }
