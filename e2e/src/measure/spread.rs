//! Figures of several rounds, and where they are kept for programs.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::tools;

/// The median of some figures, with the least and the most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The least.
    pub least: f64,
    /// The one in the middle.
    pub median: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of figures.
    ///
    /// # Panics
    /// When there is none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        Self { least: figures[0], median: figures[figures.len() / 2], most: figures[figures.len() - 1] }
    }

    /// Of the ratios of pairs taken in turns.
    ///
    /// # Panics
    /// When there is none.
    pub fn of_ratios(pairs: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self::of(pairs.into_iter().map(|(ours, other)| ours / other))
    }

    /// `least..most`.
    pub fn range(&self) -> String {
        format!("{:.2}..{:.2}", self.least, self.most)
    }

    /// As an object, to add to.
    pub fn json(&self) -> Value {
        json!({ "ratio": self.median, "least": self.least, "most": self.most })
    }
}

/// What half of some times, 99 of 100 of them, and all of them do not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles {
    /// Half of them.
    pub p50: Duration,
    /// 99 of 100.
    pub p99: Duration,
    /// All.
    pub most: Duration,
    /// How many there are.
    pub count: usize,
}

impl Percentiles {
    /// Of times.
    ///
    /// # Panics
    /// When there is none.
    pub fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut times: Vec<Duration> = times.into_iter().collect();
        times.sort_unstable();
        let count = times.len();
        // The nearest rank: the least time that so many of a hundred do not exceed.
        let among = |of_hundred: usize| times[(count * of_hundred).div_ceil(100) - 1];
        Self { p50: among(50), p99: among(99), most: times[count - 1], count }
    }
}

/// Writes `target/bench/<name>.json`.
///
/// # Errors
/// When it cannot be written.
pub fn keep(name: &str, rows: &[Value]) -> Result<PathBuf> {
    let folder = tools::workspace().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{name}.json"));
    std::fs::write(&file, serde_json::to_string_pretty(rows)?)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        let spread = Spread::of_ratios([(8.0, 2.0), (3.0, 3.0), (10.0, 5.0)]);
        assert_eq!(spread, Spread { least: 1.0, median: 2.0, most: 4.0 });
        assert_eq!(spread.range(), "1.00..4.00");
    }

    #[test]
    fn percentiles_are_times_that_were_taken() {
        let of = |count| Percentiles::of((1..=count).rev().map(Duration::from_millis));
        let [one, p50, p99, most] = [1, 100, 198, 200].map(Duration::from_millis);
        assert_eq!(of(1), Percentiles { p50: one, p99: one, most: one, count: 1 });
        assert_eq!(of(200), Percentiles { p50, p99, most, count: 200 });
    }
}
