//! Through a real Envoy, with the configuration that users copy, on the oldest supported release and the newest; the way back
//! on one between, too.
//!
//! `cargo xtask test real` runs these; what they need is installed under `target/tools`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod attacks;
mod attacks_cookies;
mod attacks_grpc;
mod attacks_headers;
mod attacks_paths;
mod attacks_queries;
mod doctor;
mod faults;
mod floods;
mod http2_peers;
mod jwt;
mod known_peers;
mod parts;
mod printed;
mod providers;
mod renamed;
mod scene;
mod shipped_envoy;
mod targets;
mod wayback;

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

/// The same, on one release between as well: `middle::NAME`.
macro_rules! on_every_envoy {
    ($($(#[$meta:meta])* $name:ident => $body:expr;)*) => {
        $crate::on_each_envoy! { $($(#[$meta])* $name => $body;)* }
        mod middle {
            use super::*;
            $($(#[$meta])* #[tokio::test(flavor = "multi_thread")]
            async fn $name() -> anyhow::Result<()> { $body(::e2e::tools::EnvoyVersion::Middle).await })*
        }
    };
}
pub(crate) use on_every_envoy;
