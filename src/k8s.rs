//! Kubernetes: the definitions of our kinds, and who judges an object before it is stored.

pub mod admission;
pub mod crds;
