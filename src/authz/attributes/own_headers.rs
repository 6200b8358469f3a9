//! The header names that are ours: no client may speak in them (P7).

use super::headers::{fold, same_name};

/// The names that are ours: the one that carries the session JWT, and all that begin with `x-session-`, in every spelling that
/// a common server takes for the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnHeaders {
    /// Folded.
    jwt: Box<[u8]>,
}

/// What the names of the session headers begin with: `x-session-create`, `x-session-update`, `x-session-end`.
const PREFIX: &[u8] = b"x-session-";

impl OwnHeaders {
    /// Ours, when the session JWT travels in `jwt_header`.
    pub fn new(jwt_header: &str) -> Self {
        Self { jwt: jwt_header.bytes().map(fold).collect() }
    }

    /// Whether `name` is one of them.
    pub fn owns(&self, name: &[u8]) -> bool {
        same_name(name, &self.jwt) || name.get(..PREFIX.len()).is_some_and(|start| same_name(start, PREFIX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p07_own_names_are_ours_in_every_spelling() {
        let own = OwnHeaders::new("x-id-token");
        for (name, ours) in [
            ("x-id-token", true),
            ("X_ID_Token", true),
            ("x.id-token", true),
            ("x!id*token", true), // Apache's CGI turns each into `_`
            ("x-id-token2", false),
            ("x-id", false),
            ("x-session-create", true),
            ("X_Session.Update", true),
            ("x-session-anything", true),
            ("x-session-", true),
            ("x-sessions-list", false),
            ("session-create", false),
            ("", false),
        ] {
            assert_eq!(own.owns(name.as_bytes()), ours, "{name}");
        }
    }
}
