//! The ext_proc surface: the proxy shows a response, and is told what to change of it.
//!
//! ```text
//! grpc -> stream -> wire -> (service: handle -> scope -> grants -> wish -> sessions) -> reply -> stream
//! ```
//!
//! A wire type of Envoy's does not leave this folder. A message gets one answer, in order; none is due to one whose phase we do
//! not know, or which only tells (`observability_mode`). A response that could not be made right is replaced by a 502 or a 503
//! of ours; an RPC error would hand it to the proxy's `failure_mode_allow`.

pub mod body;
pub mod cookies;
mod headers;
pub mod metrics;
mod plain_sight;
mod record;
pub mod reply;
pub mod service;
pub mod stream;
pub mod wire;
