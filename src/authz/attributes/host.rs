//! The canonical host of a request (RFC 3986 §3.2.2).

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// A host name or address in lower case, without its port. ASCII.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host<'a>(Cow<'a, str>);

impl<'a> Host<'a> {
    /// Reads `host [":" port]`; `None` for anything that is not one, a user, an encoded or non-ASCII byte and a dot at the end included.
    /// The port is 1 to 65535.
    pub fn parse(authority: &'a [u8]) -> Option<(Self, Option<u16>)> {
        if authority.first() == Some(&b'[') {
            return parse_v6(authority);
        }
        let (end, port) = match authority.iter().position(|&byte| byte == b':') {
            Some(colon) => (colon, Some(parse_port(&authority[colon + 1..])?)),
            None => (authority.len(), None),
        };
        let name = std::str::from_utf8(&authority[..end]).ok()?;
        let has_capitals = name.bytes().any(|byte| byte.is_ascii_uppercase());
        let name = if has_capitals { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) };
        is_name(name.as_bytes()).then_some((Self(name), port))
    }

    /// The host's text; an IPv6 address stands in brackets, in its canonical form (RFC 5952).
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn parse_v6(authority: &[u8]) -> Option<(Host<'static>, Option<u16>)> {
    let text = std::str::from_utf8(authority).ok()?;
    let (address, rest) = text[1..].split_once(']')?;
    let address: Ipv6Addr = address.parse().ok()?;
    let port = match rest.strip_prefix(':') {
        Some(port) => Some(parse_port(port.as_bytes())?),
        None if rest.is_empty() => None,
        None => return None,
    };
    Some((Host(Cow::Owned(format!("[{address}]"))), port))
}

/// One to five digits, 1 to 65535.
fn parse_port(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() || digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let port = digits.iter().fold(0_u32, |port, digit| port * 10 + u32::from(digit - b'0'));
    u16::try_from(port).ok().filter(|&port| port != 0)
}

/// Whether this is a host name in lower case: labels of 1 to 63 letters, digits, `-` and `_` (seen inside clusters), 253 bytes in all.
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name.split(|&byte| byte == b'.').all(|label| {
            (1..=63).contains(&label.len())
                && label.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
        })
}
