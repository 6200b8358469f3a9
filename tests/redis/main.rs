//! Many gates on one Redis: a log-out that is felt everywhere, and what each outage looks like (docs/store.md).
//!
//! The gates are real processes and so is Redis. They are asked as Envoy asks them, without an Envoy: what goes wrong here is
//! behind the gate.
//!
//! `cargo xtask test faults -- --nocapture` prints how long each gate took to be there again after each fault.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the times are for people to read")]

mod access;
mod changes;
mod cluster;
mod data;
mod failover;
mod fleet;
mod outages;
mod races;
mod together;
mod users;
mod watch;
