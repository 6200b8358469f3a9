//! Checks as a fuzzer can write them: a line for the request and one for each header, so that a change of a byte is mostly
//! still a request. The first byte says how it travels.

use bytes::Bytes;
use cloakroom::ext_authz::request::{POLICY_EXTENSION, ROUTE_EXTENSION};
use prost::encoding::{WireType, encode_key, encode_varint};

/// The bytes of the check that `input` writes:
///
/// - `w`: the rest is the message itself;
/// - `m`: headers as a map; `l`: as a list; `r`: as a list of raw values.
///
/// The first line is `METHOD HOST PATH`, the others are `name: value`. The lines `cloakroom.policy: ns/name` and
/// `cloakroom.route: kind/ns/name` are what the proxy says.
pub fn message(input: &[u8]) -> Option<Bytes> {
    let (form, rest) = input.split_first()?;
    if *form == b'w' {
        return Some(Bytes::copy_from_slice(rest));
    }
    let mut lines = rest.split(|it| *it == b'\n');
    let mut words = lines.next()?.splitn(3, |it| *it == b' ');
    let (method, host, path) = (words.next()?, words.next()?, words.next()?);
    let mut http = [field(2, method), field(5, host), field(4, path)].concat();
    let (mut pins, mut list) = (Vec::new(), Vec::new());
    for (name, value) in lines.filter_map(header) {
        let entry = [field(1, name), field(2, value)].concat();
        match form {
            _ if name == POLICY_EXTENSION || name == ROUTE_EXTENSION => pins.extend(field(10, &entry)),
            b'm' => http.extend(field(3, &entry)),
            b'l' => list.extend(field(1, &entry)),
            b'r' => list.extend(field(1, &[field(1, name), field(3, value)].concat())),
            _ => return None,
        }
    }
    match form {
        b'm' => {}
        b'l' | b'r' => http.extend(field(13, &list)),
        _ => return None,
    }
    let attributes = [field(4, &field(2, &http)), pins].concat();
    Some(field(1, &attributes).into())
}

/// A field of protobuf with a length before it.
fn field(number: u32, value: &[u8]) -> Vec<u8> {
    let mut field = Vec::with_capacity(value.len() + 8);
    encode_key(number, WireType::LengthDelimited, &mut field);
    encode_varint(value.len() as u64, &mut field);
    field.extend_from_slice(value);
    field
}

/// The name and value that a line of `name: value` says.
fn header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    // From the second byte on: `:path` is a name.
    let colon = 1 + line.get(1..)?.iter().position(|it| *it == b':')?;
    let value = &line[colon + 1..];
    Some((&line[..colon], value.strip_prefix(b" ").unwrap_or(value)))
}
