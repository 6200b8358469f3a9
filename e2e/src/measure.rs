//! What the benchmarks share: the kernel's count of what a process uses, and figures of several rounds.

mod cost;
mod spread;

pub use cost::{Cost, Reading, Usage};
pub use spread::{Spread, keep};
