//! What the fuzz targets share: an install, its policies, its sessions, and servers to hold our readings against.

pub mod ask;
pub mod edit;
pub mod install;
pub mod servers;
