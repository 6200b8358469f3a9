//! How careless servers would read a path, a query, a header.

use std::collections::{BTreeSet, VecDeque};

use crate::http1::Field;

/// A bound on the readings of one path; no honest path comes near.
const MAX_READINGS: usize = 20_000;

/// See [`super::SeenRequest::path_readings`].
pub fn path_readings(target: &str) -> BTreeSet<String> {
    // The absolute form (RFC 9112 §3.2.2) names the host first; and no server looks for a path behind a plain `?`.
    let path = target.split('?').next().unwrap_or_default();
    let origin = match path.split_once("://") {
        Some((_, rest)) if !path.starts_with('/') => rest.find('/').map_or("/", |slash| &rest[slash..]),
        _ => path,
    };
    let mut seen = BTreeSet::new();
    let mut open = VecDeque::from([(origin.as_bytes().to_vec(), 0_u8)]);
    while let Some((path, decoded)) = open.pop_front() {
        if seen.len() >= MAX_READINGS || !seen.insert((path.clone(), decoded)) {
            continue;
        }
        if decoded < 2 {
            open.push_back((percent_decode(&path), decoded + 1));
        }
        open.extend(READINGS.iter().map(|reading| (reading(&path), decoded)));
    }
    let text = |(path, _): (Vec<u8>, u8)| String::from_utf8_lossy(&path).into_owned();
    seen.into_iter().map(text).collect()
}

/// The parameters that careless servers find: behind the first `?` or what decodes to one, each name and value decoded up
/// to twice more.
pub fn query_readings(target: &str) -> BTreeSet<(String, String)> {
    let decodings = |bytes: &[u8]| {
        let once = percent_decode(bytes);
        [percent_decode(&once), once, bytes.to_vec()]
    };
    let queries = decodings(target.as_bytes()).into_iter().flat_map(|target| {
        let mark = target.iter().position(|byte| *byte == b'?').map_or(target.len(), |at| at + 1);
        // Behind a second one stands the request's own query, where the first was encoded.
        let own = target[mark..].iter().position(|byte| *byte == b'?').map_or(target.len(), |at| mark + at + 1);
        [target[mark..].to_vec(), until(&target[mark..], b'#').to_vec(), target[own..].to_vec()]
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let mut found = BTreeSet::new();
    for pair in
        queries.flat_map(|query| query.split(|byte| b"&;".contains(byte)).map(<[u8]>::to_vec).collect::<Vec<_>>())
    {
        let (name, value) = pair.split_at(pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len()));
        for name in decodings(name) {
            let values = decodings(value.strip_prefix(b"=").unwrap_or_default());
            found.extend(values.iter().map(|value| (text(&name).to_ascii_lowercase(), text(value))));
        }
    }
    found
}

/// What careless servers do to a path, one thing each.
type Reading = fn(&[u8]) -> Vec<u8>;

const READINGS: &[Reading] = &[
    |path| path.to_ascii_lowercase(),
    |path| map_segments(path, |segment| until(segment, b';')),
    |path| until(path, b'?').to_vec(),
    |path| until(path, b'#').to_vec(),
    |path| until(path, 0).to_vec(),
    |path| path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect(),
    |path| {
        map_segments(path, |segment| {
            let end = segment.iter().rposition(|byte| !matches!(byte, b'.' | b' ')).map_or(0, |at| at + 1);
            // A dot segment is no name with a dot at its end.
            if end == 0 { segment } else { &segment[..end] }
        })
    },
    |path| path.iter().copied().filter(|byte| !byte.is_ascii_control()).collect(),
    |path| if path.len() > 1 { path.strip_suffix(b"/").unwrap_or(path) } else { path }.to_vec(),
    without_extension,
    resolve,
];

/// The path as a server looks for it that takes an extension for the wanted form of the answer. A name that begins with its
/// only dots has none.
fn without_extension(path: &[u8]) -> Vec<u8> {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let Some(dot) = name.iter().rposition(|byte| *byte == b'.') else { return path.to_vec() };
    if name[..dot].iter().all(|byte| *byte == b'.') {
        path.to_vec()
    } else {
        path[..path.len() - name.len() + dot].to_vec()
    }
}

/// Merges slashes and resolves dot segments (RFC 3986 §5.2.4), never above the root.
fn resolve(path: &[u8]) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    let mut resolved = vec![b'/'];
    resolved.extend(segments.join(&b'/'));
    if path.ends_with(b"/") && resolved.len() > 1 {
        resolved.push(b'/');
    }
    resolved
}

fn map_segments<'a>(path: &'a [u8], change: impl Fn(&'a [u8]) -> &'a [u8]) -> Vec<u8> {
    path.split(|byte| *byte == b'/').map(change).collect::<Vec<_>>().join(&b'/')
}

fn until(bytes: &[u8], end: u8) -> &[u8] {
    bytes.split(|byte| *byte == end).next().unwrap_or_default()
}

/// Decodes `%xx`, `%u00xx`, and the overlong UTF-8 forms that old decoders take for ASCII; anything else stays.
pub(super) fn percent_decode(bytes: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let hex = |digits: &[u8]| u8::try_from(digit(digits.first()?)? << 4 | digit(digits.get(1)?)?).ok();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let wide = after.first().is_some_and(|it| it.eq_ignore_ascii_case(&b'u')) && after.get(1..3) == Some(b"00");
        let (byte, length) = match (first, wide) {
            (b'%', true) => (after.get(3..5).and_then(hex), 5),
            (b'%', false) => (after.get(..2).and_then(hex), 2),
            _ => (None, 0),
        };
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[length..] } else { after };
    }
    overlong(&decoded)
}

fn overlong(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        rest = match rest {
            [] => return plain,
            [lead @ (0xc0 | 0xc1), low @ 0x80..=0xbf, after @ ..] => {
                plain.push((lead & 1) << 6 | (low & 0x3f));
                after
            }
            [0xe0, mid @ (0x80 | 0x81), low @ 0x80..=0xbf, after @ ..] => {
                plain.push((mid & 1) << 6 | (low & 0x3f));
                after
            }
            [byte, after @ ..] => {
                plain.push(*byte);
                after
            }
        };
    }
}

/// A field name as CGI and its heirs see it.
pub(super) fn fold_name(name: &[u8]) -> Vec<u8> {
    let fold = |byte: &u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'_' };
    name.trim_ascii().iter().map(fold).collect()
}

/// The fields of a head whose lines end at a lone CR, LF or NUL, too.
pub(super) fn careless_fields(head: &[u8]) -> Vec<Field> {
    let lines = head.split(|byte| matches!(byte, b'\r' | b'\n' | 0));
    let field = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((line[..colon].trim_ascii().to_vec(), line[colon + 1..].trim_ascii().to_vec()))
    };
    lines.skip(1).filter_map(field).collect()
}

/// The cookies of a line: split at `;` and `,`, names decoded, quotes taken off.
pub(super) fn lenient_cookies(line: &str) -> Vec<(Vec<u8>, String)> {
    let pairs = line.split([';', ',']).filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| {
            let value = value.trim().trim_matches('"');
            (percent_decode(name.trim().as_bytes()), value.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_some_server_finds() {
        for (target, want) in [
            ("/x?full=1", true),
            ("/x?a=2&full=1", true),
            ("/x?a=2;full=1", true),
            ("/x?Full=1", true),
            ("/x?f%75ll=%31", true),
            ("/x?%2566ull=1", true),
            ("/x%3Ffull=1", true),
            ("/x%253Ffull=1", true),
            ("/x%3Fa=2%26full=1", true),
            ("/x%3Fa=2?full=1", true),
            ("/x%3Ffull=1%23", true),
            ("/x?full=2", false),
            ("/x?fuller=1", false),
            ("/full=1", false),
        ] {
            let found = query_readings(target);
            assert_eq!(found.contains(&("full".to_owned(), "1".to_owned())), want, "{target}: {found:?}");
        }
    }
}
