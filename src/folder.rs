//! Policies from a folder, watched.
