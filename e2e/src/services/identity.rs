//! Who a request belongs to, as the session JWT says: what each service behind cloakroom does, in any language.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use axum::http::HeaderMap;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The header that carries it.
pub const HEADER: &str = "x-session-jwt";

/// The claims of a session JWT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The issuer.
    pub iss: String,
    /// Who.
    pub sub: String,
    /// For whom: this service.
    pub aud: String,
    /// The session.
    pub sid: String,
    /// When it ends, in seconds since 1970.
    pub exp: u64,
    /// When it was made.
    pub iat: u64,
    /// Roles.
    #[serde(default)]
    pub roles: Vec<String>,
    /// All others.
    #[serde(flatten)]
    pub others: serde_json::Map<String, Value>,
}

impl Identity {
    /// One of the session's own claims.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.others.get("claims")?.get(name)
    }
}

/// Verifies session JWTs with the keys that cloakroom serves.
pub struct Verifier {
    jwks_url: String,
    issuer: String,
    audience: String,
    client: reqwest::Client,
    keys: Mutex<HashMap<String, Jwk>>,
}

impl Verifier {
    /// For one issuer and one audience.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(jwks_url: &str, issuer: &str, audience: &str) -> Result<Self> {
        Ok(Self {
            jwks_url: jwks_url.to_owned(),
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            client: reqwest::Client::builder().no_proxy().build()?,
            keys: Mutex::default(),
        })
    }

    /// Whose request this is; `None` for an anonymous one.
    ///
    /// # Errors
    /// When there is a JWT that does not verify, or more than one.
    pub async fn identity(&self, headers: &HeaderMap) -> Result<Option<Identity>> {
        let mut lines = headers.get_all(HEADER).into_iter();
        let Some(line) = lines.next() else {
            return Ok(None);
        };
        ensure!(lines.next().is_none(), "two session JWTs");
        Ok(Some(self.verify(line.to_str()?).await?))
    }

    /// The claims of a JWT.
    ///
    /// # Errors
    /// When it does not verify.
    pub async fn verify(&self, jwt: &str) -> Result<Identity> {
        let header = decode_header(jwt).context("not a JWT")?;
        ensure!(header.typ.as_deref() == Some("session+jwt"), "its type is {:?}", header.typ);
        let kid = header.kid.context("no key id")?;
        let key = self.key(&kid).await?;
        let algorithm = key.common.key_algorithm.context("the key names no algorithm")?;
        let algorithm: Algorithm = algorithm.to_string().parse()?;
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = 5;
        Ok(decode::<Identity>(jwt, &DecodingKey::from_jwk(&key)?, &validation)?.claims)
    }

    /// A key by its id; an unknown one makes us fetch the set again, as after a rotation.
    async fn key(&self, kid: &str) -> Result<Jwk> {
        let known =
            |keys: &Mutex<HashMap<String, Jwk>>| keys.lock().unwrap_or_else(PoisonError::into_inner).get(kid).cloned();
        if let Some(key) = known(&self.keys) {
            return Ok(key);
        }
        let answer = self.client.get(&self.jwks_url).send().await?.error_for_status()?;
        let set: JwkSet = answer.json().await.context("the JWKS does not parse")?;
        let named = set.keys.into_iter().filter_map(|key| Some((key.common.key_id.clone()?, key)));
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = named.collect();
        known(&self.keys).with_context(|| format!("the JWKS has no key {kid}"))
    }
}
