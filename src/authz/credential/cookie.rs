//! Our cookie in a `Cookie` field (RFC 6265 §4.2), and the field without it.
//!
//! Servers find cookies in the same bytes in different ways: some split at commas, read quoted strings, trim what they take for
//! blanks, decode names or fold their case. Ours counts only where all of them find it, and is taken off wherever one might.

use std::borrow::Cow;

use super::CookieRest;

/// What is in a `Cookie` field under our name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cookie<'a> {
    /// Nothing, for any server.
    Absent,
    /// One cookie, for every server.
    Value(&'a [u8]),
    /// Several, or one that servers find differently.
    Ambiguous,
}

/// Looks for our cookie. Several `Cookie` lines have to be joined by commas first, as the proxy does.
pub(super) fn find<'a>(field: &'a [u8], name: &[u8]) -> Cookie<'a> {
    let mut found = None;
    for pair in pairs(field).filter(|pair| pair.may_be(name)) {
        if found.replace(pair).is_some() {
            return Cookie::Ambiguous;
        }
    }
    let Some(pair) = found else {
        return Cookie::Absent;
    };
    let text = pair.text.strip_prefix(b" ").unwrap_or(pair.text);
    match text.strip_prefix(name).and_then(|rest| rest.strip_prefix(b"=")) {
        Some(value) if pair.stands_alone() && !value.iter().any(|&it| it <= b' ') && !is_hidden(field, pair.start) => {
            Cookie::Value(value)
        }
        _ => Cookie::Ambiguous,
    }
}

/// The lines without every pair that some server takes for one of ours, and every other byte as sent; `None` when there is
/// nothing of ours.
pub(super) fn without<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Option<CookieRest> {
    let mut found = false;
    let mut others: Option<Cow<'a, [u8]>> = None;
    for line in lines {
        let rest = line_without(line, names.clone());
        found |= rest.is_some();
        let rest = rest.unwrap_or(Cow::Borrowed(line));
        if rest.iter().all(|it| matches!(it, b' ' | b'\t' | b';' | b',')) {
            continue;
        }
        others = Some(match others {
            None => rest,
            Some(others) => [&others[..], b"; ", &rest[..]].concat().into(),
        });
    }
    // The rest outlives the message, and is copied for that only when it is sent on.
    found.then(|| others.map_or(CookieRest::Nothing, |others| CookieRest::Others(others.into_owned().into())))
}

fn line_without<'l, 'n>(line: &'l [u8], names: impl Iterator<Item = &'n str> + Clone) -> Option<Cow<'l, [u8]>> {
    // What is kept: one range of the line as long as it is in one piece, so that a cookie of ours at an end costs no copy.
    let mut kept: Option<(usize, usize)> = None;
    let mut copied = Vec::new();
    let (mut found, mut after_ours) = (false, false);
    for pair in pairs(line) {
        let is_ours = names.clone().any(|name| pair.may_be(name.as_bytes()));
        found |= is_ours;
        // Bare text after a comma after ours is the rest of our value for whoever splits at `;` alone.
        after_ours = is_ours || (after_ours && pair.before == Some(b',') && !pair.text.contains(&b'='));
        if after_ours {
            continue;
        }
        let end = pair.start + pair.text.len();
        kept = Some(match kept {
            Some((start, last)) if last + 1 == pair.start => (start, end),
            Some((start, last)) => {
                copied.extend_from_slice(&line[start..last]);
                // With the separator before it.
                (pair.start - 1, end)
            }
            None if found => (pair.start + pair.text.iter().take_while(|&&it| it == b' ').count(), end),
            None => (pair.start, end),
        });
    }
    let last = kept.map_or(0..0, |(start, end)| start..end);
    found.then(|| {
        if copied.is_empty() {
            return Cow::Borrowed(&line[last]);
        }
        copied.extend_from_slice(&line[last]);
        Cow::Owned(copied)
    })
}

/// A piece of the field between separators of any kind.
#[derive(Clone, Copy)]
struct Pair<'a> {
    start: usize,
    text: &'a [u8],
    /// The separator before it, and the one after it.
    before: Option<u8>,
    after: Option<u8>,
    /// Whether a blank or a control stands in it, not only before it.
    has_blank: bool,
}

/// The field taken apart at every `;` and every `,`, quoted or not.
fn pairs(field: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    let mut next = Some((0, None));
    std::iter::from_fn(move || {
        let (start, before) = next?;
        let (mut end, mut begun, mut has_blank) = (start, false, false);
        while let Some(&byte) = field.get(end)
            && byte != b';'
            && byte != b','
        {
            has_blank |= begun && byte <= b' ';
            begun |= byte > b' ';
            end += 1;
        }
        let after = field.get(end).copied();
        next = after.map(|_| (end + 1, after));
        Some(Pair { start, text: &field[start..end], before, after, has_blank })
    })
}

impl Pair<'_> {
    /// Whether every server that splits at `;` sees this pair and no more.
    fn stands_alone(&self) -> bool {
        self.before != Some(b',') && self.after != Some(b',')
    }

    /// Whether some server takes this, or what follows a blank in it (Python), for a cookie of our name.
    fn may_be(&self, name: &[u8]) -> bool {
        let mut rest = self.text;
        // Each round starts behind the last, so that the time is linear.
        while let Some(start) = rest.iter().position(|&it| !is_noise(it) && it != b'=') {
            rest = &rest[start..];
            if begins_with(rest, name) {
                return true;
            }
            let blank = if self.has_blank { rest.iter().position(|&it| it <= b' ') } else { None };
            let Some(blank) = blank else {
                return false;
            };
            rest = &rest[blank..];
        }
        false
    }
}

/// Whether this begins with our name for some server: in another letter case, encoded (PHP before 7.4), with `.`, `[` or a
/// blank for `_` (PHP), with an index (`name[a]`); blanks, controls, quotes or other odd bytes behind it, or no value.
fn begins_with(mut sent: &[u8], name: &[u8]) -> bool {
    for &byte in name {
        let Some((decoded, rest)) = next_byte(sent) else {
            return false;
        };
        if sloppy(decoded) != sloppy(byte) {
            return false;
        }
        sent = rest;
    }
    !name.is_empty() && next_byte(sent).is_none_or(|(it, _)| it == b'=' || it == b'[' || is_noise(it))
}

/// The next byte of a name, decoded.
fn next_byte(text: &[u8]) -> Option<(u8, &[u8])> {
    let (first, rest) = text.split_first()?;
    if *first == b'%'
        && let [high, low, rest @ ..] = rest
        && let (Some(high), Some(low)) = (char::from(*high).to_digit(16), char::from(*low).to_digit(16))
    {
        return Some((u8::try_from(high * 16 + low).ok()?, rest));
    }
    Some((*first, rest))
}

/// What some server drops around a name: blanks and controls, bytes beyond ASCII (Unicode's blanks are among them), quotes, the
/// `$` of RFC 2965, and the `!` that Envoy shows in place of each byte that is not UTF-8 when it sends headers as a map.
fn is_noise(byte: u8) -> bool {
    byte <= b' ' || byte >= 0x7f || matches!(byte, b'"' | b'\'' | b'$' | b'!')
}

fn sloppy(byte: u8) -> u8 {
    match byte {
        b'.' | b' ' | b'[' | b'+' => b'_',
        other => other.to_ascii_lowercase(),
    }
}

/// Whether some server reads what stands at `at` as part of a quoted value, or the field by the rules of RFC 2965.
fn is_hidden(field: &[u8], at: usize) -> bool {
    let is_version = |pair: Pair<'_>| {
        let name = pair.text.trim_ascii();
        name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"$version"))
    };
    let quoted = field[..at].contains(&b'"');
    (quoted && [false, true].into_iter().any(|escapes| is_quoted(&field[..at], escapes)))
        || (field.contains(&b'$') && pairs(field).any(is_version))
}

/// Whether a quoted value is still open after this text. A quote opens one only where a value begins.
fn is_quoted(text: &[u8], escapes: bool) -> bool {
    let (mut inside, mut may_open) = (false, false);
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' if inside && escapes => {
                bytes.next();
            }
            b'"' if inside => inside = false,
            b'"' if may_open => inside = true,
            b' ' | b'\t' if may_open => {}
            _ => may_open = byte == b'=' && !inside,
        }
    }
    inside
}

#[cfg(test)]
mod tests;
