//! Sessions in this process's memory.

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryStore {}
