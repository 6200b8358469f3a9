//! What policies may say, and what a person is told who says something else.

mod beside;
mod conflicts;
mod conformance;
pub(in crate::authz) mod fixture;
mod last_good;
mod listeners;
mod pods;
mod problems;
mod properties;
mod realms;
mod reuse;
mod route_identity;
mod routes;
mod services;
mod taken;
mod targets;
mod tenants;
