//! What responses come to, counted. Labels come from closed sets, and each series is looked up once, at the start.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::authz::response::CommandRefusal;

/// What was done about a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing but that headers of ours were taken off, if there were any.
    Stripped,
    /// A session was made.
    Created,
    /// A session was changed.
    Updated,
    /// A change that changed nothing.
    Unchanged,
    /// Sessions were ended.
    Ended,
    /// A JWT became a session.
    Exchanged,
    /// What it wished was not done.
    Refused(CommandRefusal),
}

impl Outcome {
    /// Its label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Stripped => "stripped",
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Ended => "ended",
            Self::Exchanged => "exchanged",
            Self::Refused(refusal) => refusal.label(),
        }
    }

    /// Its place among the series.
    const fn place(self) -> usize {
        match self {
            Self::Stripped => 0,
            Self::Created => 1,
            Self::Updated => 2,
            Self::Unchanged => 3,
            Self::Ended => 4,
            Self::Exchanged => 5,
            Self::Refused(refusal) => DONE.len() + refusal as usize,
        }
    }
}

/// Each that is no refusal, in the order of their places.
const DONE: [Outcome; 6] =
    [Outcome::Stripped, Outcome::Created, Outcome::Updated, Outcome::Unchanged, Outcome::Ended, Outcome::Exchanged];

/// The metrics of responses.
#[derive(Clone, Debug)]
pub struct ResponseMetrics {
    /// One for each outcome, at its place.
    outcomes: Box<[IntCounter]>,
    streams: IntGauge,
    pub(super) records_dropped: IntCounter,
}

impl ResponseMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When the registry has one of them already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "Responses, by what was done about them: what their service wished, or why it was not done.";
        let responses = IntCounterVec::new(Opts::new("cloakroom_responses_total", help), &["outcome"])?;
        let streams = IntGauge::new("cloakroom_ext_proc_streams", "Streams of ext_proc that are open.")?;
        let records_dropped = IntCounter::new(
            "cloakroom_response_records_dropped_total",
            "Records of refused wishes not written because there were too many in one second.",
        )?;
        registry.register(Box::new(responses.clone()))?;
        registry.register(Box::new(streams.clone()))?;
        registry.register(Box::new(records_dropped.clone()))?;
        let refused = CommandRefusal::ALL.iter().map(|refusal| Outcome::Refused(*refusal));
        let series = |outcome: Outcome| responses.with_label_values(&[outcome.label()]);
        Ok(Self { outcomes: DONE.into_iter().chain(refused).map(series).collect(), streams, records_dropped })
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.outcomes[outcome.place()].inc();
    }

    pub(super) fn open(&self) -> OpenStream {
        self.streams.inc();
        OpenStream(self.streams.clone())
    }
}

/// A stream that is open, until it is dropped.
#[derive(Debug)]
pub(super) struct OpenStream(IntGauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = Outcome> {
        DONE.into_iter().chain(CommandRefusal::ALL.iter().map(|refusal| Outcome::Refused(*refusal)))
    }

    #[test]
    fn each_outcome_has_its_row_in_the_documentation() {
        let rows: Vec<_> = include_str!("../../docs/responses.md").lines().filter(|it| it.starts_with("| `")).collect();
        for outcome in all() {
            let row = format!("| `{}` | ", outcome.label());
            assert_eq!(rows.iter().filter(|it| it.starts_with(&row)).count(), 1, "docs/responses.md: {row}");
        }
    }

    #[test]
    fn p38_each_outcome_has_a_series_of_its_own() {
        let registry = Registry::new();
        let metrics = ResponseMetrics::register(&registry).unwrap();
        let all: Vec<_> = all().collect();
        for (at, outcome) in all.iter().enumerate() {
            assert_eq!(outcome.place(), at);
            (0..=at).for_each(|_| metrics.count(*outcome));
        }
        let families = registry.gather();
        let family = families.iter().find(|it| it.name() == "cloakroom_responses_total").unwrap();
        assert_eq!(family.get_metric().len(), all.len(), "labels are distinct");
        for series in family.get_metric() {
            let label = series.get_label()[0].value();
            let at = all.iter().position(|outcome| outcome.label() == label).unwrap();
            assert_eq!(format!("{}", series.get_counter().get_value()), (at + 1).to_string(), "{label}");
        }
    }
}
