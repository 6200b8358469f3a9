//! Expressions that proxies read as we do (RE2, Go's `regexp`).

use super::{MatchError, MatchProblem, RouteMatch, error};
use crate::api::http_match::{HttpRouteMatch, PathMatchType, ValueMatchType};

impl RouteMatch {
    /// Checks and compiles a match of a route, which a proxy reads too.
    ///
    /// # Errors
    /// See [`Self::compile`]; and an expression that is another one there ([`MatchProblem::ReadOtherwise`]).
    pub fn of_route(written: &HttpRouteMatch) -> Result<Self, MatchError> {
        let compiled = Self::compile(written)?;
        let path = written.path.iter().filter(|path| path.kind == PathMatchType::RegularExpression);
        let path = path.map(|path| ("path.value".to_owned(), &path.value));
        let lists = [("headers", &written.headers), ("queryParams", &written.query_params)];
        let values = lists.into_iter().flat_map(|(list, entries)| {
            let entries = entries.iter().enumerate().filter(|(_, it)| it.kind == ValueMatchType::RegularExpression);
            entries.map(move |(i, it)| (format!("{list}[{i}].value"), &it.value))
        });
        match path.chain(values).find(|(_, expression)| !is_read_alike(expression)) {
            Some((field, _)) => Err(error(field, MatchProblem::ReadOtherwise)),
            None => Ok(compiled),
        }
    }
}

/// Whether a valid expression has no class in a class, and no `&&`, `--` or `~~` there. With those a class has less in it here, and to
/// RE2 they are characters like any other: so an expression could be met by nothing here and by everything there.
fn is_read_alike(expression: &str) -> bool {
    let mut rest = expression.as_bytes();
    let mut is_class = false;
    loop {
        let taken = match (is_class, rest) {
            (_, []) => return true,
            (_, [b'\\', _, ..]) => 2,
            (false, [b'[', after @ ..]) => {
                is_class = true;
                // A `]` that comes first is a character.
                match after {
                    [b'^', b']', ..] => 3,
                    [b'^' | b']', ..] => 2,
                    _ => 1,
                }
            }
            (true, [b'[', b':', name @ ..]) => match name.windows(2).position(|it| it == b":]") {
                Some(end) => end + 4,
                None => return false,
            },
            (true, [b'[', ..] | [b'&', b'&', ..] | [b'-', b'-', ..] | [b'~', b'~', ..]) => return false,
            (true, [b']', ..]) => {
                is_class = false;
                1
            }
            _ => 1,
        };
        rest = &rest[taken..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_we_take_for_a_set_of_sets_is_told() {
        for (expression, want) in [
            (r"/[a-z0-9_-]+--x&&y~~z", true),
            (r"[[:alpha:]&~-]+", true),
            (r"[]a]&&[^]a]--", true),
            (r"\[&&\]", true),
            (r"[\[a]&&", true),
            ("[&&]", false),
            (r"[\s\S&&]", false),
            ("[+--]", false),
            ("[a~~b]", false),
            ("[[a]b]", false),
            ("[a[:alpha]", false),
            ("[^][a]", false),
            (r"\\[a&&b]", false),
        ] {
            assert_eq!(is_read_alike(expression), want, "{expression}");
        }
    }
}
