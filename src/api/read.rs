//! Reading an object whole, and saying where and why when that fails.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why an object does not read: the field and the words for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
pub struct ReadError {
    /// The field, as `spec.rules[2].matches[0].path`; empty for the whole object.
    pub path: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// Reads `value` as a `T`.
///
/// # Errors
/// The first field that is unknown, missing, or of the wrong type.
pub fn read<T: DeserializeOwned>(value: Value) -> Result<T, ReadError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = match error.path().to_string() {
            whole if whole == "." => String::new(),
            path => path,
        };
        ReadError { problem: cure(&error.inner().to_string()), path: without_unknown_leaf(path, error.inner()) }
    })
}

/// `serde_path_to_error` names the unknown field itself as the last step; the words name it too.
fn without_unknown_leaf(path: String, error: &serde_json::Error) -> String {
    let words = error.to_string();
    match (words.strip_prefix("unknown field `").and_then(|it| it.split_once('`')), path.rsplit_once('.')) {
        (Some((field, _)), Some((parent, leaf))) if leaf == field => parent.to_owned(),
        (Some((field, _)), None) if path == field => String::new(),
        _ => path,
    }
}

/// Serde's words for an unknown field or value, with the nearest right word in place of the whole list when one is near.
pub fn cure(words: &str) -> String {
    let mut quoted = words.split('`').skip(1).step_by(2);
    let (Some(got), true) = (quoted.next(), words.starts_with("unknown field") || words.starts_with("unknown variant"))
    else {
        return words.to_owned();
    };
    let what = if words.starts_with("unknown field") { "field" } else { "value" };
    let known: Vec<&str> = quoted.collect();
    match nearest(got, known.iter().copied()) {
        Some(right) => format!("unknown {what} `{got}`: did you mean `{right}`?"),
        None if known.is_empty() => format!("unknown {what} `{got}`: none is expected here"),
        None => format!("unknown {what} `{got}`: known are {}", listed(&known)),
    }
}

/// The word of `known` that `got` was most likely meant to be.
pub fn nearest<'a>(got: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = got.to_ascii_lowercase();
    known
        .into_iter()
        .map(|word| (strsim::normalized_damerau_levenshtein(&folded, &word.to_ascii_lowercase()), word))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// `a`, `b` and `c`.
pub fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_named() {
        for (words, want) in [
            (
                "unknown field `hosst`, expected one of `targetRefs`, `hosts`, `selector`",
                "unknown field `hosst`: did you mean `hosts`?",
            ),
            ("unknown variant `public`, expected `Public` or `Deny`", "unknown value `public`: did you mean `Public`?"),
            ("unknown field `zebra`, expected `carriers`", "unknown field `zebra`: known are `carriers`"),
            (
                "unknown field `zebra`, expected one of `a`, `b`, `c`",
                "unknown field `zebra`: known are `a`, `b` and `c`",
            ),
            ("unknown field `zebra`, there are no fields", "unknown field `zebra`: none is expected here"),
            ("missing field `name`", "missing field `name`"),
        ] {
            assert_eq!(cure(words), want);
        }
    }
}
