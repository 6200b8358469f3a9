//! The configuration file: as written, then as used.
