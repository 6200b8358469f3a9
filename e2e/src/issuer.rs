//! A service that signs JWTs of its own, as an identity provider does: what `session.exchange` of a policy takes.

use anyhow::{Context, Result};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::{Value, json};

/// An issuer with one ES256 key. No `Debug`: it holds the private half.
pub struct Issuer {
    name: String,
    kid: String,
    pair: EcdsaKeyPair,
}

/// The id of its key, unless told.
const KID: &str = "issuer-1";

impl Issuer {
    /// One with a new key. `name` is its `iss`.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn new(name: &str) -> Result<Self> {
        Self::with_kid(name, KID)
    }

    /// The same, whose key has this id.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn with_kid(name: &str, kid: &str) -> Result<Self> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .ok()
            .context("a new key")?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref())
            .ok()
            .context("our own key")?;
        Ok(Self { name: name.to_owned(), kid: kid.to_owned(), pair })
    }

    /// Its public keys (RFC 7517 §5).
    pub fn jwks(&self) -> Value {
        // An uncompressed point (SEC 1 §2.3.3): a mark, then both coordinates.
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid, "x": text(x), "y": text(y) }] })
    }

    /// A JWT with these claims put over `iss`, and `iat` and `exp` around `now`, in seconds since 1970.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn sign(&self, now: u64, claims: &Value) -> Result<String> {
        self.sign_as(&json!({}), now, claims)
    }

    /// The same, with these members over those of the header.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn sign_as(&self, header: &Value, now: u64, claims: &Value) -> Result<String> {
        let mut head = json!({ "alg": "ES256", "kid": self.kid, "typ": "JWT" });
        if let (Some(head), Some(header)) = (head.as_object_mut(), header.as_object()) {
            head.extend(header.clone());
        }
        let mut all = json!({ "iss": self.name, "iat": now, "exp": now + 300 });
        if let (Some(all), Some(claims)) = (all.as_object_mut(), claims.as_object()) {
            all.extend(claims.clone());
        }
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&head), part(&all));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).ok().context("a signature")?;
        Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};

    use super::*;

    #[test]
    fn others_verify_what_it_signs() {
        let issuer = Issuer::new("https://login.example").expect("a key");
        let now = jsonwebtoken::get_current_timestamp();
        let jwt = issuer.sign(now, &json!({ "sub": "ada", "aud": "cloakroom" })).expect("a JWT");
        let keys: JwkSet = serde_json::from_value(issuer.jwks()).expect("a key set");
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&["cloakroom"]);
        validation.set_issuer(&["https://login.example"]);
        let key = DecodingKey::from_jwk(&keys.keys[0]).expect("a key");
        let claims = decode::<Value>(&jwt, &key, &validation).expect("verifies").claims;
        assert_eq!(claims["sub"], "ada");
        assert!(decode::<Value>(&jwt.replacen("ey", "eY", 1), &key, &validation).is_err());
    }
}
