//! Checks as a fuzzer can write them: a line for the request and one for each header, so that a change of a byte is mostly
//! still a request. The first byte says how it travels.

use bytes::Bytes;
use cloakroom::authz::attributes::RawRequest;
use cloakroom::ext_authz::request::POLICY_EXTENSION;
use cloakroom::ext_authz::wire::{AttributeContext, CheckRequest, Entry, HeaderMap, HeaderValue, HttpRequest, Request};
use prost::Message as _;

/// The bytes of the check that `input` writes:
///
/// - `w`: the rest is the message itself;
/// - `m`: headers as a map; `l`: as a list; `r`: as a list of raw values.
///
/// The first line is `METHOD HOST PATH`, the others are `name: value`. The line `cloakroom.policy: ns/name` pins a policy.
pub fn message(input: &[u8]) -> Option<Bytes> {
    let (form, rest) = input.split_first()?;
    if *form == b'w' {
        return Some(Bytes::copy_from_slice(rest));
    }
    let (request, lines) = text(rest)?;
    let (pins, headers): (Vec<_>, Vec<_>) = lines.into_iter().partition(|(name, _)| name == POLICY_EXTENSION);
    let entries = |lines: Vec<(Bytes, Bytes)>| lines.into_iter().map(|(key, value)| Entry { key, value }).collect();
    let list = |raw: bool| HeaderMap {
        headers: headers
            .iter()
            .cloned()
            .map(|(key, value)| match raw {
                true => HeaderValue { key, value: Bytes::new(), raw_value: value },
                false => HeaderValue { key, value, raw_value: Bytes::new() },
            })
            .collect(),
    };
    let mut http = HttpRequest { method: request.method, host: request.host, path: request.path, ..Default::default() };
    match form {
        b'm' => http.headers = entries(headers),
        b'l' => http.header_map = Some(list(false)),
        b'r' => http.header_map = Some(list(true)),
        _ => return None,
    }
    let check = CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(Request { http: Some(http) }),
            context_extensions: entries(pins),
        }),
    };
    Some(check.encode_to_vec().into())
}

/// The request that `METHOD HOST PATH` and lines of `name: value` say, and its headers.
pub fn text(input: &[u8]) -> Option<(RawRequest, Vec<(Bytes, Bytes)>)> {
    let mut lines = input.split(|it| *it == b'\n');
    let mut words = lines.next()?.splitn(3, |it| *it == b' ').map(Bytes::copy_from_slice);
    let request = RawRequest { method: words.next()?, host: words.next()?, path: words.next()?, ..Default::default() };
    let headers = lines
        .filter_map(|line| {
            // From the second byte on: `:path` is a name.
            let colon = 1 + line.get(1..)?.iter().position(|it| *it == b':')?;
            let value = &line[colon + 1..];
            let value = value.strip_prefix(b" ").unwrap_or(value);
            Some((Bytes::copy_from_slice(&line[..colon]), Bytes::copy_from_slice(value)))
        })
        .collect();
    Some((request, headers))
}
