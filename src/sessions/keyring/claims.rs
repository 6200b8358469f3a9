//! What a session JWT says (DESIGN 4).

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::authz::identity::Facts;
use crate::authz::policy::{ClaimPath, ForwardClaims, MintSpec};
use crate::authz::session::{Claims, Realm, SessionId};

/// The times of one JWT, in whole seconds since the epoch (`NumericDate`, RFC 7519 §2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) issued: i64,
    pub(super) expires: i64,
}

/// The payload. Members that would be empty are left out.
#[derive(Serialize)]
struct Payload<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<SessionId>,
    jti: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    amr: &'a [String],
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    roles: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<Forwarded<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Forwarded<'a> {
    All(&'a Claims),
    Chosen(Map<String, Value>),
}

/// The payload's JSON.
pub(super) fn payload(facts: &Facts<'_>, spec: &MintSpec, issuer: &str, jti: [u8; 16], life: Life) -> Vec<u8> {
    let payload = Payload {
        iss: issuer,
        sub: facts.subject,
        aud: &spec.audience,
        sid: facts.sid,
        jti: URL_SAFE_NO_PAD.encode(jti),
        iat: life.issued,
        nbf: life.issued,
        exp: life.expires,
        auth_time: facts.auth_time.map(|proved| proved.as_secs()),
        acr: facts.acr.filter(|acr| !acr.is_empty()),
        amr: facts.amr,
        scope: facts.scopes.join(" "),
        roles: facts.roles,
        claims: forwarded(facts, &spec.claims),
    };
    serde_json::to_vec(&payload).expect("strings, numbers and checked JSON make JSON")
}

/// 16 random bytes for `jti`.
pub(super) fn unique() -> Result<[u8; 16], aws_lc_rs::error::Unspecified> {
    let mut jti = [0; 16];
    rand::fill(&mut jti)?;
    Ok(jti)
}

fn forwarded<'a>(facts: &Facts<'a>, claims: &ForwardClaims) -> Option<Forwarded<'a>> {
    match claims {
        ForwardClaims::All => (facts.claims.as_json() != "{}").then_some(Forwarded::All(facts.claims)),
        ForwardClaims::Chosen(chosen) => {
            let needs_object = chosen.iter().any(|(_, path)| matches!(path, ClaimPath::Claim(_)));
            let object = if needs_object { facts.claims.to_object() } else { Map::new() };
            let found = chosen.iter().filter_map(|(name, path)| Some((name.clone(), value(facts, &object, path)?)));
            let members: Map<String, Value> = found.collect();
            (!members.is_empty()).then_some(Forwarded::Chosen(members))
        }
    }
}

/// The value at `path`; `None` when there is none.
fn value(facts: &Facts<'_>, object: &Map<String, Value>, path: &ClaimPath) -> Option<Value> {
    let list = |values: &[String]| (!values.is_empty()).then(|| Value::from(values.to_vec()));
    match path {
        ClaimPath::Subject => Some(facts.subject.into()),
        ClaimPath::Sid => facts.sid.map(|sid| sid.to_string().into()),
        ClaimPath::Realm => facts.realm.map(Realm::as_str).map(Value::from),
        ClaimPath::Acr => facts.acr.map(Value::from),
        ClaimPath::Amr => list(facts.amr),
        ClaimPath::Scopes => list(facts.scopes),
        ClaimPath::Roles => list(facts.roles),
        ClaimPath::Claim(members) => {
            let (first, rest) = members.split_first()?;
            rest.iter().try_fold(object.get(first)?, |value, member| value.as_object()?.get(member)).cloned()
        }
    }
}
