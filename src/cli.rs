//! The command line.

pub mod keys;
