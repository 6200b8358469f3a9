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
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        let wanted = wall_millis().saturating_sub(elapsed);
        let anchor = self.anchor.fetch_max(wanted, Ordering::Relaxed).max(wanted);
        Timestamp::from_millis(anchor.saturating_add(elapsed))
    }
}

fn wall_millis() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
