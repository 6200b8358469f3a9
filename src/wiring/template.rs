//! The one thing that the wiring's files may have in them beside YAML: places for values, `{{ .name }}`.

/// Why a file cannot be filled. Each is a mistake of ours, or a value that would be more than a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A place is not closed, or has more in it than a name.
    #[error("{file}: `{place}` is no place for a value: write {{{{ .name }}}}")]
    Place {
        /// The file.
        file: String,
        /// What stands there.
        place: String,
    },
    /// A place without a value.
    #[error("{file}: no value is given for `{name}`")]
    NoValue {
        /// The file.
        file: String,
        /// The name.
        name: String,
    },
    /// A value without a place.
    #[error("{file}: the value `{name}` is given and has no place")]
    NoPlace {
        /// The file.
        file: String,
        /// The name.
        name: String,
    },
    /// A value that would not stay within its quotes.
    #[error("{file}: the value of `{name}` has {sign:?} in it, which would end a YAML scalar")]
    Sign {
        /// The file.
        file: String,
        /// The name.
        name: String,
        /// The sign.
        sign: char,
    },
}

/// A value and its name.
pub type Value<'a> = (&'a str, &'a str);

/// Puts values into the text of `file`. Every place must have a value, and every value a place.
///
/// # Errors
/// When they do not, or when a value is not plain.
pub fn fill(file: &str, text: &str, values: &[Value<'_>]) -> Result<String, TemplateError> {
    let mut used = vec![false; values.len()];
    let mut filled = String::with_capacity(text.len() + 256);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let not_a_place = || TemplateError::Place { file: file.to_owned(), place: first_words(after) };
        let (inside, behind) = after.split_once("}}").ok_or_else(not_a_place)?;
        let name = inside.trim().strip_prefix('.').filter(|name| is_name(name)).ok_or_else(not_a_place)?;
        let found = values.iter().position(|(known, _)| *known == name);
        let index = found.ok_or_else(|| TemplateError::NoValue { file: file.to_owned(), name: name.to_owned() })?;
        let value = values[index].1;
        if let Some(sign) = value.chars().find(|sign| !is_plain(*sign)) {
            return Err(TemplateError::Sign { file: file.to_owned(), name: name.to_owned(), sign });
        }
        used[index] = true;
        filled.push_str(before);
        filled.push_str(value);
        rest = behind;
    }
    filled.push_str(rest);
    match used.iter().position(|used| !used) {
        Some(index) => Err(TemplateError::NoPlace { file: file.to_owned(), name: values[index].0.to_owned() }),
        None => Ok(filled),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// What stays one value within double quotes, and within none where the file has none: neither quotes nor escapes nor lines.
fn is_plain(sign: char) -> bool {
    sign.is_ascii_alphanumeric() || "-_./:@%+~=,!^$*?()[]|".contains(sign)
}

fn first_words(text: &str) -> String {
    format!("{{{{{}", text.chars().take(24).take_while(|sign| *sign != '\n').collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_values_meet_one_to_one() {
        let file = || "f".to_owned();
        let name = || "b".to_owned();
        for (text, values, want) in [
            ("x: {{ .a }}, {{.a}}{{ .b }}", &[("a", "1"), ("b", "2")][..], Ok("x: 1, 12".to_owned())),
            ("x: {}", &[], Ok("x: {}".to_owned())),
            ("{{ .b }}", &[], Err(TemplateError::NoValue { file: file(), name: name() })),
            ("none", &[("b", "1")], Err(TemplateError::NoPlace { file: file(), name: name() })),
            ("{{ .b }}", &[("b", "\"")], Err(TemplateError::Sign { file: file(), name: name(), sign: '"' })),
            ("{{ .b }}", &[("b", "a\nb")], Err(TemplateError::Sign { file: file(), name: name(), sign: '\n' })),
            ("{{ .b }}", &[("b", "{{x}}")], Err(TemplateError::Sign { file: file(), name: name(), sign: '{' })),
        ] {
            assert_eq!(fill("f", text, values), want, "{text}");
        }
        for text in ["{{ .b", "{{ b }}", "{{ .b | quote }}", "{{- .b }}", "{{ if .b }}", "{{ . }}"] {
            let error = fill("f", text, &[("b", "1")]).expect_err(text);
            assert!(matches!(error, TemplateError::Place { .. }), "{text}: {error}");
        }
    }
}
