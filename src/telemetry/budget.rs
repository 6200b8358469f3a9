//! A bound on lines that others can provoke (P32): so many in each second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// So many in one second: the second in the upper half of the word, what it has given in the lower.
#[derive(Debug)]
pub struct Budget {
    started: Instant,
    per_second: u64,
    word: AtomicU64,
}

/// What a [`Budget`] says to one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// There is room for it.
    Within,
    /// There is none, for the first time in this second: the moment to say so.
    FirstBeyond,
    /// There is none.
    Beyond,
}

impl Budget {
    /// A budget of `per_second`, far below 2^32.
    pub fn new(per_second: u64) -> Self {
        Self { started: Instant::now(), per_second, word: AtomicU64::new(0) }
    }

    /// Takes one.
    pub fn take(&self) -> Grant {
        self.take_at(self.started.elapsed().as_secs())
    }

    fn take_at(&self, second: u64) -> Grant {
        let step = |word: u64| {
            let given = if word >> 32 == second { word & 0xffff_ffff } else { 0 };
            // One more than the bound says that the first beyond it has been told.
            (second << 32) | (given + 1).min(self.per_second + 2)
        };
        let before = self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| Some(step(word)));
        match step(before.unwrap_or_else(|word| word)) & 0xffff_ffff {
            given if given <= self.per_second => Grant::Within,
            given if given == self.per_second + 1 => Grant::FirstBeyond,
            _ => Grant::Beyond,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_has_its_own_budget() {
        let budget = Budget::new(100);
        for second in [0, 1, 7] {
            for _ in 0..100 {
                assert_eq!(budget.take_at(second), Grant::Within);
            }
            assert_eq!(budget.take_at(second), Grant::FirstBeyond);
            assert_eq!(budget.take_at(second), Grant::Beyond);
            assert_eq!(budget.take_at(second), Grant::Beyond);
        }
    }
}
