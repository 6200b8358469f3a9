//! What a request says about the client that sent it: another site's page, a person's browser, a gRPC library.

use super::RequestAttributes;

impl RequestAttributes {
    /// Whether another site's page may have sent this (P14): an unsafe method or a WebSocket upgrade, `Sec-Fetch-Site` neither
    /// `same-origin` nor `none` or, that absent, an `Origin` that is not this host's; and the origin not among `allowed`
    /// (`https://partner.example`). Says nothing about which credential the request carries.
    pub fn cross_site<S: AsRef<str>>(&self, allowed: &[S]) -> bool {
        let _ = allowed;
        todo!()
    }

    /// Whether a person waits for a page (DESIGN 8): `Sec-Fetch-Mode: navigate` or, that absent, an `Accept` that prefers HTML.
    pub fn is_interactive(&self) -> bool {
        todo!()
    }

    /// Whether the answer must be a gRPC status: `Content-Type: application/grpc`, with or without a suffix.
    pub fn is_grpc(&self) -> bool {
        todo!()
    }
}
