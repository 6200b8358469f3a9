//! Where a person is sent who has to sign in.

const MAX_REDIRECT: usize = 2048;

/// Where interactive requests are sent instead of a 401, up to the value of `return_to`.
#[derive(Clone, Debug)]
pub(crate) struct Redirect(String);

impl Redirect {
    pub(super) fn parse(target: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            Err(format!(
                "{target:?} {why}: write an https:// URL or a path on the same host, like https://login.example/"
            ))
        };
        if target.len() > MAX_REDIRECT {
            return Err(format!("over {MAX_REDIRECT} bytes"));
        }
        // What `Uri` lets through and browsers read in other ways: a backslash is a slash to them (WHATWG URL).
        if !target.bytes().all(|b| {
            b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'}' | b'|')
        }) {
            return wrong("has characters that a URL cannot have");
        }
        if target.contains('#') {
            return wrong("has a fragment, after which no parameter can be added");
        }
        let Ok(uri) = target.parse::<http::Uri>() else {
            return wrong("is not a URL");
        };
        match (uri.scheme_str(), uri.authority()) {
            (Some("https"), Some(authority)) if !authority.as_str().contains('@') => {}
            (Some("https"), Some(_)) => return wrong("has a user before its host"),
            (None, None) if target.starts_with('/') && !target.starts_with("//") => {}
            _ => return wrong("is neither"),
        }
        let named = |pair: &str| pair.split('=').next() == Some("return_to");
        if uri.query().is_some_and(|query| query.split('&').any(named)) {
            return wrong("already has the parameter return_to, which is added to it");
        }
        // `https://login.example?a=b` is a URL; a browser puts the `/` in.
        let joint = match uri.query() {
            None => "?",
            Some("") => "",
            Some(_) => "&",
        };
        Ok(Self(format!("{target}{joint}return_to=")))
    }

    /// The target up to and with `return_to=`.
    pub(crate) fn prefix(&self) -> &str {
        &self.0
    }

    /// The target alone.
    pub(crate) fn bare(&self) -> &str {
        self.0.trim_end_matches("return_to=").trim_end_matches(['?', '&'])
    }
}
