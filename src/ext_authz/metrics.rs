//! What checks come to, counted. Labels come from closed sets, and each series is looked up once, at the start: a check adds
//! to three numbers.

mod bridge;

use std::time::Instant;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::authz::reason::DenyReason;
use crate::authz::verdict::Verdict;
use crate::sessions::stats::SessionsStats;

/// Seconds: from what a cached session takes to where the proxy gives up.
const BUCKETS: &[f64] = &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25];

/// The metrics of the checks.
#[derive(Clone, Debug)]
pub struct CheckMetrics {
    session: IntCounter,
    provider: IntCounter,
    anonymous: IntCounter,
    cancelled: IntCounter,
    /// One for each reason, at its place in the enum.
    denied: Box<[IntCounter]>,
    audited: Box<[IntCounter]>,
    seconds: Histogram,
    in_flight: IntGauge,
    pub(super) records_dropped: IntCounter,
}

impl CheckMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When the registry has one of them already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "Checks, by verdict and reason. `audit` passed what its policy would have refused.";
        let verdicts = IntCounterVec::new(Opts::new("cloakroom_check_verdicts_total", help), &["verdict", "reason"])?;
        let seconds = Histogram::with_opts(
            HistogramOpts::new("cloakroom_check_seconds", "Time from a check read to its answer made.")
                .buckets(BUCKETS.to_vec()),
        )?;
        let in_flight = IntGauge::new("cloakroom_checks_in_flight", "Checks being judged.")?;
        let records_dropped = IntCounter::new(
            "cloakroom_decision_records_dropped_total",
            "Decision records not written because there were too many in one second.",
        )?;
        registry.register(Box::new(verdicts.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        registry.register(Box::new(records_dropped.clone()))?;
        let series = |verdict: &str, reason: &str| verdicts.with_label_values(&[verdict, reason]);
        let of_reasons = |verdict| DenyReason::ALL.iter().map(|reason| series(verdict, reason.label())).collect();
        Ok(Self {
            session: series("allow", "session"),
            provider: series("allow", "provider"),
            anonymous: series("allow", "anonymous"),
            cancelled: series("cancelled", "cancelled"),
            denied: of_reasons("deny"),
            audited: of_reasons("audit"),
            seconds,
            in_flight,
            records_dropped,
        })
    }

    /// Notes that a check has begun.
    pub(super) fn start(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight { metrics: self, started: Instant::now(), outcome: &self.cancelled }
    }
}

/// Registers the counters of the sessions behind the checks: read where they are kept, when somebody asks.
///
/// # Errors
/// When the registry has one of them already.
pub fn register_sessions(
    registry: &Registry,
    stats: impl AsRef<SessionsStats> + Send + Sync + 'static,
) -> Result<(), prometheus::Error> {
    registry.register(Box::new(bridge::SessionsBridge::new(stats)?))
}

/// A check under way. Dropped before it has a verdict, it counts as cancelled: the proxy gave up or went away.
#[derive(Debug)]
pub(super) struct InFlight<'a> {
    metrics: &'a CheckMetrics,
    started: Instant,
    outcome: &'a IntCounter,
}

impl InFlight<'_> {
    /// Notes the verdict.
    pub(super) fn finish(mut self, verdict: &Verdict) {
        self.outcome = match verdict {
            Verdict::Deny(denial) => &self.metrics.denied[denial.reason as usize],
            Verdict::Allow(allow) => match allow.audit {
                Some(reason) => &self.metrics.audited[reason as usize],
                None if allow.provider.is_some() => &self.metrics.provider,
                None if allow.jwt.is_some() => &self.metrics.session,
                None => &self.metrics.anonymous,
            },
        };
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.outcome.inc();
        self.metrics.in_flight.dec();
        self.metrics.seconds.observe(self.started.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests;
