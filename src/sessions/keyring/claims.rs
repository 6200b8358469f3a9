//! What a session JWT says (DESIGN 4).

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::authz::policy::{ClaimPath, ForwardClaims, MintSpec};
use crate::authz::session::{Claims, Session, SessionId};

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
    sid: SessionId,
    jti: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    auth_time: i64,
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
pub(super) fn payload(session: &Session, spec: &MintSpec, issuer: &str, jti: [u8; 16], life: Life) -> Vec<u8> {
    let payload = Payload {
        iss: issuer,
        sub: &session.subject,
        aud: &spec.audience,
        sid: session.id,
        jti: URL_SAFE_NO_PAD.encode(jti),
        iat: life.issued,
        nbf: life.issued,
        exp: life.expires,
        auth_time: session.auth_time.as_secs(),
        acr: session.acr.as_deref().filter(|acr| !acr.is_empty()),
        amr: &session.amr,
        scope: session.scopes.join(" "),
        roles: &session.roles,
        claims: forwarded(session, &spec.claims),
    };
    serde_json::to_vec(&payload).expect("strings, numbers and checked JSON make JSON")
}

/// 16 random bytes for `jti`.
pub(super) fn unique() -> Result<[u8; 16], aws_lc_rs::error::Unspecified> {
    let mut jti = [0; 16];
    rand::fill(&mut jti)?;
    Ok(jti)
}

fn forwarded<'a>(session: &'a Session, claims: &ForwardClaims) -> Option<Forwarded<'a>> {
    match claims {
        ForwardClaims::All => (session.claims.as_json() != "{}").then_some(Forwarded::All(&session.claims)),
        ForwardClaims::Chosen(chosen) => {
            let needs_object = chosen.iter().any(|(_, path)| matches!(path, ClaimPath::Claim(_)));
            let object = if needs_object { session.claims.to_object() } else { Map::new() };
            let found = chosen.iter().filter_map(|(name, path)| Some((name.clone(), value(session, &object, path)?)));
            let members: Map<String, Value> = found.collect();
            (!members.is_empty()).then_some(Forwarded::Chosen(members))
        }
    }
}

/// The value at `path`; `None` when the session has none there.
fn value(session: &Session, object: &Map<String, Value>, path: &ClaimPath) -> Option<Value> {
    let list = |values: &[String]| (!values.is_empty()).then(|| Value::from(values.to_vec()));
    match path {
        ClaimPath::Subject => Some(session.subject.as_str().into()),
        ClaimPath::Sid => Some(session.id.to_string().into()),
        ClaimPath::Realm => Some(session.realm.as_str().into()),
        ClaimPath::Acr => session.acr.as_deref().map(Value::from),
        ClaimPath::Amr => list(&session.amr),
        ClaimPath::Scopes => list(&session.scopes),
        ClaimPath::Roles => list(&session.roles),
        ClaimPath::Claim(members) => {
            let (first, rest) = members.split_first()?;
            rest.iter().try_fold(object.get(first)?, |value, member| value.as_object()?.get(member)).cloned()
        }
    }
}
