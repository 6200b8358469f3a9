//! Query parameters, for the rules that name some.

use std::borrow::Cow;

use super::Holds;
use super::path::triplet;

/// The query of a request, and what some servers find in its path besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Query<'a> {
    /// As sent, after the first `?`.
    pub sent: &'a [u8],
    /// Each what follows a decoded `?` or `#` in the path: a server that stops there takes it for the query, and the one that was
    /// sent for its end or for nothing.
    pub in_path: &'a [Box<[u8]>],
}

impl Query<'_> {
    /// Whether the query has the parameter `name` with a value that `matches`, for every server, also for those that stop at a
    /// decoded `?`.
    pub fn holds(&self, name: &str, matches: impl Fn(&[u8]) -> bool) -> Holds {
        let sent = holds(self.sent, name, &matches);
        let is_split = decoded_first(self.sent).any(|query| holds(&query, name, &matches) != sent);
        let is_hidden = !self.in_path.is_empty() && sent != Holds::No;
        let is_shown = self.in_path.iter().any(|query| values(query, name).next().is_some());
        if is_split || is_hidden || is_shown { Holds::Unclear } else { sent }
    }

    /// The values that some server finds for the parameter `name`.
    pub(super) fn values(&self, name: &str) -> Vec<Vec<u8>> {
        let mut found: Vec<_> = values(self.sent, name).collect();
        for query in decoded_first(self.sent).chain(self.in_path.iter().map(|it| Cow::Borrowed(&**it))) {
            found.extend(values(&query, name));
        }
        found
    }
}

/// The query as servers split it that decode first, once or twice: an encoded `&` ends a parameter then.
fn decoded_first(query: &[u8]) -> impl Iterator<Item = Cow<'_, [u8]>> {
    let once = query.contains(&b'%').then(|| decode(query));
    let twice = once.as_ref().map(|once| Cow::Owned(decode(once).into_owned()));
    once.into_iter().chain(twice)
}

/// Whether the query has the parameter `name` with a value that `matches`, for every server: those that split at `;` as well,
/// that decode twice, that fold letter case or take `name[]` for `name`. Once decoded, `+` is a blank.
///
/// A parameter that some server finds twice is never clear: which of them counts is anybody's guess.
fn holds(query: &[u8], name: &str, matches: impl Fn(&[u8]) -> bool) -> Holds {
    let mut found = None;
    let mut start = 0;
    while start <= query.len() {
        let end = query[start..].iter().position(|&it| it == b'&' || it == b';').map_or(query.len(), |len| start + len);
        let (parameter, value) = split(&query[start..end]);
        if may_be(parameter, name) && found.replace((start, end, parameter, value)).is_some() {
            return Holds::Unclear;
        }
        start = end + 1;
    }
    let Some((start, end, parameter, value)) = found else {
        return Holds::No;
    };
    let once = decode(value);
    // A server that splits at `&` alone reads on to the next one.
    let long_end = query[end..].iter().position(|&it| it == b'&').map_or(query.len(), |len| end + len);
    let long = decode(split(&query[start..long_end]).1);
    let holds = Holds::of([matches(&once), matches(&decode(&once)), matches(&long)]);
    // Found by some servers only: absent for the others, which never satisfies a condition (P6).
    let is_clear = *decode(parameter) == *name.as_bytes() && start.checked_sub(1).is_none_or(|at| query[at] == b'&');
    if is_clear || holds == Holds::No { holds } else { Holds::Unclear }
}

fn split(pair: &[u8]) -> (&[u8], &[u8]) {
    match pair.iter().position(|&it| it == b'=') {
        Some(at) => (&pair[..at], &pair[at + 1..]),
        None => (pair, b""),
    }
}

/// Whether some server takes this for the parameter's name.
fn may_be(sent: &[u8], name: &str) -> bool {
    let same = |sent: &[u8]| {
        let index = sent.iter().position(|&it| it == b'[').unwrap_or(sent.len());
        same_name(sent.trim_ascii(), name.as_bytes()) || same_name(sent[..index].trim_ascii(), name.as_bytes())
    };
    match decode(sent) {
        Cow::Borrowed(sent) => same(sent),
        Cow::Owned(once) => same(sent) || same(&once) || same(&decode(&once)),
    }
}

/// Whether these are one name for a server that folds letter case, or that turns a dot, a blank and a lone `[` into `_` (PHP).
fn same_name(one: &[u8], two: &[u8]) -> bool {
    let fold = |byte: u8| if matches!(byte, b'.' | b' ' | b'[') { b'_' } else { byte.to_ascii_lowercase() };
    one.len() == two.len() && one.iter().zip(two).all(|(&one, &two)| fold(one) == fold(two))
}

fn values(query: &[u8], name: &str) -> impl Iterator<Item = Vec<u8>> {
    let pairs = query.split(|&it| it == b'&' || it == b';').map(split);
    pairs.filter(move |(parameter, _)| may_be(parameter, name)).map(|(_, value)| decode(value).into_owned())
}

/// Decodes `+` and triplets (WHATWG URL §5.1); what is not a triplet stays.
fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|it| matches!(it, b'+' | b'%')) {
        return text.into();
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, triplet(tail)) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(*byte),
        }
    }
    decoded.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p03_a_name_that_php_folds_is_the_same_name() {
        for (query, want) in [
            ("is_admin=1", Holds::Yes),
            ("is.admin=1", Holds::Unclear),
            ("is+admin=1", Holds::Unclear),
            ("is%20admin=1", Holds::Unclear),
            ("is[admin=1", Holds::Unclear),
            ("is%5Badmin=1", Holds::Unclear),
            ("is_admin=1&is.admin=0", Holds::Unclear),
            ("is.admin=0", Holds::No),
            ("is-admin=1", Holds::No),
        ] {
            assert_eq!(holds(query.as_bytes(), "is_admin", |value| value == b"1"), want, "{query}");
        }
    }

    #[test]
    fn a_parameter_holds_when_every_server_says_so() {
        for (query, want) in [
            ("animal=whale", Holds::Yes),
            ("a=1&animal=whale&b=2", Holds::Yes),
            ("%61nimal=wh%61le", Holds::Yes), // everyone decodes a query once
            ("animal=dog", Holds::No),
            ("animal", Holds::No),
            ("", Holds::No),
            ("mammal=whale", Holds::No),
            ("animals=whale", Holds::No),
            ("animal=whale&animal=whale", Holds::Unclear),
            ("animal=whale&animal=dog", Holds::Unclear),
            ("animal=dog&Animal=whale", Holds::Unclear),
            ("animal=dog&anim%2561l=whale", Holds::Unclear),
            ("animal=dog&animal[]=whale", Holds::Unclear),
            ("a=1;animal=whale", Holds::Unclear), // one parameter `a` for most
            ("animal=whale;a=1", Holds::Unclear),
            ("Animal=whale", Holds::Unclear),
            ("Animal=dog", Holds::No),
            ("animal=%2577hale", Holds::Unclear),
            ("&&animal=whale&", Holds::Yes),
            ("a=1%26animal=whale", Holds::Unclear), // two parameters for a server that decodes first
            ("a=1%2526animal=whale", Holds::Unclear),
            ("a=1%26animal=dog", Holds::No),
            ("animal=whale%26a=1", Holds::Unclear),
            ("animal=whale&a=x%26y", Holds::Yes),
            ("a=AT%26T", Holds::No),
        ] {
            let query = Query { sent: query.as_bytes(), in_path: &[] };
            assert_eq!(query.holds("animal", |value| value == b"whale"), want, "{query:?}");
        }
        let query = Query { sent: b"q=deep+blue%20sea", in_path: &[] };
        assert_eq!(query.holds("q", |value| value == b"deep blue sea"), Holds::Yes);
    }
}
