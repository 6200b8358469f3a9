//! Where a server listens.

use std::fmt;

/// A host (name, IPv4 or IPv6 address) and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The host, an IPv6 address without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Address {
    /// Reads `host:port`; an IPv6 address may stand in brackets or, as Redis writes it, without. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.strip_prefix('[').map_or(Some(host), |inner| inner.strip_suffix(']'))?;
        let good = !host.is_empty()
            && host.len() <= 253
            && host.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b'@');
        let port = port.parse().ok().filter(|port| *port != 0)?;
        good.then(|| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused_whole() {
        for (text, want) in [
            ("redis:6379", Some("redis:6379")),
            ("10.0.0.1:1", Some("10.0.0.1:1")),
            ("[::1]:6379", Some("[::1]:6379")),
            ("fd00::7:6379", Some("[fd00::7]:6379")),
            ("redis", None),
            (":6379", None),
            ("redis:0", None),
            ("redis:65536", None),
            ("user@redis:6379", None),
            ("redis/1:6379", None),
            ("[::1:6379", None),
            ("", None),
        ] {
            assert_eq!(Address::parse(text).map(|it| it.to_string()).as_deref(), want, "{text}");
        }
    }
}
