//! The Helm chart, rendered by the real Helm: what comes out, what is refused, and whether cloakroom takes the files in it.
//!
//! `cargo xtask test chart` runs these. What the API server makes of the chart is in `tests/kube`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod configuration;
mod house;
mod program;
mod proxies;
mod refusals;
mod rights;
mod snapshots;
mod wiring;
