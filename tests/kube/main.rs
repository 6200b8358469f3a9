//! What needs a real API server of Kubernetes.

mod admission;
mod definitions;
mod resources;
