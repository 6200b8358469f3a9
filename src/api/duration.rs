//! Durations as the Gateway API writes them (GEP-2257): `15m`, `1h30m`, `500ms`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::validation;

/// A duration as people write it: 1 to 4 parts, each 1 to 5 digits and one of `h`, `m`, `s`, `ms`; in all at most
/// [`HumanDuration::MAX`]. The parts are added up, in any order.
///
/// `Display` writes the shortest form that reads back as the same duration: `90m` becomes `1h30m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration(Duration);

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a duration: write 1 to 4 numbers of at most 5 digits, each with its unit h, m, s or ms, like 15m, 1h30m or 500ms"
)]
pub struct DurationError(String);

impl HumanDuration {
    /// The longest: 99,999 hours, more than 11 years. Every duration up to it can be written.
    pub const MAX: Duration = Duration::from_secs(99_999 * 3600);

    /// This duration, in whole milliseconds. `None` when it is over [`Self::MAX`] or has parts of a millisecond.
    pub fn new(duration: Duration) -> Option<Self> {
        (duration <= Self::MAX && duration.subsec_nanos().is_multiple_of(1_000_000)).then_some(Self(duration))
    }

    /// This many seconds.
    pub const fn from_secs(secs: u16) -> Self {
        Self(Duration::from_secs(secs as u64))
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<HumanDuration> for Duration {
    fn from(duration: HumanDuration) -> Self {
        duration.0
    }
}

impl FromStr for HumanDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        parse(text).ok_or_else(|| DurationError(text.chars().take(40).collect()))
    }
}

fn parse(text: &str) -> Option<HumanDuration> {
    let mut rest = text;
    let mut millis = 0_u64;
    for _ in 0..4 {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if !(1..=5).contains(&digits) {
            return None;
        }
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        // `ms` before `m`: a minute is never followed by a bare `s`, since a part begins with a digit.
        let (unit, len) = match rest.as_bytes() {
            [b'm', b's', ..] => (1, 2),
            [b'h', ..] => (3_600_000, 1),
            [b'm', ..] => (60_000, 1),
            [b's', ..] => (1_000, 1),
            _ => return None,
        };
        millis += number * unit;
        rest = &rest[len..];
        if rest.is_empty() {
            return HumanDuration::new(Duration::from_millis(millis));
        }
    }
    None
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, millis) = (self.0.as_secs(), self.0.subsec_millis());
        if secs == 0 && millis == 0 {
            return f.write_str("0s");
        }
        for (amount, unit) in [(secs / 3600, "h"), (secs / 60 % 60, "m"), (secs % 60, "s"), (millis.into(), "ms")] {
            if amount > 0 {
                write!(f, "{amount}{unit}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = HumanDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, like 15m, 1h30m or 500ms")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<HumanDuration, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for HumanDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Four parts of five digits and two letters.
        json_schema!({ "type": "string", "minLength": 2, "maxLength": 28, "x-kubernetes-validations": validation::DURATION })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, millis) in [
            ("0s", 0),
            ("15m", 900_000),
            ("1h30m", 5_400_000),
            ("90m", 5_400_000),
            ("500ms", 500),
            ("1s500ms", 1500),
            ("1h1m1s1ms", 3_661_001),
            ("30m1h", 5_400_000),
            ("99999h", 359_996_400_000),
        ] {
            assert_eq!(text.parse::<HumanDuration>().map(|it| it.get().as_millis()), Ok(millis), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "15",
            "m",
            "1.5h",
            "-5s",
            "+5s",
            "100000s",
            "1d",
            "1h 30m",
            " 1h",
            "1h ",
            "1us",
            "1H",
            "1h1m1s1ms1h",
            "99999h1ms",
            "1m5",
            "ms",
            "१s",
        ] {
            assert!(text.parse::<HumanDuration>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn display_is_the_short_form() {
        for (text, short) in [("90m", "1h30m"), ("0h", "0s"), ("1500ms", "1s500ms"), ("00060s", "1m")] {
            assert_eq!(text.parse::<HumanDuration>().expect(text).to_string(), short);
        }
    }

    #[test]
    fn a_number_without_unit_is_told_so() {
        let error = serde_json::from_str::<HumanDuration>("15").expect_err("no unit").to_string();
        assert!(error.contains("a duration with its unit"), "{error}");
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn written_and_read_again_is_the_same(millis in 0..=359_996_400_000_u64) {
                let duration = HumanDuration::new(Duration::from_millis(millis)).expect("within bounds");
                prop_assert_eq!(duration.to_string().parse::<HumanDuration>(), Ok(duration));
            }

            #[test]
            fn no_text_panics(text in "\\PC{0,20}") {
                let _ = text.parse::<HumanDuration>();
            }
        }
    }
}
