//! Any history, against a model too simple to be wrong: a list of sessions with a flag.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Home, Place, whole};
use crate::authz::session::{PreviousSecret, Provider, Realm, Session, SessionId, Timestamp};
use crate::store::fixtures::{at, realm, secret, session, sid};
use crate::store::{Changed, Loaded, SecretChange};

#[derive(Clone, Debug)]
enum Op {
    Create { subject: u8, ends: i64, provider: Option<u8> },
    Update { expected: u64, role: u8, provider: Option<u8> },
    Rotate { from: u8, to: u8, previous: Option<(u8, Option<i64>)> },
    Touch(i64),
    Revoke,
    RevokeSubject(u8),
    Sweep(i64),
    Restart,
}

fn ops() -> impl Strategy<Value = Vec<(u8, u8, Op)>> {
    let provider = || prop::option::of(0..2_u8);
    let op = prop_oneof![
        6 => (0..2_u8, 1..6_i64, provider()).prop_map(|(subject, ends, provider)| Op::Create { subject, ends, provider }),
        4 => (1..4_u64, 0..3_u8, provider()).prop_map(|(expected, role, provider)| Op::Update { expected, role, provider }),
        4 => (0..3_u8, 0..3_u8, prop::option::of((0..3_u8, prop::option::of(0..3_i64))))
            .prop_map(|(from, to, previous)| Op::Rotate { from, to, previous }),
        4 => (0..6_i64).prop_map(Op::Touch),
        2 => Just(Op::Revoke),
        2 => (0..2_u8).prop_map(Op::RevokeSubject),
        1 => (0..7_i64).prop_map(Op::Sweep),
        1 => Just(Op::Restart),
    ];
    prop::collection::vec((0..2_u8, 0..4_u8, op), 1..40)
}

#[derive(Default)]
struct Model(Vec<(Session, bool)>);

const REALMS: [&str; 2] = ["shop", "bank"];
const SUBJECTS: [&str; 2] = ["ada", "bob"];

fn provider(number: Option<u8>) -> Option<Provider> {
    number.map(|it| Provider { iss: "https://id.example".to_owned(), sid: Some(it.to_string()) })
}

fn shown(session: &Session) -> String {
    format!("{:?}", whole(session))
}

fn shown_load(loaded: &Loaded) -> String {
    match loaded {
        Loaded::Session(session) => shown(session),
        Loaded::Revoked => "revoked".to_owned(),
        Loaded::Absent => "absent".to_owned(),
    }
}

fn shown_change(changed: &Changed) -> String {
    match changed {
        Changed::Done(session) => format!("done {}", shown(session)),
        Changed::Conflict(session) => format!("conflict {}", shown(session)),
        Changed::Gone(loaded) => format!("gone {}", shown_load(loaded)),
    }
}

impl Model {
    fn load(&self, realm: &Realm, sid: SessionId) -> Loaded {
        match self.0.iter().find(|(it, _)| it.realm == *realm && it.id == sid) {
            None => Loaded::Absent,
            Some((_, true)) => Loaded::Revoked,
            Some((session, false)) => Loaded::Session(Box::new(session.clone())),
        }
    }

    fn set(&mut self, session: &Session) -> Changed {
        self.0.retain(|(it, _)| (&it.realm, it.id) != (&session.realm, session.id));
        self.0.push((session.clone(), false));
        Changed::Done(Box::new(session.clone()))
    }

    fn create(&mut self, new: &Session) -> Changed {
        match self.load(&new.realm, new.id) {
            Loaded::Absent => self.set(new),
            Loaded::Revoked => Changed::Gone(Loaded::Revoked),
            Loaded::Session(now) => {
                let same = shown(&Session { last_seen: now.last_seen, ..new.clone() }) == shown(&now);
                if same { Changed::Done(now) } else { Changed::Conflict(now) }
            }
        }
    }

    fn update(&mut self, expected: u64, new: &Session) -> Changed {
        match self.load(&new.realm, new.id) {
            Loaded::Session(now) if now.version == expected => {
                let (roles, provider) = (new.roles.clone(), new.provider.clone());
                self.set(&Session { roles, provider, version: expected + 1, ..*now })
            }
            Loaded::Session(now) => Changed::Conflict(now),
            gone => Changed::Gone(gone),
        }
    }

    fn rotate(&mut self, realm: &Realm, sid: SessionId, change: &SecretChange) -> Changed {
        let now = match self.load(realm, sid) {
            Loaded::Session(now) => now,
            gone => return Changed::Gone(gone),
        };
        let mut previous = change.previous;
        if let (Some(old), Some(new)) = (now.previous, &mut previous)
            && old.digest.as_bytes() == new.digest.as_bytes()
            && let Some(kept) = old.ends
        {
            match new.ends {
                None => return Changed::Conflict(now),
                Some(ends) => new.ends = Some(kept.min(ends)),
            }
        }
        if now.secret.as_bytes() != change.from.as_bytes() {
            return Changed::Conflict(now);
        }
        self.set(&Session { secret: change.to, previous, rotated_at: change.rotated_at, ..*now })
    }

    fn touch(&mut self, realm: &Realm, sid: SessionId, seen: Timestamp) {
        if let Loaded::Session(now) = self.load(realm, sid) {
            self.set(&Session { last_seen: now.last_seen.max(seen), ..*now });
        }
    }

    fn revoke(&mut self, which: impl Fn(&Session) -> bool) -> Vec<SessionId> {
        let live = self.0.iter_mut().filter(|(session, revoked)| !revoked && which(session));
        let mut ids: Vec<_> = live
            .map(|(session, revoked)| {
                *revoked = true;
                session.id
            })
            .collect();
        ids.sort_unstable();
        ids
    }

    fn sweep(&mut self, now: Timestamp) -> usize {
        let before = self.0.len();
        self.0.retain(|(session, _)| session.absolute_end >= now);
        before - self.0.len()
    }

    fn live(&self, which: impl Fn(&Session) -> bool) -> Vec<Session> {
        let mut live: Vec<_> =
            self.0.iter().filter(|(it, revoked)| !revoked && which(it)).map(|(it, _)| it.clone()).collect();
        live.sort_unstable_by_key(|it| it.id);
        live
    }
}

/// Runs the operation on both and answers what each said.
async fn step(home: Home, model: &mut Model, realm: &Realm, id: SessionId, op: Op) -> (Home, String, String) {
    let made = |subject: u8, ends, given| Session {
        realm: realm.clone(),
        secret: secret(0),
        absolute_end: at(ends),
        provider: provider(given),
        last_seen: at(0),
        ..Session { id, ..session(0, SUBJECTS[usize::from(subject)]) }
    };
    let store = &home.store;
    let (got, want) = match op {
        Op::Create { subject, ends, provider } => {
            let new = made(subject, ends, provider);
            (shown_change(&store.create(new.clone()).await.unwrap()), shown_change(&model.create(&new)))
        }
        Op::Update { expected, role, provider } => {
            let new = Session { roles: vec![role.to_string()], ..made(0, 1, provider) };
            (
                shown_change(&store.update(expected, new.clone()).await.unwrap()),
                shown_change(&model.update(expected, &new)),
            )
        }
        Op::Rotate { from, to, previous } => {
            let previous = previous.map(|(byte, ends)| PreviousSecret { digest: secret(byte), ends: ends.map(at) });
            let change = SecretChange { from: secret(from), to: secret(to), previous, rotated_at: at(to.into()) };
            let got = store.rotate(realm, id, change).await.unwrap();
            (shown_change(&got), shown_change(&model.rotate(realm, id, &change)))
        }
        Op::Touch(seen) => {
            store.touch(realm, id, at(seen)).await.unwrap();
            model.touch(realm, id, at(seen));
            (shown_load(&store.load(realm, id).await.unwrap()), shown_load(&model.load(realm, id)))
        }
        Op::Revoke => {
            let was_there = store.revoke(realm, id).await.unwrap();
            let want = !model.revoke(|it| it.realm == *realm && it.id == id).is_empty();
            (was_there.to_string(), want.to_string())
        }
        Op::RevokeSubject(subject) => {
            let subject = SUBJECTS[usize::from(subject)];
            let got = store.revoke_subject(realm, subject).await.unwrap();
            (format!("{got:?}"), format!("{:?}", model.revoke(|it| it.realm == *realm && it.subject == subject)))
        }
        // What forgets by a clock of its own has forgotten nothing yet.
        Op::Sweep(_) if !home.forgets_by_sweep() => (String::new(), String::new()),
        Op::Sweep(now) => (store.sweep(at(now)).await.unwrap().to_string(), model.sweep(at(now)).to_string()),
        Op::Restart => return (home.restart().await, String::new(), String::new()),
    };
    (home, got, want)
}

/// Everything that can be asked, of both.
async fn compare(home: &Home, model: &Model) {
    let shown_all = |sessions: &[Session]| sessions.iter().map(shown).collect::<Vec<_>>();
    for realm in REALMS.map(realm) {
        for id in (0..4).map(sid) {
            let (got, want) = (home.store.load(&realm, id).await.unwrap(), model.load(&realm, id));
            assert_eq!(shown_load(&got), shown_load(&want));
        }
        for subject in SUBJECTS {
            let page = home.store.list(&realm, subject, 100, None).await.unwrap();
            let want = model.live(|it| it.realm == realm && it.subject == subject);
            assert_eq!((shown_all(&page.sessions), page.next), (shown_all(&want), None));
        }
        for number in 0..2 {
            let wanted = provider(Some(number));
            let found = home.store.by_provider(&realm, "https://id.example", &number.to_string()).await.unwrap();
            let mut live = Vec::new();
            for id in found {
                if let Loaded::Session(session) = home.store.load(&realm, id).await.unwrap() {
                    live.push(*session);
                }
            }
            assert_eq!(shown_all(&live), shown_all(&model.live(|it| it.realm == realm && it.provider == wanted)));
        }
    }
}

pub(super) fn check(place: impl AsyncFn() -> Place, cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let place = runtime.block_on(place());
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let held = runner.run(&ops(), |ops| {
        runtime.block_on(async {
            let (mut home, mut model) = (place.home().await, Model::default());
            for (at_realm, number, op) in ops {
                let told = format!("{op:?}");
                let (realm, id) = (realm(REALMS[usize::from(at_realm)]), sid(number.into()));
                let (after, got, want) = step(home, &mut model, &realm, id, op).await;
                assert_eq!(got, want, "{told}");
                home = after;
            }
            compare(&home, &model).await;
        });
        Ok(())
    });
    if let Err(found) = held {
        panic!("{found}");
    }
}
