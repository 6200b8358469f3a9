//! The process's clock: wall time that never goes back while the process lives (P23).

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime};

use crate::authz::session::Timestamp;

/// Wall time at the start, carried on by the monotonic clock, and pulled forward (never back) when wall time runs ahead of
/// it: a clock that is set back lengthens no session, one that is set forward ends some early.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    anchor: AtomicI64,
}

impl Clock {
    /// A clock that starts at the present wall time.
    pub fn start() -> Self {
        Self { started: Instant::now(), anchor: AtomicI64::new(wall_millis()) }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.read(wall_millis())
    }

    /// Now, with wall time as given.
    fn read(&self, wall: i64) -> Timestamp {
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        let wanted = wall.saturating_sub(elapsed);
        let mut anchor = self.anchor.load(Ordering::Relaxed);
        // A plain load on the common path: a write here would make every core fight for this line on every check.
        if wanted > anchor {
            anchor = self.anchor.fetch_max(wanted, Ordering::Relaxed).max(wanted);
        }
        Timestamp::from_millis(anchor.saturating_add(elapsed))
    }
}

fn wall_millis() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn p23_a_stepping_wall_clock_never_turns_ours_back(
                steps in prop::collection::vec(-100_000_000_000_i64..100_000_000_000, 1..50),
            ) {
                let clock = Clock::start();
                let mut wall = wall_millis();
                let mut last = clock.now();
                for step in steps {
                    wall = wall.saturating_add(step);
                    let now = clock.read(wall);
                    prop_assert!(now >= last);
                    last = now;
                }
            }
        }
    }

    #[test]
    fn p23_a_wall_clock_set_forward_is_followed_and_set_back_is_not() {
        let clock = Clock::start();
        let start = wall_millis();
        let ahead = clock.read(start + 3_600_000);
        assert!(ahead.as_millis() >= start + 3_600_000);
        let after = clock.read(start - 3_600_000);
        assert!(after >= ahead, "set back by two hours, ours stays");
    }
}
