//! The cached view of the session store (DESIGN 3).

/// One cached session and the JWTs minted for it.
#[derive(Debug)]
pub struct Entry {}
