//! Whether a JWT stands in plain sight in what a client would get (P11): in the bytes as they are, or behind JSON's escapes.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// As lenient clients read: without padding, and whatever the last bits are.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// How a JOSE header says its algorithm, which it must (RFC 7515 §4.1.1, RFC 7516 §4.1.1): the name as it is, or a letter of it
/// escaped. So a signed cookie of three parts that is no JWT is none here, nor is a host name (`example` decodes to `{` and more).
const ALGORITHM: [&[u8]; 5] = [br#""alg""#, br"\u0061", br"\u006c", br"\u006C", br"\u0067"];

/// Whether a JWT (RFC 7519 §3) stands in `bytes`, whatever is before and behind it: three parts in base64url, or the five of one that
/// is encrypted, of which the first is a JOSE header. Padding, which RFC 7515 forbids, and white space in the header are read over.
/// Time is linear in the length.
pub(super) fn holds_jwt(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| is_base64url(*byte)) {
        let (header, behind) = part(&rest[at..]);
        if is_followed_by_the_others(behind) && is_jose_header(header) {
            return true;
        }
        rest = behind;
    }
    false
}

/// The same for a body: also behind escapes, as JSON and JavaScript have them (RFC 8259 §7).
pub(super) fn body_holds_jwt(bytes: &[u8]) -> bool {
    holds_jwt(bytes) || (bytes.contains(&b'\\') && holds_jwt(&unescaped(bytes)))
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// What stands before the first byte that is not base64url, and what stands behind the padding after it.
fn part(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !is_base64url(*byte)).unwrap_or(bytes.len());
    let (part, mut rest) = bytes.split_at(end);
    for _ in 0..2 {
        rest = rest.strip_prefix(b"=").unwrap_or(rest);
    }
    (part, rest)
}

/// Whether claims and a signature follow; or a key, which may be empty (RFC 7516 §7.1), and the three others.
fn is_followed_by_the_others(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let mut next = || {
        let (found, behind) = part(rest.strip_prefix(b".")?);
        rest = behind;
        Some(!found.is_empty())
    };
    match (next(), next()) {
        (Some(true), Some(true)) => true,
        (Some(false), Some(true)) => next() == Some(true) && next() == Some(true),
        _ => false,
    }
}

/// Whether a JOSE header ends here. Where it begins is not known, as anything may stand before it: one of four readings is right.
fn is_jose_header(text: &[u8]) -> bool {
    (0..4).filter_map(|at| text.get(at..)).any(|text| {
        let whole = text.len() - usize::from(text.len() % 4 == 1);
        let json = LENIENT.decode(&text[..whole]).unwrap_or_default();
        ALGORITHM.iter().any(|name| json.windows(name.len()).any(|window| window == *name))
    })
}

/// The bytes without the escapes of ASCII in them, whether or not they stand in a text.
fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        let escape = &rest[at + 1..];
        let (byte, length) = match escape.first() {
            Some(b'u') => ascii(&escape[1..]).map_or((b'\\', 0), |byte| (byte, 5)),
            // No letter, or a backslash that begins no other escape.
            Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\') => (b'\\', 1),
            _ => (b'\\', 0),
        };
        out.push(byte);
        rest = &escape[length..];
    }
    out.extend_from_slice(rest);
    out
}

/// The sign of ASCII that four hexadecimal digits name.
fn ascii(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits.get(..4)?).ok()?;
    u8::from_str_radix(digits, 16).ok().filter(u8::is_ascii)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{URL_SAFE as PADDED, URL_SAFE_NO_PAD};

    use super::*;

    fn check(bytes: impl AsRef<[u8]>, want: bool) {
        let bytes = bytes.as_ref();
        assert_eq!(holds_jwt(bytes), want, "{}", String::from_utf8_lossy(bytes));
    }

    #[test]
    fn p11_a_jwt_is_seen_wherever_it_stands() {
        for (bytes, jwt) in [
            ("eyJhbGci.eyJz.c2ln", true),
            ("<token>eyJhbGci.eyJzdWIi.c2ln</token>", true),
            ("eyJ eyJhbGci.eyJzdWIi.c2ln", true),
            ("eyJa.b.eyJhbGci.eyJzdWIi.c2ln", true),
            ("id,token\n7,eyJhbGci.x.y", true),
            ("/#access_token=eyJhbGci.x.y&token_type=bearer", true),
            // Other signs of the alphabet before it, and any number of them.
            ("jwt_eyJhbGci.x.y", true),
            ("t-eyJhbGci.x.y", true),
            ("to-eyJhbGci.x.y", true),
            ("tok-eyJhbGci.x.y", true),
            ("eyJhbGci.eyJhbGci", false),
            ("eyJhbGci..c2ln", false), // its claims are elsewhere
            ("eyJhbGci.eyJzdWIi.", false),
            ("eyJhbGci.eyJzdWIi. c2ln", false),
            ("www.example.com", false),
            ("example.com.au", false),
            ("exports.e2e.ext_authz.ey.com", false),
            ("eyJ", false),
            ("", false),
        ] {
            check(bytes, jwt);
        }
    }

    #[test]
    fn p11_a_jwt_is_seen_however_its_header_is_written() {
        for (header, jwt) in [
            (r#"{"alg":"ES256","kid":"k"}"#, true),
            (r#"{ "alg" : "ES256" }"#, true),
            ("{\n  \"typ\": \"JWT\",\n  \"alg\": \"ES256\"\n}", true),
            (" \t\r\n{\"alg\":\"ES256\"}", true),
            ("\u{feff}{\"alg\":\"ES256\"}", true),
            (r#"{"\u0061lg":"ES256"}"#, true),
            (r#"{"a\u006Cg":"ES256"}"#, true),
            (r#"{"al\u0067":"ES256"}"#, true),
            // Signed by other means: it lets nobody in where a JWT would.
            (r#"{"_fresh":true,"name":"Ren\u00e9"}"#, false),
            ("not JSON", false),
        ] {
            for engine in [URL_SAFE_NO_PAD, PADDED] {
                let encode = |text: &str| engine.encode(text);
                let (claims, signature) = (encode(r#"{"sub":"ada"}"#), encode("signature"));
                check(format!("{}.{claims}.{signature}", encode(header)), jwt);
                // Encrypted (RFC 7516 §7.1), with a key of its own and without.
                check(format!("{}.{}.{}.{}.{}", encode(header), encode("key"), encode("iv"), claims, signature), jwt);
                check(format!("{}..{}.{}.{}", encode(header), encode("iv"), claims, signature), jwt);
            }
        }
    }

    #[test]
    fn p11_a_jwt_is_seen_behind_escapes() {
        for (body, jwt) in [
            (r#"{"t":"\u0065yJhbGci.eyJzdWIi.c2ln"}"#, true),
            (r#"{"t":"eyJhbGci\u002eeyJzdWIi\u002Ec2ln"}"#, true),
            (r#"{"t":"\n\u0065\u0079\u004a\u0068bGci.\u0065yJ.c2ln\/"}"#, true),
            ("t = '\\u0065yJhbGci.x.y'", true),
            (r#"{"t":"eyJhbGci.eyJzdWIi.c2ln"}"#, true),
            (r#"{"t":"eyJh\u0062Gci.eyJzdWIi.c2ln"}"#, true),
            (r#"{"t":"eyJh\\u0062Gci.eyJzdWIi.c2ln"}"#, false), // a backslash and a word
            (r#"{"t":"eyJhbGci\n.eyJzdWIi.c2ln"}"#, false),
            (r#"{"t":"eyJh\u00e9Gci.eyJzdWIi.c2ln"}"#, false),
            (r#"{"t":"\u0065"#, false),
            (r"\", false),
            (r"\u", false),
            (r"\u00", false),
            (r"\u007", false),
        ] {
            assert_eq!(body_holds_jwt(body.as_bytes()), jwt, "{body}");
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn any_bytes_are_searched(bytes: Vec<u8>) {
                body_holds_jwt(&bytes);
            }

            /// Whatever stands around it, as long as it does not make the last part another one.
            #[test]
            fn p11_a_jwt_is_found_in_anything(
                before: Vec<u8>, behind: Vec<u8>, space in "[ \t\r\n]{0,5}", others in "(,\"[a-z]{1,5}\":\"[a-z]{0,5}\"){0,3}",
            ) {
                let header = URL_SAFE_NO_PAD.encode(format!("{space}{{{space}\"alg\":\"ES256\"{others}}}"));
                let jwt = format!("{header}.{}.{}", URL_SAFE_NO_PAD.encode("{}"), URL_SAFE_NO_PAD.encode("s"));
                prop_assert!(holds_jwt(&[&before, jwt.as_bytes(), &behind].concat()));
            }

            #[test]
            fn what_has_no_escapes_stays_as_it_is(bytes: Vec<u8>) {
                let plain: Vec<u8> = bytes.into_iter().filter(|byte| *byte != b'\\').collect();
                prop_assert_eq!(unescaped(&plain), plain);
            }
        }
    }
}
