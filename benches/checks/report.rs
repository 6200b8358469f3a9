//! The table for people, and the same as JSON for programs.

use e2e::measure::{Cost, Spread, keep};
use serde_json::json;

#[derive(Default)]
pub(crate) struct Report(Vec<Row>);

pub(crate) enum Row {
    Ratio { what: String, ratio: Spread, ours: f64, other: f64 },
    Each { what: String, ours: f64, floor: f64 },
    Bytes { what: String, each: f64 },
}

impl Row {
    /// Pairs taken in turns: the median of their ratios, with the least and the most.
    pub(crate) fn ratio(what: String, ours: &[Cost], other: &[Cost]) -> Self {
        let ratio = Spread::of_ratios(ours.iter().zip(other).map(|(a, b)| (a.cpu, b.cpu)));
        Self::Ratio { what, ratio, ours: median(ours), other: median(other) }
    }

    /// A count for each check, of the gate and of the floor.
    pub(crate) fn each(what: String, checks: usize, ours: u64, floor: u64) -> Self {
        Self::Each { what, ours: ours as f64 / checks as f64, floor: floor as f64 / checks as f64 }
    }

    pub(crate) fn bytes(what: &str, bytes: u64, among: u64) -> Self {
        Self::Bytes { what: what.to_owned(), each: bytes as f64 / among as f64 }
    }
}

fn median(costs: &[Cost]) -> f64 {
    Spread::of(costs.iter().map(|it| it.cpu)).median
}

impl Report {
    pub(crate) fn push(&mut self, row: Row) {
        eprintln!("{}", row.line());
        self.0.push(row);
    }

    pub(crate) fn print(&self) -> anyhow::Result<()> {
        println!("\n{:<58} {:>7} {:>15} {:>9} {:>9}", "what", "ratio", "least..most", "µs", "other µs");
        for row in &self.0 {
            println!("{}", row.line());
        }
        let rows: Vec<_> = self.0.iter().map(Row::json).collect();
        keep("checks", &rows)?;
        println!("\nalso in target/bench/checks.json");
        Ok(())
    }
}

impl Row {
    fn line(&self) -> String {
        match self {
            Self::Ratio { what, ratio, ours, other } => {
                format!(
                    "{what:<58} {:>7.2} {:>15} {:>9.1} {:>9.1}",
                    ratio.median,
                    ratio.range(),
                    ours / 1e3,
                    other / 1e3
                )
            }
            Self::Each { what, ours, floor } => format!("{what:<58} {ours:>7.2} {:>15} (floor: {floor:.2})", ""),
            Self::Bytes { what, each } => format!("{what:<58} {:>9.0} KiB ({each:.0} bytes)", each / 1024.0),
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
            Self::Each { what, ours, floor } => json!({ "what": what, "each": ours, "floor": floor }),
            Self::Bytes { what, each } => json!({ "what": what, "bytes": each }),
        }
    }
}
