//! A table for people, and the same as JSON for programs.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::{Cost, Percentiles, Spread, keep};

/// The figures of one benchmark.
#[derive(Debug, Default)]
pub struct Table(Vec<Row>);

/// One of them.
#[derive(Clone, Debug)]
pub enum Row {
    /// CPU of one request, and how it stands to that of another.
    Ratio {
        /// Of what.
        what: String,
        /// Of the pairs.
        ratio: Spread,
        /// The median, in nanoseconds.
        ours: f64,
        /// The median of the other, in nanoseconds.
        other: f64,
    },
    /// Memory of one thing.
    Bytes {
        /// Of what.
        what: String,
        /// How many.
        each: f64,
    },
    /// Times.
    Times {
        /// Of what.
        what: String,
        /// The times.
        times: Percentiles,
    },
    /// Any other number.
    Number {
        /// Of what.
        what: String,
        /// The number.
        number: f64,
        /// Of which.
        unit: &'static str,
    },
}

impl Row {
    /// Pairs taken in turns: the median of their ratios, with the least and the most.
    pub fn ratio(what: impl Into<String>, ours: &[Cost], other: &[Cost]) -> Self {
        let ratio = Spread::of_ratios(ours.iter().zip(other).map(|(a, b)| (a.cpu, b.cpu)));
        Self::Ratio { what: what.into(), ratio, ours: median(ours), other: median(other) }
    }

    /// Bytes, and among how many things they are.
    #[expect(clippy::cast_precision_loss, reason = "2^53 bytes are enough")]
    pub fn bytes(what: impl Into<String>, bytes: u64, among: u64) -> Self {
        Self::Bytes { what: what.into(), each: bytes as f64 / among as f64 }
    }

    /// Times.
    ///
    /// # Panics
    /// When there is none.
    pub fn times(what: impl Into<String>, times: impl IntoIterator<Item = Duration>) -> Self {
        Self::Times { what: what.into(), times: Percentiles::of(times) }
    }

    /// A number.
    pub fn number(what: impl Into<String>, number: f64, unit: &'static str) -> Self {
        Self::Number { what: what.into(), number, unit }
    }

    fn line(&self) -> String {
        match self {
            Self::Ratio { what, ratio, ours, other } => {
                let (ours, other) = (ours / 1e3, other / 1e3);
                format!("{what:<58} {:>7.2} {:>15} {ours:>9.1} {other:>9.1}", ratio.median, ratio.range())
            }
            Self::Bytes { what, each } => format!("{what:<58} {:>9.1} KiB ({each:.0} bytes)", each / 1024.0),
            Self::Times { what, times } => {
                let millis = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
                let [p50, p99, most] = [times.p50, times.p99, times.most].map(millis);
                format!("{what:<58} p50 {p50} ms, p99 {p99} ms, most {most} ms (of {})", times.count)
            }
            Self::Number { what, number, unit } => format!("{what:<58} {number:>9.2} {unit}"),
        }
    }

    fn json(&self) -> serde_json::Value {
        match self {
            Self::Ratio { what, ratio, ours, other } => {
                let mut row = ratio.json();
                row["what"] = json!(what);
                row["cpuNanos"] = json!(ours);
                row["otherCpuNanos"] = json!(other);
                row
            }
            Self::Bytes { what, each } => json!({ "what": what, "bytes": each }),
            Self::Times { what, times } => json!({
                "what": what, "count": times.count, "p50Seconds": times.p50.as_secs_f64(),
                "p99Seconds": times.p99.as_secs_f64(), "mostSeconds": times.most.as_secs_f64(),
            }),
            Self::Number { what, number, unit } => json!({ "what": what, "number": number, "unit": unit }),
        }
    }
}

fn median(costs: &[Cost]) -> f64 {
    Spread::of(costs.iter().map(|it| it.cpu)).median
}

impl Table {
    /// Adds a row, and shows it: a benchmark takes its time.
    #[expect(clippy::print_stderr, reason = "a benchmark reports to a terminal")]
    pub fn push(&mut self, row: Row) {
        eprintln!("{}", row.line());
        self.0.push(row);
    }

    /// Shows all of it, and keeps it as `target/bench/<name>.json`.
    ///
    /// # Errors
    /// When it cannot be written.
    #[expect(clippy::print_stdout, reason = "a benchmark reports to a terminal")]
    pub fn print(&self, name: &str) -> Result<()> {
        println!("\n{:<58} {:>7} {:>15} {:>9} {:>9}", "what", "ratio", "least..most", "µs", "other µs");
        for row in &self.0 {
            println!("{}", row.line());
        }
        keep(name, &self.0.iter().map(Row::json).collect::<Vec<_>>())?;
        println!("\nalso in target/bench/{name}.json");
        Ok(())
    }
}
