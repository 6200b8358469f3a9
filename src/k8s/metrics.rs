//! What the watch of the API server has done, counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntCounter, Registry};

/// The metrics of one watch. Clones share them.
#[derive(Clone, Debug)]
pub struct ClusterMetrics {
    /// Lists and watches begun again.
    pub(super) restarts: IntCounter,
    /// Answers that were older than what had been seen.
    pub(super) older_answers: IntCounter,
    /// Snapshots that could not be written.
    pub(super) snapshot_failures: IntCounter,
    heard: Heard,
}

/// When the API server was last heard.
#[derive(Clone, Debug)]
struct Heard {
    start: Instant,
    /// Milliseconds after the start.
    last: Arc<AtomicU64>,
    description: Desc,
}

const LAST_WORD: &str = "cloakroom_policy_last_word_seconds";
const LAST_WORD_HELP: &str = "Seconds since the API server last said anything about policies.";

impl ClusterMetrics {
    /// The metrics, at zero.
    ///
    /// # Errors
    /// When a name is not one that Prometheus takes.
    pub fn new() -> Result<Self, prometheus::Error> {
        let description = Desc::new(LAST_WORD.into(), LAST_WORD_HELP.into(), Vec::new(), Default::default())?;
        Ok(Self {
            restarts: IntCounter::new(
                "cloakroom_policy_watch_restarts_total",
                "Lists and watches of policies begun again, because the one before failed.",
            )?,
            older_answers: IntCounter::new(
                "cloakroom_policy_older_answers_total",
                "Answers of the API server about policies that were older than an earlier one, and so refused.",
            )?,
            snapshot_failures: IntCounter::new(
                "cloakroom_policy_snapshot_failures_total",
                "Snapshots of the policies that could not be written.",
            )?,
            heard: Heard { start: Instant::now(), last: Arc::default(), description },
        })
    }

    /// Registers them.
    ///
    /// # Errors
    /// When the registry has one of them already.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.restarts.clone()))?;
        registry.register(Box::new(self.older_answers.clone()))?;
        registry.register(Box::new(self.snapshot_failures.clone()))?;
        registry.register(Box::new(self.heard.clone()))
    }

    /// The API server has said something.
    pub(super) fn hear(&self) {
        let now = u64::try_from(self.heard.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.last.fetch_max(now, Ordering::Relaxed);
    }
}

impl Collector for Heard {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(gauge) = Gauge::new(LAST_WORD, LAST_WORD_HELP) else { return Vec::new() };
        let last = std::time::Duration::from_millis(self.last.load(Ordering::Relaxed));
        gauge.set(self.start.elapsed().saturating_sub(last).as_secs_f64());
        gauge.collect()
    }
}
