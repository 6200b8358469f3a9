//! The status as metrics, read when somebody asks.

use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::IntGauge;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::Status;

/// A metric: its name, its help, and where its number is read.
type Gauge = (&'static str, &'static str, fn(&Status) -> u64);

const GAUGES: &[Gauge] = &[
    ("cloakroom_policy_generation", "Sets of policies put in force since the start.", |status| status.generation),
    ("cloakroom_policies", "Policies in force.", |status| status.policies as u64),
    ("cloakroom_policy_problems", "Objects that are not in force as they are written, by their problems.", |status| {
        status.problems.iter().filter(|problem| problem.kind.is_error()).count() as u64
    }),
    ("cloakroom_policy_source_errors", "Reasons why the source of the policies does not read now.", |status| {
        status.errors.len() as u64
    }),
];

/// Reads the status when it is collected.
pub(super) struct StatusBridge {
    status: Arc<ArcSwap<Status>>,
    descriptions: Vec<Desc>,
}

impl StatusBridge {
    pub(super) fn new(status: Arc<ArcSwap<Status>>) -> Result<Self, prometheus::Error> {
        let describe = |(name, help, _): &Gauge| {
            Desc::new((*name).into(), (*help).into(), Vec::new(), std::collections::HashMap::default())
        };
        Ok(Self { status, descriptions: GAUGES.iter().map(describe).collect::<Result<_, _>>()? })
    }
}

impl Collector for StatusBridge {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let status = self.status.load();
        let gauges = GAUGES.iter().filter_map(|(name, help, read)| {
            let gauge = IntGauge::new(*name, *help).ok()?;
            gauge.set(i64::try_from(read(&status)).unwrap_or(i64::MAX));
            Some(gauge.collect())
        });
        gauges.flatten().collect()
    }
}
