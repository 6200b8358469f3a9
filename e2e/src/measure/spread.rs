//! Figures of several rounds, and where they are kept for programs.

use std::path::PathBuf;

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
}
