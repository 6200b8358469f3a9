//! A Secret of Kubernetes, as far as it is read here: what identity providers name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::meta::ObjectMeta;

/// A Secret. It is read, and never written; `Debug` shows the names of its values.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    data: BTreeMap<String, SecretValue>,
}

/// One value of a [`Secret`]. `Debug` shows no byte of it, there is no `Display`, and its memory is wiped when it is let go.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Arc<Zeroizing<Vec<u8>>>);

impl SecretValue {
    /// The value of these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }

    /// The bytes.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(redacted)")
    }
}

impl Secret {
    /// A Secret of these values.
    pub fn new(metadata: ObjectMeta, data: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let data = data.into_iter().map(|(name, bytes)| (name, SecretValue::new(bytes))).collect();
        Self { metadata, data }
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&SecretValue> {
        self.data.get(key)
    }

    /// The names of its values.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.data.keys().map(String::as_str)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("{}/{}", self.metadata.namespace, self.metadata.name);
        f.debug_struct("Secret").field("name", &name).field("keys", &self.data.keys()).finish_non_exhaustive()
    }
}

/// The object as written. What else a Secret may say (`type`, `immutable`) has no meaning here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    metadata: ObjectMeta,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    string_data: Value,
}

impl<'de> Deserialize<'de> for Secret {
    /// By hand, since serde's words for a wrong type quote the value, and the value is a secret (P31).
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { metadata, data, string_data } = Written::deserialize(deserializer)?;
        let mut read = BTreeMap::new();
        for (name, text) in texts::<D::Error>("data", data)? {
            let words =
                || serde::de::Error::custom(format!("`data.{name}` is not base64: write plain text in `stringData`"));
            let bytes = STANDARD.decode(text.trim_ascii()).map_err(|_| words())?;
            read.insert(name, SecretValue::new(bytes));
        }
        // As the API server does: `stringData` is written over `data`.
        for (name, text) in texts::<D::Error>("stringData", string_data)? {
            read.insert(name, SecretValue::new(text.as_bytes().to_vec()));
        }
        Ok(Self { metadata, data: read })
    }
}

fn texts<E: serde::de::Error>(field: &str, value: Value) -> Result<Vec<(String, Zeroizing<String>)>, E> {
    let members = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Object(members) => members,
        _ => return Err(E::custom(format!("`{field}`: names and texts are needed"))),
    };
    let text = |(name, value)| match value {
        Value::String(text) => Ok((name, Zeroizing::new(text))),
        _ => Err(E::custom(format!("`{field}.{name}`: a text is needed; put a number or a yes into quotes"))),
    };
    members.into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::read::read;

    fn secret(mut body: Value) -> Result<Secret, crate::api::read::ReadError> {
        body["metadata"] = json!({"name": "key", "namespace": "shop", "labels": {"for": "partners"}});
        read(body)
    }

    #[test]
    fn values_are_read_as_the_api_server_reads_them() {
        let read = secret(json!({
            "kind": "Secret", "type": "Opaque", "data": {"a": "aGk=", "b": "aGk="}, "stringData": {"b": "there"},
        }));
        let read = read.unwrap();
        let value = |key| read.get(key).map(SecretValue::reveal);
        assert_eq!((value("a"), value("b"), value("c")), (Some(&b"hi"[..]), Some(&b"there"[..]), None));
        assert_eq!(read.metadata.labels["for"], "partners");
    }

    #[test]
    fn p31_no_value_is_shown() {
        for (body, words) in [
            (json!({"data": {"key": "VALUE!"}}), "`data.key` is not base64"),
            (json!({"data": "VALUE"}), "names and texts"),
            (json!({"stringData": {"key": ["VALUE"]}}), "a text is needed"),
            (json!({"stringData": ["VALUE"]}), "names and texts"),
        ] {
            let error = secret(body).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("VALUE"), "{error}");
        }
        let shown = format!("{:?}", secret(json!({"stringData": {"key": "VALUE"}})).unwrap());
        assert!(shown.contains("key") && !shown.contains("VALUE"), "{shown}");
    }
}
