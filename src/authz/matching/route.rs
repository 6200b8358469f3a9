//! One match, compiled.

use crate::api::http_match::HttpRouteMatch;

/// One `HTTPRouteMatch`, checked and compiled.
#[derive(Clone, Debug)]
pub struct RouteMatch(());

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
pub enum MatchProblem {}

impl RouteMatch {
    /// Checks and compiles a match.
    ///
    /// # Errors
    /// The first field that is out of bounds, and why.
    pub fn compile(written: &HttpRouteMatch) -> Result<Self, MatchError> {
        let _ = written;
        todo!()
    }
}
