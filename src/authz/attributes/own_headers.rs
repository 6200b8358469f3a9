//! The header names that are ours: no client may speak in them (P7).

/// The names that are ours: the one that carries the session JWT, and all that begin with `x-session-`, in every spelling that
/// a common server takes for the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnHeaders {
    /// Folded.
    jwt: Box<[u8]>,
}

impl OwnHeaders {
    /// Ours, when the session JWT travels in `jwt_header`.
    pub fn new(jwt_header: &str) -> Self {
        let _ = jwt_header;
        todo!()
    }

    /// Whether `name` is one of them.
    pub fn owns(&self, name: &[u8]) -> bool {
        let _ = (name, &self.jwt);
        todo!()
    }
}
