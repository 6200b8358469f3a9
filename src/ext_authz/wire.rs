//! The parts of `envoy.service.auth.v3` that we read, by their field numbers.
//!
//! This is the only reading of a check: there is no full decode beside it. Fields that we do not name are skipped without
//! being looked into, and texts are borrowed from the message, so that a check costs no copy, no hash map and no reference
//! count. It differs from a full decode in three ways, all of them on messages that Envoy does not send
//! (`tests::properties` keeps the rest equal):
//!
//! - texts may be other than UTF-8 (they are bytes here; the decision judges them);
//! - fields that we skip are not checked inside;
//! - a map that names a key twice keeps both, and [`super::request`] refuses it, where a full decode keeps the last.

mod metadata;

use std::fmt;

use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

pub use self::metadata::Resource;

/// No protobuf, or a field that we read with a value of another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl From<DecodeError> for Malformed {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

/// `envoy.service.auth.v3.CheckRequest`, and of its `AttributeContext` what we read.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CheckRequest<'a> {
    /// The HTTP request under judgement; absent for the network filter, which we do not serve.
    pub http: Option<HttpRequest<'a>>,
    /// What the proxy's configuration says about the route.
    pub context_extensions: Vec<Entry<'a>>,
    /// What the route was made of, where the proxy's metadata says so.
    pub resources: Vec<Resource<'a>>,
}

/// `envoy.service.auth.v3.AttributeContext.HttpRequest`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HttpRequest<'a> {
    /// The proxy's id for the request's stream.
    pub id: &'a [u8],
    /// The method.
    pub method: &'a [u8],
    /// The headers as a map: names in lower case, repeated ones joined by `,`.
    pub headers: Vec<Entry<'a>>,
    /// Path and query.
    pub path: &'a [u8],
    /// `:authority`.
    pub host: &'a [u8],
    /// The headers as a list (`encode_raw_headers`): repeated ones apart, values as sent.
    pub header_map: Option<Vec<HeaderValue<'a>>>,
}

/// One entry of a `map<string, string>`, which is a repeated message on the wire.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

/// `envoy.config.core.v3.HeaderValue`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct HeaderValue<'a> {
    /// Its name.
    pub key: &'a [u8],
    /// Its value, when `raw_value` is not set.
    pub value: &'a [u8],
    /// Its value.
    pub raw_value: &'a [u8],
}

impl<'a> CheckRequest<'a> {
    /// Reads a message, whole or not at all. As everywhere in protobuf, what comes twice is merged, and of a text that comes
    /// twice the last counts.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        const ATTRIBUTES: u32 = 1;
        let mut check = Self::default();
        let mut fields = Fields(message);
        while let Some(field) = fields.next()? {
            if field.number == ATTRIBUTES {
                check.merge_attributes(field.bytes()?)?;
            }
        }
        Ok(check)
    }

    /// `envoy.service.auth.v3.AttributeContext`.
    fn merge_attributes(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        const REQUEST: u32 = 4;
        const CONTEXT_EXTENSIONS: u32 = 10;
        const ROUTE_METADATA_CONTEXT: u32 = 13;
        let mut fields = Fields(message);
        while let Some(field) = fields.next()? {
            match field.number {
                REQUEST => self.merge_request(field.bytes()?)?,
                ROUTE_METADATA_CONTEXT => metadata::merge(&mut self.resources, field.bytes()?)?,
                CONTEXT_EXTENSIONS => self.context_extensions.push(Entry::read(field.bytes()?)?),
                _ => {}
            }
        }
        Ok(())
    }

    /// `envoy.service.auth.v3.AttributeContext.Request`.
    fn merge_request(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        const HTTP: u32 = 2;
        let mut fields = Fields(message);
        while let Some(field) = fields.next()? {
            if field.number == HTTP {
                self.http.get_or_insert_default().merge(field.bytes()?)?;
            }
        }
        Ok(())
    }
}

/// Room for so many headers is made at once; an ordinary request has no more.
const ORDINARY: usize = 24;

/// Adds an entry to a list that most times is filled without growing.
fn push<T>(list: &mut Vec<T>, entry: T) {
    if list.capacity() == 0 {
        list.reserve_exact(ORDINARY);
    }
    list.push(entry);
}

impl<'a> HttpRequest<'a> {
    fn merge(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        let mut fields = Fields(message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => self.id = field.bytes()?,
                2 => self.method = field.bytes()?,
                3 => push(&mut self.headers, Entry::read(field.bytes()?)?),
                4 => self.path = field.bytes()?,
                5 => self.host = field.bytes()?,
                13 => merge_header_map(self.header_map.get_or_insert_default(), field.bytes()?)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// `envoy.config.core.v3.HeaderMap`.
fn merge_header_map<'a>(headers: &mut Vec<HeaderValue<'a>>, message: &'a [u8]) -> Result<(), Malformed> {
    const HEADERS: u32 = 1;
    let mut fields = Fields(message);
    while let Some(field) = fields.next()? {
        if field.number == HEADERS {
            push(headers, HeaderValue::read(field.bytes()?)?);
        }
    }
    Ok(())
}

impl<'a> Entry<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut entry = Self::default();
        let mut fields = Fields(message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => entry.key = field.bytes()?,
                2 => entry.value = field.bytes()?,
                _ => {}
            }
        }
        Ok(entry)
    }
}

impl<'a> HeaderValue<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut header = Self::default();
        let mut fields = Fields(message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => header.key = field.bytes()?,
                2 => header.value = field.bytes()?,
                3 => header.raw_value = field.bytes()?,
                _ => {}
            }
        }
        Ok(header)
    }
}

/// What is left to read of a message.
struct Fields<'a>(&'a [u8]);

/// One field of a message.
struct Field<'a> {
    number: u32,
    /// What a length stands before: a text, bytes, a message. `None` for numbers and groups.
    bytes: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = decode_key(&mut self.0)?;
        if wire_type != WireType::LengthDelimited {
            skip_field(wire_type, number, &mut self.0, DecodeContext::default())?;
            return Ok(Some(Field { number, bytes: None }));
        }
        let length = usize::try_from(decode_varint(&mut self.0)?).map_err(|_| Malformed)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(Some(Field { number, bytes: Some(bytes) }))
    }
}

impl<'a> Field<'a> {
    /// The value of a field that we read. All of them have a length.
    fn bytes(&self) -> Result<&'a [u8], Malformed> {
        self.bytes.ok_or(Malformed)
    }
}

/// Every one of these holds cookies of users: none of them shows a byte (P31).
macro_rules! redacted {
    ($($name:ident),*) => { $(
        impl fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    )* };
}

redacted!(CheckRequest, HttpRequest, Entry, HeaderValue);

#[cfg(test)]
mod tests;
