//! The table of matches: which one wins for a request.

use super::route::RouteMatch;
use crate::authz::attributes::Reading;
use crate::authz::reason::DenyReason;

/// Matches and what each stands for (a rule's number, say), ready to be searched. Two matches with equal values are one
/// rule in two spellings: a request that could meet either is not ambiguous.
#[derive(Debug)]
pub struct MatchTable<T>(Vec<(RouteMatch, T)>);

impl<T: PartialEq> MatchTable<T> {
    /// The table of these matches, given in the order that breaks ties: oldest first.
    pub fn build(matches: Vec<(RouteMatch, T)>) -> Self {
        Self(matches)
    }

    /// What the best match stands for, if any matches.
    ///
    /// # Errors
    /// [`DenyReason::AmbiguousRequest`] when it hangs on a header or query parameter that servers would read differently.
    pub fn find(&self, reading: &Reading<'_>) -> Result<Option<&T>, DenyReason> {
        let _ = reading;
        todo!()
    }

    /// Whether letter case matters to any path in it: see [`crate::authz::attributes::LetterCase::needed`].
    pub fn has_capitals(&self) -> bool {
        todo!()
    }
}
