//! The canonical path of a request, and the other ways in which servers read it.
//!
//! Servers decode once, twice or not at all, take `%2F` for a separator or not, merge `//`, drop `;parameters`, drop dots and
//! blanks at a segment's end, stop at a decoded `?`. A path in which nothing of the kind occurs has one reading: itself. For
//! any other every combination is worked out, and it is for the rules to say whether the difference matters.

mod readings;

pub(super) use readings::triplet;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::OnceLock;

use self::readings::AllReadings;
use crate::authz::reason::DenyReason;

/// A request's path: checked, and read in every way that servers read it.
#[derive(Clone, Debug)]
pub struct RequestPath<'a> {
    /// Borrowed: `Cow` is what both kinds of readings have in common.
    sent: Cow<'a, [u8]>,
    readings: Readings<'a>,
    has_capitals: bool,
    /// The readings with letter case folded, once someone asked; never filled when that changes none.
    folded: OnceLock<Box<[Box<[u8]>]>>,
}

#[derive(Clone, Debug)]
enum Readings<'a> {
    /// The path as sent.
    AsSent,
    /// Never empty; decoded once comes first.
    Several { paths: Box<[Cow<'a, [u8]>]>, queries: Box<[Box<[u8]>]> },
}

/// The longest path, in bytes, without its query: as much as RFC 9110 §4.1 asks servers to take, and a bound for the work.
pub const MAX_LEN: usize = 8 * 1024;

impl<'a> RequestPath<'a> {
    /// Reads a path, without its query.
    ///
    /// # Errors
    /// [`DenyReason::MalformedPath`] for what is refused whatever the rules say: no `/` or two at its start, a byte that may not stand
    /// in a path (RFC 3986 §3.3: controls, blanks, `\`, `#`, beyond ASCII), a broken `%` triplet, and in any reading a
    /// control, a `\`, broken UTF-8 or a dot segment. [`DenyReason::AmbiguousRequest`] when there is no end to its readings.
    pub(super) fn parse(sent: &'a [u8]) -> Result<Self, DenyReason> {
        if sent.len() > MAX_LEN || sent.first() != Some(&b'/') {
            return Err(DenyReason::MalformedPath);
        }
        let (mut seen, mut before) = (0, 0);
        for &byte in sent {
            seen |= CLASSES[usize::from(byte)];
            if byte == b'/' && matches!(before, b'/' | b'.') {
                seen |= SEVERAL;
            }
            before = byte;
        }
        if seen & REFUSED != 0 {
            return Err(DenyReason::MalformedPath);
        }
        if seen & SEVERAL == 0 && before != b'.' {
            return Ok(Self {
                sent: sent.into(),
                readings: Readings::AsSent,
                has_capitals: seen & CAPITAL != 0,
                folded: OnceLock::new(),
            });
        }
        let text = std::str::from_utf8(sent).map_err(|_| DenyReason::MalformedPath)?;
        let AllReadings { paths, queries } = readings::all(text)?;
        let folded = fold_all(&paths);
        let has_capitals = folded.iter().zip(&paths).any(|(folded, reading)| **folded != **reading);
        let folded = if has_capitals { folded.into() } else { OnceLock::new() };
        Ok(Self { sent: sent.into(), readings: Readings::Several { paths, queries }, has_capitals, folded })
    }

    /// The path as sent.
    pub fn as_sent(&self) -> &[u8] {
        &self.sent
    }

    /// The path decoded once: what most servers see.
    pub fn decoded(&self) -> &[u8] {
        &self.readings()[0]
    }

    /// Every way to read it, without repetitions; [`Self::decoded`] comes first.
    pub fn readings(&self) -> &[Cow<'a, [u8]>] {
        match &self.readings {
            Readings::AsSent => std::slice::from_ref(&self.sent),
            Readings::Several { paths, .. } => paths,
        }
    }

    /// What a server takes for the query that stops at a `?` which the path holds encoded; an empty one for a `#`. Where there
    /// is any, that server may not see the request's own query.
    pub(super) fn queries(&self) -> &[Box<[u8]>] {
        match &self.readings {
            Readings::AsSent => &[],
            Readings::Several { queries, .. } => queries,
        }
    }

    /// The reading at `index` with letter case folded. All are worked out once.
    pub fn folded(&self, index: usize) -> &[u8] {
        if self.has_capitals {
            &self.folded.get_or_init(|| fold_all(self.readings()))[index]
        } else {
            &self.readings()[index]
        }
    }

    /// Whether letter case matters to any reading.
    pub fn has_capitals(&self) -> bool {
        self.has_capitals
    }
}

fn fold_all(readings: &[Cow<'_, [u8]>]) -> Box<[Box<[u8]>]> {
    readings.iter().map(|path| fold_case(path).into()).collect()
}

/// A byte that may not stand in a path.
const REFUSED: u8 = 1;
/// A byte that servers read differently.
const SEVERAL: u8 = 2;
const CAPITAL: u8 = 4;

const CLASSES: [u8; 256] = {
    let mut table = [REFUSED; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        table[byte as usize] = match byte {
            b'\\' | b'#' | b'?' => REFUSED,
            b'%' | b';' => SEVERAL,
            b'A'..=b'Z' => CAPITAL,
            _ => 0,
        };
        byte += 1;
    }
    table
};

/// The path with its letter case folded: each letter in capitals, and that in small letters, so that `ſ` and `s` or the Kelvin
/// sign and `k` fall together whichever way a server folds.
pub fn fold_case(path: &[u8]) -> Cow<'_, [u8]> {
    if path.is_ascii() {
        return if path.iter().any(u8::is_ascii_uppercase) { path.to_ascii_lowercase().into() } else { path.into() };
    }
    match std::str::from_utf8(path) {
        Ok(text) => {
            let folded: String = text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
            folded.into_bytes().into()
        }
        Err(_) => path.to_ascii_lowercase().into(),
    }
}

/// The path without what stands at its end, for servers that do not look at it: a `/`, a blank, or else the last extension (Rails
/// and Spring serve `/users.json` as `/users`). A name that begins with its only dot has no extension. `None` where nothing
/// is left to take off.
pub fn shorter(path: &[u8]) -> Option<&[u8]> {
    match path {
        [] | [b'/'] => None,
        [rest @ .., b'/' | b' '] => Some(rest),
        [.., last] if !last.is_ascii() => without_blank(path).or_else(|| without_extension(path)),
        _ => without_extension(path),
    }
}

/// Without the character beyond ASCII that is its last, if that is a blank.
fn without_blank(path: &[u8]) -> Option<&[u8]> {
    let start = path.iter().rposition(|byte| byte & 0xc0 != 0x80)?;
    let last = std::str::from_utf8(&path[start..]).ok()?;
    last.chars().all(char::is_whitespace).then(|| &path[..start])
}

fn without_extension(path: &[u8]) -> Option<&[u8]> {
    let dot = path.iter().rposition(|&it| matches!(it, b'.' | b'/')).filter(|&at| path[at] == b'.')?;
    (dot > 0 && path[dot - 1] != b'/').then(|| &path[..dot])
}

/// The path that a rule writes, decoded once: what [`RequestPath::decoded`] is compared with.
///
/// # Errors
/// What is wrong with it; a rule's path is held to the Gateway API's own bounds (`HTTPPathMatch`).
pub fn parse_pattern(value: &str) -> Result<String, PatternProblem> {
    if !value.starts_with('/') {
        return Err(PatternProblem::NoSlash);
    }
    if let Some(other) = value.chars().find(|&it| it != '%' && !readings::may_stand_bare(it) && it != '/') {
        return Err(PatternProblem::Character(other));
    }
    let decoded = readings::decode_once(value).ok_or(PatternProblem::Encoding)?;
    if value.to_ascii_lowercase().contains("%2f") {
        return Err(PatternProblem::EncodedSlash);
    }
    if decoded.contains("//") {
        return Err(PatternProblem::EmptySegment);
    }
    if readings::has_dot_segment(&decoded) {
        return Err(PatternProblem::DotSegment);
    }
    Ok(decoded)
}

/// What is wrong with a rule's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternProblem {
    /// It does not begin with one.
    #[error("must begin with `/`")]
    NoSlash,
    /// A character that has to be percent-encoded, or may not be there at all.
    #[error("{0:?} may not stand in a path; write it percent-encoded")]
    Character(char),
    /// `%` without two hexadecimal digits, or what it encodes is not UTF-8, a control or a backslash.
    #[error("its percent-encoding is broken, or encodes what no request's path may have")]
    Encoding,
    /// `%2F`: servers differ in whether it separates.
    #[error("`%2F` cannot be matched, since servers differ in whether it separates; end the prefix before it")]
    EncodedSlash,
    /// `//`: servers differ in whether they merge it.
    #[error("`//` cannot be matched, since servers differ in whether they merge it")]
    EmptySegment,
    /// `.` or `..`: no request has one.
    #[error("has a dot segment, which no request may have")]
    DotSegment,
}
