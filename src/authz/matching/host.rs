//! Host patterns, and the table that finds the most specific one.

use std::collections::HashMap;
use std::fmt;

use crate::authz::attributes::host::{self, Host};

/// Which hosts a rule is for: one, all below a suffix, or any (Gateway API `Hostname`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// `*.suffix`: every host with at least one label before the suffix, which is kept here without `*.`.
    Below(String),
    /// `*`: every host.
    Any,
}

/// What is wrong with a host pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a host name, `*.` and a host name, or `*` (no port, no address in brackets, no dot at its end)")]
pub struct HostPatternError(String);

impl HostPattern {
    /// Reads a pattern; letter case does not matter.
    ///
    /// # Errors
    /// When it is not a host name of at most 253 bytes, `*.` and a host name, or `*`.
    pub fn parse(text: &str) -> Result<Self, HostPatternError> {
        let name = |name: &str| {
            let name = name.to_ascii_lowercase();
            if host::is_name(name.as_bytes()) { Ok(name) } else { Err(HostPatternError(text.to_owned())) }
        };
        match text.strip_prefix("*.") {
            _ if text == "*" => Ok(Self::Any),
            Some(suffix) => name(suffix).map(Self::Below),
            None => name(text).map(Self::Exact),
        }
    }

    /// Whether `host` is one of these.
    pub fn matches(&self, host: &Host<'_>) -> bool {
        match self {
            Self::Exact(name) => name == host.as_str(),
            Self::Below(suffix) => is_below(host.as_str(), suffix),
            Self::Any => true,
        }
    }

    /// How specific a pattern is that `host` is one of: the more, the larger; `None` if the host is none of these.
    pub fn rank(&self, host: &Host<'_>) -> Option<usize> {
        self.matches(host).then_some(match self {
            Self::Exact(_) => usize::MAX,
            Self::Below(suffix) => suffix.len(),
            Self::Any => 0,
        })
    }

    /// The hosts that are in both patterns: a route's hostnames count only where its listener's do.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, it) | (it, Self::Any) => Some(it.clone()),
            (Self::Exact(one), Self::Exact(two)) => (one == two).then(|| self.clone()),
            (Self::Exact(name), Self::Below(suffix)) | (Self::Below(suffix), Self::Exact(name)) => {
                is_below(name, suffix).then(|| Self::Exact(name.clone()))
            }
            (Self::Below(one), Self::Below(two)) if one == two || is_below(one, two) => Some(self.clone()),
            (Self::Below(one), Self::Below(two)) => is_below(two, one).then(|| other.clone()),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(suffix) => write!(f, "*.{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

fn is_below(host: &str, suffix: &str) -> bool {
    host.strip_suffix(suffix).and_then(|rest| rest.strip_suffix('.')).is_some_and(|rest| !rest.is_empty())
}

/// Values by host pattern. Finding one costs a look-up per label of the host, however many patterns there are.
#[derive(Clone, Debug)]
pub struct HostTable<T> {
    exact: HashMap<Box<str>, T>,
    below: HashMap<Box<str>, T>,
    any: Option<T>,
}

impl<T> Default for HostTable<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), below: HashMap::new(), any: None }
    }
}

impl<T> HostTable<T> {
    /// The table of these; of two values with one pattern the first stands.
    pub fn build(entries: impl IntoIterator<Item = (HostPattern, T)>) -> Self {
        let mut table = Self::default();
        for (pattern, value) in entries {
            match pattern {
                HostPattern::Exact(name) => {
                    table.exact.entry(name.into()).or_insert(value);
                }
                HostPattern::Below(suffix) => {
                    table.below.entry(suffix.into()).or_insert(value);
                }
                HostPattern::Any => {
                    table.any.get_or_insert(value);
                }
            }
        }
        table
    }

    /// Every value, in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.below.values()).chain(&self.any)
    }

    /// Every pattern, in no order.
    pub fn patterns(&self) -> impl Iterator<Item = HostPattern> {
        let exact = self.exact.keys().map(|name| HostPattern::Exact(name.to_string()));
        let below = self.below.keys().map(|suffix| HostPattern::Below(suffix.to_string()));
        exact.chain(below).chain(self.any.iter().map(|_| HostPattern::Any))
    }

    /// The value with the most specific pattern: the host itself, then its longest suffix, then any.
    pub fn find(&self, host: &Host<'_>) -> Option<&T> {
        self.all(host).next()
    }

    /// The values of every pattern that the host is in, the most specific first.
    pub fn all(&self, host: &Host<'_>) -> impl Iterator<Item = &T> {
        self.ranked(host).map(|(_, value)| value)
    }

    /// The same with the patterns' ranks ([`HostPattern::rank`]).
    pub fn ranked(&self, host: &Host<'_>) -> impl Iterator<Item = (usize, &T)> {
        let host = host.as_str();
        let exact = self.exact.get(host).map(|value| (usize::MAX, value));
        let dots = if self.below.is_empty() { "" } else { host };
        let below = dots.match_indices('.').filter_map(|(dot, _)| {
            let suffix = &dots[dot + 1..];
            self.below.get(suffix).map(|value| (suffix.len(), value))
        });
        exact.into_iter().chain(below).chain(self.any.iter().map(|value| (0, value)))
    }
}

#[cfg(test)]
mod tests;
