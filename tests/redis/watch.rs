//! One session, asked for at a steady pace whatever the answers, and what was answered.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::gate::CreatedSession;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::fleet::{Gate, HOST};

/// The time between two requests.
const PACE: Duration = Duration::from_millis(25);
/// No request may wait longer: the 2 s of `check.timeout`, and the rest for a busy machine. One that is forgotten waits for ever.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// Asks until it is told to end.
pub(crate) struct Watch {
    end: oneshot::Sender<()>,
    asking: JoinHandle<Result<Seen>>,
}

/// What was answered, in the order of the questions.
pub(crate) struct Seen(Vec<Answered>);

/// One request.
#[derive(Clone, Debug)]
struct Answered {
    asked: Instant,
    took: Duration,
    status: u16,
    subject: Option<String>,
    cookies: Vec<String>,
}

impl Watch {
    /// Begins to ask `gate` for `session`.
    pub(crate) fn over(gate: &Gate, session: &CreatedSession) -> Self {
        let (end, mut ended) = oneshot::channel();
        let (checker, token) = (gate.checker.clone(), session.token.clone());
        let asking = tokio::spawn(async move {
            let mut pace = interval(PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut asked = JoinSet::new();
            // What waits for an answer holds up no other request.
            while ended.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
                pace.tick().await;
                let (checker, token) = (checker.clone(), token.clone());
                asked.spawn(async move {
                    let asked = Instant::now();
                    let answer = checker.get(HOST, "/cart", &token).await?;
                    let took = asked.elapsed();
                    let subject = answer.claims.and_then(|claims| claims["sub"].as_str().map(str::to_owned));
                    anyhow::Ok(Answered { asked, took, status: answer.status, subject, cookies: answer.cookies })
                });
            }
            let answered: Result<Vec<_>> = asked.join_all().await.into_iter().collect();
            let mut answered = answered?;
            answered.sort_by_key(|it| it.asked);
            Ok(Seen(answered))
        });
        Self { end, asking }
    }

    /// Stops, and gives what was seen. Each request had its answer in time, and none of these statuses alone.
    pub(crate) async fn end(self, statuses: &[u16]) -> Result<Seen> {
        self.end.send(()).ok().context("the watch ended by itself")?;
        let seen = self.asking.await??;
        for it in &seen.0 {
            ensure!(statuses.contains(&it.status), "{it:?}, where only {statuses:?} may be");
            ensure!(it.took <= ANSWERED_WITHIN, "a request waited too long: {it:?}");
            ensure!(it.status != 503 || it.cookies.is_empty(), "a cookie is touched when nothing is known: {it:?}");
        }
        Ok(seen)
    }
}

impl Seen {
    /// Nothing passed that was asked and answered between these moments.
    pub(crate) fn none_passed(&self, from: Instant, to: Instant) -> Result<()> {
        let passed = self.0.iter().filter(|it| it.status == 200 && it.asked >= from && it.asked + it.took < to);
        let late: Vec<_> = passed.map(|it| it.asked - from).collect();
        ensure!(late.is_empty(), "{} requests passed that must not, the last {:?} too late", late.len(), late.last());
        Ok(())
    }

    /// As [`Seen::none_passed`], without an end.
    pub(crate) fn none_passed_since(&self, from: Instant) -> Result<()> {
        self.none_passed(from, Instant::now())
    }

    /// Whatever went on, hardly any request was 503: on a busy machine a server that is well can be too late for once.
    pub(crate) fn hardly_noticed(&self) -> Result<()> {
        let (unknown, all) = (self.count(503), self.len());
        ensure!(unknown * 10 <= all, "{unknown} of {all} requests were 503");
        Ok(())
    }

    /// Who the services were told that the client is, whenever it passed.
    pub(crate) fn subjects(&self) -> BTreeSet<&str> {
        self.0.iter().filter_map(|it| it.subject.as_deref()).collect()
    }

    /// How many requests there were.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many had this status.
    pub(crate) fn count(&self, status: u16) -> usize {
        self.0.iter().filter(|it| it.status == status).count()
    }
}
