//! Histories of several gates on one real Redis: changes, look-ups and held loads at any of them, in any order.
//!
//! What is known at a gate is what it answered itself, and what any gate had answered before the gate was last proved to have
//! been told of everything. Of that no later look-up there may know less.

use e2e::redis::{Redis, RedisOptions};
use tokio::task::JoinHandle;

use super::*;
use crate::sessions::fixtures::House;

const GATES: usize = 2;
const SESSIONS: usize = 3;

/// One step at a gate. Sessions are named by their place.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A look-up begins. It may be held.
    Look(usize),
    /// The claims change; answered.
    Update(usize),
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
    /// The gate is proved to have been told of all that was answered.
    Prove,
}

/// What a gate knows of a session.
#[derive(Clone, Copy, Debug, Default)]
struct Floor {
    revoked: bool,
    version: u64,
}

struct Looking {
    session: usize,
    floor: Floor,
    lookup: JoinHandle<Lookup>,
}

/// The gates, and what has been answered.
struct Fleet {
    gates: Vec<Arc<House>>,
    tokens: Vec<(AccessToken, &'static str)>,
    answered: [Floor; SESSIONS],
    known: [[Floor; SESSIONS]; GATES],
    looking: Vec<Looking>,
}

impl Fleet {
    async fn on(redis: &Redis) -> Self {
        redis.command(&["FLUSHALL"]).await.unwrap();
        let gates: Vec<_> = House::fleet(redis, GATES).into_iter().map(Arc::new).collect();
        for gate in &gates {
            prove(gate).await;
        }
        let mut tokens = Vec::new();
        for subject in ["ada", "ada", "bob"] {
            tokens.push((gates[0].create(subject).await.token, subject));
        }
        let first = [Floor { revoked: false, version: 1 }; SESSIONS];
        Self { gates, tokens, answered: first, known: [first; GATES], looking: Vec::new() }
    }

    async fn run(mut self, events: Vec<(usize, Event)>) {
        for (at, event) in events {
            let gate = Arc::clone(&self.gates[at]);
            let hold = &gate.sessions.view().gate;
            match event {
                Event::Look(session) => self.look(at, session),
                Event::Update(session) => self.update(at, session).await,
                Event::Revoke(session) => {
                    let revoke = async || gate.sessions.revoke(&gate.realm, self.tokens[session].0.sid()).await;
                    // On a busy machine an answer may come too late: asked again, it may say that it was over already.
                    match revoke().await {
                        Ok(was_there) => assert_eq!(was_there, !self.answered[session].revoked),
                        Err(_) => assert!(until_answered(revoke).await.is_ok()),
                    }
                    self.revoked(at, session);
                }
                Event::RevokeSubject(session) => {
                    let subject = self.tokens[session].1;
                    let revoke = async || gate.sessions.revoke_subject(&gate.realm, subject).await;
                    assert!(until_answered(revoke).await.is_ok());
                    let of_subject: Vec<_> = (0..SESSIONS).filter(|it| self.tokens[*it].1 == subject).collect();
                    of_subject.into_iter().for_each(|it| self.revoked(at, it));
                }
                Event::HoldBefore(held) => hold.hold_before(held),
                Event::HoldAfter(held) => hold.hold_after(held),
                Event::Breathe => tokio::task::yield_now().await,
                Event::Prove => {
                    prove(&gate).await;
                    self.known[at] = self.answered;
                }
            }
        }
        for at in 0..GATES {
            let hold = &self.gates[at].sessions.view().gate;
            hold.hold_before(false);
            hold.hold_after(false);
            prove(&self.gates[at]).await;
            self.known[at] = self.answered;
            (0..SESSIONS).for_each(|session| self.look(at, session));
        }
        for Looking { session, floor, lookup } in self.looking {
            match lookup.await.unwrap() {
                Lookup::Active(found) => {
                    assert!(!floor.revoked, "alive after its end was answered and told");
                    assert!(found.version >= floor.version, "older than a change that was answered and told");
                }
                Lookup::Revoked => assert!(self.answered[session].revoked, "nobody revoked it"),
                // A busy machine again: 503 is never wrong.
                Lookup::Unavailable(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn look(&mut self, at: usize, session: usize) {
        let (gate, token) = (Arc::clone(&self.gates[at]), self.tokens[session].0.clone());
        let floor = self.known[at][session];
        let lookup = tokio::spawn(async move { gate.lookup(&token, Clock::start().now()).await });
        self.looking.push(Looking { session, floor, lookup });
    }

    async fn update(&mut self, at: usize, session: usize) {
        let (gate, sid) = (&self.gates[at], self.tokens[session].0.sid());
        let change = change(json!({ "n": self.answered[session].version }));
        let update = async || gate.sessions.update(&gate.realm, sid, &change, None, Clock::start().now()).await;
        match until_answered(update).await {
            Ok(changed) => {
                for floor in [&mut self.answered[session], &mut self.known[at][session]] {
                    floor.version = changed.version;
                }
            }
            Err(SessionError::NotFound) => assert!(self.answered[session].revoked),
            Err(error) => panic!("{error}"),
        }
    }

    fn revoked(&mut self, at: usize, session: usize) {
        self.answered[session].revoked = true;
        self.known[at][session].revoked = true;
    }
}

/// Asks until the store has answered: every change can be repeated.
async fn until_answered<T>(change: impl AsyncFn() -> Result<T, SessionError>) -> Result<T, SessionError> {
    loop {
        match change().await {
            Err(SessionError::Store(_)) => {}
            answered => return answered,
        }
    }
}

/// Waits for a proof of all that was answered before now.
async fn prove(gate: &House) {
    let now = Clock::start().now();
    let link = gate.sessions.view().link();
    let proved = async || link.last_proof() > now;
    e2e::process::wait_until(Duration::from_secs(60), "proof of the link", proved).await.unwrap();
}

mod properties {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;

    fn event() -> impl Strategy<Value = (usize, Event)> {
        let session = 0..SESSIONS;
        let event = prop_oneof![
            6 => session.clone().prop_map(Event::Look),
            2 => session.clone().prop_map(Event::Update),
            1 => session.clone().prop_map(Event::Revoke),
            1 => session.prop_map(Event::RevokeSubject),
            2 => any::<bool>().prop_map(Event::HoldBefore),
            2 => any::<bool>().prop_map(Event::HoldAfter),
            4 => Just(Event::Breathe),
            2 => Just(Event::Prove),
        ];
        (0..GATES, event)
    }

    #[test]
    fn p17_no_gate_knows_less_than_it_was_told() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let redis = runtime.block_on(Redis::spawn(RedisOptions::default())).unwrap();
        let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
        let held = runner.run(&prop::collection::vec(event(), 1..60), |events| {
            runtime.block_on(async { Fleet::on(&redis).await.run(events).await });
            Ok(())
        });
        if let Err(found) = held {
            panic!("{found}");
        }
    }
}
