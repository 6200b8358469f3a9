//! What the benchmarks share: load as Envoy sends it, the kernel's count of what a process uses, and figures of several rounds.

mod cost;
mod http;
mod load;
mod spread;
mod table;

pub use cost::{Cost, Reading, Usage, busy};
pub use http::{HttpLoad, Outcome};
pub use load::{Load, Requests, ask, connect};
pub use spread::{Percentiles, Spread, keep};
pub use table::{Row, Table};
