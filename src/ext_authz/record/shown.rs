//! What a client sent, fit for a log line.

use std::fmt::{self, Write as _};

/// How much of a text is shown, in bytes.
const SHOWN: usize = 256;

/// Where a text comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A path: what follows `?` or `#`, encoded or not, is left out.
    Path,
    /// Anything else.
    Plain,
}

/// Bytes of a client: printable ASCII as it is, all else escaped, so that nobody starts a line of their own or moves a
/// terminal's cursor; credentials left out; cut.
pub(super) struct Shown<'a>(pub(super) &'a [u8], pub(super) Place);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(mut bytes, place) = *self;
        if place == Place::Path {
            bytes = before_query(bytes);
        }
        if holds_credential(bytes) {
            return f.write_str("(withheld)");
        }
        write!(f, "{}", bytes[..bytes.len().min(SHOWN)].escape_ascii())?;
        if bytes.len() > SHOWN { f.write_char('…') } else { Ok(()) }
    }
}

/// The path before its query. Some servers behind us take `%3F` for `?` as well, and what follows may be a secret.
fn before_query(path: &[u8]) -> &[u8] {
    let begins = |at: usize| match &path[at..] {
        [b'?' | b'#', ..] => true,
        [b'%', code @ ..] => code.get(..2).is_some_and(|code| code.eq_ignore_ascii_case(b"3f") || code == b"23"),
        _ => false,
    };
    &path[..(0..path.len()).find(|at| begins(*at)).unwrap_or(path.len())]
}

/// Whether something in the text, or in what it decodes to, looks like a token of ours or a JWT. Then all of it is withheld:
/// a client that puts a credential where none belongs may have put parts of it beside it.
fn holds_credential(bytes: &[u8]) -> bool {
    /// No server decodes this often.
    const ROUNDS: usize = 4;
    let mut text = bytes.to_vec();
    for _ in 0..=ROUNDS {
        if looks_like_credential(&text) {
            return true;
        }
        if !decode_percent(&mut text) {
            return false;
        }
    }
    // Still not at the bottom of it: somebody is hiding something.
    true
}

/// `ckr_` in any case begins a token; `eyJ` is base64url for `{"`, with which each JOSE header begins.
fn looks_like_credential(text: &[u8]) -> bool {
    text.windows(4).any(|window| window.eq_ignore_ascii_case(b"ckr_")) || text.windows(3).any(|window| window == b"eyJ")
}

/// Decodes percent-encoding in place, once; answers whether there was any.
fn decode_percent(text: &mut Vec<u8>) -> bool {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (mut from, mut to, before) = (0, 0, text.len());
    while from < text.len() {
        let pair = (text[from] == b'%').then(|| Some((digit(*text.get(from + 1)?)?, digit(*text.get(from + 2)?)?)));
        match pair.flatten() {
            Some((high, low)) => {
                text[to] = high << 4 | low;
                from += 3;
            }
            None => {
                text[to] = text[from];
                from += 1;
            }
        }
        to += 1;
    }
    text.truncate(to);
    text.len() != before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p31_what_clients_send_is_shown_harmless() {
        let long = "a".repeat(300);
        let cut = format!("{}…", "a".repeat(256));
        for (sent, place, want) in [
            (&b"/orders/7?token=1"[..], Place::Path, "/orders/7"),
            (b"/orders#x", Place::Path, "/orders"),
            (b"/orders%3Fcode=1", Place::Path, "/orders"),
            (b"/orders%3fcode=1?x", Place::Path, "/orders"),
            (b"/orders%23code=1", Place::Path, "/orders"),
            (b"/orders%2", Place::Path, "/orders%2"),
            (b"/orders%3Fx", Place::Plain, "/orders%3Fx"),
            (b"shop.example?x", Place::Plain, "shop.example?x"),
            (b"/a\r\nfake line", Place::Path, "/a\\r\\nfake line"),
            (b"/\x1b[2J", Place::Path, "/\\x1b[2J"),
            ("/caf\u{e9}".as_bytes(), Place::Path, "/caf\\xc3\\xa9"),
            (b"/%zz/%4", Place::Path, "/%zz/%4"),
            (b"/reset/ckr_AAAA", Place::Path, "(withheld)"),
            (b"/reset/CKR%5FAAAA", Place::Path, "(withheld)"),
            (b"/reset/ckr%255fAAAA", Place::Path, "(withheld)"),
            (b"/%65%79%4aAAA", Place::Path, "(withheld)"),
            (b"/eyJhbGciOiJFUzI1NiJ9.e30.c2ln", Place::Path, "(withheld)"),
            (b"/%2525252525252561", Place::Path, "(withheld)"),
            (long.as_bytes(), Place::Plain, &cut),
        ] {
            assert_eq!(Shown(sent, place).to_string(), want, "{:?}", sent.escape_ascii().to_string());
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn a_line_stays_one_line_of_printable_text(sent: Vec<u8>) {
                let shown = Shown(&sent, Place::Path).to_string();
                prop_assert!(shown.chars().all(|char| char.is_ascii_graphic() || char == ' ' || char == '…'));
                prop_assert!(shown.len() <= 4 * SHOWN + 3);
            }

            #[test]
            fn p31_an_encoded_token_is_not_shown(before in "[a-z/]{0,9}", rounds in 0usize..9, after in "[a-z/]{0,300}") {
                let mut token = "ckr_SECRETSECRET".to_owned();
                for _ in 0..rounds {
                    token = token.bytes().map(|byte| format!("%{byte:02X}")).collect();
                    if token.len() > 40_000 { break; }
                }
                let shown = Shown(format!("/{before}{token}{after}").as_bytes(), Place::Path).to_string();
                prop_assert!(shown == "(withheld)", "{shown}");
            }
        }
    }
}
