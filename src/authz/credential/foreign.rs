//! A credential that is not ours: what it looks like, so that the provider can be found that knows it. Nothing is believed of it here.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{AccessToken, authorization};
use crate::authz::policy::provider::api_keys::CredentialDigest;
use crate::authz::unique::UniqueObject;

/// Something that may be a credential of somebody else. `Debug` shows no byte of it.
#[derive(Clone)]
pub struct ForeignCredential {
    text: Arc<Zeroizing<String>>,
    digest: CredentialDigest,
    looks: Looks,
}

/// What a credential looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Looks {
    /// A JWT; with what it says its issuer is, if it does.
    Jwt(Option<Box<str>>),
    /// Anything else.
    Opaque,
}

impl ForeignCredential {
    /// The longest, in bytes.
    pub const MAX_BYTES: usize = 16 * 1024;

    /// Takes what stands in a place where a provider looks. `None` for what cannot be a credential of somebody else: nothing, too
    /// much, what is not visible ASCII; and for what is or might be ours, since that is nobody else's business.
    pub fn read(text: &[u8]) -> Option<Self> {
        let ours = text.starts_with(AccessToken::PREFIX.as_bytes()) || authorization::is_session_jwt(text);
        if !(1..=Self::MAX_BYTES).contains(&text.len()) || !text.iter().all(u8::is_ascii_graphic) || ours {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        Some(Self {
            text: Arc::new(Zeroizing::new(text.to_owned())),
            digest: CredentialDigest::of(text.as_bytes()),
            looks: looks(text),
        })
    }

    /// The text, for who judges it.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Its SHA-256.
    pub fn digest(&self) -> &CredentialDigest {
        &self.digest
    }

    /// Whether it looks like a signed JWT.
    pub fn is_jwt(&self) -> bool {
        matches!(self.looks, Looks::Jwt(_))
    }

    /// Whom it says it was issued by. Not verified: it chooses among those who may verify it, and no more.
    pub fn claimed_issuer(&self) -> Option<&str> {
        match &self.looks {
            Looks::Jwt(issuer) => issuer.as_deref(),
            Looks::Opaque => None,
        }
    }
}

impl fmt::Debug for ForeignCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForeignCredential(redacted)")
    }
}

/// Three parts, the first an object with `alg` (RFC 7515 §4.1.1).
fn looks(text: &str) -> Looks {
    let object = |part: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<UniqueObject>(&bytes).ok()
    };
    let mut parts = text.split('.');
    let (Some(header), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Looks::Opaque;
    };
    if !object(header).is_some_and(|header| header.0.get("alg").is_some_and(Value::is_string)) {
        return Looks::Opaque;
    }
    let issuer = object(claims).and_then(|mut claims| match claims.0.remove("iss") {
        Some(Value::String(issuer)) => Some(issuer.into_boxed_str()),
        _ => None,
    });
    Looks::Jwt(issuer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(header: &str, claims: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn p24_what_it_says_of_itself_only_chooses_who_is_asked() {
        for (text, want) in [
            (jwt(r#"{"alg":"ES256"}"#, r#"{"iss":"https://a"}"#), Some(Some("https://a"))),
            (jwt(r#"{"alg":"none"}"#, r#"{"iss":"https://a"}"#), Some(Some("https://a"))),
            (jwt(r#"{"alg":"ES256"}"#, r#"{"iss":"https://a","iss":"https://b"}"#), Some(None)),
            (jwt(r#"{"alg":"ES256"}"#, r#"{"iss":["https://a"]}"#), Some(None)),
            (jwt(r#"{"alg":"ES256"}"#, "[]"), Some(None)),
            (jwt(r#"{"typ":"JWT"}"#, "{}"), None),
            (jwt(r#"{"alg":"ES256","alg":"none"}"#, "{}"), None),
            (format!("{}.x", jwt(r#"{"alg":"ES256"}"#, "{}")), None),
            ("key.with.dots".to_owned(), None),
            ("opaque".to_owned(), None),
        ] {
            let read = ForeignCredential::read(text.as_bytes()).expect("plain text");
            assert_eq!(read.is_jwt().then(|| read.claimed_issuer()), want, "{text}");
        }
    }

    #[test]
    fn p31_what_is_ours_is_nobody_elses_business() {
        let session_jwt = jwt(r#"{"alg":"ES256","typ":"session+jwt"}"#, r#"{"iss":"https://a"}"#);
        let long = "a".repeat(ForeignCredential::MAX_BYTES + 1);
        for text in ["", "ckr_", "ckr_x", "two words", "\u{e9}", "a\tb", session_jwt.as_str(), long.as_str()] {
            assert!(ForeignCredential::read(text.as_bytes()).is_none(), "{text}");
        }
        let shown = format!("{:?}", ForeignCredential::read(b"a-secret-key"));
        assert!(!shown.contains("secret-key"), "{shown}");
    }
}
