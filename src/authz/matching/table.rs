//! The table of matches: which one wins for a request.
//!
//! The order is the Gateway API's: an exact path, then an expression, then the longest prefix; then a method, more headers, more query
//! parameters; then the earlier. Exact paths are found by one look-up and prefixes by one a segment, so that ten thousand
//! matches cost the same as ten; only expressions are tried one by one.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use http::Method;

use super::route::{PathPattern, RouteMatch};
use crate::authz::attributes::path::{fold_case, shorter};
use crate::authz::attributes::{Holds, Reading};
use crate::authz::reason::DenyReason;

/// Matches and what each stands for (a rule's number, say), ready to be searched. Two matches with equal values are one
/// rule in two spellings: a request that could meet either is not ambiguous.
#[derive(Debug)]
pub struct MatchTable<T> {
    entries: Vec<(Arc<RouteMatch>, T)>,
    as_written: PathIndex,
    /// The same with letter case folded; `None` when that changes no path.
    folded: Option<PathIndex>,
    /// Whether a match names HEAD: only then GET's do not judge it.
    names_head: bool,
    has_capitals: bool,
    /// Whether a match looks at a path's very end, so that a `/` there makes a difference.
    has_whole_paths: bool,
    /// Whether one may ask for a `/` there.
    has_slash_at_end: bool,
}

/// Where to look for matches by path. Lists hold indexes of entries, best first.
#[derive(Debug, Default)]
struct PathIndex {
    exact: HashMap<Box<[u8]>, Vec<usize>>,
    expressions: Vec<usize>,
    prefixes: PrefixTree,
}

impl<T: PartialEq> MatchTable<T> {
    /// The table of these matches, given in the order that breaks ties: oldest first.
    pub fn build(matches: Vec<(impl Into<Arc<RouteMatch>>, T)>) -> Self {
        let matches: Vec<(Arc<RouteMatch>, T)> = matches.into_iter().map(|(it, value)| (it.into(), value)).collect();
        let mut order: Vec<usize> = (0..matches.len()).collect();
        order.sort_by_key(|&index| {
            let (it, _) = &matches[index];
            (Reverse(it.method.is_some()), Reverse(it.headers.len()), Reverse(it.query.len()), index)
        });
        let index = |fold: bool| {
            let mut index = PathIndex::default();
            for &entry in &order {
                index.insert(&matches[entry].0.path, fold, entry);
            }
            index
        };
        let has_case = |path: &PathPattern| match path {
            PathPattern::Exact(path) | PathPattern::Prefix(path) => *fold_case(path.as_bytes()) != *path.as_bytes(),
            PathPattern::Expression(_) => true,
        };
        let has_capitals = matches.iter().any(|(it, _)| has_case(&it.path));
        let any_path = |is: fn(&PathPattern) -> bool| matches.iter().any(|(it, _)| is(&it.path));
        Self {
            has_whole_paths: any_path(|it| !matches!(it, PathPattern::Prefix(_))),
            has_slash_at_end: any_path(|it| match it {
                PathPattern::Exact(path) => path.len() > 1 && path.ends_with('/'),
                PathPattern::Expression(_) => true,
                PathPattern::Prefix(_) => false,
            }),
            as_written: index(false),
            folded: has_capitals.then(|| index(true)),
            names_head: matches.iter().any(|(it, _)| it.method == Some(Method::HEAD)),
            has_capitals,
            entries: matches,
        }
    }

    /// What the best match stands for, if any matches. A HEAD request is judged as a GET unless a match names HEAD.
    ///
    /// # Errors
    /// [`DenyReason::AmbiguousRequest`] when it hangs on a header or query parameter that servers would read differently.
    pub fn find(&self, reading: &Reading<'_>) -> Result<Option<&T>, DenyReason> {
        self.unless_beside(reading, Self::as_policies_match)
    }

    /// [`Self::find`] for tables of routes: proxies take a HEAD request for a HEAD request.
    ///
    /// # Errors
    /// See [`Self::find`].
    pub fn find_exact(&self, reading: &Reading<'_>) -> Result<Option<&T>, DenyReason> {
        self.unless_beside(reading, |table, reading| {
            table.search(reading, |it| it.is_none_or(|it| it == reading.method))
        })
    }

    /// What a match stands for that holds, or may hold, and is asked for: by that and by whether it is for the method. The best of them
    /// comes first.
    pub fn find_among(&self, reading: &Reading<'_>, is_asked_for: impl Fn(&T, bool) -> bool) -> Option<&T> {
        let is_it = |&&entry: &&usize| {
            let (it, value) = &self.entries[entry];
            let has_method = it.method.as_ref().is_none_or(|it| it == reading.method);
            is_asked_for(value, has_method) && it.path.may_have(reading) && it.fields_hold(reading) != Holds::No
        };
        let mut entries = self.index(reading).lists(reading.compared).flatten();
        entries.find(is_it).map(|&entry| &self.entries[entry].1)
    }

    /// What its matches stand for, in the order given.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// What `find` finds for the path, unless a server that takes it for a path beside it would meet a rule that does not match
    /// the path itself. A path that is written in a match is nobody's mistake.
    fn unless_beside(
        &self,
        reading: &Reading<'_>,
        find: impl Fn(&Self, &Reading<'_>) -> Result<Option<usize>, DenyReason>,
    ) -> Result<Option<&T>, DenyReason> {
        let found = find(self, reading)?;
        let value = |entry: usize| &self.entries[entry].1;
        let is_written = |entry: usize| matches!(self.entries[entry].0.path, PathPattern::Exact(_));
        if found.is_some_and(is_written) {
            return Ok(found.map(value));
        }
        let may_be = |path: &[u8], compared: &[u8]| {
            let other = find(self, &Reading { path, compared, ..reading.clone() })?;
            let differs = other.is_some_and(|other| {
                found.map(value) != Some(value(other)) && !self.entries[other].0.path.covers(reading)
            });
            if differs { Err(DenyReason::AmbiguousRequest) } else { Ok(()) }
        };
        let (mut path, mut compared) = (reading.path, reading.compared);
        loop {
            if self.has_slash_at_end && !path.ends_with(b"/") {
                may_be(&[path, b"/"].concat(), &[compared, b"/"].concat())?;
            }
            let is_slash = path.ends_with(b"/");
            (path, compared) = match (shorter(path), shorter(compared)) {
                (Some(path), Some(compared)) => (path, compared),
                _ => return Ok(found.map(value)),
            };
            if self.has_whole_paths || !is_slash {
                may_be(path, compared)?;
            }
        }
    }

    /// The best match by the rules for policies.
    fn as_policies_match(&self, reading: &Reading<'_>) -> Result<Option<usize>, DenyReason> {
        let as_method = |method: &Method| self.search(reading, |it| it.is_none_or(|it| it == method));
        if *reading.method != Method::HEAD {
            return as_method(reading.method);
        }
        if !self.names_head {
            return as_method(&Method::GET);
        }
        match self.search(reading, |it| it == Some(&Method::HEAD)) {
            Ok(Some(_)) => as_method(&Method::HEAD),
            Ok(None) => as_method(&Method::GET),
            Err(ambiguous) => match (as_method(&Method::HEAD)?, as_method(&Method::GET)?) {
                (head, get) if head.map(|it| &self.entries[it].1) == get.map(|it| &self.entries[it].1) => Ok(head),
                _ => Err(ambiguous),
            },
        }
    }

    /// Whether letter case matters to any path in it: see [`crate::authz::attributes::LetterCase::needed`].
    pub fn has_capitals(&self) -> bool {
        self.has_capitals
    }

    fn index(&self, reading: &Reading<'_>) -> &PathIndex {
        match &self.folded {
            Some(folded) if reading.fold_case => folded,
            _ => &self.as_written,
        }
    }

    fn search(
        &self,
        reading: &Reading<'_>,
        has_method: impl Fn(Option<&Method>) -> bool,
    ) -> Result<Option<usize>, DenyReason> {
        let holds = |entry: usize| {
            let (it, _) = &self.entries[entry];
            match &it.path {
                _ if !has_method(it.method.as_ref()) => Holds::No,
                path if !path.may_have(reading) => Holds::No,
                _ => it.fields_hold(reading),
            }
        };
        // What some server, but not every, would choose before anything else that matches.
        let mut perhaps: Option<usize> = None;
        let is_other = |perhaps: Option<usize>, value: &T| perhaps.is_some_and(|it| self.entries[it].1 != *value);
        for list in self.index(reading).lists(reading.compared) {
            for (rank, &entry) in list.iter().enumerate() {
                let (it, value) = &self.entries[entry];
                match holds(entry) {
                    Holds::No => continue,
                    Holds::Unclear | Holds::Yes if is_other(perhaps, value) => {
                        return Err(DenyReason::AmbiguousRequest);
                    }
                    Holds::Unclear => perhaps = Some(entry),
                    Holds::Yes => {
                        // With letter case ignored, a rule for the same path in another spelling is met as much as this.
                        let is_spelt_otherwise = |&other: &usize| {
                            let (other_match, other_value) = &self.entries[other];
                            other_match.path.is_other_spelling(&it.path)
                                && other_value != value
                                && holds(other) != Holds::No
                        };
                        return if reading.fold_case && list[rank + 1..].iter().any(is_spelt_otherwise) {
                            Err(DenyReason::AmbiguousRequest)
                        } else {
                            Ok(Some(entry))
                        };
                    }
                }
            }
        }
        if perhaps.is_some() { Err(DenyReason::AmbiguousRequest) } else { Ok(None) }
    }
}

impl PathPattern {
    /// Whether a pattern that an index has for the reading's path holds for it.
    fn may_have(&self, reading: &Reading<'_>) -> bool {
        match self {
            Self::Expression(expression) => expression.matches(reading.path, reading.fold_case),
            Self::Exact(_) | Self::Prefix(_) => true,
        }
    }

    /// Whether a pattern that a path beside the reading's meets matches the reading too.
    fn covers(&self, reading: &Reading<'_>) -> bool {
        match self {
            Self::Exact(_) => false,
            Self::Expression(expression) => expression.matches(reading.path, reading.fold_case),
            Self::Prefix(prefix) => {
                let prefix = if reading.fold_case { fold_case(prefix.as_bytes()) } else { prefix.as_bytes().into() };
                reading.compared.strip_prefix(&*prefix).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
            }
        }
    }

    /// Of two paths that are one when letter case is ignored: whether they are two when it is not.
    fn is_other_spelling(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(one), Self::Exact(two)) | (Self::Prefix(one), Self::Prefix(two)) => one != two,
            _ => false,
        }
    }
}

impl PathIndex {
    fn insert(&mut self, path: &PathPattern, fold: bool, entry: usize) {
        let key =
            |path: &str| -> Box<[u8]> { if fold { fold_case(path.as_bytes()).into() } else { path.as_bytes().into() } };
        match path {
            PathPattern::Exact(path) => self.exact.entry(key(path)).or_default().push(entry),
            PathPattern::Expression(_) => self.expressions.push(entry),
            PathPattern::Prefix(prefix) => self.prefixes.insert(&key(prefix), entry),
        }
    }

    /// The matches that may have this path, list by list, the best first.
    fn lists(&self, path: &[u8]) -> impl Iterator<Item = &[usize]> {
        let exact = if self.exact.is_empty() { None } else { self.exact.get(path) };
        exact.into_iter().map(Vec::as_slice).chain([&self.expressions[..]]).chain(self.prefixes.lists(path))
    }
}

/// Prefixes, as a tree of segments.
#[derive(Debug)]
struct PrefixTree(Vec<Node>);

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<[u8]>, usize>,
    entries: Vec<usize>,
    /// The prefix that is a segment shorter.
    parent: Option<usize>,
}

impl Default for PrefixTree {
    fn default() -> Self {
        Self(vec![Node::default()])
    }
}

impl PrefixTree {
    /// Adds an entry for a prefix without a `/` at its end.
    fn insert(&mut self, prefix: &[u8], entry: usize) {
        let mut node = 0;
        for segment in prefix.split(|&it| it == b'/').skip(1) {
            node = match self.0[node].children.get(segment) {
                Some(&child) => child,
                None => {
                    let child = self.0.len();
                    self.0.push(Node { parent: Some(node), ..Node::default() });
                    self.0[node].children.insert(segment.into(), child);
                    child
                }
            };
        }
        self.0[node].entries.push(entry);
    }

    /// The entries of every prefix of the path, the longest prefix first.
    fn lists(&self, path: &[u8]) -> impl Iterator<Item = &[usize]> {
        let mut deepest = 0;
        for segment in path.split(|&it| it == b'/').skip(1) {
            match self.0[deepest].children.get(segment) {
                Some(&child) => deepest = child,
                None => break,
            }
        }
        std::iter::successors(Some(deepest), |&node| self.0[node].parent).map(|node| &self.0[node].entries[..])
    }
}

#[cfg(test)]
mod tests;
