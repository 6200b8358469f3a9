//! The sessions' own counters as metrics. The sessions know nothing of Prometheus: their numbers are read when somebody asks.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, Opts};

use crate::sessions::stats::{Counter, SessionsStats};

/// One series: where its number is read.
type Read = fn(&SessionsStats) -> &Counter;

/// A metric with one label, and the series that it has.
struct Labelled {
    name: &'static str,
    help: &'static str,
    label: &'static str,
    series: &'static [(&'static str, Read)],
}

const LABELLED: &[Labelled] = &[
    Labelled {
        name: "cloakroom_view_lookups_total",
        help: "Session look-ups in the view, by what became of them.",
        label: "outcome",
        series: &[
            ("hit", |stats| &stats.hits),
            ("miss", |stats| &stats.misses),
            ("negative", |stats| &stats.negative_hits),
            ("doubt", |stats| &stats.doubts),
            ("stale", |stats| &stats.stale_refusals),
            ("overload", |stats| &stats.overloads),
        ],
    },
    Labelled {
        name: "cloakroom_session_jwts_total",
        help: "Session JWTs put on requests: signed, or handed out again.",
        label: "source",
        series: &[("minted", |stats| &stats.mints), ("cached", |stats| &stats.reuses)],
    },
];

/// A metric without labels.
const PLAIN: &[(&str, &str, Read)] = &[
    ("cloakroom_invalid_tokens_total", "Tokens refused for their tag, without a look-up.", |stats| {
        &stats.invalid_tokens
    }),
    ("cloakroom_store_loads_total", "Calls to the store for a session.", |stats| &stats.loads),
    ("cloakroom_store_load_failures_total", "Calls to the store that failed or came too late.", |stats| {
        &stats.load_failures
    }),
    ("cloakroom_store_load_joins_total", "Look-ups that waited for a load under way.", |stats| &stats.joins),
    ("cloakroom_view_evictions_total", "Sessions pushed out of the view by others.", |stats| &stats.evictions),
    ("cloakroom_view_invalidations_total", "Cached sessions declared out of date by a change.", |stats| {
        &stats.invalidations
    }),
    (
        "cloakroom_view_tombstones_forgotten_total",
        "Tombstones forgotten before their time, because there were too many.",
        |stats| &stats.tombstones_forgotten,
    ),
    ("cloakroom_rotations_total", "Secrets replaced.", |stats| &stats.rotations),
    (
        "cloakroom_rotation_failures_total",
        "Secrets not replaced: failed, too slow, or lost to another replica.",
        |stats| &stats.rotation_failures,
    ),
    ("cloakroom_touches_total", "Uses of sessions written to the store.", |stats| &stats.touches),
    ("cloakroom_touch_failures_total", "Uses of sessions that could not be written.", |stats| &stats.touch_failures),
];

/// Reads the counters of `S` when it is collected.
pub(super) struct SessionsBridge<S> {
    stats: S,
    descriptions: Vec<Desc>,
}

impl<S: AsRef<SessionsStats>> SessionsBridge<S> {
    pub(super) fn new(stats: S) -> Result<Self, prometheus::Error> {
        let mut descriptions = Vec::new();
        for family in LABELLED {
            let label = vec![family.label.to_owned()];
            descriptions.push(Desc::new(family.name.into(), family.help.into(), label, Default::default())?);
        }
        for (name, help, _) in PLAIN {
            descriptions.push(Desc::new((*name).into(), (*help).into(), Vec::new(), Default::default())?);
        }
        Ok(Self { stats, descriptions })
    }
}

impl<S: AsRef<SessionsStats> + Send + Sync> Collector for SessionsBridge<S> {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let stats = self.stats.as_ref();
        // Fresh counters each time: they only carry the numbers into the exposition's form.
        let labelled = LABELLED.iter().filter_map(|family| {
            let counters = IntCounterVec::new(Opts::new(family.name, family.help), &[family.label]).ok()?;
            for (value, read) in family.series {
                counters.with_label_values(&[value]).inc_by(read(stats).get());
            }
            Some(counters.collect())
        });
        let plain = PLAIN.iter().filter_map(|(name, help, read)| {
            let counter = IntCounter::new(*name, *help).ok()?;
            counter.inc_by(read(stats).get());
            Some(counter.collect())
        });
        labelled.chain(plain).flatten().collect()
    }
}
