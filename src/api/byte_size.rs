//! Sizes in bytes as Kubernetes writes them: `64Mi`, `512Ki`, `1G`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes: digits and one of `Ki`, `Mi`, `Gi`, `Ti` (powers of 1,024), `k`, `M`, `G`, `T` (powers of 1,000)
/// or nothing, as in a Kubernetes quantity; whole numbers only, below 2^63.
///
/// `Display` writes the largest power of 1,024 that divides it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// Why a text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size in bytes: write a whole number and Ki, Mi or Gi, like 64Mi")]
pub struct ByteSizeError(String);

const UNITS: [(&str, u64); 9] = [
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
    ("", 1),
];

impl ByteSize {
    /// This many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = UNITS.iter().find(|(unit, _)| *unit == &text[digits.len()..]);
        let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok()).flatten();
        number
            .zip(unit)
            .and_then(|(number, (_, factor))| number.checked_mul(*factor))
            .filter(|bytes| i64::try_from(*bytes).is_ok())
            .map(Self)
            .ok_or_else(|| ByteSizeError(text.chars().take(40).collect()))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = UNITS[..4]
            .iter()
            .find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor))
            .copied()
            .unwrap_or(("", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size in bytes, like 64Mi")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                i64::try_from(bytes).map(|_| ByteSize(bytes)).map_err(|_| E::custom(ByteSizeError(bytes.to_string())))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes).map(ByteSize).map_err(|_| E::custom(ByteSizeError(bytes.to_string())))
            }
        }

        // A quantity may be a bare number in YAML and JSON alike.
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_kubernetes_writes_them() {
        for (text, bytes) in [
            ("64Mi", 64 << 20),
            ("512Ki", 512 << 10),
            ("2Gi", 2 << 30),
            ("1k", 1000),
            ("1M", 1_000_000),
            ("0", 0),
            ("17", 17),
        ] {
            assert_eq!(text.parse::<ByteSize>(), Ok(ByteSize::bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["", "Mi", "64mi", "64MB", "1.5Gi", "-1", "64 Mi", "9Ei", "9999999999Ti", "18446744073709551615", "١Mi"]
        {
            assert!(text.parse::<ByteSize>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_bare_number_is_bytes() {
        assert_eq!(serde_json::from_str::<ByteSize>("4096").ok(), Some(ByteSize::bytes(4096)));
        assert_eq!(serde_json::from_str::<ByteSize>("\"4Ki\"").ok(), Some(ByteSize::bytes(4096)));
        assert!(serde_json::from_str::<ByteSize>("-1").is_err());
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn written_and_read_again_is_the_same(bytes in 0..=i64::MAX.unsigned_abs()) {
                let size = ByteSize::bytes(bytes);
                prop_assert_eq!(size.to_string().parse::<ByteSize>(), Ok(size));
            }
        }
    }
}
