//! Patterns over header names, made from the configured names: what a proxy takes off by itself, and what the gate may touch.

/// The names that the patterns are made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The header that carries the session JWT (`jwt.header`), in lower case.
    pub jwt: String,
    /// Headers of requests that carry a credential besides `authorization` and `cookie`: those of `token.carriers`, and those that
    /// IdentityProviders read.
    pub credentials: Vec<String>,
    /// Headers of responses that an `exchange` takes a JWT from.
    pub exchanges: Vec<String>,
}

impl Default for Headers {
    /// The names that the documentation uses.
    fn default() -> Self {
        Self {
            jwt: "x-session-jwt".to_owned(),
            credentials: vec!["x-api-key".to_owned()],
            exchanges: vec!["x-login-jwt".to_owned()],
        }
    }
}

/// What every server that folds names takes for the dash.
const FOLDED: &str = "[^a-z0-9]";
/// The same, shorter, where names are known to be names: an Envoy whose runtime does not say `re2.max_program_size.error_level`
/// takes no pattern of more than a hundred steps, and people copy these into files of their own.
const VISIBLE: &str = "[!-~]";

/// The names that begin as all of ours do have a pattern already.
const PREFIX: &str = "x-session-";

impl Headers {
    /// Every name that is ours, in every spelling that a common server takes for it.
    pub fn own(&self) -> String {
        match self.renamed() {
            None => format!("x{FOLDED}session{FOLDED}.*"),
            Some(rest) => format!("x{FOLDED}(session{FOLDED}.*|{})", spellings(rest, FOLDED)),
        }
    }

    /// What the check may change on a request: the credentials that it takes off, and our own headers.
    pub fn checked(&self) -> String {
        let mut names = "authorization|cookie".to_owned();
        for name in &self.credentials {
            // Under the very name that is read, and so as short as can be (see `VISIBLE`).
            names += &format!("|{}", name.replace('.', "[.]"));
        }
        format!("{names}|{}", self.own())
    }

    /// What the gate may change on a response: its cookie, that nobody caches it, what an answer in the place of the service's
    /// needs, the headers of exchanges, and our own.
    pub fn answered(&self) -> String {
        let mut names = "set-cookie|[a-z-]+-control|expires|content-(type|length)|retry-after".to_owned();
        for name in &self.exchanges {
            names += &format!("|{name}");
        }
        names += &format!("|x{VISIBLE}session{VISIBLE}+");
        if let Some(rest) = self.renamed() {
            names += &format!("|x{VISIBLE}{}", spellings(rest, VISIBLE));
        }
        names
    }

    /// The headers of exchanges, for a list of their own.
    pub fn exchanged(&self) -> String {
        let names: Vec<String> = self.exchanges.iter().map(|name| spellings(name, FOLDED)).collect();
        if names.is_empty() { self.own() } else { names.join("|") }
    }

    /// What a proxy takes off the trailers of responses: our own headers, and those that exchanges look for in headers alone.
    pub fn trailers(&self) -> String {
        self.exchanges.iter().fold(self.own(), |names, name| format!("{names}|{}", spellings(name, FOLDED)))
    }

    /// `jwt` without its `x-`, unless the pattern of our other headers has it in it.
    fn renamed(&self) -> Option<&str> {
        (!self.jwt.starts_with(PREFIX)).then(|| self.jwt.strip_prefix("x-").unwrap_or(&self.jwt))
    }
}

/// A pattern of one name with `any` for each sign that is neither letter nor digit.
fn spellings(name: &str, any: &str) -> String {
    let sign =
        |sign: char| if sign.is_ascii_alphanumeric() { sign.to_ascii_lowercase().to_string() } else { any.to_owned() };
    name.chars().map(sign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../examples/envoy/envoy.yaml");

    #[test]
    fn the_default_patterns_are_those_of_the_example_that_is_attacked() {
        let headers = Headers::default();
        assert_eq!(SHIPPED.matches(&format!("regex: \"{}\"", headers.own())).count(), 5);
        for pattern in [headers.checked(), headers.answered()] {
            assert_eq!(SHIPPED.matches(&format!("regex: \"{pattern}\"")).count(), 1, "{pattern}");
        }
    }

    #[test]
    fn p07_a_renamed_header_is_taken_off_in_every_spelling() {
        let headers = Headers { jwt: "x-user-jwt".to_owned(), ..Headers::default() };
        assert_eq!(headers.own(), "x[^a-z0-9](session[^a-z0-9].*|user[^a-z0-9]jwt)");
        let whole = |pattern: String| regex::Regex::new(&format!("^(?:{pattern})$")).unwrap();
        let (own, checked, answered) = (whole(headers.own()), whole(headers.checked()), whole(headers.answered()));
        for (name, ours) in [
            ("x-user-jwt", true),
            ("x_user.jwt", true),
            ("x!user~jwt", true),
            ("x-session-update", true),
            ("x-user-jwt2", false),
            ("x-userxjwt", false),
        ] {
            assert_eq!(own.is_match(name), ours, "{name}");
            assert_eq!(checked.is_match(name), ours, "{name}");
            // What the gate may change is written shorter, with letters between the words as well; nothing is taken off by it.
            assert_eq!(answered.is_match(name), ours || name == "x-userxjwt", "{name}");
        }
        let twice = Headers { jwt: "x-x-jwt".to_owned(), ..Headers::default() };
        assert_eq!(twice.own(), "x[^a-z0-9](session[^a-z0-9].*|x[^a-z0-9]jwt)");
        for pattern in [twice.own(), twice.checked(), twice.answered()].map(whole) {
            for (name, ours) in [("x-x-jwt", true), ("x_x.jwt", true), ("x-jwt", false), ("x-x-x-jwt", false)] {
                assert_eq!(pattern.is_match(name), ours, "{name}");
            }
        }
        assert!(checked.is_match("x-api-key") && checked.is_match("cookie") && !checked.is_match("x-request-id"));
        assert!(answered.is_match("set-cookie") && answered.is_match("x-login-jwt") && !answered.is_match("location"));
    }
}
