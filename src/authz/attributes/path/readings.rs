//! Every way in which servers read a path that has something in it about which they differ.

use std::borrow::Cow;

use crate::authz::reason::DenyReason;

/// More readings than this are refused: a bound for the work. Ordinary paths have a handful.
const MAX: usize = 64;
/// The same for their bytes together (P28): eight readings of the longest path, and it takes more than one trick to have those.
const MAX_BYTES: usize = 8 * super::MAX_LEN;

/// What a server may do to a path.
type Step = fn(&str) -> String;

/// What is read in a path.
pub(super) struct AllReadings {
    /// Without repetitions; the first is decoded once.
    pub(super) paths: Box<[Cow<'static, [u8]>]>,
    /// What may follow as the query, where a server stops at a decoded `?` or `#`; without repetitions.
    pub(super) queries: Box<[Box<[u8]>]>,
}

/// All readings of a path that begins with `/` and is ASCII.
pub(super) fn all(sent: &str) -> Result<AllReadings, DenyReason> {
    if hides_dot_segment(sent) {
        return Err(DenyReason::MalformedPath);
    }
    let mut found = Found::default();
    for decoded in decodings(sent).ok_or(DenyReason::MalformedPath)? {
        found.add(decoded)?;
    }
    // Some servers drop parameters before they decode, so that an encoded `;` stays.
    for bare in [without_parameters(sent), before(sent, &[';'])] {
        if bare != sent {
            for decoded in decodings(&bare).ok_or(DenyReason::MalformedPath)? {
                found.add(decoded)?;
            }
        }
    }
    // Each may or may not be done, in this order: cutting can leave dots and blanks, and dropping those can leave `//`.
    let steps: [&[Step]; 5] = [
        &[without_parameters, |path| before(path, &[';'])],
        &[|path| before(path, &['?']), |path| before(path, &['#'])],
        // Windows drops dots and the one blank that ASCII has, others all that Unicode calls white space.
        &[|path| trimmed(path, char::is_whitespace), |path| trimmed(path, |it| it == ' ')],
        // A matcher that splits at `/` and trims what it gets (Spring's before 5) drops blanks at a segment's start too.
        &[|path| by_segment(path, |segment| segment.trim_start())],
        &[merged],
    ];
    for alternatives in steps {
        for index in 0..found.paths.len() {
            for step in alternatives {
                let other = step(&found.paths[index]);
                found.add(other)?;
            }
        }
    }
    if found.paths.iter().any(|path| has_dot_segment(path)) {
        return Err(DenyReason::MalformedPath);
    }
    let mut queries: Vec<Box<[u8]>> = Vec::new();
    for (_, query) in found.paths.iter().filter_map(|path| path.split_once(['?', '#'])) {
        if !queries.iter().any(|it| **it == *query.as_bytes()) {
            queries.push(query.as_bytes().into());
        }
    }
    let paths = found.paths.into_iter().map(|path| Cow::Owned(path.into_bytes())).collect();
    Ok(AllReadings { paths, queries: queries.into() })
}

#[derive(Default)]
struct Found {
    paths: Vec<String>,
    bytes: usize,
}

impl Found {
    fn add(&mut self, path: String) -> Result<(), DenyReason> {
        if self.paths.contains(&path) {
            return Ok(());
        }
        self.bytes += path.len();
        if self.paths.len() == MAX || self.bytes > MAX_BYTES {
            return Err(DenyReason::AmbiguousRequest);
        }
        self.paths.push(path);
        Ok(())
    }
}

/// The path as servers decode it: once, twice, with `%2F` kept, with all kept that need not be encoded. `None` where a
/// decoding holds what no path may.
fn decodings(sent: &str) -> Option<Vec<String>> {
    let once = decode_once(sent)?;
    let twice = checked(decode(&once, Keep::Nothing).bytes)?;
    if once.starts_with("//") || twice.starts_with("//") || has_dot_segment(&once) || has_dot_segment(&twice) {
        return None;
    }
    let keeping = |path: &str, keep| String::from_utf8(decode(path, keep).bytes).ok();
    let slashes = keeping(sent, Keep::Slashes)?;
    let others = [
        keeping(&once, Keep::Slashes)?,
        keeping(&slashes, Keep::Slashes)?,
        keeping(sent, Keep::Reserved)?,
        keeping(sent, Keep::Needless)?,
    ];
    Some([once, twice, slashes].into_iter().chain(others).collect())
}

/// The path decoded once; `None` for a broken triplet and for what no path may hold.
pub(super) fn decode_once(path: &str) -> Option<String> {
    let decoded = decode(path, Keep::Nothing);
    if decoded.broken { None } else { checked(decoded.bytes) }
}

/// The text, unless it is broken (overlong forms included) or holds a control or a backslash.
fn checked(decoded: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(decoded).ok()?;
    (!text.contains(|it: char| it.is_control() || it == '\\')).then_some(text)
}

/// Which triplets a server leaves as they are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Nothing,
    /// `%2F`.
    Slashes,
    /// `%2F` and what has a meaning in URLs: a normaliser by RFC 3986 §6.2.2.2 decodes unreserved characters only.
    Reserved,
    /// All that need not have been encoded: a server that does not decode. What must be encoded is decoded even so, as it
    /// can be written in no other way.
    Needless,
}

impl Keep {
    fn keeps(self, byte: u8) -> bool {
        let it = char::from(byte);
        match self {
            Self::Nothing => false,
            Self::Slashes => it == '/',
            Self::Reserved => it == '/' || (may_stand_bare(it) && !is_unreserved(it)),
            Self::Needless => it == '/' || may_stand_bare(it),
        }
    }
}

struct Decoded {
    bytes: Vec<u8>,
    /// Some `%` did not begin a triplet, and was left alone.
    broken: bool,
}

fn decode(path: &str, keep: Keep) -> Decoded {
    let mut decoded = Decoded { bytes: Vec::with_capacity(path.len()), broken: false };
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, triplet(tail)) {
            (b'%', Some(byte)) => {
                if keep.keeps(byte) {
                    decoded.bytes.extend([b'%', tail[0].to_ascii_uppercase(), tail[1].to_ascii_uppercase()]);
                } else {
                    decoded.bytes.push(byte);
                }
                rest = &tail[2..];
            }
            (byte, _) => {
                decoded.broken |= *byte == b'%';
                decoded.bytes.push(*byte);
                rest = tail;
            }
        }
    }
    decoded
}

/// The byte that two hexadecimal digits at the start of `text` stand for.
pub(in crate::authz::attributes) fn triplet(text: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

fn is_unreserved(it: char) -> bool {
    it.is_ascii_alphanumeric() || matches!(it, '-' | '.' | '_' | '~')
}

/// `pchar` of RFC 3986 §3.3 but for triplets: what can stand in a segment as it is.
pub(super) fn may_stand_bare(it: char) -> bool {
    is_unreserved(it) || matches!(it, '!' | '$' | '&' | '\'' | '(' | ')' | '*' | '+' | ',' | ';' | '=' | ':' | '@')
}

/// Whether some server takes a segment for `.` or `..`, after it dropped parameters, a query, and blanks around.
pub(super) fn has_dot_segment(path: &str) -> bool {
    path.split('/').any(|segment| {
        let name = segment.split([';', '?', '#']).next().unwrap_or_default();
        name.contains('.') && name.chars().all(|it| it == '.' || it.is_whitespace())
    })
}

/// Whether some server is left with a dot segment that drops an extension before it decodes: a plain dot, and before it dots of
/// which one is encoded, once or several times. `%2E..x` becomes `%2E.`, and that `..`.
fn hides_dot_segment(sent: &str) -> bool {
    sent.split('/').any(|segment| {
        let (mut rest, mut is_encoded) = (segment, false);
        loop {
            let encoded = rest.strip_prefix('%').map(|it| it.trim_start_matches("25"));
            rest = match (encoded.and_then(|it| it.strip_prefix("2e").or_else(|| it.strip_prefix("2E"))), rest) {
                (Some(after), _) => {
                    is_encoded = true;
                    after
                }
                (None, plain) if plain.starts_with('.') => {
                    if is_encoded {
                        return true;
                    }
                    &plain[1..]
                }
                (None, _) => return false,
            };
        }
    })
}

fn without_parameters(path: &str) -> String {
    by_segment(path, |segment| segment.split(';').next().unwrap_or_default())
}

fn trimmed(path: &str, is_blank: fn(char) -> bool) -> String {
    by_segment(path, |segment| segment.trim_end_matches(|it: char| it == '.' || is_blank(it)))
}

fn by_segment(path: &str, change: impl Fn(&str) -> &str) -> String {
    let mut changed = String::with_capacity(path.len());
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            changed.push('/');
        }
        changed.push_str(change(segment));
    }
    changed
}

fn before(path: &str, marks: &[char]) -> String {
    path.split(marks).next().unwrap_or_default().to_owned()
}

fn merged(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for it in path.chars() {
        if it != '/' || !merged.ends_with('/') {
            merged.push(it);
        }
    }
    merged
}
