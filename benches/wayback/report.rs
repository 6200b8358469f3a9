//! The table for people, and the same as JSON for programs.

use std::time::Duration;

use e2e::measure::{Spread, keep};
use serde_json::{Value, json};

use super::load::Sample;

#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
}

struct Row {
    what: String,
    gate: Figure,
    envoy: Figure,
    p50: Figure,
    p99: Figure,
    /// Of a hundred.
    refused: f64,
}

/// A figure of an arm, in microseconds, and as a ratio to that of the arm without ext_proc in the same round.
struct Figure {
    median: f64,
    ratio: Spread,
}

impl Figure {
    fn of(ours: &[Sample], without: &[Sample], micros: impl Fn(&Sample) -> f64) -> Self {
        Self {
            median: Spread::of(ours.iter().map(&micros)).median,
            ratio: Spread::of_ratios(ours.iter().zip(without).map(|(a, b)| (micros(a), micros(b)))),
        }
    }

    fn column(&self) -> String {
        format!("{:>6.2} {:>14} {:>8.0}", self.ratio.median, format!("({})", self.ratio.range()), self.median)
    }

    fn json(&self) -> Value {
        let mut figure = self.ratio.json();
        figure["micros"] = json!(self.median);
        figure
    }
}

impl Report {
    /// An arm's rounds beside those of the arm without ext_proc.
    pub(crate) fn push(&mut self, what: &str, ours: &[Sample], without: &[Sample]) {
        let wall = |time: Duration| time.as_secs_f64() * 1e6;
        let (requests, refused) = ours.iter().fold((0, 0), |sum, it| (sum.0 + it.requests, sum.1 + it.refused));
        self.rows.push(Row {
            what: what.to_owned(),
            gate: Figure::of(ours, without, |it| it.gate.cpu / 1e3),
            envoy: Figure::of(ours, without, |it| it.envoy.cpu / 1e3),
            p50: Figure::of(ours, without, |it| wall(it.p50)),
            p99: Figure::of(ours, without, |it| wall(it.p99)),
            refused: refused as f64 * 100.0 / requests as f64,
        });
    }

    /// A line below the table.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    pub(crate) fn print(&self) -> anyhow::Result<()> {
        println!("\nPer request; each column: ratio to \"no ext_proc\", (least..most of the rounds), µs");
        println!(
            "{:<40} {:>30} {:>30} {:>30} {:>30} {:>8}",
            "what", "CPU of cloakroom", "CPU of Envoy", "p50", "p99", "not 200"
        );
        for row in &self.rows {
            let [gate, envoy, p50, p99] = [&row.gate, &row.envoy, &row.p50, &row.p99].map(Figure::column);
            println!("{:<40} {gate} {envoy} {p50} {p99} {:>7.2}%", row.what, row.refused);
        }
        for note in &self.notes {
            println!("{note}");
        }
        keep("wayback", &self.rows.iter().map(Row::json).collect::<Vec<_>>())?;
        println!("\nalso in target/bench/wayback.json");
        Ok(())
    }
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "what": self.what, "gateCpu": self.gate.json(), "envoyCpu": self.envoy.json(),
            "p50": self.p50.json(), "p99": self.p99.json(), "refusedPercent": self.refused,
        })
    }
}
