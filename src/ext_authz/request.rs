//! A check as the decision reads it, and what can be told of a check that cannot be read.

use bytes::Bytes;

use super::client::Client;
use super::wire::{CheckRequest, Entry, HeaderValue, HttpRequest, Resource};
use crate::authz::attributes::{RawRequest, RouteClaim};
use crate::authz::policy::PolicyName;
use crate::authz::reason::DenyReason;

/// The context extension by which the local proxy pins a policy, as `namespace/name` (P30).
pub const POLICY_EXTENSION: &[u8] = b"cloakroom.policy";
/// The context extension by which the local proxy names the route, as `HTTPRoute/namespace/name` or with `/rule` (P30).
pub const ROUTE_EXTENSION: &[u8] = b"cloakroom.route";

/// Reads a check, whole or not at all. Both of Envoy's header encodings become one list; nothing is copied.
///
/// # Errors
/// [`DenyReason::MalformedRequest`]: no protobuf, no HTTP request in it, both header encodings at once, a name twice in a map
/// or a value twice in a header, a pinned policy that is not `namespace/name`, a route
/// that is none or two.
pub fn read(message: &[u8]) -> Result<RawRequest<'_>, DenyReason> {
    let check = CheckRequest::read(message).map_err(|_| DenyReason::MalformedRequest)?;
    let http = check.http.ok_or(DenyReason::MalformedRequest)?;
    let pinned = extension(&check.context_extensions, POLICY_EXTENSION)?.map(pinned_policy).transpose()?;
    let named = extension(&check.context_extensions, ROUTE_EXTENSION)?.map(named_route).transpose()?;
    let route = check.resources.iter().filter_map(route_of).try_fold(named, |known, route| match known {
        None => Ok(Some(route)),
        // A proxy that says two things says nothing.
        Some(known) => known.and(route).map(Some).ok_or(DenyReason::MalformedRequest),
    })?;
    let headers = match http.header_map {
        Some(headers) if http.headers.is_empty() => headers.into_iter().map(single_value).collect::<Result<_, _>>()?,
        Some(_) => return Err(DenyReason::MalformedRequest),
        None if has_twice(&http.headers) => return Err(DenyReason::MalformedRequest),
        None => http.headers.into_iter().map(|Entry { key, value }| (key, value)).collect(),
    };
    Ok(RawRequest { method: http.method, host: http.host, path: http.path, headers, pinned, route })
}

/// A header of the list encoding has its value in one of two fields, never in both.
fn single_value(header: HeaderValue<'_>) -> Result<(&[u8], &[u8]), DenyReason> {
    match (header.value.is_empty(), header.raw_value.is_empty()) {
        (_, true) => Ok((header.key, header.value)),
        (true, false) => Ok((header.key, header.raw_value)),
        (false, false) => Err(DenyReason::MalformedRequest),
    }
}

/// Whether a map names a key twice. Readers differ in which of the two they keep, so neither is kept.
fn has_twice(entries: &[Entry<'_>]) -> bool {
    /// Up to here comparing each with each costs less than sorting: lengths differ, mostly.
    const PAIRWISE: usize = 48;
    if entries.len() <= PAIRWISE {
        return entries.iter().enumerate().any(|(at, entry)| entries[..at].iter().any(|other| other.key == entry.key));
    }
    let mut keys: Vec<&[u8]> = entries.iter().map(|entry| entry.key).collect();
    keys.sort_unstable();
    keys.windows(2).any(|pair| pair[0] == pair[1])
}

/// The value of a context extension that is ours, as a text.
fn extension<'a>(extensions: &[Entry<'a>], key: &[u8]) -> Result<Option<&'a str>, DenyReason> {
    let mut ours = extensions.iter().filter(|extension| extension.key == key);
    let Some(extension) = ours.next() else { return Ok(None) };
    if ours.next().is_some() {
        return Err(DenyReason::MalformedRequest);
    }
    std::str::from_utf8(extension.value).map(Some).map_err(|_| DenyReason::MalformedRequest)
}

fn pinned_policy(text: &str) -> Result<PolicyName, DenyReason> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(PolicyName { namespace: namespace.into(), name: name.into() })
        }
        _ => Err(DenyReason::MalformedRequest),
    }
}

fn named_route(text: &str) -> Result<RouteClaim<'_>, DenyReason> {
    RouteClaim::parse(text).ok_or(DenyReason::MalformedRequest)
}

/// The route that Envoy Gateway names. Objects of other kinds say nothing.
fn route_of<'a>(resource: &Resource<'a>) -> Option<RouteClaim<'a>> {
    let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).ok();
    let section = text(resource.section_name)?;
    RouteClaim::new(
        text(resource.kind)?,
        text(resource.namespace)?,
        text(resource.name)?,
        (!section.is_empty()).then_some(section),
    )
}

/// What a refusal and its record want to know of the request. Read from the message anew, and only when there is something to
/// say: an allowed check does not pay for it. Never an input of a decision, so it may be lenient.
#[derive(Clone, Default)]
pub struct Hints {
    /// Who waits for the answer.
    pub client: Client,
    /// The method, as sent.
    pub method: Bytes,
    /// The host, as sent.
    pub host: Bytes,
    /// Path and query, as sent.
    pub path: Bytes,
    /// `x-request-id`, else the proxy's own id of the stream.
    pub request_id: Bytes,
}

impl Hints {
    /// What can be told of this message: of an unreadable one, nothing.
    pub fn of(message: &Bytes) -> Self {
        let http = CheckRequest::read(message).ok().and_then(|check| check.http);
        http.map(|http| Self::of_http(message, &http)).unwrap_or_default()
    }

    fn of_http(message: &Bytes, http: &HttpRequest<'_>) -> Self {
        let field = |name: &str| {
            let in_map = http.headers.iter().map(|entry| (entry.key, entry.value));
            let listed = http.header_map.iter().flatten().map(|header| {
                let value = if header.raw_value.is_empty() { header.value } else { header.raw_value };
                (header.key, value)
            });
            let named = in_map.chain(listed).filter(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()));
            let values: Vec<&[u8]> = named.map(|(_, value)| value).collect();
            (!values.is_empty()).then(|| values.join(&b","[..])) // as the proxy joins them in a map
        };
        let client = Client::judge(
            field("content-type").as_deref(),
            field("sec-fetch-mode").as_deref(),
            field("accept").as_deref(),
        );
        let request_id = field("x-request-id").map_or_else(|| message.slice_ref(http.id), Bytes::from);
        Self {
            client,
            method: message.slice_ref(http.method),
            host: message.slice_ref(http.host),
            path: message.slice_ref(http.path),
            request_id,
        }
    }
}

#[cfg(test)]
mod tests;
