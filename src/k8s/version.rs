//! Which of two states of the API server is the older one.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// A `resourceVersion`. Those of one resource compare as integers of any size: every API server that passes conformance of
/// Kubernetes 1.35 promises it (KEP-5504), and those before it kept it as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct ResourceVersion(String);

impl ResourceVersion {
    /// `None` for a text that names no version: the empty one, and `0`, which stands for any.
    pub(super) fn new(text: &str) -> Option<Self> {
        (!text.is_empty() && text != "0").then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn digits(&self) -> Option<&str> {
        let digits = self.0.trim_start_matches('0');
        self.0.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)
    }

    /// Which is older; `None` where one is not a number, so that nothing can be said.
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        let (one, two) = (self.digits()?, other.digits()?);
        Some(one.len().cmp(&two.len()).then_with(|| one.cmp(two)))
    }

    /// Whether it is certainly older.
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        self.compare(other) == Some(Ordering::Less)
    }

    /// Whether it is certainly newer.
    pub(super) fn is_newer_than(&self, other: &Self) -> bool {
        self.compare(other) == Some(Ordering::Greater)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_integers_of_any_size() {
        for (one, two, want) in [
            ("9", "10", Some(Ordering::Less)),
            ("10", "9", Some(Ordering::Greater)),
            ("7", "7", Some(Ordering::Equal)),
            ("0007", "7", Some(Ordering::Equal)),
            ("18446744073709551616", "18446744073709551615", Some(Ordering::Greater)),
            ("99", "18446744073709551616", Some(Ordering::Less)),
            ("7", "a7", None),
            ("7-1", "8", None),
        ] {
            let [one, two] = [one, two].map(|text| ResourceVersion::new(text).unwrap());
            assert_eq!(one.compare(&two), want, "{one:?} {two:?}");
        }
        assert!(ResourceVersion::new("").is_none() && ResourceVersion::new("0").is_none());
    }
}
