//! The text of an access token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::AccessToken;
use crate::authz::session::SessionId;

/// `sid` ‖ `secret` ‖ `tag`.
const BYTES: usize = 16 + 20 + 8;

impl AccessToken {
    /// Reads a token's text; `None` for anything that is not one, a non-canonical spelling included.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let encoded = text.strip_prefix(Self::PREFIX.as_bytes()).filter(|_| text.len() == Self::LEN)?;
        let mut bytes = Zeroizing::new([0; BYTES]);
        // Left-over bits that are not zero are refused, so that one token has one spelling.
        if URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes[..]) != Ok(BYTES) {
            return None;
        }
        let (sid, rest) = bytes.split_first_chunk::<16>()?;
        let (secret, tag) = rest.split_first_chunk::<20>()?;
        Some(Self::from_parts(SessionId::from_bytes(*sid), Zeroizing::new(*secret), tag.try_into().ok()?))
    }

    /// The text for the client: the only way a token leaves.
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        bytes[..16].copy_from_slice(self.sid().as_bytes());
        bytes[16..36].copy_from_slice(self.secret());
        bytes[36..].copy_from_slice(self.tag());
        // Its full size from the start: a string that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(Self::LEN));
        text.push_str(Self::PREFIX);
        URL_SAFE_NO_PAD.encode_string(&bytes[..], &mut text);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> AccessToken {
        AccessToken::from_parts(SessionId::from_bytes([0xa5; 16]), Zeroizing::new([0x5a; 20]), [0xff; 8])
    }

    #[test]
    fn p12_one_token_has_one_spelling() {
        let text = token().reveal();
        assert_eq!(text.len(), AccessToken::LEN);
        assert!(AccessToken::parse(text.as_bytes()).is_some());
        // The last character carries two bits that mean nothing: only the spellings with zeros there count.
        let start = &text[..text.len() - 1];
        let spellings = (b' '..=b'~').filter(|it| AccessToken::parse(&[start.as_bytes(), &[*it]].concat()).is_some());
        assert_eq!(spellings.count(), 16);
        for other in [
            format!("{}=", &text[..text.len() - 1]),
            format!("{}9", &text[..text.len() - 1]), // 61: left-over bits set
            format!("{}=", *text),
            format!(" {}", *text),
            text.to_ascii_uppercase(),
            text.replace("__", "//"),
            text.replacen("ckr_", "ckr-", 1),
            text[..text.len() - 1].to_owned(),
            String::new(),
            "ckr_".to_owned(),
        ] {
            assert!(AccessToken::parse(other.as_bytes()).is_none(), "{other}");
        }
    }

    #[test]
    fn p31_debug_shows_no_byte_of_it() {
        assert_eq!(format!("{:?}", token()), "AccessToken(redacted)");
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn a_token_survives_its_text(sid: [u8; 16], secret: [u8; 20], tag: [u8; 8]) {
                let token = AccessToken::from_parts(SessionId::from_bytes(sid), Zeroizing::new(secret), tag);
                let read = AccessToken::parse(token.reveal().as_bytes()).expect("our own text");
                prop_assert_eq!(*read.sid().as_bytes(), sid);
                prop_assert_eq!(read.secret(), &secret);
                prop_assert_eq!(read.tag(), &tag);
            }

            #[test]
            fn what_is_read_is_written_alike(text in "ckr_[A-Za-z0-9_-]{59}") {
                if let Some(token) = AccessToken::parse(text.as_bytes()) {
                    let written = token.reveal();
                    prop_assert_eq!(written.as_str(), text);
                }
            }
        }
    }
}
