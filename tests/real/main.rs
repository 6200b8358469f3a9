//! Through a real Envoy, with the configuration that users copy, on the oldest supported release and the newest.
//!
//! `cargo xtask test real` runs these; what they need is installed under `target/tools`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod attacks;
mod attacks_cookies;
mod attacks_grpc;
mod attacks_headers;
mod attacks_paths;
mod faults;
mod jwt;
mod parts;
mod scene;
mod shipped_envoy;

/// Runs an async test on the oldest and the newest Envoy: `oldest::NAME` and `newest::NAME`.
macro_rules! on_each_envoy {
    ($($(#[$meta:meta])* $name:ident => $body:expr;)*) => {
        mod oldest {
            use super::*;
            $($(#[$meta])* #[tokio::test(flavor = "multi_thread")]
            async fn $name() -> anyhow::Result<()> { $body(::e2e::tools::EnvoyVersion::Oldest).await })*
        }
        mod newest {
            use super::*;
            $($(#[$meta])* #[tokio::test(flavor = "multi_thread")]
            async fn $name() -> anyhow::Result<()> { $body(::e2e::tools::EnvoyVersion::Newest).await })*
        }
    };
}
pub(crate) use on_each_envoy;
