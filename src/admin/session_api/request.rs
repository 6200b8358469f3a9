//! What callers ask for. The OpenAPI document is generated from these types, and the command line writes them.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::document::{DeviceDocument, ProviderDocument, TokenText};
use crate::admin::problem::Problem;
use crate::api::duration::HumanDuration;
use crate::authz::session::{Claims, Device, Provider, Realm, Timestamp};
use crate::sessions::{NewSession, SessionChange};

/// What is asked for in a new session.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schema(as = NewSession)]
pub struct CreateRequest {
    /// Where it counts; the install's realm unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
    /// Who it belongs to: 1 to 255 bytes without control characters.
    #[schema(example = "ada", required = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Scopes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Roles.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The application's claims: at most 16 KiB of JSON.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub claims: Map<String, Value>,
    /// Authentication context class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// Authentication methods (RFC 8176).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// When the subject proved who they are (RFC 3339); now unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub auth_time: Option<String>,
    /// How long it may lie unused; the install's time unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "15m")]
    pub idle: Option<String>,
    /// How long it lives at most; the install's time unless told, and never longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "12h")]
    pub absolute: Option<String>,
    /// The device it is made on.
    #[serde(deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceDocument>,
    /// The identity provider's session behind it.
    #[serde(deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderDocument>,
}

/// A change of a session: a JSON merge patch (RFC 7396). What is left out stays; `null` removes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SessionPatch {
    /// Scopes.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Option<Vec<String>>>,
    /// Roles.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub roles: Option<Option<Vec<String>>>,
    /// The claims, patched member by member.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub claims: Option<Option<Map<String, Value>>>,
    /// Authentication context class.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub acr: Option<Option<String>>,
    /// Authentication methods.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub amr: Option<Option<Vec<String>>>,
    /// The device, patched member by member.
    #[serde(deserialize_with = "given_object", skip_serializing_if = "Option::is_none")]
    pub device: Option<Option<DevicePatch>>,
    /// How long it may lie unused; cannot be removed.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(example = "15m")]
    pub idle: Option<Option<String>>,
}

/// A change of a device.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DevicePatch {
    /// A name the owner knows it by.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub label: Option<Option<String>>,
    /// Its `User-Agent`.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Option<String>>,
    /// Its network address.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub address: Option<Option<String>>,
}

/// Reads an object, or `null` as nothing. Left alone, serde takes an array for a struct whose fields have no names.
pub fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    struct Object<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
            T::deserialize(MapAccessDeserializer::new(members)).map(Some)
        }
    }

    deserializer.deserialize_any(Object(PhantomData))
}

/// As [`object`], for a member that may be left out.
fn given_object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    object(deserializer).map(Some)
}

/// Tells `null` (`Some(None)`) from a member that is left out (`None`).
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The present token, in exchange for the next.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// The session's present token.
    pub token: TokenText,
}

/// The query of everything but create and list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RealmQuery {
    /// Where the session counts; the install's realm unless told.
    pub realm: Option<String>,
}

/// The query of a list.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Whose sessions.
    pub subject: String,
    /// How many at most: 1 to 200, 50 unless told.
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: Option<u64>,
    /// Where to go on: the `cursor` of the page before.
    pub cursor: Option<String>,
    /// Where the sessions count; the install's realm unless told.
    pub realm: Option<String>,
}

impl CreateRequest {
    /// The session that is asked for in `realm`; its bounds are for `Sessions` to check.
    ///
    /// # Errors
    /// 400 without a subject; 422 naming the field that cannot be what it is.
    pub fn resolve(self, realm: Realm) -> Result<NewSession, Problem> {
        let subject = self.subject.ok_or_else(|| Problem::malformed("missing field `subject`"))?;
        Ok(NewSession {
            realm,
            subject,
            auth_time: self.auth_time.as_deref().map(|text| parse_time("authTime", text)).transpose()?,
            idle: self.idle.as_deref().map(|text| parse_duration("idle", text)).transpose()?,
            absolute: self.absolute.as_deref().map(|text| parse_duration("absolute", text)).transpose()?,
            acr: self.acr,
            amr: self.amr,
            scopes: self.scopes,
            roles: self.roles,
            claims: Claims::from_object(&self.claims).ok_or_else(|| {
                Problem::out_of_bounds("claims", format!("at most {} bytes of JSON", Claims::MAX_BYTES))
            })?,
            device: self.device.map(Device::from),
            provider: self.provider.map(|it| Provider { iss: it.iss, sid: it.sid }),
        })
    }
}

impl SessionPatch {
    /// The change that is asked for of a session without a device.
    ///
    /// # Errors
    /// 422 naming the field that cannot be what it is.
    pub fn resolve(&self) -> Result<SessionChange, Problem> {
        Ok(SessionChange {
            acr: self.acr.clone(),
            amr: self.amr.clone().map(Option::unwrap_or_default),
            scopes: self.scopes.clone().map(Option::unwrap_or_default),
            roles: self.roles.clone().map(Option::unwrap_or_default),
            claims: self
                .claims
                .as_ref()
                .map(|patch| serde_json::value::to_raw_value(patch).expect("a JSON object, or null, can be written")),
            device: self.device_of(None),
            idle: match &self.idle {
                None => None,
                Some(None) => {
                    return Err(Problem::out_of_bounds("idle", "every session has one: it cannot be removed"));
                }
                Some(Some(text)) => Some(parse_duration("idle", text)?),
            },
        })
    }

    /// The device that a session whose device is `device` has afterwards; `None` leaves it alone.
    pub fn device_of(&self, device: Option<&Device>) -> Option<Option<Device>> {
        self.device.as_ref().map(|patch| patch.as_ref().map(|patch| patch.apply(device)))
    }
}

impl DevicePatch {
    fn apply(&self, device: Option<&Device>) -> Device {
        let old = device.cloned().unwrap_or_default();
        Device {
            label: self.label.clone().unwrap_or(old.label),
            user_agent: self.user_agent.clone().unwrap_or(old.user_agent),
            address: self.address.clone().unwrap_or(old.address),
        }
    }
}

/// A moment of RFC 3339, to the millisecond.
fn parse_time(field: &'static str, text: &str) -> Result<Timestamp, Problem> {
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|_| Problem::out_of_bounds(field, "must be a time of RFC 3339, such as 2026-01-31T09:30:00Z"))?;
    Ok(Timestamp::from_millis(time.as_millisecond()))
}

fn parse_duration(field: &'static str, text: &str) -> Result<Duration, Problem> {
    text.parse::<HumanDuration>()
        .map(HumanDuration::get)
        .map_err(|_| Problem::out_of_bounds(field, "must be a duration, such as 15m, 90s or 1h30m"))
}
