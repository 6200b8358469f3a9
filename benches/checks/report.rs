//! The table for people, and the same as JSON for programs.

use serde_json::json;

use super::cost::Cost;

#[derive(Default)]
pub(crate) struct Report(Vec<Row>);

pub(crate) enum Row {
    Ratio { what: String, ratio: [f64; 3], ours: f64, other: f64 },
    Bytes { what: String, each: f64 },
}

impl Row {
    /// Pairs taken in turns: the median of their ratios, with the least and the most.
    pub(crate) fn ratio(what: String, ours: &[Cost], other: &[Cost]) -> Self {
        let mut ratios: Vec<f64> = ours.iter().zip(other).map(|(a, b)| a.cpu / b.cpu).collect();
        ratios.sort_by(f64::total_cmp);
        let ratio = [ratios[0], ratios[ratios.len() / 2], ratios[ratios.len() - 1]];
        Self::Ratio { what, ratio, ours: median(ours, |it| it.cpu), other: median(other, |it| it.cpu) }
    }

    pub(crate) fn bytes(what: &str, bytes: u64, among: u64) -> Self {
        Self::Bytes { what: what.to_owned(), each: bytes as f64 / among as f64 }
    }
}

fn median(costs: &[Cost], of: impl Fn(&Cost) -> f64) -> f64 {
    let mut values: Vec<f64> = costs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
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
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("checks.json"), serde_json::to_string_pretty(&rows)?)?;
        println!("\nalso in target/bench/checks.json");
        Ok(())
    }
}

impl Row {
    fn line(&self) -> String {
        match self {
            Self::Ratio { what, ratio: [least, middle, most], ours, other } => {
                format!(
                    "{what:<58} {middle:>7.2} {:>15} {:>9.1} {:>9.1}",
                    format!("{least:.2}..{most:.2}"),
                    ours / 1e3,
                    other / 1e3
                )
            }
            Self::Bytes { what, each } => format!("{what:<58} {:>9.0} KiB ({each:.0} bytes)", each / 1024.0),
        }
    }

    fn json(&self) -> serde_json::Value {
        match self {
            Self::Ratio { what, ratio: [least, median, most], ours, other } => {
                json!({ "what": what, "ratio": median, "least": least, "most": most, "cpuNanos": ours, "otherCpuNanos": other })
            }
            Self::Bytes { what, each } => json!({ "what": what, "bytes": each }),
        }
    }
}
