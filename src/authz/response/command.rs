//! What a service says about sessions, read from the headers of its response.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{CommandRefusal, NewIdentity};
use crate::authz::policy::Grants;
use crate::authz::session::{Claims, Device};
use crate::authz::unique::UniqueObject;

const CREATE: &str = "x-session-create";
const UPDATE: &str = "x-session-update";
const END: &str = "x-session-end";

/// The largest value of a command's header that is read: claims of the largest size, and what stands around them.
const MAX_VALUE: usize = Claims::MAX_BYTES + 4096;

/// One wish of a service. `Debug` shows no claim.
#[derive(Clone)]
pub enum Command {
    /// `x-session-create`: make a session for whoever has just signed in.
    Create(Box<NewIdentity>),
    /// `x-session-update`: a merge patch (RFC 7396) of the session's claims, within the rule's `writableClaims`.
    Update(Box<RawValue>),
    /// `x-session-end`: log out.
    End(EndScope),
}

impl PartialEq for Command {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Create(one), Self::Create(other)) => one == other,
            (Self::Update(one), Self::Update(other)) => one.get() == other.get(),
            (Self::End(one), Self::End(other)) => one == other,
            _ => false,
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(identity) => f.debug_tuple("Create").field(identity).finish(),
            Self::Update(patch) => write!(f, "Update({} bytes)", patch.get().len()),
            Self::End(scope) => f.debug_tuple("End").field(scope).finish(),
        }
    }
}

/// Which sessions end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndScope {
    /// The request's own.
    Current,
    /// All of its subject's.
    Subject,
}

/// What a response wishes: what is to be done, and what is not done for all that it asks for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    /// To be done.
    pub command: Option<Command>,
    /// Not done.
    pub refused: Option<CommandRefusal>,
}

/// `x-session-create`, as written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateHeader {
    subject: String,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    claims: Option<UniqueObject>,
    #[serde(default)]
    acr: Option<String>,
    #[serde(default)]
    amr: Vec<String>,
    #[serde(default)]
    device: Option<DeviceHeader>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceHeader {
    label: String,
}

/// Whether a response's header of this name, in lower case, is a command.
pub fn is_command(name: &[u8]) -> bool {
    [CREATE, UPDATE, END].iter().any(|command| command.as_bytes() == name)
}

impl Wish {
    /// Reads the wish of a response from its headers, whose names are in lower case, within what the rule grants.
    ///
    /// Ending wins over everything beside it: whoever asked to be logged out must be. Two commands otherwise contradict each
    /// other, and neither is done.
    pub fn read<'a>(headers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>, grants: &Grants) -> Self {
        let mut found: BTreeMap<&str, Vec<&[u8]>> = BTreeMap::new();
        for (name, value) in headers {
            if let Some(command) = [CREATE, UPDATE, END].into_iter().find(|command| command.as_bytes() == name) {
                found.entry(command).or_default().push(value);
            }
        }
        let ends = found.remove(END);
        let others = found.len();
        let wanted = match ends {
            Some(values) => end(&values, grants),
            None if others > 1 => Err(CommandRefusal::ConflictingCommands),
            None => match found.pop_first() {
                None => return Self::default(),
                Some((name, values)) => only(&values).and_then(|value| match name {
                    CREATE => create(value, grants),
                    _ => update(value, grants),
                }),
            },
        };
        match wanted {
            Ok(command) => {
                let more = matches!(command, Command::End(_)) && others > 0;
                Self { command: Some(command), refused: more.then_some(CommandRefusal::ConflictingCommands) }
            }
            Err(refusal) => Self { command: None, refused: Some(refusal) },
        }
    }
}

fn only<'a>(values: &[&'a [u8]]) -> Result<&'a [u8], CommandRefusal> {
    match values {
        [value] if value.len() <= MAX_VALUE => Ok(value),
        [_] => Err(CommandRefusal::OutOfBounds),
        _ => Err(CommandRefusal::RepeatedCommand),
    }
}

/// Said twice, it is said: a log-out that is not done because two layers of a service asked for it would be worse. Of both scopes
/// the wider counts.
fn end(values: &[&[u8]], grants: &Grants) -> Result<Command, CommandRefusal> {
    if !grants.end {
        return Err(CommandRefusal::NotGranted);
    }
    if !values.iter().all(|value| matches!(*value, b"current" | b"subject")) {
        return Err(CommandRefusal::MalformedCommand);
    }
    let everywhere = values.contains(&&b"subject"[..]);
    Ok(Command::End(if everywhere { EndScope::Subject } else { EndScope::Current }))
}

/// Whether a response asks for an end, whatever else it says and whether or not it may.
pub fn asks_to_end<'a>(headers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> bool {
    headers.into_iter().any(|(name, _)| name == END.as_bytes())
}

fn update(value: &[u8], grants: &Grants) -> Result<Command, CommandRefusal> {
    if grants.writable.is_empty() {
        return Err(CommandRefusal::NotGranted);
    }
    let patch: UniqueObject = serde_json::from_slice(value).map_err(|_| CommandRefusal::MalformedCommand)?;
    let writable = |name: &String| grants.writable.iter().any(|claim| **claim == **name);
    if !patch.0.keys().all(writable) {
        return Err(CommandRefusal::ClaimNotWritable);
    }
    // As text again: many may wait, and what is parsed is many times as large.
    let text = serde_json::value::to_raw_value(&patch.0).map_err(|_| CommandRefusal::MalformedCommand)?;
    Ok(Command::Update(text))
}

fn create(value: &[u8], grants: &Grants) -> Result<Command, CommandRefusal> {
    if !grants.create {
        return Err(CommandRefusal::NotGranted);
    }
    // serde takes an array for a struct whose fields have no names.
    if value.trim_ascii_start().first() != Some(&b'{') {
        return Err(CommandRefusal::MalformedCommand);
    }
    let asked: CreateHeader = serde_json::from_slice(value).map_err(|_| CommandRefusal::MalformedCommand)?;
    Ok(Command::Create(Box::new(NewIdentity {
        subject: asked.subject,
        auth_time: None,
        acr: asked.acr,
        amr: asked.amr,
        scopes: asked.scopes,
        roles: asked.roles,
        claims: match &asked.claims {
            Some(claims) => Claims::from_object(&claims.0).ok_or(CommandRefusal::OutOfBounds)?,
            None => Claims::empty(),
        },
        device: asked.device.map(|device| Device { label: Some(device.label), ..Device::default() }),
        provider: None,
    })))
}

#[cfg(test)]
mod tests;
