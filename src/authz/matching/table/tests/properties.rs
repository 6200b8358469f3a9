//! The table against a reference that scans every match and sorts those that hold.

use std::cmp::Reverse;

use proptest::prelude::*;

use super::*;

/// A match as the reference sees it.
#[derive(Clone, Debug)]
struct Model {
    /// `=`, `~` or nothing, and the path.
    kind: &'static str,
    path: String,
    method: Option<&'static str>,
    headers: Vec<(&'static str, &'static str)>,
    query: Vec<(&'static str, &'static str)>,
}

impl Model {
    fn line(&self) -> String {
        let mut line = format!("{}{}", self.kind, self.path);
        line.extend(self.method.iter().map(|it| format!(" {it}")));
        line.extend(self.headers.iter().map(|(name, value)| format!(" {name}:{value}")));
        line.extend(self.query.iter().map(|(name, value)| format!(" ?{name}={value}")));
        line
    }

    fn matches(&self, method: &str, path: &str, headers: &[(&str, &str)], query: &[(&str, &str)]) -> bool {
        let prefix = self.path.trim_end_matches('/');
        let path_holds = match self.kind {
            "" => path == prefix || path.starts_with(&format!("{prefix}/")),
            _ => path == self.path, // the expressions here are plain text
        };
        path_holds
            && self.method.is_none_or(|it| it == method)
            && self.headers.iter().all(|it| headers.contains(it))
            && self.query.iter().all(|it| query.contains(it))
    }

    fn rank(&self, index: usize) -> impl Ord + use<> {
        let kind = ["=", "~", ""].iter().position(|it| *it == self.kind);
        let length = if self.kind.is_empty() { self.path.trim_end_matches('/').len() } else { 0 };
        let counts = (self.method.is_some(), self.headers.len(), self.query.len());
        (kind, Reverse(length), Reverse(counts), index)
    }
}

fn pairs(names: &'static [&'static str]) -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let pair = prop::sample::subsequence(names, 0..=names.len());
    (pair, prop::collection::vec(prop::sample::select(vec!["1", "2"]), names.len()))
        .prop_map(|(names, values)| names.into_iter().zip(values).collect())
}

fn path() -> impl Strategy<Value = String> {
    "(/[abAB]){0,3}/?".prop_map(|path| if path.is_empty() { "/".to_owned() } else { path })
}

fn model() -> impl Strategy<Value = Model> {
    let kind = prop::sample::select(vec!["", "", "=", "~"]);
    let method = prop::option::of(prop::sample::select(vec!["GET", "POST", "HEAD"]));
    (kind, path(), method, pairs(&["h", "i"]), pairs(&["q", "r"]))
        .prop_map(|(kind, path, method, headers, query)| Model { kind, path, method, headers, query })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn the_table_finds_what_a_scan_finds(
        models in prop::collection::vec(model(), 0..12),
        method in prop::sample::select(vec!["GET", "POST", "HEAD", "PUT"]),
        path in path(),
        headers in pairs(&["h", "i"]),
        query in pairs(&["q", "r"]),
    ) {
        let best = |method: &str| {
            let holding = models.iter().enumerate().filter(|(_, it)| it.matches(method, &path, &headers, &query));
            holding.min_by_key(|(index, it)| it.rank(*index)).map(|(index, _)| index)
        };
        let names_head = |it: &Model| it.method == Some("HEAD") && it.matches("HEAD", &path, &headers, &query);
        let want = if method == "HEAD" && !models.iter().any(names_head) { best("GET") } else { best(method) };

        let lines: Vec<_> = models.iter().map(Model::line).collect();
        let table = table(&lines.iter().enumerate().map(|(index, line)| (line.as_str(), index)).collect::<Vec<_>>());
        let query: Vec<_> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let headers: Vec<_> = headers.iter().map(|(name, value)| format!(" {name}:{value}")).collect();
        let line = format!("{method} {path}?{}{}", query.join("&"), headers.concat());
        let request = request(&line);
        prop_assert_eq!(find(&table, &request), Ok(want));

        // With letter case ignored the answer is the same, or none is given.
        match find_in_any_case(&table, &request) {
            Ok(found) => prop_assert_eq!(found, want),
            Err(reason) => prop_assert_eq!(reason, DenyReason::AmbiguousRequest),
        }
        let has_capitals = |text: &str| text.contains(['A', 'B']);
        if !has_capitals(&path) && !models.iter().any(|it| has_capitals(&it.path)) {
            // The paths beside an exact one are another matter (`find_beside`).
            let found = request.judge(LetterCase::Unambiguous, |reading| table.as_policies_match(reading));
            prop_assert_eq!(found.and_then(|it| it).map(|it| it.map(|entry| table.entries[entry].1)), Ok(want));
        }
    }

    #[test]
    fn p03_a_request_passes_in_any_case_only_if_every_spelling_meets_the_same(
        models in prop::collection::vec(model(), 0..8),
        path in path(),
    ) {
        let lines: Vec<_> = models.iter().map(Model::line).collect();
        let table = table(&lines.iter().enumerate().map(|(index, line)| (line.as_str(), index)).collect::<Vec<_>>());
        if let Ok(found) = find_in_any_case(&table, &request(&format!("GET {path}"))) {
            // A server that puts every path into small letters, and rules written so.
            let lowered: Vec<_> = models.iter().map(|it| Model { path: it.path.to_lowercase(), ..it.clone() }).collect();
            let holding = lowered.iter().enumerate().filter(|(_, it)| it.matches("GET", &path.to_lowercase(), &[], &[]));
            let best = holding.min_by_key(|(index, it)| it.rank(*index)).map(|(index, _)| index);
            prop_assert_eq!(found, best);
        }
    }
}
