//! Sessions that end, and how each gate takes it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use e2e::checker::{browsers_check, status};
use e2e::measure::ask;
use e2e::process::wait_until;
use http::Method;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at, sleep};
use tonic::transport::Channel;

use super::fleet::{Fleet, random};

/// How often a session is asked for at each gate; where there are several, one of them in turn.
const EVERY: Duration = Duration::from_millis(5);
/// How long it goes on when all gates have refused it.
const LINGER: Duration = Duration::from_millis(50);
/// No gate takes that long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sessions that are ended by one call.
pub(crate) struct Watched {
    checks: Vec<Bytes>,
    /// By gate, and in it by session.
    seen: Mutex<Vec<Seen>>,
    ended: OnceLock<Ended>,
    asked: AtomicUsize,
    unanswered: AtomicUsize,
}

struct Ended {
    asked: Instant,
    answered: Instant,
}

/// What one gate said of one session: when the last checks were sent that it answered so.
#[derive(Clone, Copy, Default)]
struct Seen {
    passed: Option<Instant>,
    refused: Option<Instant>,
}

/// Makes sessions of one subject, has them asked for at every gate, ends them in one call at any gate, and gives what was
/// seen when every gate has refused each of them and some time has passed.
pub(crate) async fn watch(fleet: &Arc<Fleet>, sessions: usize) -> Result<Arc<Watched>> {
    static SUBJECTS: AtomicUsize = AtomicUsize::new(0);
    let subject = format!("ends-{}", SUBJECTS.fetch_add(1, Ordering::Relaxed));
    let mut made = Vec::new();
    for _ in 0..sessions {
        made.push(fleet.any().process.create_session(&json!({ "subject": subject })).await?);
    }
    let watched = Arc::new(Watched {
        checks: made.iter().map(|session| browsers_check("shop.example", "/cart", &session.token)).collect(),
        seen: Mutex::new(vec![Seen::default(); fleet.gates.len() * sessions]),
        ended: OnceLock::new(),
        asked: AtomicUsize::new(0),
        unanswered: AtomicUsize::new(0),
    });
    let probes = Probes::begin(fleet, &watched);

    let hot = async || watched.seen().iter().all(|seen| seen.passed.is_some());
    wait_until(PATIENCE, "gate that lets its session pass", hot).await?;
    // Ended at no fixed distance from the checks.
    sleep(EVERY * u32::try_from(random(1_000))? / 250).await;
    let asked = Instant::now();
    match made.as_slice() {
        [session] => fleet.any().process.revoke_session(&session.sid).await?,
        _ => {
            let path = format!("/v1/subjects/{subject}/sessions");
            let (status, answer) = fleet.any().process.api(Method::DELETE, &path, None).await?;
            ensure!((200..300).contains(&status), "the session API answers {status} to a log-out: {answer}");
        }
    }
    let answered = Instant::now();
    watched.ended.get_or_init(|| Ended { asked, answered });

    let refused = async || watched.seen().iter().all(|seen| seen.refused.is_some_and(|sent| sent > answered));
    wait_until(PATIENCE, "gate that refuses its session", refused).await?;
    sleep(LINGER).await;
    probes.end().await?;
    Ok(watched)
}

impl Watched {
    pub(crate) fn sessions(&self) -> usize {
        self.checks.len()
    }

    /// Asks a gate for one of the sessions, and notes what it says.
    pub(crate) async fn ask(&self, gate: usize, channel: &Channel, session: usize) -> Result<()> {
        let sent = Instant::now();
        self.asked.fetch_add(1, Ordering::Relaxed);
        let status = status(ask(channel, self.checks[session].clone()).await?)?;
        let mut seen = self.seen();
        let seen = &mut seen[gate * self.checks.len() + session];
        match status {
            // Answers may come out of turn.
            200 => seen.passed = seen.passed.max(Some(sent)),
            401 => seen.refused = seen.refused.max(Some(sent)),
            _ => drop(self.unanswered.fetch_add(1, Ordering::Relaxed)),
        }
        Ok(())
    }

    /// From the answer of the call that ended them to the moment when the last check was sent that passed all the same.
    pub(crate) fn answer_to_last_pass(&self) -> Duration {
        self.last_pass().saturating_duration_since(self.ended().answered)
    }

    /// From the call to that moment.
    pub(crate) fn request_to_last_pass(&self) -> Duration {
        self.last_pass().saturating_duration_since(self.ended().asked)
    }

    /// From the call to its answer.
    pub(crate) fn request_to_answer(&self) -> Duration {
        self.ended().answered - self.ended().asked
    }

    /// Checks sent.
    pub(crate) fn checks(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Answers that were neither 200 nor 401.
    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered.load(Ordering::Relaxed)
    }

    fn last_pass(&self) -> Instant {
        self.seen().iter().filter_map(|seen| seen.passed).max().expect("each has passed before it ended")
    }

    fn ended(&self) -> &Ended {
        self.ended.get().expect("what is watched has ended")
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The checks of sessions that are watched, a task for each gate.
struct Probes(JoinSet<Result<()>>, tokio_util::sync::CancellationToken);

impl Probes {
    fn begin(fleet: &Arc<Fleet>, watched: &Arc<Watched>) -> Self {
        let (mut tasks, stop) = (JoinSet::new(), tokio_util::sync::CancellationToken::new());
        let begun = tokio::time::Instant::now();
        for (gate, at) in fleet.gates.iter().enumerate() {
            let (channel, watched, stop) = (at.channel.clone(), Arc::clone(watched), stop.clone());
            // One gate after the other, not all at the same moment.
            let first = begun + EVERY * u32::try_from(gate).expect("there are few") / 10;
            tasks.spawn(async move {
                let mut ticks = interval_at(first, EVERY);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
                let mut running = JoinSet::new();
                for n in 0.. {
                    tokio::select! {
                        () = stop.cancelled() => break,
                        _ = ticks.tick() => {}
                    }
                    // Whatever is still unanswered.
                    let (channel, watched) = (channel.clone(), Arc::clone(&watched));
                    running.spawn(async move { watched.ask(gate, &channel, n % watched.sessions()).await });
                    while let Some(done) = running.try_join_next() {
                        done??;
                    }
                }
                while let Some(done) = running.join_next().await {
                    done??;
                }
                Ok(())
            });
        }
        Self(tasks, stop)
    }

    /// Ends them when every answer is there.
    async fn end(mut self) -> Result<()> {
        self.1.cancel();
        while let Some(done) = self.0.join_next().await {
            done??;
        }
        Ok(())
    }
}
