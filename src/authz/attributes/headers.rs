//! A request's header fields, looked up without regard to case; the proxy's two encodings read alike.
//!
//! Envoy sends a check either every line as it came (`encode_raw_headers`) or a map in which the lines of one name are joined by a
//! comma. Everything here reads several lines as if they had been joined, so that both give the same decision.

use std::borrow::Cow;
use std::fmt;

use super::Holds;
use crate::authz::reason::DenyReason;

/// The header fields of a request, in the order received; every name is a token (RFC 9110 §5.6.2) or a pseudo header's.
/// `Debug` shows how many there are.
#[derive(Clone, Default)]
pub struct HeaderView<'a>(Vec<Line<'a>>);

/// A line's name and value, as sent.
pub type Line<'a> = (&'a [u8], &'a [u8]);

impl fmt::Debug for HeaderView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeaderView({} lines)", self.0.len())
    }
}

/// Fields whose lines mean the same joined as apart (RFC 9110 §5.3, §12.5): every server joins them.
const LISTS: [&[u8]; 9] = [
    b"accept",
    b"accept-charset",
    b"accept-encoding",
    b"accept-language",
    b"cache-control",
    b"if-match",
    b"if-none-match",
    b"prefer",
    b"via",
];

impl<'a> HeaderView<'a> {
    /// Takes the lines over.
    ///
    /// # Errors
    /// [`DenyReason::MalformedRequest`] for a name that is not one, and for a value with what ends a line somewhere: we send
    /// what is left of `Cookie` on, so that it must not become a field of its own (RFC 9110 §5.5).
    pub(super) fn read(lines: Vec<Line<'a>>) -> Result<Self, DenyReason> {
        let is_name = |name: &[u8]| match name.strip_prefix(b":").unwrap_or(name) {
            [] => false,
            name => name.iter().all(|&byte| NAME_BYTES[usize::from(byte)]),
        };
        // Without an early end, so that the compiler looks at many bytes at once.
        let ends_line =
            |value: &[u8]| value.iter().fold(false, |any, byte| any | matches!(byte, b'\0' | b'\r' | b'\n'));
        if lines.iter().all(|(name, value)| is_name(name) && !ends_line(value)) {
            Ok(Self(lines))
        } else {
            Err(DenyReason::MalformedRequest)
        }
    }

    /// All lines, in the order received.
    pub fn lines(&self) -> &[Line<'a>] {
        &self.0
    }

    /// The values of the lines of this name, in the order received.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |(it, _)| it.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| *value)
    }

    /// The field of this name; several lines are joined by a comma, as the proxy does.
    pub fn get(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        join(self.values(name))
    }

    /// What the pseudo headers say.
    pub(super) fn pseudo(&self) -> impl Iterator<Item = &Line<'a>> {
        self.0.iter().filter(|(name, _)| name.starts_with(b":"))
    }

    /// Whether the field `name` has a value that `matches`, for every server: those that take the first line or the last, that
    /// join them, and that take `x_tenant` for `x-tenant`.
    pub fn holds(&self, name: &[u8], matches: impl Fn(&[u8]) -> bool) -> Holds {
        let (mut own, mut alias) = (Vec::new(), Vec::new());
        for &(it, value) in self.0.iter().filter(|(it, _)| same_name(it, name)) {
            if it.eq_ignore_ascii_case(name) { own.push(value) } else { alias.push(value) }
        }
        let Some(joined) = join(own.iter().copied()) else {
            return match Holds::of(alias.iter().map(|value| matches(value))) {
                Holds::No => Holds::No,
                Holds::Yes | Holds::Unclear => Holds::Unclear,
            };
        };
        let whole = matches(&joined);
        let is_list = LISTS.iter().any(|it| it.eq_ignore_ascii_case(name));
        let parts = parts(if is_list { b"" } else { &joined }).map(&matches);
        Holds::of(std::iter::once(whole).chain(parts).chain(alias.iter().map(|value| matches(value))))
    }
}

/// The values that may have been lines of their own before they were joined: a comma that a blank follows was in the line
/// already, since blanks around a line's value are not part of it. Nothing when there is only one.
pub(super) fn parts(joined: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = joined.contains(&b',').then_some(joined);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = (0..text.len()).find(|&at| text[at] == b',' && !matches!(text.get(at + 1), Some(b' ' | b'\t')));
        rest = end.map(|end| &text[end + 1..]);
        Some(&text[..end.unwrap_or(text.len())])
    })
}

fn join<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<Cow<'a, [u8]>> {
    let first = values.next()?;
    let Some(second) = values.next() else {
        return Some(Cow::Borrowed(first));
    };
    let mut joined = first.to_vec();
    for value in std::iter::once(second).chain(values) {
        joined.push(b',');
        joined.extend_from_slice(value);
    }
    Some(Cow::Owned(joined))
}

/// Whether some server takes these for the same name: CGI, WSGI and their kin turn everything but letters and digits into
/// `_`, and none tells letter case apart (RFC 9110 §5.1, RFC 3875 §4.1.18).
pub fn same_name(one: &[u8], two: &[u8]) -> bool {
    one.len() == two.len() && one.iter().zip(two).all(|(&one, &two)| fold(one) == fold(two))
}

/// What a byte of a name is for the sloppiest server.
pub(super) fn fold(byte: u8) -> u8 {
    FOLDED[usize::from(byte)]
}

const FOLDED: [u8; 256] = {
    let mut table = [b'-'; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        if byte.is_ascii_alphanumeric() {
            table[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

/// `tchar` of RFC 9110 §5.6.2.
pub(crate) const NAME_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        table[byte as usize] = !matches!(
            byte,
            b'"' | b'('
                | b')'
                | b','
                | b'/'
                | b':'
                | b';'
                | b'<'
                | b'='
                | b'>'
                | b'?'
                | b'@'
                | b'['
                | b'\\'
                | b']'
                | b'{'
                | b'}'
        );
        byte += 1;
    }
    table
};
