//! Times as the servers take them, and how long to wait for the servers.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, SystemTime};

use crate::authz::session::Timestamp;

/// How much longer than its session a record is kept, in milliseconds: gates whose clocks are behind must still find a tombstone.
const SLACK: i64 = 60_000;
/// The longest time to live that is asked for, in milliseconds (over 300 years).
pub(super) const LONGEST: i64 = 10_000_000_000_000;

/// By this process's wall clock, in milliseconds. Only how long keys are kept hangs on it.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// How long a record is kept whose session ends then.
pub(super) fn left(end: Timestamp) -> i64 {
    end.as_millis().saturating_sub(now()).clamp(0, LONGEST - SLACK) + SLACK
}

pub(super) fn text(at: Timestamp) -> String {
    at.as_millis().to_string()
}

pub(super) fn decimal(number: i64) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// Between half and all of `most`, so that a thousand gates do not come back in one moment.
pub(super) fn jitter(most: Duration) -> Duration {
    let thousandths = 500 + RandomState::new().hash_one(0_u8) % 501;
    most.mul_f64(thousandths as f64 / 1_000.0)
}
