//! What policies may say, and what a person is told who says something else.

mod conformance;
pub(in crate::authz) mod fixture;
mod last_good;
mod problems;
mod properties;
mod realms;
mod targets;
