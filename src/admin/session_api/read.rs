//! Reading requests, whole or not at all. What is said of a bad one never repeats a value of it (P31).

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, IF_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use serde::de::{DeserializeOwned, Unexpected};
use serde_json::error::Category;

use super::request::object;
use crate::admin::problem::{Problem, ProblemKind};
use crate::api::read::cure;
use crate::authz::session::SessionId;

/// The most bytes of a body.
pub const MAX_BODY: usize = 64 * 1024;
/// How long a body may take.
const BODY_TIME: Duration = Duration::from_secs(10);
/// The longest name of an unknown field that is repeated: shorter than any token.
const MAX_ECHO: usize = 40;

/// A JSON body (`application/json`).
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

/// A JSON merge patch (`application/merge-patch+json` or `application/json`).
#[derive(Debug)]
pub struct PatchBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read_json(request, &["application/json"]).await.map(Self)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for PatchBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let read = read_json(request, &["application/merge-patch+json", "application/json"]).await;
        read.map(Self).map_err(|problem| match problem.kind() {
            // RFC 5789 §2.2
            ProblemKind::UnsupportedMediaType => problem
                .with_header(HeaderName::from_static("accept-patch"), "application/merge-patch+json, application/json"),
            _ => problem,
        })
    }
}

async fn read_json<T: DeserializeOwned>(request: Request, accepted: &[&str]) -> Result<T, Problem> {
    let (parts, body) = request.into_parts();
    if !media_type(&parts.headers).is_some_and(|it| accepted.iter().any(|other| it.eq_ignore_ascii_case(other))) {
        let detail = format!("Content-Type must be {}", accepted.join(" or "));
        return Err(Problem::new(ProblemKind::UnsupportedMediaType, detail));
    }
    let too_large = || Problem::new(ProblemKind::TooLarge, format!("a body has at most {MAX_BODY} bytes"));
    let announced = parts.headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_BODY) {
        return Err(too_large());
    }
    let slow = |_| Problem::new(ProblemKind::Slow, format!("the body did not arrive within {BODY_TIME:?}"));
    let bytes = tokio::time::timeout(BODY_TIME, to_bytes(body, MAX_BODY)).await.map_err(slow)?.map_err(|error| {
        // The one other cause is a client that hung up, which hears nothing anyway.
        let _ = error;
        too_large()
    })?;
    parse(&bytes).map_err(|error| Problem::malformed(without_values(&error)))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = object(&mut json)?;
    json.end()?;
    read.ok_or_else(|| serde::de::Error::invalid_type(Unexpected::Unit, &"a JSON object"))
}

/// The one media type, without its parameters.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok()?.split(';').next().map(str::trim_ascii),
        _ => None,
    }
}

/// What is wrong with a body and where, without any value of it.
fn without_values(error: &serde_json::Error) -> String {
    let place = format!("line {}, column {}", error.line(), error.column());
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    match error.classify() {
        // These texts are all fixed.
        Category::Syntax | Category::Eof | Category::Io => format!("the body is not JSON: {text} ({place})"),
        Category::Data => format!("{} ({place})", expectation(text)),
    }
}

/// A message of serde without what it found: `invalid type: string "…", expected u64` becomes `expected u64`. It may begin
/// with the place in the query, which is text of the caller's too.
fn expectation(message: &str) -> String {
    const FIELDS: [&str; 3] = ["unknown field `", "missing field `", "duplicate field `"];
    let last = FIELDS.iter().filter_map(|words| Some((message.rfind(words)?, *words))).max();
    if let Some((at, words)) = last {
        let rest = &message[at + words.len()..];
        // The last such mark, since the name may hold one too.
        let (name, expected) = rest.rsplit_once("`, expected ").or(rest.strip_suffix('`').map(|it| (it, ""))).unzip();
        let plain = |name: &&str| name.len() <= MAX_ECHO && name.bytes().all(|b| b.is_ascii_alphanumeric());
        return match (name.filter(plain), expected) {
            (Some(name), Some("") | None) => format!("{words}{name}`"),
            (Some(name), Some(expected)) => cure(&format!("{words}{name}`, expected {expected}")),
            (None, _) => words.trim_end_matches(" `").to_owned(),
        };
    }
    match message.rsplit_once(", expected ") {
        Some((_, expected)) if expected.len() <= MAX_ECHO => format!("wrong type or value: expected {expected}"),
        _ => "wrong type or value".to_owned(),
    }
}

/// A query string, in which each parameter is known and comes once.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Query::try_from_uri(&parts.uri).map(|Query(it)| Self(it)).map_err(|rejection| {
            let text = match &rejection {
                QueryRejection::FailedToDeserializeQueryString(inner) => std::error::Error::source(inner)
                    .map(|source| expectation(&source.to_string()))
                    .unwrap_or_else(|| "wrong type or value".to_owned()),
                _ => "wrong type or value".to_owned(),
            };
            Problem::malformed(format!("query: {text}"))
        })
    }
}

/// The version that a change asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// No `If-Match`, or `*`: whichever it is, as long as there is one.
    Any,
    /// This one.
    Version(u64),
    /// An entity tag that is none of ours, and so matches no version (RFC 9110 §13.1.1).
    Never,
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(IF_MATCH).iter();
        let malformed = || Problem::malformed("If-Match must be one entity tag, such as \"7\", or *");
        match (values.next(), values.next()) {
            (None, _) => Ok(Self::Any),
            (Some(value), None) => Self::read(value.to_str().map_err(|_| malformed())?).ok_or_else(malformed),
            (Some(_), Some(_)) => Err(malformed()),
        }
    }
}

impl IfMatch {
    fn read(value: &str) -> Option<Self> {
        let value = value.trim_ascii();
        if value == "*" {
            return Some(Self::Any);
        }
        // A weak tag never matches, since the comparison is the strong one.
        let (weak, tag) = value.strip_prefix("W/").map_or((false, value), |tag| (true, tag));
        let tag = tag.strip_prefix('"')?.strip_suffix('"').filter(|tag| !tag.contains('"'))?;
        Some(match tag.parse() {
            // One version has one spelling: `"07"` is another tag.
            Ok(version) if !weak && u64::to_string(&version) == tag => Self::Version(version),
            _ => Self::Never,
        })
    }
}

/// Where a list goes on. Opaque to callers; the leading byte is its form.
pub fn cursor_text(after: SessionId) -> String {
    let mut bytes = [1; 17];
    bytes[1..].copy_from_slice(after.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads what [`cursor_text`] wrote.
///
/// # Errors
/// 400 for anything else.
pub fn read_cursor(text: &str) -> Result<SessionId, Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| <[u8; 17]>::try_from(bytes).ok());
    match bytes {
        Some([1, sid @ ..]) => Ok(SessionId::from_bytes(sid)),
        _ => Err(Problem::malformed("query: cursor must be the one that the page before gave")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_is_one_strong_tag() {
        for (value, want) in [
            ("\"7\"", Some(IfMatch::Version(7))),
            (" \"0\" ", Some(IfMatch::Version(0))),
            ("*", Some(IfMatch::Any)),
            ("W/\"7\"", Some(IfMatch::Never)),
            ("\"07\"", Some(IfMatch::Never)),
            ("\"+7\"", Some(IfMatch::Never)),
            ("\"x\"", Some(IfMatch::Never)),
            ("\"99999999999999999999\"", Some(IfMatch::Never)),
            ("7", None),
            ("", None),
            ("\"", None),
            ("\"7\", \"8\"", None),
        ] {
            assert_eq!(IfMatch::read(value), want, "{value}");
        }
    }

    #[test]
    fn p31_serde_messages_lose_what_they_found() {
        for (message, want) in [
            ("invalid type: string \"ckr_secret\", expected a sequence", "wrong type or value: expected a sequence"),
            ("invalid type: string \"a, expected b\", expected u64", "wrong type or value: expected u64"),
            ("invalid value: integer `7`, expected a string", "wrong type or value: expected a string"),
            ("unknown field `subjekt`, expected `subject`", "unknown field `subjekt`: did you mean `subject`?"),
            ("unknown field `ckr_0123`, expected `subject`", "unknown field"),
            ("unknown field `a`, expected ckr_secret`, expected `subject`", "unknown field"),
            ("missing field `subject`", "missing field `subject`"),
            ("realms: unknown field `realms`, expected `realm`", "unknown field `realms`: did you mean `realm`?"),
            ("ckr_secret: unknown field `ckr_secret`, expected `realm`", "unknown field"),
            ("missing field `ckr_secret`: invalid digit found in string", "missing field"),
            ("a text of somebody else's", "wrong type or value"),
        ] {
            assert_eq!(expectation(message), want);
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn a_cursor_reads_back(bytes: [u8; 16]) {
                let sid = SessionId::from_bytes(bytes);
                prop_assert_eq!(read_cursor(&cursor_text(sid)).ok(), Some(sid));
            }

            #[test]
            fn p31_no_value_of_a_body_is_said(json in "[\\[{]?\"(ckr_)?[A-Za-z0-9_-]{41,80}\"(: ?(\"ckr_[a-z]{9}\"|7)?)?[}\\]]?") {
                #[derive(Debug, serde::Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Body { #[allow(dead_code)] token: String }
                let said = without_values(&parse::<Body>(json.as_bytes()).expect_err("no such field"));
                for word in json.split(['"', '[', '{', ':', ' ', ']', '}']).filter(|word| word.len() > 8) {
                    prop_assert!(!said.contains(word), "{said}");
                }
            }
        }
    }
}
