//! What needs a real API server of Kubernetes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "what kubectl says is for people to read")]

mod controller;
