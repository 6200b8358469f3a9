//! Matching in the Gateway API's own words and order: hosts, then paths, methods, headers and query.

mod host;
mod route;
mod table;

pub use host::{HostPattern, HostPatternError, HostTable};
pub use route::{MatchError, MatchProblem, RouteMatch};
pub use table::MatchTable;
