//! Headers and spellings by which some servers take a request for another than it says (P4): method and URL overrides.
//! They never change what we judge; they add readings that must meet the same rule.

use http::Method;

use super::headers::{HeaderView, parts, same_name};
use super::host::Host;
use super::path::RequestPath;
use super::query::Query;
use crate::authz::reason::DenyReason;

/// What a server may take for the method or the target instead of the request's own.
#[derive(Clone, Debug, Default)]
pub(super) struct Overrides<'a> {
    /// Other methods than the request's own.
    pub(super) methods: Vec<Method>,
    pub(super) targets: Vec<(RequestPath<'a>, &'a [u8])>,
}

/// Rails, Spring, Symfony, Express and ASP.NET read one of these.
const METHOD_HEADERS: [&[u8]; 3] = [b"x-http-method-override", b"x-http-method", b"x-method-override"];
/// IIS URL Rewrite, Symfony and Zend read one of these.
const TARGET_HEADERS: [&[u8]; 2] = [b"x-original-url", b"x-rewrite-url"];

/// Whether a server may take what stands in this header for the method or the target.
pub(in crate::authz) fn is_override(name: &[u8]) -> bool {
    METHOD_HEADERS.iter().chain(&TARGET_HEADERS).any(|it| same_name(it, name))
}

/// Bounds for the work; nobody sends more than one of either.
const MOST_METHODS: usize = 4;
const MOST_TARGETS: usize = 4;

impl<'a> Overrides<'a> {
    /// Those of this request; `None` for an ordinary one.
    ///
    /// # Errors
    /// [`DenyReason::AmbiguousRequest`] when one cannot be read: what the server makes of it cannot be known.
    pub(super) fn read(
        method: &Method,
        host: &Host<'_>,
        query: Query<'_>,
        headers: &HeaderView<'a>,
    ) -> Result<Option<Box<Self>>, DenyReason> {
        let mut found = Self::default();
        // Django and PHP frameworks put the method into capitals.
        found.add_method(method, method)?;
        for (index, &(name, value)) in headers.lines().iter().enumerate() {
            if !matches!(name.first(), Some(b'x' | b'X')) || !matches!(name.len(), 13 | 14 | 17 | 22) {
                continue;
            }
            let is_method = METHOD_HEADERS.iter().any(|it| same_name(it, name));
            let is_target = TARGET_HEADERS.iter().any(|it| same_name(it, name));
            if !(is_method || is_target) {
                continue;
            }
            // Which of several lines counts, or of several spellings, is anybody's guess.
            if headers.lines()[..index].iter().any(|(it, _)| same_name(it, name)) {
                return Err(DenyReason::AmbiguousRequest);
            }
            if is_method {
                found.add_named_method(method, value)?;
            } else {
                found.add_targets(value, host).ok_or(DenyReason::AmbiguousRequest)?;
            }
        }
        // Symfony, Laravel and Express take it from the query of a POST as well.
        if method.as_str().eq_ignore_ascii_case("POST") {
            let others = found.targets.iter().map(|(path, sent)| Query { sent, in_path: path.queries() });
            let named: Vec<_> = std::iter::once(query).chain(others).flat_map(|it| it.values("_method")).collect();
            for value in named {
                found.add_named_method(method, &value)?;
            }
        }
        if found.methods.len() > MOST_METHODS {
            return Err(DenyReason::AmbiguousRequest);
        }
        Ok((!found.methods.is_empty() || !found.targets.is_empty()).then(|| Box::new(found)))
    }

    fn add_named_method(&mut self, own: &Method, value: &[u8]) -> Result<(), DenyReason> {
        let named = Method::from_bytes(value.trim_ascii()).map_err(|_| DenyReason::AmbiguousRequest)?;
        self.add_method(own, &named)
    }

    /// Adds a method and its spelling in capitals, where they are not `own`.
    fn add_method(&mut self, own: &Method, named: &Method) -> Result<(), DenyReason> {
        let mut add = |named: Method| {
            if named != *own && !self.methods.contains(&named) {
                self.methods.push(named);
            }
        };
        if named.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) {
            let capitals = named.as_str().to_ascii_uppercase();
            add(Method::from_bytes(capitals.as_bytes()).map_err(|_| DenyReason::AmbiguousRequest)?);
        }
        add(named.clone());
        Ok(())
    }

    /// Adds the target and, as each may have been a line of its own, everything after a comma that looks like one.
    fn add_targets(&mut self, value: &'a [u8], host: &Host<'_>) -> Option<()> {
        self.targets.push(target(value, host)?);
        for part in parts(value).filter(|it| it.len() < value.len()) {
            if [&b"/"[..], b"http://", b"https://"].iter().any(|start| part.starts_with(start)) {
                self.targets.push(target(part, host)?);
            }
            if self.targets.len() > MOST_TARGETS {
                return None;
            }
        }
        (self.targets.len() <= MOST_TARGETS).then_some(())
    }
}

/// Reads an overriding target: a path and query, or a URL of this host.
fn target<'a>(value: &'a [u8], host: &Host<'_>) -> Option<(RequestPath<'a>, &'a [u8])> {
    let value = value.trim_ascii();
    let after_scheme = [&b"https://"[..], b"http://"].into_iter().find_map(|scheme| value.strip_prefix(scheme));
    let value = match after_scheme {
        Some(rest) => {
            let slash = rest.iter().position(|&byte| byte == b'/')?;
            let (authority, path) = rest.split_at(slash);
            let (named, _) = Host::parse(authority)?;
            (named == *host).then_some(path)?
        }
        None => value,
    };
    super::target(value).ok()
}
