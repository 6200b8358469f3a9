//! What callers are answered. The OpenAPI document is generated from these types, and the command line reads them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::api::duration::HumanDuration;
use crate::authz::session::{Device, Session, Timestamp};
use crate::sessions::Issued;

/// A token on its way in or out. `Debug` shows no byte of it.
#[derive(Clone, ToSchema)]
#[schema(value_type = String, format = Password)]
pub struct TokenText(pub Zeroizing<String>);

impl Serialize for TokenText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TokenText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(redacted)")
    }
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schema(as = Device)]
pub struct DeviceDocument {
    /// A name the owner knows it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its `User-Agent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Its network address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// The identity provider's own session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Provider)]
pub struct ProviderDocument {
    /// Its issuer.
    pub iss: String,
    /// Its session id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
}

/// A session.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Session)]
pub struct SessionDocument {
    /// Its id.
    #[schema(example = "c2Vzc2lvbi1leGFtcGxlMQ")]
    pub sid: String,
    /// Where it counts.
    pub realm: String,
    /// Who it belongs to.
    pub subject: String,
    /// Grows with every change; also the ETag.
    pub version: u64,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created: String,
    /// When the subject last proved who they are.
    #[schema(format = DateTime)]
    pub auth_time: String,
    /// When it was last used, to within a tenth of `idle`.
    #[schema(format = DateTime)]
    pub last_seen: String,
    /// How long it may lie unused.
    #[schema(example = "1h")]
    pub idle: String,
    /// When it ends whatever happens.
    #[schema(format = DateTime)]
    pub absolute_end: String,
    /// When it ends unless it is used.
    #[schema(format = DateTime)]
    pub ends: String,
    /// Authentication context class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// Authentication methods.
    pub amr: Vec<String>,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Roles.
    pub roles: Vec<String>,
    /// The application's claims.
    #[schema(value_type = Object)]
    pub claims: Map<String, Value>,
    /// The device it was made on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceDocument>,
    /// The identity provider's session behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderDocument>,
}

/// A session and its token: the only answer that holds one.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Issued)]
pub struct IssuedDocument {
    /// The session's id.
    pub sid: String,
    /// The token for the client. It is shown this once.
    pub token: TokenText,
    /// The session.
    pub session: SessionDocument,
}

/// A page of a subject's sessions.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SessionPage {
    /// The live sessions.
    pub sessions: Vec<SessionDocument>,
    /// Where the next page begins (`cursor`); absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// What a log-out everywhere did.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Revoked {
    /// How many live sessions it ended.
    pub revoked: usize,
}

impl From<DeviceDocument> for Device {
    fn from(it: DeviceDocument) -> Self {
        Self { label: it.label, user_agent: it.user_agent, address: it.address }
    }
}

impl From<&Session> for SessionDocument {
    fn from(session: &Session) -> Self {
        Self {
            sid: session.id.to_string(),
            realm: session.realm.to_string(),
            subject: session.subject.clone(),
            version: session.version,
            created: time_text(session.created),
            auth_time: time_text(session.auth_time),
            last_seen: time_text(session.last_seen),
            idle: duration_text(session.idle),
            absolute_end: time_text(session.absolute_end),
            ends: time_text(session.ends()),
            acr: session.acr.clone(),
            amr: session.amr.clone(),
            scopes: session.scopes.clone(),
            roles: session.roles.clone(),
            claims: session.claims.to_object(),
            device: session.device.clone().map(|it| DeviceDocument {
                label: it.label,
                user_agent: it.user_agent,
                address: it.address,
            }),
            provider: session.provider.clone().map(|it| ProviderDocument { iss: it.iss, sid: it.sid }),
        }
    }
}

impl From<&Issued> for IssuedDocument {
    fn from(issued: &Issued) -> Self {
        Self {
            sid: issued.session.id.to_string(),
            token: TokenText(issued.token.reveal()),
            session: SessionDocument::from(&*issued.session),
        }
    }
}

fn time_text(time: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(time.as_millis()).unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// Whole milliseconds, as every duration that came in has them.
fn duration_text(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let whole = Duration::from_millis(millis).min(HumanDuration::MAX);
    HumanDuration::new(whole).unwrap_or_default().to_string()
}
