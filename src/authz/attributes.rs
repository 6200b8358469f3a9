//! A request as the decision sees it: read once, from either encoding that Envoy can send, with exactly one interpretation (P3).
//!
//! Servers differ in how they read the same bytes. What no two servers agree about is refused here; the rest is kept as a
//! list of *readings*, and [`RequestAttributes::judge`] lets a request through only when the rules say the same of each. An
//! ordinary request has one reading, found in one pass over its bytes and without an allocation.

pub mod fetch;
pub mod headers;
pub mod host;
mod overrides;
pub mod own_headers;
pub mod path;
pub mod query;
mod route;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;

use http::Method;

use self::headers::{HeaderView, Line};
use self::host::Host;
use self::overrides::Overrides;
pub(super) use self::overrides::is_override;
use self::path::RequestPath;
use self::query::Query;
pub use self::route::RouteClaim;
use super::policy::PolicyName;
use super::reason::DenyReason;

/// What a check says of a request, before anything has been read into it. Bytes are the client's, and `Debug` shows none.
#[derive(Clone, Default)]
pub struct RawRequest<'a> {
    /// `:method`.
    pub method: &'a [u8],
    /// `:authority`.
    pub host: &'a [u8],
    /// `:path`: path and query.
    pub path: &'a [u8],
    /// Every header in the order received, names as sent; a name may come more than once. Pseudo headers included.
    pub headers: Vec<Line<'a>>,
    /// The policy that the local proxy pinned (context extension `cloakroom.policy`), picks among those that apply anyway.
    pub pinned: Option<PolicyName>,
    /// The route that the local proxy named.
    pub route: Option<RouteClaim<'a>>,
}

impl fmt::Debug for RawRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRequest").field("pinned", &self.pinned).field("route", &self.route).finish_non_exhaustive()
    }
}

/// A request, read. `Debug` shows neither headers nor path nor query: clients put credentials into each.
#[derive(Clone)]
pub struct RequestAttributes<'a> {
    /// The method (RFC 9110 §9.1), case-sensitive.
    pub method: Method,
    /// The canonical host.
    pub host: Host<'a>,
    /// The port beside it, if one was sent. Rules do not look at it.
    pub port: Option<u16>,
    /// The canonical path and its other readings.
    pub path: RequestPath<'a>,
    /// Query, as sent; parsed by the rules that look at it.
    pub query: &'a [u8],
    /// The headers.
    pub headers: HeaderView<'a>,
    /// See [`RawRequest::pinned`].
    pub pinned: Option<PolicyName>,
    /// See [`RawRequest::route`].
    pub route: Option<RouteClaim<'a>>,
    /// What sloppy servers take for the method or the target instead; hardly any request has some.
    overrides: Option<Box<Overrides<'a>>>,
}

impl fmt::Debug for RequestAttributes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RequestAttributes");
        shown.field("method", &self.method).field("host", &self.host).field("port", &self.port);
        shown.field("pinned", &self.pinned).field("route", &self.route).finish_non_exhaustive()
    }
}

impl<'r> RequestAttributes<'r> {
    /// Reads a request, whole or not at all.
    ///
    /// # Errors
    /// The reason it cannot be read in exactly one way; always of class `BadRequest`.
    pub fn read(raw: RawRequest<'r>) -> Result<Self, DenyReason> {
        let method = Method::from_bytes(raw.method).map_err(|_| DenyReason::MalformedMethod)?;
        if method == Method::CONNECT && raw.path.is_empty() {
            return Err(DenyReason::MalformedMethod);
        }
        let (host, port) = Host::parse(raw.host).ok_or(DenyReason::MalformedHost)?;
        let (path, query) = target(raw.path)?;
        let headers = HeaderView::read(raw.headers)?;
        let says_otherwise = |&(name, value): &Line<'_>| match name {
            b":method" => value != raw.method,
            b":authority" => value != raw.host,
            b":path" => value != raw.path,
            _ => false,
        };
        if headers.pseudo().any(says_otherwise) {
            return Err(DenyReason::MalformedRequest);
        }
        if headers.get("host").is_some_and(|named| Host::parse(&named).is_none_or(|(named, _)| named != host)) {
            return Err(DenyReason::MalformedHost);
        }
        let overrides = Overrides::read(&method, &host, Query { sent: query, in_path: path.queries() }, &headers)?;
        Ok(Self { method, host, port, path, query, headers, pinned: raw.pinned, route: raw.route, overrides })
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
        let query = Query { sent: self.query, in_path: self.path.queries() };
        let as_sent = self.reading(&self.method, self.path.decoded(), query, None);
        if work(as_sent.path) > MOST_BYTES {
            return Err(DenyReason::AmbiguousRequest);
        }
        if self.overrides.is_none() && self.path.readings().len() == 1 && letter_case == LetterCase::Sensitive {
            return Ok(choose(&as_sent));
        }
        let targets = self.distinct_targets();
        let spellings = if letter_case == LetterCase::Sensitive { 1 } else { 2 };
        let times = self.methods().count() * spellings;
        let bytes: usize = targets.iter().map(|(path, index, _)| work(&path.readings()[*index])).sum();
        if targets.len() * times > MOST_READINGS || bytes * times > MOST_BYTES {
            return Err(DenyReason::AmbiguousRequest);
        }
        let answer = choose(&as_sent);
        for (path, index, query) in targets {
            let as_written = &path.readings()[index];
            let folded = (spellings == 2).then(|| path.folded(index));
            for method in self.methods() {
                for folded in std::iter::once(None).chain(folded.map(Some)) {
                    if choose(&self.reading(method, as_written, query, folded)) != answer {
                        return Err(DenyReason::AmbiguousRequest);
                    }
                }
            }
        }
        Ok(answer)
    }

    fn reading<'a>(
        &'a self,
        method: &'a Method,
        path: &'a [u8],
        query: Query<'a>,
        folded: Option<&'a [u8]>,
    ) -> Reading<'a> {
        let compared = folded.unwrap_or(path);
        Reading { method, host: &self.host, path, compared, query, fold_case: folded.is_some(), request: self }
    }

    /// The readings of all targets without repetitions, each by its place among those of its path.
    fn distinct_targets(&self) -> Vec<(&RequestPath<'r>, usize, Query<'_>)> {
        let mut seen = HashSet::new();
        let mut distinct = Vec::new();
        for (path, sent) in self.targets() {
            let query = Query { sent, in_path: path.queries() };
            for (index, reading) in path.readings().iter().enumerate() {
                if seen.insert((reading, query)) {
                    distinct.push((path, index, query));
                }
            }
        }
        distinct
    }

    /// Every method that some server takes this request's for, its own first.
    fn methods(&self) -> impl Iterator<Item = &Method> {
        std::iter::once(&self.method).chain(self.overrides.iter().flat_map(|overrides| &overrides.methods))
    }

    /// Every path and query that some server takes this request's for, its own first.
    fn targets(&self) -> impl Iterator<Item = (&RequestPath<'r>, &'r [u8])> {
        let others = self.overrides.iter().flat_map(|overrides| &overrides.targets);
        std::iter::once((&self.path, self.query)).chain(others.map(|(path, query)| (path, *query)))
    }
}

/// A request with more readings than this, over all methods, targets and letter cases, is refused: a bound for the work.
/// Requests without a trick have one to eight.
const MOST_READINGS: usize = 128;
/// The same for the bytes that are compared with patterns over all of them (P28). The longest path, in both letter cases, has
/// room for seven extensions.
const MOST_BYTES: usize = 16 * path::MAX_LEN;

/// How many bytes of a path are compared with patterns: its own, and those of each path that servers take it for by its end.
fn work(path: &[u8]) -> usize {
    let shorter = std::iter::successors(path::shorter(path), |it| path::shorter(it));
    path.len() * (1 + shorter.count())
}

/// Takes path and query apart.
fn target(sent: &[u8]) -> Result<(RequestPath<'_>, &[u8]), DenyReason> {
    let (path, query) = match sent.iter().position(|&byte| byte == b'?') {
        Some(mark) => (&sent[..mark], &sent[mark + 1..]),
        None => (sent, &b""[..]),
    };
    let path = RequestPath::parse(path)?;
    // RFC 3986 §3.4 allows neither; servers that stop or split at one would read another query than we do.
    if query.iter().any(|&byte| byte <= b' ' || byte == 0x7f || byte == b'#') {
        return Err(DenyReason::MalformedPath);
    }
    Ok((path, query))
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
    pub fn needed(self, request: &RequestAttributes<'_>, patterns_have_capitals: bool) -> Self {
        if patterns_have_capitals || request.targets().any(|(path, _)| path.has_capitals()) {
            self
        } else {
            Self::Sensitive
        }
    }
}

/// One way to read a request.
#[derive(Clone, Debug)]
pub struct Reading<'a> {
    /// The method in this reading.
    pub method: &'a Method,
    /// The host.
    pub host: &'a Host<'a>,
    /// The decoded path in this reading.
    pub path: &'a [u8],
    /// The path that patterns are compared with: `path`, its letter case folded if `fold_case`.
    pub compared: &'a [u8],
    /// The query in this reading.
    pub query: Query<'a>,
    /// Whether paths are compared without regard to letter case.
    pub fold_case: bool,
    /// The request.
    pub request: &'a RequestAttributes<'a>,
}

/// Whether a condition on a header or a query parameter holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// For every server.
    Yes,
    /// For none.
    No,
    /// For some only.
    Unclear,
}

impl Holds {
    /// What several servers say together. None of them says `No`.
    pub fn of(servers: impl IntoIterator<Item = bool>) -> Self {
        let mut servers = servers.into_iter();
        match servers.next() {
            None => Self::No,
            Some(first) if servers.any(|it| it != first) => Self::Unclear,
            Some(true) => Self::Yes,
            Some(false) => Self::No,
        }
    }

    /// Whether both conditions hold.
    #[must_use]
    pub fn and(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::No => Self::No,
            Self::Yes => other(),
            Self::Unclear if other() == Self::No => Self::No,
            Self::Unclear => Self::Unclear,
        }
    }
}
