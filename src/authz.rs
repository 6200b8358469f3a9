//! The decision: what a request is, which rule judges it, and what is to be said. Pure: no clock, socket, file or log line.
//! Time, keys and facts come in as arguments.

pub mod attributes;
pub mod credential;
pub mod identity;
pub mod matching;
pub(crate) mod percent;
pub mod plan;
pub mod policy;
pub mod reason;
pub mod response;
pub mod session;
pub(crate) mod unique;
pub mod verdict;

pub use plan::explain::explain;
pub use plan::{plan, settle};
