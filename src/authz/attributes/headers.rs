//! A request's header fields, looked up without regard to case; the proxy's two encodings read alike.

use bytes::Bytes;

/// The header fields of a request, in the order received.
#[derive(Clone, Debug, Default)]
pub struct HeaderView(Vec<(Bytes, Bytes)>);
