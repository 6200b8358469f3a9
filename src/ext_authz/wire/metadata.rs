//! What a proxy says of a route in its metadata (`envoy.config.core.v3.Metadata`), as far as we read it.

use std::fmt;

use super::{Entry, Fields, Malformed};

/// The namespace in which Envoy Gateway writes down what a route was made of.
const ENVOY_GATEWAY: &[u8] = b"envoy-gateway";

/// An object that a route was made of, as Envoy Gateway tells it (`includeRouteMetadata`).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Resource<'a> {
    /// Its kind, `HTTPRoute` and others.
    pub kind: &'a [u8],
    /// Its namespace.
    pub namespace: &'a [u8],
    /// Its name.
    pub name: &'a [u8],
    /// The rule's name; empty when it has none.
    pub section_name: &'a [u8],
}

/// It may name anything: it is not shown (P31).
impl fmt::Debug for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resource(redacted)")
    }
}

/// Adds the objects that Envoy Gateway names in this `Metadata`. What has another shape is passed over: it says nothing.
pub(super) fn merge<'a>(resources: &mut Vec<Resource<'a>>, metadata: &'a [u8]) -> Result<(), Malformed> {
    const FILTER_METADATA: u32 = 1;
    each(metadata, FILTER_METADATA, |entry| {
        let entry = Entry::read(entry)?;
        if entry.key != ENVOY_GATEWAY {
            return Ok(());
        }
        members(entry.value, |name, value| {
            if name != b"resources" {
                return Ok(());
            }
            const LIST: u32 = 6;
            const VALUES: u32 = 1;
            each(value, LIST, |list| {
                each(list, VALUES, |value| {
                    resources.push(Resource::read(value)?);
                    Ok(())
                })
            })
        })
    })
}

impl<'a> Resource<'a> {
    /// Reads a `google.protobuf.Value` that is a struct.
    fn read(value: &'a [u8]) -> Result<Self, Malformed> {
        const STRUCT: u32 = 5;
        const STRING: u32 = 3;
        let mut resource = Self::default();
        each(value, STRUCT, |members_of| {
            members(members_of, |name, value| {
                let field = match name {
                    b"kind" => &mut resource.kind,
                    b"namespace" => &mut resource.namespace,
                    b"name" => &mut resource.name,
                    b"sectionName" => &mut resource.section_name,
                    _ => return Ok(()),
                };
                each(value, STRING, |text| {
                    *field = text;
                    Ok(())
                })
            })
        })?;
        Ok(resource)
    }
}

/// Hands over each member of a `google.protobuf.Struct`.
fn members<'a>(
    message: &'a [u8],
    mut with: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    const FIELDS: u32 = 1;
    each(message, FIELDS, |entry| {
        let entry = Entry::read(entry)?;
        with(entry.key, entry.value)
    })
}

/// Hands over each field of this number.
fn each<'a>(
    message: &'a [u8],
    number: u32,
    mut with: impl FnMut(&'a [u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut fields = Fields(message);
    while let Some(field) = fields.next()? {
        if field.number == number {
            with(field.bytes()?)?;
        }
    }
    Ok(())
}
