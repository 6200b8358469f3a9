//! Sessions in one durable file (redb).

/// See the module.
#[derive(Debug)]
pub struct EmbeddedStore {}
