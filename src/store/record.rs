//! The versioned encoding of what a store keeps under a session's key.
//!
//! ```text
//! version (1) | kind (1) | realm | sid (16) | body | check (8)
//! ```
//!
//! Integers are LEB128, signed ones zigzag first; text is its length and its bytes. The key is part of the value, so a
//! record copied under another key is refused (P19). `check` is the start of a SHA-256 over all before it: it finds damage.
//! It is no proof against someone who may write to the store; what they could plant is limited by the key and by the tag
//! that a token carries.
//!
//! `last_seen` is not part of a record: stores keep it beside, so that a touch does not rewrite the record.

use std::time::Duration;

use aws_lc_rs::digest;

use crate::authz::session::{
    Claims, Device, PreviousSecret, Provider, Realm, SecretDigest, Session, SessionId, Timestamp,
};

/// The longest encoding that is written or read, in bytes. Claims take at most a quarter of it.
pub const MAX_BYTES: usize = 64 * 1024;

const VERSION: u8 = 1;
const KIND_SESSION: u8 = 1;
const KIND_TOMBSTONE: u8 = 2;
const CHECK_BYTES: usize = 8;

/// What stands under a session's key: one of both, never both, so that a revocation cannot be half made.
#[derive(Clone, Debug)]
pub enum Stored {
    /// A session; its `last_seen` is its `created` until the store fills it in.
    Session(Box<Session>),
    /// It was revoked.
    Tombstone {
        /// When the session would have ended anyway; the tombstone is forgotten after it.
        ends: Timestamp,
    },
}

/// Why bytes are not what should stand under this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by another version of this software.
    #[error("record version {0} is not {VERSION}, the one this release reads")]
    Version(u8),
    /// Longer than any record, or too short for one.
    #[error("a record cannot have {0} bytes")]
    Length(usize),
    /// The bytes are not those that were written.
    #[error("the record is damaged: its check does not match")]
    Damaged,
    /// The record belongs to another session id or realm.
    #[error("the record belongs to another key")]
    OtherKey,
    /// A field cannot be read.
    #[error("the record's {0} cannot be read")]
    Field(&'static str),
}

/// The record is over [`MAX_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session record would be {0} bytes, the most is {MAX_BYTES}")]
pub struct TooLarge(pub usize);

/// The bytes of a session's record, without its `last_seen`.
///
/// # Errors
/// When they would be more than [`MAX_BYTES`].
pub fn encode(session: &Session) -> Result<Vec<u8>, TooLarge> {
    let mut out = Writer::new(KIND_SESSION, &session.realm, session.id);
    out.text(&session.subject);
    out.raw(session.secret.as_bytes());
    out.option(session.previous.as_ref(), |out, previous| {
        out.raw(previous.digest.as_bytes());
        out.option(previous.ends, |out, ends| out.time(ends));
    });
    out.time(session.rotated_at);
    out.time(session.created);
    out.time(session.auth_time);
    out.number(u64::try_from(session.idle.as_millis()).unwrap_or(u64::MAX));
    out.time(session.absolute_end);
    out.number(session.version);
    out.number(session.epoch);
    out.option(session.acr.as_deref(), Writer::text);
    out.texts(&session.amr);
    out.texts(&session.scopes);
    out.texts(&session.roles);
    out.text(session.claims.as_json());
    out.option(session.device.as_ref(), |out, device| {
        out.option(device.label.as_deref(), Writer::text);
        out.option(device.user_agent.as_deref(), Writer::text);
        out.option(device.address.as_deref(), Writer::text);
    });
    out.option(session.provider.as_ref(), |out, provider| {
        out.text(&provider.iss);
        out.option(provider.sid.as_deref(), Writer::text);
    });
    let bytes = out.finish();
    if bytes.len() > MAX_BYTES { Err(TooLarge(bytes.len())) } else { Ok(bytes) }
}

/// The bytes of a tombstone.
pub fn encode_tombstone(realm: &Realm, sid: SessionId, ends: Timestamp) -> Vec<u8> {
    let mut out = Writer::new(KIND_TOMBSTONE, realm, sid);
    out.time(ends);
    out.finish()
}

/// Reads what stands under the key of `sid` in `realm`. Total: any bytes give a value or an error.
///
/// # Errors
/// When the bytes are not exactly what [`encode`] or [`encode_tombstone`] makes for this key.
pub fn decode(realm: &Realm, sid: SessionId, bytes: &[u8]) -> Result<Stored, DecodeError> {
    let version = *bytes.first().ok_or(DecodeError::Length(0))?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    if bytes.len() > MAX_BYTES {
        return Err(DecodeError::Length(bytes.len()));
    }
    let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(DecodeError::Length(bytes.len()))?;
    if *check != check_of(body) {
        return Err(DecodeError::Damaged);
    }
    let mut input = Reader(body.get(1..).ok_or(DecodeError::Length(bytes.len()))?);
    let kind = input.byte("kind")?;
    let own_key = input.text("realm")? == realm.as_str() && input.array::<16>("sid")? == *sid.as_bytes();
    if !own_key {
        return Err(DecodeError::OtherKey);
    }
    let stored = match kind {
        KIND_SESSION => Stored::Session(Box::new(session(realm, sid, &mut input)?)),
        KIND_TOMBSTONE => Stored::Tombstone { ends: input.time("end")? },
        _ => return Err(DecodeError::Field("kind")),
    };
    if input.0.is_empty() { Ok(stored) } else { Err(DecodeError::Field("length")) }
}

fn session(realm: &Realm, id: SessionId, input: &mut Reader<'_>) -> Result<Session, DecodeError> {
    let subject = input.owned("subject")?;
    let secret = SecretDigest::from_bytes(input.array("secret")?);
    let previous = input.option("previous secret", |input| {
        let digest = SecretDigest::from_bytes(input.array("previous secret")?);
        Ok(PreviousSecret { digest, ends: input.option("overlap", |input| input.time("overlap"))? })
    })?;
    let rotated_at = input.time("rotation time")?;
    let created = input.time("creation time")?;
    Ok(Session {
        id,
        realm: realm.clone(),
        subject,
        secret,
        previous,
        rotated_at,
        created,
        last_seen: created,
        auth_time: input.time("authentication time")?,
        idle: Duration::from_millis(input.number("idle timeout")?),
        absolute_end: input.time("absolute end")?,
        version: input.number("version")?,
        epoch: input.number("epoch")?,
        acr: input.option("acr", |input| input.owned("acr"))?,
        amr: input.texts("amr")?,
        scopes: input.texts("scopes")?,
        roles: input.texts("roles")?,
        claims: input.claims()?,
        device: input.option("device", |input| {
            Ok(Device {
                label: input.option("device", |input| input.owned("device"))?,
                user_agent: input.option("device", |input| input.owned("device"))?,
                address: input.option("device", |input| input.owned("device"))?,
            })
        })?,
        provider: input.option("provider", |input| {
            Ok(Provider {
                iss: input.owned("provider")?,
                sid: input.option("provider", |input| input.owned("provider"))?,
            })
        })?,
    })
}

fn check_of(body: &[u8]) -> [u8; CHECK_BYTES] {
    let sum = digest::digest(&digest::SHA256, body);
    *sum.as_ref().first_chunk().expect("a SHA-256 has 32 bytes")
}

struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u8, realm: &Realm, sid: SessionId) -> Self {
        let mut out = Self(Vec::with_capacity(512));
        out.raw(&[VERSION, kind]);
        out.text(realm.as_str());
        out.raw(sid.as_bytes());
        out
    }

    fn finish(mut self) -> Vec<u8> {
        let check = check_of(&self.0);
        self.raw(&check);
        self.0
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push((value & 0x7f) as u8);
    }

    fn time(&mut self, at: Timestamp) {
        let millis = at.as_millis();
        self.number((millis.wrapping_shl(1) ^ (millis >> 63)).cast_unsigned());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.raw(text.as_bytes());
    }

    fn texts(&mut self, texts: &[String]) {
        self.number(texts.len() as u64);
        for text in texts {
            self.text(text);
        }
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.0.push(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// Reads from the front. Every error names the field and shows nothing of its content (P31).
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(DecodeError::Field(field))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        let (byte, rest) = self.0.split_first().ok_or(DecodeError::Field(field))?;
        self.0 = rest;
        Ok(*byte)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        self.take(N, field)?.try_into().map_err(|_| DecodeError::Field(field))
    }

    /// One number has one spelling: no more than ten bytes, none of them an empty last one.
    fn number(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(field)?;
            let bits = u64::from(byte & 0x7f);
            let lost = shift == 63 && bits > 1;
            let padded = shift > 0 && byte == 0;
            if lost || padded {
                return Err(DecodeError::Field(field));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Field(field))
    }

    fn time(&mut self, field: &'static str) -> Result<Timestamp, DecodeError> {
        let zigzag = self.number(field)?;
        Ok(Timestamp::from_millis((zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed())))
    }

    /// A length or a count, which is never more than the bytes that are left: each item takes one at least.
    fn count(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.number(field)?).map_err(|_| DecodeError::Field(field))?;
        if count > self.0.len() { Err(DecodeError::Field(field)) } else { Ok(count) }
    }

    fn text(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let length = self.count(field)?;
        std::str::from_utf8(self.take(length, field)?).map_err(|_| DecodeError::Field(field))
    }

    fn owned(&mut self, field: &'static str) -> Result<String, DecodeError> {
        self.text(field).map(str::to_owned)
    }

    fn texts(&mut self, field: &'static str) -> Result<Vec<String>, DecodeError> {
        let count = self.count(field)?;
        // As large as it has to be: it stays in memory for as long as the session is cached.
        let mut texts = Vec::with_capacity(count);
        for _ in 0..count {
            texts.push(self.owned(field)?);
        }
        Ok(texts)
    }

    fn option<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.byte(field)? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(DecodeError::Field(field)),
        }
    }

    fn claims(&mut self) -> Result<Claims, DecodeError> {
        let json = self.text("claims")?;
        if json.len() > Claims::MAX_BYTES || !json.starts_with('{') {
            return Err(DecodeError::Field("claims"));
        }
        serde_json::from_str(json).map_err(|_| DecodeError::Field("claims"))
    }
}

#[cfg(test)]
mod tests;
