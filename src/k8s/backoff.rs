//! How long to wait before asking again.

use std::time::Duration;

/// Waits that double, each with a jitter, so that the gates of a cluster do not ask at once.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    most: Duration,
}

const FIRST: Duration = Duration::from_millis(50);

impl Backoff {
    /// Waits of at most `most`.
    pub(super) fn to(most: Duration) -> Self {
        Self { next: FIRST, most }
    }

    /// From now on, waits of at most `most`; shorter ones than before, if that is less.
    pub(super) fn extend_to(&mut self, most: Duration) {
        self.most = most;
    }

    /// The next wait: between a half and the whole of its step.
    pub(super) fn step(&mut self) -> Duration {
        let step = self.next.min(self.most);
        self.next = (step * 2).min(self.most);
        step.mul_f64(1.0 - random_fraction() / 2.0)
    }
}

/// From 0 up to 1.
pub(super) fn random_fraction() -> f64 {
    let mut bytes = [0; 4];
    // Without random numbers there is no jitter, which is no reason to stop.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most() {
        let mut backoff = Backoff::to(Duration::from_millis(300));
        for step in [50, 100, 200, 300, 300] {
            let (wait, step) = (backoff.step(), Duration::from_millis(step));
            assert!(wait <= step && wait >= step / 2, "{wait:?} of {step:?}");
        }
    }
}
