//! Where a gate is asked.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// Where the gate listens for the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateAddress {
    /// A socket file.
    Unix(PathBuf),
    /// Loopback.
    Tcp(SocketAddr),
}

impl GateAddress {
    /// Reads `unix:///path`, `unix:path` or `address:port`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.strip_prefix("//").unwrap_or(path).into()));
        }
        Ok(Self::Tcp(text.parse().with_context(|| format!("{text:?} is no address"))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gate_addresses() {
        let tcp = GateAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 9443)));
        assert_eq!(GateAddress::parse("127.0.0.1:9443").expect("parses"), tcp);
        assert_eq!(GateAddress::parse("unix:///a/b").expect("parses"), GateAddress::Unix("/a/b".into()));
        assert_eq!(GateAddress::parse("unix:/a/b").expect("parses"), GateAddress::Unix("/a/b".into()));
        assert!(GateAddress::parse("nowhere").is_err());
    }
}
