//! The ext_authz surface: checks in, answers out.
//!
//! ```text
//! one_write -> server -> unary -> wire -> request -> (service: plan, resolve, settle) -> refusal -> answer -> unary
//! ```
//!
//! A wire type of Envoy's does not leave this folder. Whatever happens to a check, its answer is a `CheckResponse` with a
//! decision in it: an RPC error would hand the decision to the proxy's `failure_mode_allow` (P2).

pub mod answer;
pub mod client;
pub mod encode;
pub mod metrics;
pub mod one_write;
pub mod record;
pub mod refusal;
pub mod request;
pub mod server;
pub mod service;
pub mod unary;
pub mod wire;
