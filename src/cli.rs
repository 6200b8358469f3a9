//! The command line.

pub mod client;
pub mod keys;
pub mod output;
pub mod session;
