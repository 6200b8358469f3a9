//! Kubernetes: the objects of an API server, and what is written back to it.

pub mod controller;
