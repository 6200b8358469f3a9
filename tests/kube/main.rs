//! With a real API server of Kubernetes on an etcd of its own, and where requests matter through a real Envoy.
//!
//! `cargo xtask test kube` runs these; what they need is installed under `target/tools`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "what kubectl says is for people to read")]

mod admission;
mod awaited;
mod chart;
mod controller;
mod definitions;
mod doctor;
mod enforced;
mod gateways;
mod house;
mod injection;
mod istio;
mod labels;
mod load;
mod older;
mod outages;
mod resources;
mod secrets;
mod snapshot;
