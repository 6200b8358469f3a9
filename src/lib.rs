//! cloakroom swaps a client's opaque access token for its session as a signed JWT, at the proxy.
//!
//! The library is the product; `main.rs` only starts it. Layers point downwards only, and `tests/architecture.rs` keeps
//! it so (`ARCHITECTURE.md` draws the house):
//!
//! ```text
//! app, cli, config  >  ext_authz, ext_proc, admin, folder, k8s  >  sessions > store, identity, policies  >  authz > api, injector
//!                      grpc > tls, telemetry: what surfaces stand on; they use no other room
//! ```

pub mod admin;
pub mod api;
pub mod app;
pub mod authz;
pub mod cli;
pub mod config;
pub mod conversations;
pub mod doctor;
pub mod ext_authz;
pub mod ext_proc;
pub mod folder;
pub mod grpc;
pub mod identity;
pub mod injector;
pub mod k8s;
pub mod policies;
pub mod sessions;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod wiring;
