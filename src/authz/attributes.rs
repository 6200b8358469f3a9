//! A request as the decision sees it: read once, from either encoding that Envoy can send, with exactly one interpretation (P3).

mod fetch;
pub mod headers;
pub mod host;
pub mod own_headers;
pub mod path;
pub mod query;

use std::sync::Arc;

use bytes::Bytes;
use http::Method;

use self::headers::HeaderView;
use self::host::Host;
use self::path::RequestPath;
use super::policy::PolicyName;
use super::reason::DenyReason;

/// What a check says of a request, before anything has been read into it. Bytes are the client's.
#[derive(Clone, Debug, Default)]
pub struct RawRequest {
    /// `:method`.
    pub method: Bytes,
    /// `:authority`.
    pub host: Bytes,
    /// `:path`: path and query.
    pub path: Bytes,
    /// Every header in the order received, names as sent; a name may come more than once. Pseudo headers included.
    pub headers: Vec<(Bytes, Bytes)>,
    /// The policy that the local proxy pinned (context extension `cloakroom.policy`), picks among those that apply anyway.
    pub pinned: Option<PolicyName>,
}

/// A request, read.
#[derive(Clone, Debug)]
pub struct RequestAttributes {
    /// The method (RFC 9110 §9.1), case-sensitive.
    pub method: Method,
    /// The canonical host.
    pub host: Host,
    /// The canonical path and its other readings.
    pub path: RequestPath,
    /// Query, as sent; parsed by the rules that look at it.
    pub query: Bytes,
    /// The headers.
    pub headers: HeaderView,
    /// See [`RawRequest::pinned`].
    pub pinned: Option<PolicyName>,
}

impl RequestAttributes {
    /// Reads a request, whole or not at all.
    ///
    /// # Errors
    /// The reason it cannot be read in exactly one way; always of class `BadRequest`.
    pub fn read(raw: RawRequest) -> Result<Self, DenyReason> {
        let _ = raw;
        todo!()
    }

    /// What `choose` says of this request, when every reading that a common server could have of it gives the same answer.
    ///
    /// # Errors
    /// [`DenyReason::AmbiguousRequest`] when two readings give different answers.
    pub fn judge<T: PartialEq>(
        &self,
        letter_case: LetterCase,
        choose: impl Fn(&Reading<'_>) -> T,
    ) -> Result<T, DenyReason> {
        let _ = (letter_case, choose);
        todo!()
    }
}

/// Whether paths that differ only in letter case may meet different rules (`spec.paths`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LetterCase {
    /// Such a path is refused as ambiguous.
    #[default]
    Unambiguous,
    /// `CaseSensitive`: the services behind are known to tell them apart.
    Sensitive,
}

impl LetterCase {
    /// This, or `Sensitive` where it cannot make a difference: neither the request's path nor any pattern that it is compared
    /// with (`MatchTable::has_capitals`) has a capital letter. Saves the second look-up.
    #[must_use]
    pub fn needed(self, request: &RequestAttributes, patterns_have_capitals: bool) -> Self {
        let _ = (request, patterns_have_capitals);
        todo!()
    }
}

/// One way to read a request.
#[derive(Clone, Debug)]
pub struct Reading<'a> {
    /// The method in this reading.
    pub method: &'a Method,
    /// The host.
    pub host: &'a Host,
    /// The decoded path in this reading.
    pub path: &'a [u8],
    /// The query in this reading, as sent.
    pub query: &'a [u8],
    /// Whether paths are compared without regard to letter case.
    pub fold_case: bool,
    /// The request.
    pub request: &'a RequestAttributes,
}

/// A shared text.
pub type Text = Arc<str>;
