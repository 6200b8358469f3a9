//! Many gates on one Redis: a log-out that is felt everywhere, and what each outage looks like (docs/store.md).
//!
//! The gates are real processes and so is Redis. They are asked as Envoy asks them, without an Envoy: what goes wrong here is
//! behind the gate.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fleet;
mod together;
