//! The real parts that tests, the demo and the benchmarks run: Envoy, cloakroom, services behind it, Redis, Kubernetes.
//!
//! Everything is started on ports of its own, waits until it is ready, and ends with the test.

pub mod browser;
pub mod chart;
pub mod checker;
pub mod cluster;
pub mod envoy;
pub mod envoy_gateway;
pub mod gate;
pub mod http1;
pub mod http2;
pub mod identity_server;
pub mod image;
pub mod issuer;
pub mod istio;
pub mod jose;
pub mod kube;
pub mod measure;
pub mod mount;
pub mod network;
pub mod oidc;
pub mod port;
pub mod process;
pub mod redis;
pub mod services;
pub mod sloppy;
pub mod stage;
pub mod tls;
pub mod tools;
