//! One field of a JSON body, replaced where it stands; every other byte stays as it was.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::plain_sight;

/// The largest body that is looked into, in bytes: log-in answers are a few kilobytes.
pub const MAX_BODY: usize = 64 * 1024;

/// A body that cannot be searched, or has the field more than once: readers differ in which one they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// A text found in a body. `Debug` shows none of it.
pub struct Found {
    body: Bytes,
    /// The place of its JSON string in the body, the quotes included.
    at: Range<usize>,
    text: Zeroizing<String>,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found").field("at", &self.at).finish_non_exhaustive()
    }
}

/// Finds the text at `path`, names from the outside in. `None` when the body is not JSON, or has nothing there, or an empty text:
/// there is nothing to take then, as long as no JWT is anywhere in it. `says_json` is what its headers say of it.
///
/// # Errors
/// [`Unreadable`]: what looks like JSON, or is said to be, is over [`MAX_BODY`], or no JSON to the letter (RFC 8259), while
/// clients read on over less than that; or a member on the way is there more than once.
pub fn find(body: &Bytes, path: &[Box<str>], says_json: bool) -> Result<Option<Found>, Unreadable> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf"; // browsers read on behind it
    let text = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let Some(first) = text.trim_ascii_start().first() else { return Ok(None) };
    // Some clients read JSON in other encodings than UTF-8: by their marks, or by where the zeros are.
    const WIDE: [&[u8]; 6] = [b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff", b"{\0", b"\0{", b"\0\0\0{"];
    let is_wide = WIDE.iter().any(|mark| text.starts_with(mark));
    if !says_json && !is_wide && *first != b'{' {
        return Ok(None);
    }
    if body.len() > MAX_BODY {
        return Err(Unreadable);
    }
    let whole = serde_json::from_slice::<&RawValue>(text).map_err(|_| Unreadable)?;
    let mut value = whole;
    for name in path {
        match member(value.get(), name)? {
            Member::Once(found) => value = found,
            Member::Absent => return Ok(None),
            Member::Twice => return Err(Unreadable),
        }
    }
    match value.get() {
        "null" => return Ok(None),
        text if !text.starts_with('"') => return Err(Unreadable),
        _ => {}
    }
    let text = serde_json::from_str::<String>(value.get()).map_err(|_| Unreadable)?;
    if text.is_empty() {
        return Ok(None);
    }
    let start = value.get().as_ptr().addr() - body.as_ptr().addr();
    Ok(Some(Found { body: body.clone(), at: start..start + value.get().len(), text: Zeroizing::new(text) }))
}

/// Whether these are whole messages of gRPC, none of which is compressed: a byte that says so, the length, and the message
/// (gRPC over HTTP/2, `Length-Prefixed-Message`).
pub(super) fn is_plain_grpc(messages: &[u8]) -> bool {
    let mut rest = messages;
    while let Some(([0, length @ ..], behind)) = rest.split_first_chunk::<5>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some(next) = behind.get(length..) else { return false };
        rest = next;
    }
    rest.is_empty()
}

impl Found {
    /// The text, its escapes resolved.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a JWT stands in plain sight in what would stay.
    pub(super) fn leaves_jwt(&self) -> bool {
        [&self.body[..self.at.start], &self.body[self.at.end..]].into_iter().any(plain_sight::body_holds_jwt)
    }

    /// The body with `text` in the place of what was found.
    pub fn replace(&self, text: &str) -> Bytes {
        let string = Zeroizing::new(serde_json::Value::from(text).to_string());
        [&self.body[..self.at.start], string.as_bytes(), &self.body[self.at.end..]].concat().into()
    }
}

enum Member<'a> {
    Absent,
    Once(&'a RawValue),
    Twice,
}

/// The member `name` of a JSON value that is well-formed; absent when it is not an object.
///
/// # Errors
/// [`Unreadable`]: a name in it is no text (a lone surrogate, which readers replace or keep as they like).
fn member<'a>(value: &'a str, name: &str) -> Result<Member<'a>, Unreadable> {
    struct Search<'n>(&'n str);

    impl<'de> Visitor<'de> for Search<'_> {
        type Value = Member<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Member<'de>, A::Error> {
            let mut found = Member::Absent;
            while let Some((key, value)) = members.next_entry::<Name<'de>, &'de RawValue>()? {
                if key.0 == self.0 {
                    found = match found {
                        Member::Absent => Member::Once(value),
                        Member::Once(_) | Member::Twice => Member::Twice,
                    };
                }
            }
            Ok(found)
        }
    }

    if !value.starts_with('{') {
        return Ok(Member::Absent);
    }
    let mut json = serde_json::Deserializer::from_str(value);
    json.deserialize_map(Search(name)).map_err(|_| Unreadable)
}

/// A member's name: most have no escapes and are not copied.
struct Name<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }

        json.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests;
