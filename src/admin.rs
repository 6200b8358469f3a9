//! HTTP for operators and services: the session API, health, metrics, explain, JWKS and discovery. Each listener has a router
//! of its own, and [`listener::serve`] serves them all under the same limits.

pub mod caller;
pub mod explain;
pub mod health;
pub mod jwks;
pub mod listener;
pub mod origin;
pub mod problem;
pub mod session_api;
