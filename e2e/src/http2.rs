//! HTTP/2 (RFC 9113) as bytes: a client that sends the fields it is told, however wrong, on a connection of its own.
//!
//! It reads no more of the answer than its status and its end. Tests that want more use a real client.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Name and value.
pub type Field<'a> = (&'a [u8], &'a [u8]);

/// No test waits longer for a peer.
const PATIENCE: Duration = Duration::from_secs(20);
/// RFC 9113 §4.2: what every peer takes in one frame.
const MAX_FRAME: usize = 16_384;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

/// RFC 9113 §7.
const CANCEL: u32 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// Sends one request and waits for its end. The status, or `None` when the stream or the connection was reset without one.
///
/// `trailers`: a body of two bytes and these fields follow.
///
/// # Errors
/// When nobody listens there, or the answer does not end in time.
pub async fn exchange(
    address: SocketAddr,
    fields: &[Field<'_>],
    trailers: Option<&[Field<'_>]>,
) -> Result<Option<u16>> {
    Ok(converse(address, fields, trailers).await?.0)
}

/// Sends one request without a body and waits for its end. How many field sections came: one for each interim answer
/// (RFC 9113 §8.1), one for the answer, and one for its trailers.
///
/// # Errors
/// When nobody listens there, or the answer does not end in time.
pub async fn field_sections(address: SocketAddr, fields: &[Field<'_>]) -> Result<usize> {
    Ok(converse(address, fields, None).await?.1)
}

/// A request that waits for its answer, on a connection that nobody reads from.
pub struct Waiting(TcpStream);

impl Waiting {
    /// Sends a request without a body.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn send(address: SocketAddr, fields: &[Field<'_>]) -> Result<Self> {
        let mut stream = connect(address).await?;
        let mut bytes = preface();
        block(&mut bytes, fields, true);
        stream.write_all(&bytes).await?;
        Ok(Self(stream))
    }

    /// Gives the request up (RFC 9113 §8.7); the connection stays.
    ///
    /// # Errors
    /// When the peer is gone.
    pub async fn cancel(&mut self) -> Result<()> {
        let mut bytes = Vec::new();
        frame(&mut bytes, RST_STREAM, 0, 1, &CANCEL.to_be_bytes());
        Ok(self.0.write_all(&bytes).await?)
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream> {
    TcpStream::connect(address).await.with_context(|| format!("nobody listens on {address}"))
}

/// What a client says first (RFC 9113 §3.4).
fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut bytes, SETTINGS, 0, 0, &[]);
    bytes
}

async fn converse(
    address: SocketAddr,
    fields: &[Field<'_>],
    trailers: Option<&[Field<'_>]>,
) -> Result<(Option<u16>, usize)> {
    let stream = connect(address).await?;
    let mut bytes = preface();
    block(&mut bytes, fields, trailers.is_none());
    if let Some(trailers) = trailers {
        frame(&mut bytes, DATA, 0, 1, b"hi");
        block(&mut bytes, trailers, true);
    }
    tokio::time::timeout(PATIENCE, answer(stream, &bytes)).await.context("no end of the answer in time")
}

/// Whatever breaks is an end without a status, as a reset is.
async fn answer(mut stream: TcpStream, request: &[u8]) -> (Option<u16>, usize) {
    // A peer that has seen enough closes before the last byte is written; its answer may lie there all the same.
    stream.write_all(request).await.ok();
    let (mut found, mut sections) = (None, 0);
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return (found, sections);
        }
        let [high, mid, low, kind, flags, id @ ..] = head;
        let mut payload = vec![0; usize::from(high) << 16 | usize::from(mid) << 8 | usize::from(low)];
        if stream.read_exact(&mut payload).await.is_err() {
            return (found, sections);
        }
        let ours = u32::from_be_bytes(id) == 1;
        match kind {
            SETTINGS if flags & ACK == 0 => {
                let mut acknowledged = Vec::new();
                frame(&mut acknowledged, SETTINGS, ACK, 0, &[]);
                stream.write_all(&acknowledged).await.ok();
            }
            HEADERS | DATA if ours => {
                sections += usize::from(kind == HEADERS);
                if kind == HEADERS && found.is_none_or(|status| status < 200) {
                    found = status(&payload).or(found);
                }
                if flags & END_STREAM != 0 {
                    return (found, sections);
                }
            }
            RST_STREAM if ours => return (found, sections),
            GOAWAY if found.is_none() => return (None, sections),
            _ => {}
        }
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A field section on stream 1: literal fields, never indexed, never compressed (RFC 7541 §6.2.2).
fn block(out: &mut Vec<u8>, fields: &[Field<'_>], ends: bool) {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        text(&mut block, name);
        text(&mut block, value);
    }
    let last = block.len().div_ceil(MAX_FRAME).max(1) - 1;
    let pieces: Vec<&[u8]> = if block.is_empty() { vec![&[]] } else { block.chunks(MAX_FRAME).collect() };
    for (index, piece) in pieces.into_iter().enumerate() {
        let kind = if index == 0 { HEADERS } else { CONTINUATION };
        let first = if index == 0 && ends { END_STREAM } else { 0 };
        frame(out, kind, first | if index == last { END_HEADERS } else { 0 }, 1, piece);
    }
}

/// RFC 7541 §5.2, without Huffman coding.
fn text(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text.len();
    if rest < 127 {
        out.push(low_byte(rest));
    } else {
        out.push(127);
        rest -= 127;
        while rest >= 128 {
            out.push(low_byte(rest % 128) | 128);
            rest /= 128;
        }
        out.push(low_byte(rest));
    }
    out.extend_from_slice(text);
}

fn low_byte(number: usize) -> u8 {
    number.to_le_bytes()[0]
}

/// `:status`, which comes first (RFC 9113 §8.3), after changes of the table's size.
fn status(block: &[u8]) -> Option<u16> {
    const STATIC: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20)?;
    match &block[start..] {
        [indexed @ 0x88..=0x8e, ..] => Some(STATIC[usize::from(indexed - 0x88)]),
        [0x08..=0x0e | 0x18..=0x1e | 0x48..=0x4e, length, rest @ ..] => {
            let value = rest.get(..usize::from(length & 0x7f))?;
            if length & 0x80 == 0 { std::str::from_utf8(value).ok()?.parse().ok() } else { huffman_digits(value) }
        }
        _ => None,
    }
}

/// The digits of RFC 7541, Appendix B: `0` to `2` have five bits, the others six.
fn huffman_digits(coded: &[u8]) -> Option<u16> {
    let bits: Vec<u8> = coded.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0_u16, |number, bit| number << 1 | u16::from(*bit));
    let (mut at, mut found) = (0, 0);
    for _ in 0..3 {
        let five = number(bits.get(at..at + 5)?);
        let digit = if five <= 2 {
            at += 5;
            five
        } else {
            at += 6;
            number(bits.get(at - 6..at)?).checked_sub(0b01_1001)? + 3
        };
        found = found * 10 + digit;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_in_every_coding() {
        for (block, want) in [
            (&[0x88][..], Some(200)),
            (&[0x20, 0x8c], Some(400)),
            (&[0x48, 0x03, b'4', b'0', b'3'], Some(403)),
            (&[0x48, 0x82, 0x64, 0x02], Some(302)),       // RFC 7541, C.6.1
            (&[0x48, 0x83, 0x64, 0x0e, 0xff], Some(307)), // RFC 7541, C.6.2
            (&[0x00, 0x01, b'a', 0x00], None),
        ] {
            assert_eq!(status(block), want, "{block:x?}");
        }
    }

    #[test]
    fn lengths_are_written_in_full() {
        for (length, want) in [(3, &[3][..]), (126, &[126]), (127, &[127, 0]), (1337 + 96, &[127, 0x9a, 10])] {
            let mut out = Vec::new();
            text(&mut out, &vec![b'x'; length]);
            assert_eq!(&out[..want.len()], want);
            assert_eq!(out.len(), want.len() + length);
        }
    }
}
