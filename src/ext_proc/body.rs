//! One field of a JSON body, replaced where it stands; every other byte stays as it was.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

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

/// Finds the text at `path`, names from the outside in. `None` when the body is not JSON, or has no text there, or an empty
/// one: there is nothing to take then.
///
/// # Errors
/// [`Unreadable`]: what begins like an object is over [`MAX_BODY`], or a member on the way is there more than once.
pub fn find(body: &Bytes, path: &[Box<str>]) -> Result<Option<Found>, Unreadable> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf"; // browsers read on behind it
    let text = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Ok(None);
    }
    if body.len() > MAX_BODY {
        return Err(Unreadable);
    }
    let Ok(whole) = serde_json::from_slice::<&RawValue>(text) else { return Ok(None) };
    let mut value = whole;
    for name in path {
        match member(value.get(), name) {
            Member::Once(found) => value = found,
            Member::Absent => return Ok(None),
            Member::Twice => return Err(Unreadable),
        }
    }
    let Ok(text) = serde_json::from_str::<String>(value.get()) else { return Ok(None) };
    if text.is_empty() {
        return Ok(None);
    }
    let start = value.get().as_ptr().addr() - body.as_ptr().addr();
    Ok(Some(Found { body: body.clone(), at: start..start + value.get().len(), text: Zeroizing::new(text) }))
}

impl Found {
    /// The text, its escapes resolved.
    pub fn text(&self) -> &str {
        &self.text
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
fn member<'a>(value: &'a str, name: &str) -> Member<'a> {
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

    let mut json = serde_json::Deserializer::from_str(value);
    json.deserialize_map(Search(name)).unwrap_or(Member::Absent)
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
