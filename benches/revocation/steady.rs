//! Sessions that live on, in use through every gate all the time, and among them those that have ended lately.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use e2e::checker::{browsers_check, status};
use e2e::measure::ask;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::fleet::Fleet;
use super::watch::Watched;

/// How often a gate is asked.
const EVERY: Duration = Duration::from_millis(10);
/// How many sessions are in use.
const SESSIONS: usize = 100;
/// How many that have ended are asked for again, each fourth time.
const ENDED: usize = 50;

/// The load, until it is ended.
pub(crate) struct Steady {
    tasks: JoinSet<Result<Asked>>,
    stop: CancellationToken,
    ended: Ended,
}

type Ended = Arc<Mutex<VecDeque<Arc<Watched>>>>;

/// What was asked of sessions that live on.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) checks: usize,
    /// Those that were not answered with 200.
    pub(crate) refused: usize,
}

impl Steady {
    pub(crate) async fn begin(fleet: &Arc<Fleet>) -> Result<Self> {
        let mut checks = Vec::new();
        for n in 0..SESSIONS {
            let made = fleet.any().process.create_session(&json!({ "subject": format!("lives-{n}") })).await?;
            checks.push(browsers_check("shop.example", "/cart", &made.token));
        }
        let (checks, ended, stop) = (Arc::<[Bytes]>::from(checks), Ended::default(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        for gate in 0..fleet.gates.len() {
            let load = load(Arc::clone(fleet), gate, Arc::clone(&checks), Arc::clone(&ended), stop.clone());
            tasks.spawn(load);
        }
        Ok(Self { tasks, stop, ended })
    }

    /// Asks for these sessions, too.
    pub(crate) fn remember(&self, watched: &Arc<Watched>) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.push_back(Arc::clone(watched));
        if ended.len() > ENDED {
            ended.pop_front();
        }
    }

    /// Ends it when every answer is there.
    pub(crate) async fn end(mut self) -> Result<Asked> {
        self.stop.cancel();
        let mut all = Asked::default();
        while let Some(done) = self.tasks.join_next().await {
            let asked = done??;
            all.checks += asked.checks;
            all.refused += asked.refused;
        }
        Ok(all)
    }
}

async fn load(
    fleet: Arc<Fleet>,
    gate: usize,
    checks: Arc<[Bytes]>,
    ended: Ended,
    stop: CancellationToken,
) -> Result<Asked> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut running = JoinSet::new();
    let mut asked = Asked::default();
    let mut count = |done: Option<u16>| {
        asked.checks += usize::from(done.is_some());
        asked.refused += usize::from(done.is_some_and(|status| status != 200));
    };
    for n in 0.. {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let over = (n % 4 == 3).then(|| {
            let ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
            ended.get(n / 4 % ended.len().max(1)).cloned()
        });
        let (channel, check) = (fleet.gates[gate].channel.clone(), checks[n % checks.len()].clone());
        running.spawn(async move {
            match over.flatten() {
                Some(over) => over.ask(gate, &channel, n % over.sessions()).await.map(|()| None),
                None => Ok(Some(status(ask(&channel, check).await?)?)),
            }
        });
        while let Some(done) = running.try_join_next() {
            count(done??);
        }
    }
    while let Some(done) = running.join_next().await {
        count(done??);
    }
    Ok(asked)
}
