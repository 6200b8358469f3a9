//! `kill -9` of a process that writes to the embedded store: what it was told is done, is done (P20).
//!
//! The test runs itself as the process that is killed: with [`FILE`] set it writes until it dies, and tells on its standard
//! error what it is about to do and what it was answered. The parent kills it after a random number of answers, with writes
//! in hand, opens the same file and compares. `CLOAKROOM_KILL_ROUNDS` says how often.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use cloakroom::authz::session::{Claims, Realm, SecretDigest, Session, SessionId, Timestamp};
use cloakroom::store::embedded::EmbeddedStore;
use cloakroom::store::{Changed, Loaded, Store};

const FILE: &str = "CLOAKROOM_KILL_FILE";
const ROUND: &str = "CLOAKROOM_KILL_ROUND";
const ROUNDS: &str = "CLOAKROOM_KILL_ROUNDS";
/// Unless told; about half a minute.
const DEFAULT_ROUNDS: u64 = 500;
/// A file lives through so many kills before a new one is begun.
const ROUNDS_PER_FILE: usize = 25;
const WRITERS: u64 = 6;
const SUBJECTS: u64 = 3;

#[test]
fn p20_no_acknowledged_write_is_lost_by_kill_9() {
    if let Some(file) = std::env::var_os(FILE) {
        let round = std::env::var(ROUND).expect("set with the file").parse().expect("a number");
        write_until_killed(Path::new(&file), round);
    }
    let rounds: u64 = std::env::var(ROUNDS).map_or(DEFAULT_ROUNDS, |text| text.parse().expect("a number of rounds"));
    let mut random = Random::new();
    let mut acknowledged = [0; 3];
    for first in (0..rounds).step_by(ROUNDS_PER_FILE) {
        let end = rounds.min(first + ROUNDS_PER_FILE as u64);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("sessions.redb");
        let mut told = Told::default();
        for round in first..end {
            // One answer is the word that it opens the file: the kill then falls into making or repairing it.
            let answers = 1 + random.below(if round == first { 3 } else { 80 });
            run_and_kill(&file, round, answers, &mut told);
            told.compare(&file, round, Some(round));
        }
        // What the first of these kills left whole, the last ones must not have lost.
        told.compare(&file, end - 1, None);
        for (sum, more) in acknowledged.iter_mut().zip(told.acknowledged) {
            *sum += more;
        }
    }
    let [created, revoked, everywhere] = acknowledged;
    let kept =
        format!("{rounds} kills, {created} creates, {revoked} revokes and {everywhere} log-outs everywhere kept\n");
    assert!(created > rounds && revoked > 0 && everywhere > 0, "this proves nothing: {kept}");
    std::io::stdout().write_all(kept.as_bytes()).expect("the harness's output");
}

/// What the processes that were killed had heard.
#[derive(Default)]
struct Told {
    sessions: HashMap<u128, Known>,
    /// By subject, how the last log-out everywhere stands that was begun.
    leaving: HashMap<String, u64>,
    acknowledged: [u64; 3],
}

struct Known {
    subject: String,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// The answer to its creation came, and nobody asked to end it.
    Live,
    /// Its end was asked for; no answer came.
    Either,
    /// The answer to its end came.
    Revoked,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let mut words = line.split(' ');
        let (Some(word), Some(name)) = (words.next(), words.next()) else { return };
        let sid = || u128::from_str_radix(name, 16).expect("a session id");
        match word {
            "created" => {
                let subject = words.next().expect("the subject").to_owned();
                self.sessions.entry(sid()).or_insert(Known { subject, state: State::Live });
                self.acknowledged[0] += 1;
            }
            "revoking" => self.set(sid(), State::Either),
            "revoked" => {
                self.set(sid(), State::Revoked);
                self.acknowledged[1] += 1;
            }
            "leaving" => *self.leaving.entry(name.to_owned()).or_default() += 1,
            "left" => {
                *self.leaving.entry(name.to_owned()).or_default() -= 1;
                self.acknowledged[2] += 1;
            }
            // Which sessions it ended was in that answer. Their creation may not have been told yet.
            "ended" => {
                let subject = words.next().expect("the subject").to_owned();
                self.sessions.insert(sid(), Known { subject, state: State::Revoked });
            }
            // The test harness of the child.
            _ => {}
        }
    }

    fn set(&mut self, sid: u128, state: State) {
        let known = self.sessions.get_mut(&sid).expect("created before");
        if known.state != State::Revoked {
            known.state = state;
        }
    }

    /// A log-out everywhere that was cut off may have ended any session of its subject.
    fn settle(&mut self) {
        for (subject, open) in self.leaving.drain().filter(|(_, open)| *open > 0) {
            assert_eq!(open, 1, "one writer does this");
            for known in
                self.sessions.values_mut().filter(|known| known.subject == subject && known.state == State::Live)
            {
                known.state = State::Either;
            }
        }
    }

    /// Opens the file as the next process would.
    fn compare(&mut self, file: &Path, round: u64, only: Option<u64>) {
        self.settle();
        let store =
            Store::Embedded(EmbeddedStore::open(file).unwrap_or_else(|error| panic!("round {round}: {error:?}")));
        let of_round = |sid: u128| only.is_none_or(|only| sid >> 64 == u128::from(only));
        for (sid, known) in self.sessions.iter().filter(|(sid, _)| of_round(**sid)) {
            let id = SessionId::from_bytes(sid.to_be_bytes());
            let loaded = block_on(store.load(&realm(), id)).unwrap_or_else(|error| panic!("round {round}: {error:?}"));
            let kept = match (&loaded, known.state) {
                (Loaded::Session(session), State::Live | State::Either) => session.subject == known.subject,
                (Loaded::Revoked, State::Revoked | State::Either) => true,
                _ => false,
            };
            assert!(kept, "round {round}: {sid:032x} was {:?} and is now {loaded:?}", known.state);
        }
    }
}

fn run_and_kill(file: &Path, round: u64, answers: u64, told: &mut Told) {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "p20_no_acknowledged_write_is_lost_by_kill_9", "--nocapture"])
        .env(FILE, file)
        .env(ROUND, round.to_string())
        // It lives while this end is open: if this process dies, so does the child.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped"));
    let mut heard = String::new();
    let mut answered = 0;
    // The child writes without end, so this ends by its answers, or by its death.
    while answered < answers {
        let start = heard.len();
        assert!(lines.read_line(&mut heard).expect("text") > 0, "round {round}: the child died by itself:\n{heard}");
        let line = &heard[start..];
        answered += u64::from(["opening ", "created ", "revoked ", "left "].iter().any(|word| line.starts_with(word)));
    }
    child.kill().expect("it runs");
    // What it had been answered before it died, it had told.
    lines.read_to_string(&mut heard).expect("text");
    let status = child.wait().expect("it ends");
    assert_eq!(status.signal(), Some(9), "round {round}: {status}:\n{heard}");
    // A line is one write of less than a pipe's buffer, so it is there whole or not at all.
    heard.lines().for_each(|line| told.hear(line));
}

/// The process that is killed.
fn write_until_killed(file: &Path, round: u64) -> ! {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(3);
    });
    tell("opening the file");
    let store = Rc::new(Store::Embedded(EmbeddedStore::open(file).expect("the store opens")));
    let next = Rc::new(Cell::new(u128::from(round) << 64));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let tasks = tokio::task::LocalSet::new();
    for writer in 0..WRITERS {
        let (store, next) = (Rc::clone(&store), Rc::clone(&next));
        tasks.spawn_local(async move {
            let mut mine = Vec::new();
            for step in 0_u64.. {
                let sid = next.replace(next.get() + 1);
                let subject = format!("subject-{}", (step + writer) % SUBJECTS);
                let changed = store.create(session(sid, &subject)).await.expect("a create");
                assert!(matches!(changed, Changed::Done(_)), "{changed:?}");
                tell(&format!("created {sid:032x} {subject}"));
                mine.push(sid);
                if step % 2 == writer % 2 {
                    let sid = mine.swap_remove(mine.len() / 2);
                    tell(&format!("revoking {sid:032x}"));
                    store.revoke(&realm(), SessionId::from_bytes(sid.to_be_bytes())).await.expect("a revoke");
                    tell(&format!("revoked {sid:032x}"));
                }
                if writer == 0 && step % 4 == 3 {
                    tell(&format!("leaving {subject}"));
                    let ended = store.revoke_subject(&realm(), &subject).await.expect("a log-out");
                    for sid in ended {
                        tell(&format!("ended {:032x} {subject}", u128::from_be_bytes(*sid.as_bytes())));
                    }
                    tell(&format!("left {subject}"));
                }
            }
        });
    }
    runtime.block_on(tasks);
    panic!("a writer ended");
}

/// One line, in one write, past the test harness.
fn tell(line: &str) {
    if std::io::stderr().write_all(format!("{line}\n").as_bytes()).is_err() {
        std::process::exit(3);
    }
}

fn realm() -> Realm {
    Realm::parse("shop").expect("a realm")
}

fn session(sid: u128, subject: &str) -> Session {
    let then = Timestamp::from_millis(1_000);
    Session {
        id: SessionId::from_bytes(sid.to_be_bytes()),
        realm: realm(),
        subject: subject.to_owned(),
        secret: SecretDigest::from_bytes([7; 32]),
        previous: None,
        rotated_at: then,
        created: then,
        auth_time: then,
        last_seen: then,
        idle: Duration::from_secs(3_600),
        absolute_end: then.plus(Duration::from_secs(86_400)),
        version: 1,
        epoch: 0,
        acr: None,
        amr: Vec::new(),
        scopes: vec!["cart:read".to_owned()],
        roles: Vec::new(),
        claims: Claims::empty(),
        device: None,
        provider: None,
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

/// Numbers from the hasher's own random keys: where the kill falls need not be repeatable, since the time it takes is not.
struct Random(RandomState, u64);

impl Random {
    fn new() -> Self {
        Self(RandomState::new(), 0)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.1 += 1;
        let mut hasher = self.0.build_hasher();
        hasher.write_u64(self.1);
        hasher.finish() % end
    }
}
