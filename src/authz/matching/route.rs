//! One match, compiled.

mod alike;

use http::Method;
use regex::bytes::{Regex, RegexBuilder};

use crate::api::http_match::{
    HttpNameMatch, HttpPathMatch, HttpRouteMatch, MAX_HEADER_VALUE, MAX_NAME, MAX_NAMES, MAX_PATH, MAX_QUERY_VALUE,
    PathMatchType, ValueMatchType,
};
use crate::authz::attributes::headers::NAME_BYTES;
use crate::authz::attributes::path::{PatternProblem, parse_pattern};
use crate::authz::attributes::{Holds, Reading};

/// One `HTTPRouteMatch`, checked and compiled.
#[derive(Clone, Debug)]
pub struct RouteMatch {
    pub(super) path: PathPattern,
    pub(super) method: Option<Method>,
    pub(super) headers: Vec<(String, ValuePattern)>,
    pub(super) query: Vec<(String, ValuePattern)>,
}

/// How a path is compared; texts are decoded.
#[derive(Clone, Debug)]
pub(super) enum PathPattern {
    Exact(String),
    Expression(Box<PathExpression>),
    /// Without a `/` at its end, so that the root is empty.
    Prefix(String),
}

#[derive(Clone, Debug)]
pub(super) struct PathExpression {
    as_written: Regex,
    any_case: Regex,
}

#[derive(Clone, Debug)]
pub(super) enum ValuePattern {
    Exact(String),
    Expression(Regex),
}

/// What is wrong with a match, and where in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct MatchError {
    /// The field, as a path from the match: `path.value`, `headers[2].name`.
    pub field: String,
    /// What is wrong with it.
    pub problem: MatchProblem,
}

/// See [`MatchError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatchProblem {
    /// Nothing is there.
    #[error("must not be empty")]
    Empty,
    /// Longer than the Gateway API allows, in bytes.
    #[error("has {found} bytes, more than {most}")]
    TooLong {
        /// Its length.
        found: usize,
        /// The bound.
        most: usize,
    },
    /// More entries than the Gateway API allows.
    #[error("has {found} entries, more than {most}")]
    TooMany {
        /// How many there are.
        found: usize,
        /// The bound.
        most: usize,
    },
    /// A path that no request can have, or that servers read differently.
    #[error(transparent)]
    Path(#[from] PatternProblem),
    /// A header name that is not a token (RFC 9110 §5.6.2).
    #[error("{0:?} is not a header name")]
    HeaderName(String),
    /// `Host`, which proxies keep apart from the headers.
    #[error("a match on `host` never holds; use hostnames")]
    HostHeader,
    /// Not one of the Gateway API's methods.
    #[error("{0:?} is not one of GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH")]
    Method(String),
    /// An expression that does not compile, or only to more than its share of memory.
    #[error("is not an expression that can be used: {0}")]
    Expression(String),
    /// An expression of a route that is another one to proxies.
    #[error("has `[`, `&&`, `--` or `~~` in a class, which proxies read otherwise: put `\\` before each")]
    ReadOtherwise,
}

impl RouteMatch {
    /// Checks and compiles a match.
    ///
    /// # Errors
    /// The first field that is out of bounds, and why.
    pub fn compile(written: &HttpRouteMatch) -> Result<Self, MatchError> {
        let path =
            written.path.as_ref().map_or_else(|| Ok(PathPattern::Prefix(String::new())), PathPattern::compile)?;
        let method = match written.method.as_deref() {
            None => None,
            Some(name) => Some(method(name).ok_or_else(|| error("method", MatchProblem::Method(name.to_owned())))?),
        };
        let headers = names("headers", &written.headers, MAX_HEADER_VALUE, |name| {
            let is_token = name.bytes().all(|it| NAME_BYTES[usize::from(it)]);
            match name.to_ascii_lowercase() {
                _ if !is_token => Err(MatchProblem::HeaderName(name.to_owned())),
                name if name == "host" => Err(MatchProblem::HostHeader),
                name => Ok(name),
            }
        })?;
        let query = names("queryParams", &written.query_params, MAX_QUERY_VALUE, |name| Ok(name.to_owned()))?;
        Ok(Self { path, method, headers, query })
    }

    /// Whether anything in it is an expression. Proxies differ in how these are read and ranked.
    pub fn has_expression(&self) -> bool {
        let is_expression = |(_, it): &(String, ValuePattern)| matches!(it, ValuePattern::Expression(_));
        matches!(self.path, PathPattern::Expression(_)) || self.headers.iter().chain(&self.query).any(is_expression)
    }

    /// Whether all but path and method hold.
    pub(super) fn fields_hold(&self, reading: &Reading<'_>) -> Holds {
        let headers = &reading.request.headers;
        let held = self.headers.iter().fold(Holds::Yes, |held, (name, pattern)| {
            held.and(|| headers.holds(name.as_bytes(), |value| pattern.matches(value)))
        });
        self.query
            .iter()
            .fold(held, |held, (name, pattern)| held.and(|| reading.query.holds(name, |value| pattern.matches(value))))
    }
}

impl PathPattern {
    fn compile(written: &HttpPathMatch) -> Result<Self, MatchError> {
        let value = &written.value;
        let wrong = |problem| error("path.value", problem);
        bounded(value, MAX_PATH).map_err(wrong)?;
        let parsed = || parse_pattern(value).map_err(|problem| wrong(problem.into()));
        match written.kind {
            PathMatchType::Exact => parsed().map(Self::Exact),
            PathMatchType::PathPrefix => {
                let mut prefix = parsed()?;
                if prefix.ends_with('/') {
                    prefix.pop();
                }
                Ok(Self::Prefix(prefix))
            }
            PathMatchType::RegularExpression => {
                let as_written = expression(value, false).map_err(wrong)?;
                let any_case = expression(value, true).map_err(wrong)?;
                Ok(Self::Expression(Box::new(PathExpression { as_written, any_case })))
            }
        }
    }
}

impl PathExpression {
    pub(super) fn matches(&self, path: &[u8], fold_case: bool) -> bool {
        if fold_case { self.any_case.is_match(path) } else { self.as_written.is_match(path) }
    }
}

impl ValuePattern {
    fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => text.as_bytes() == value,
            Self::Expression(expression) => expression.is_match(value),
        }
    }
}

fn error(field: impl Into<String>, problem: MatchProblem) -> MatchError {
    MatchError { field: field.into(), problem }
}

fn bounded(value: &str, most: usize) -> Result<(), MatchProblem> {
    match value.len() {
        0 => Err(MatchProblem::Empty),
        found if found > most => Err(MatchProblem::TooLong { found, most }),
        _ => Ok(()),
    }
}

/// `HTTPMethod` of the Gateway API.
fn method(name: &str) -> Option<Method> {
    const METHODS: [Method; 9] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ];
    METHODS.into_iter().find(|method| method.as_str() == name)
}

/// Compiles matches by name; of two with one name the first counts (Gateway API, `HTTPRouteMatch`).
fn names(
    list: &str,
    written: &[HttpNameMatch],
    max_value: usize,
    name: impl Fn(&str) -> Result<String, MatchProblem>,
) -> Result<Vec<(String, ValuePattern)>, MatchError> {
    if written.len() > MAX_NAMES {
        return Err(error(list, MatchProblem::TooMany { found: written.len(), most: MAX_NAMES }));
    }
    let mut compiled: Vec<(String, ValuePattern)> = Vec::with_capacity(written.len());
    for (index, entry) in written.iter().enumerate() {
        let wrong_name = |problem| error(format!("{list}[{index}].name"), problem);
        let wrong_value = |problem| error(format!("{list}[{index}].value"), problem);
        bounded(&entry.name, MAX_NAME).map_err(wrong_name)?;
        let name = name(&entry.name).map_err(wrong_name)?;
        bounded(&entry.value, max_value).map_err(wrong_value)?;
        let pattern = match entry.kind {
            ValueMatchType::Exact => ValuePattern::Exact(entry.value.clone()),
            ValueMatchType::RegularExpression => {
                ValuePattern::Expression(expression(&entry.value, false).map_err(wrong_value)?)
            }
        };
        if compiled.iter().all(|(it, _)| *it != name) {
            compiled.push((name, pattern));
        }
    }
    Ok(compiled)
}

/// Compiles an expression that has to match the whole text (P28: bounded; matching takes time linear in the text).
fn expression(written: &str, any_case: bool) -> Result<Regex, MatchProblem> {
    /// Bytes of the compiled program, and of the cache that each thread keeps for it.
    const MAX_PROGRAM: usize = 256 * 1024;
    const MAX_CACHE: usize = 1024 * 1024;
    let build = |text: &str| {
        RegexBuilder::new(text)
            .case_insensitive(any_case)
            .size_limit(MAX_PROGRAM)
            .dfa_size_limit(MAX_CACHE)
            .nest_limit(64)
            .build()
            .map_err(|problem| {
                let text = problem.to_string();
                MatchProblem::Expression(text.rsplit("error: ").next().unwrap_or_default().trim().to_owned())
            })
    };
    // On its own first: `a)|(b` must not become valid between the anchors' brackets.
    build(written)?;
    build(&format!(r"\A(?:{written})\z"))
}

#[cfg(test)]
mod tests;
