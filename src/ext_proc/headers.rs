//! What the headers of a response say of it.

use super::wire::HeaderMap;
use crate::authz::attributes::fetch;
use crate::authz::response::is_command;

/// The header that tells a body's length.
pub(super) const CONTENT_LENGTH: &[u8] = b"content-length";

/// The lines, in the order received: names in small letters, and values.
pub(super) fn lines(headers: Option<&HeaderMap>) -> impl Iterator<Item = (&[u8], &[u8])> {
    headers.into_iter().flat_map(HeaderMap::iter).map(|(name, value)| (&**name, &**value))
}

fn values<'a>(headers: Option<&'a HeaderMap>, name: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
    lines(headers).filter(move |(found, _)| *found == name).map(|(_, value)| value)
}

/// Whether the service wishes anything.
pub(super) fn has_command(headers: Option<&HeaderMap>) -> bool {
    lines(headers).any(|(name, _)| is_command(name))
}

/// Whether the response is one of gRPC, whose errors are trailers.
pub(super) fn is_grpc(headers: Option<&HeaderMap>) -> bool {
    values(headers, b"content-type").any(fetch::is_grpc)
}

/// Whether the body is said to be JSON (RFC 8259 §11, RFC 6839 §3.1).
pub(super) fn is_json(headers: Option<&HeaderMap>) -> bool {
    values(headers, b"content-type").any(|value| {
        let kind = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        kind == b"application/json" || kind.ends_with(b"+json")
    })
}

/// Whether the body is a part of what was asked for (RFC 9110 §14.4): where a JWT lies in the whole cannot be told.
pub(super) fn is_part(headers: Option<&HeaderMap>) -> bool {
    lines(headers).any(|(name, value)| name == b"content-range" || (name == b":status" && value == b"206"))
}

/// Whether the body is not what it looks like (RFC 9110 §8.4).
pub(super) fn is_encoded(headers: Option<&HeaderMap>) -> bool {
    let plain = |value: &[u8]| value.is_empty() || value.trim_ascii().eq_ignore_ascii_case(b"identity");
    values(headers, b"content-encoding").any(|value| !plain(value))
}

#[cfg(test)]
mod tests {
    use super::super::wire::HeaderValue;
    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap { headers: vec![HeaderValue { key: name.into(), raw_value: value.into(), ..Default::default() }] }
    }

    #[test]
    fn kinds_of_bodies_are_told_apart() {
        for (name, value, want) in [
            ("content-type", "application/json", "json"),
            ("content-type", "Application/JSON ; charset=utf-8", "json"),
            ("content-type", "application/problem+json", "json"),
            ("content-type", "application/jsonp", ""),
            ("content-type", "text/html", ""),
            ("content-type", "application/grpc", "grpc"),
            ("content-type", "Application/GRPC; charset=x", "grpc"),
            ("content-type", "application/grpc+proto", "grpc"),
            // The proxy makes another protocol of it.
            ("content-type", "application/grpc-web", ""),
            ("content-type", "application/grpcfoo", ""),
            ("content-range", "bytes 0-1/2", "part"),
            (":status", "206", "part"),
            (":status", "200", ""),
            ("content-encoding", "gzip", "encoded"),
            ("content-encoding", "identity, br", "encoded"),
            ("content-encoding", "Identity", ""),
            ("content-encoding", "", ""),
            ("x-session-end", "current", "command"),
            ("x-session-jwt", "x", ""),
        ] {
            let headers = headers(name, value);
            let is = |kind: &str, says: fn(Option<&HeaderMap>) -> bool| {
                assert_eq!(says(Some(&headers)), want == kind, "{name}: {value}")
            };
            is("json", is_json);
            is("grpc", is_grpc);
            is("part", is_part);
            is("encoded", is_encoded);
            is("command", has_command);
        }
    }
}
