//! Histories: changes, look-ups and held loads in any order, against what must hold of each look-up.

use tokio::task::JoinHandle;

use super::*;
use crate::sessions::fixtures::House;

/// One step. Sessions are named by their place among three.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A look-up begins. It may be held.
    Look(usize),
    /// A look-up begins and nobody waits for it any more.
    LookAndLeave(usize),
    /// The claims change; answered.
    Update(usize),
    /// The secret changes; answered.
    Rotate(usize),
    /// One session ends; answered.
    Revoke(usize),
    /// All of the subject's end; answered.
    RevokeSubject(usize),
    /// Loads begun from here on stop before they ask the store, or no longer do.
    HoldBefore(bool),
    /// Loads begun from here on stop after the store has answered, or no longer do.
    HoldAfter(bool),
    /// Everything that can run runs.
    Breathe,
    /// Something is said to have changed.
    Distrust(usize),
    /// Time passes: 1 s.
    Tick,
}

/// What was so when a look-up began.
struct Looking {
    session: usize,
    was_revoked: bool,
    version: u64,
    rotations: usize,
    lookup: JoinHandle<Lookup>,
}

/// One session as the model knows it: only what was answered with success.
struct Known {
    token: AccessToken,
    subject: String,
    version: u64,
    rotations: usize,
    revoked: bool,
}

async fn run(events: Vec<Event>) {
    let house = Arc::new(House::new());
    let mut known = Vec::new();
    for n in 0..3 {
        // Two of them are one subject's.
        let subject = if n == 2 { "bob" } else { "ada" }.to_owned();
        let token = house.create(&subject).await.token;
        known.push(Known { token, subject, version: 1, rotations: 0, revoked: false });
    }
    let gate = &house.sessions.view().gate;
    let (mut looking, mut now) = (Vec::new(), house.start);
    for event in events {
        match event {
            Event::Look(session) => looking.push(look(&house, &known, session, now)),
            Event::LookAndLeave(session) => {
                let left = look(&house, &known, session, now);
                tokio::task::yield_now().await;
                left.lookup.abort();
            }
            Event::Update(session) => {
                let known = &mut known[session];
                let change = change(json!({"n": known.version}));
                let changed = house.sessions.update(&house.realm, known.token.sid(), &change, None, now).await;
                match changed {
                    Ok(changed) => known.version = changed.version,
                    Err(SessionError::NotFound) => assert!(known.revoked),
                    Err(error) => panic!("{error}"),
                }
            }
            Event::Rotate(session) => {
                let known = &mut known[session];
                let sid = known.token.sid();
                match house.sessions.rotate(&house.realm, sid, &known.token, now).await {
                    Ok(issued) => {
                        known.token = issued.token;
                        known.rotations += 1;
                    }
                    Err(SessionError::NotFound) => assert!(known.revoked),
                    Err(error) => panic!("{error}"),
                }
            }
            Event::Revoke(session) => {
                let known = &mut known[session];
                let there = house.sessions.revoke(&house.realm, known.token.sid()).await.unwrap();
                assert_eq!(there, !known.revoked);
                known.revoked = true;
            }
            Event::RevokeSubject(session) => {
                let subject = known[session].subject.clone();
                house.sessions.revoke_subject(&house.realm, &subject).await.unwrap();
                known.iter_mut().filter(|known| known.subject == subject).for_each(|known| known.revoked = true);
            }
            Event::HoldBefore(held) => gate.hold_before(held),
            Event::HoldAfter(held) => gate.hold_after(held),
            Event::Breathe => {
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
            }
            Event::Distrust(session) => house.sessions.view().changed(known[session].token.sid()),
            Event::Tick => now = now.plus(SECOND),
        }
    }
    gate.hold_before(false);
    gate.hold_after(false);
    for session in 0..3 {
        looking.push(look(&house, &known, session, now));
    }
    for looked in looking {
        let revoked_since = known[looked.session].revoked;
        match looked.lookup.await.unwrap() {
            Lookup::Active(session) => {
                assert!(!looked.was_revoked, "alive after its revoke was answered");
                assert!(session.version >= looked.version, "older than a change that was answered");
            }
            Lookup::Revoked => assert!(revoked_since, "nobody revoked it"),
            // Of the secrets before the present one only the last still counts.
            Lookup::Unknown => assert!(known[looked.session].rotations >= looked.rotations + 2, "its secret counts"),
            other => panic!("{other:?}"),
        }
    }
}

fn look(house: &Arc<House>, known: &[Known], session: usize, now: Timestamp) -> Looking {
    let Known { token, version, rotations, revoked, .. } = &known[session];
    let (house, token) = (Arc::clone(house), token.clone());
    let lookup = tokio::spawn(async move { house.lookup(&token, now).await });
    Looking { session, was_revoked: *revoked, version: *version, rotations: *rotations, lookup }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn event() -> impl Strategy<Value = Event> {
        let session = 0_usize..3;
        prop_oneof![
            6 => session.clone().prop_map(Event::Look),
            1 => session.clone().prop_map(Event::LookAndLeave),
            2 => session.clone().prop_map(Event::Update),
            1 => session.clone().prop_map(Event::Rotate),
            1 => session.clone().prop_map(Event::Revoke),
            1 => session.clone().prop_map(Event::RevokeSubject),
            2 => any::<bool>().prop_map(Event::HoldBefore),
            2 => any::<bool>().prop_map(Event::HoldAfter),
            4 => Just(Event::Breathe),
            2 => session.prop_map(Event::Distrust),
            1 => Just(Event::Tick),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn p17_no_session_is_alive_after_its_revoke_was_answered(
            events in prop::collection::vec(event(), 1..60),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(run(events));
        }
    }
}
