//! The ext_authz surface: checks in, answers out.
//!
//! ```text
//! grpc -> wire -> request -> (service: plan, resolve, settle) -> refusal -> answer -> grpc
//! ```
//!
//! A wire type of Envoy's does not leave this folder. Whatever happens to a check, its answer is a `CheckResponse` with a
//! decision in it: an RPC error would hand the decision to the proxy's `failure_mode_allow` (P2).

pub mod answer;
pub mod client;
pub mod encode;
pub mod metrics;
pub mod record;
pub mod refusal;
pub mod request;
pub mod service;
pub mod wire;
