//! What gates need, as objects.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{ApiResource, DynamicObject, ObjectMeta};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::super::ours::{self, OURS};
use super::SidecarsConfig;
use crate::sessions::token::TokenKeys;

/// The files that each namespace has for itself: what opens its session API, and what its handles are sealed under.
const OWN: [&str; 2] = ["admin.token", "handle.key"];
/// Where the namespaces have users of the store: the password, and whose it is. One without the other is that of the store itself.
const PASSWORD: &str = "store.password";
const USER: &str = "store.user";

/// What is brought to a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The right to watch policies.
    RoleBinding,
    /// The file that gates read.
    ConfigMap,
    /// What they share.
    Secret,
}

/// The files that every namespace gets, as a Secret has them: in base64.
pub(super) type Sources = BTreeMap<&'static str, String>;

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::RoleBinding, Self::ConfigMap, Self::Secret];

    pub(super) fn resource(self) -> ApiResource {
        match self {
            Self::RoleBinding => ApiResource::erase::<RoleBinding>(&()),
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::Secret => ApiResource::erase::<Secret>(&()),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RoleBinding => "RoleBinding",
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }

    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::RoleBinding => "rolebindings",
            Self::ConfigMap => "configmaps",
            Self::Secret => "secrets",
        }
    }
}

pub(super) fn is_ours(kind: Kind, object: &DynamicObject) -> bool {
    ours::is_ours(&object.metadata)
        && (kind != Kind::Secret || object.data["type"].as_str().is_none_or(|it| it == "Opaque"))
}

pub(super) fn not_ours(kind: Kind) -> String {
    format!(
        "the name is that of what sidecars need, and the {} has no label `{}: {}`: it is left as it is, and sidecars do not get \
         theirs; rename or delete it",
        kind.name(),
        OURS.0,
        OURS.1
    )
}

/// A file of a Secret, in base64.
pub(super) fn file(secret: &DynamicObject, key: &str) -> Option<String> {
    secret.data["data"][key].as_str().filter(|it| !it.is_empty()).map(str::to_owned)
}

/// The content of one of its files as text, without white space around it.
pub(super) fn text(secret: &DynamicObject, key: &str) -> Option<Zeroizing<String>> {
    let content = Zeroizing::new(BASE64_STANDARD.decode(file(secret, key)?).ok()?);
    let text = std::str::from_utf8(&content).ok()?.trim();
    (!text.is_empty()).then(|| Zeroizing::new(text.to_owned()))
}

/// The gates of a namespace may watch policies there. Whose pods have one is the webhook's to say, and so all of them may.
pub(super) fn role_binding(namespace: &str) -> Value {
    let group = "rbac.authorization.k8s.io";
    json!({
        "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": "cloakroom-gate" },
        "subjects": [{ "apiGroup": group, "kind": "Group", "name": format!("system:serviceaccounts:{namespace}") }],
    })
}

pub(super) fn config_map(text: &str, namespace: &str) -> Value {
    json!({ "data": { "cloakroom.yaml": SidecarsConfig::for_namespace(text, namespace) } })
}

/// What every gate shares, what this namespace has for itself, and the password of its user, if it is to have one: these stay what
/// they are. `None` when there is no new one.
pub(super) fn secret(sources: &Sources, present: Option<&DynamicObject>, user_of: Option<&String>) -> Option<Value> {
    let mut data = json!(sources);
    for own in OWN {
        data[own] = json!(present.and_then(|it| file(it, own)).or_else(random)?);
    }
    if let Some(namespace) = user_of {
        let name = Some(BASE64_STANDARD.encode(namespace));
        // Before there were users the same file had the store's own password, which is to be nobody's here.
        let own = present.filter(|it| file(it, USER) == name);
        data[PASSWORD] = json!(own.and_then(|it| file(it, PASSWORD)).or_else(random)?);
        data[USER] = json!(name);
    }
    Some(json!({ "type": "Opaque", "data": data }))
}

/// The password of the user that `namespace` has by its Secret.
pub(super) fn password(secret: &DynamicObject, namespace: &str) -> Option<Zeroizing<Vec<u8>>> {
    file(secret, USER).filter(|it| *it == BASE64_STANDARD.encode(namespace))?;
    let password = BASE64_STANDARD.decode(file(secret, PASSWORD)?).ok()?;
    Some(Zeroizing::new(password.trim_ascii().to_vec())).filter(|it| !it.is_empty())
}

/// A Secret of the install with something random in it.
pub(super) fn once(namespace: &str, name: &str, key: &str) -> Option<DynamicObject> {
    let content = json!({ "type": "Opaque", "data": { key: random()? } });
    Some(object(Kind::Secret, namespace, name, content))
}

/// 256 random bits in base64url, in base64. A line of them is a token key, and as good a password as any.
fn random() -> Option<String> {
    let line = TokenKeys::generate_line();
    if line.is_err() {
        tracing::error!("the system's random generator failed; tried again");
    }
    Some(BASE64_STANDARD.encode(line.ok()?.as_bytes()))
}

pub(super) fn object(kind: Kind, namespace: &str, name: &str, content: Value) -> DynamicObject {
    let mut object = DynamicObject::new(name, &kind.resource()).within(namespace).data(content);
    label(&mut object.metadata);
    object
}

/// Whether an object has this content already.
pub(super) fn is_same(present: &DynamicObject, content: &Value) -> bool {
    content.as_object().into_iter().flatten().all(|(field, value)| present.data[field] == *value)
}

/// `present` with this content. Labels and annotations that others added stay: they are those of the version that this one is
/// to follow.
pub(super) fn changed(present: DynamicObject, content: Value) -> DynamicObject {
    let mut object = present;
    object.metadata.managed_fields = None;
    label(&mut object.metadata);
    for (field, value) in content.as_object().into_iter().flatten() {
        object.data[field] = value.clone();
    }
    object
}

fn label(metadata: &mut ObjectMeta) {
    *metadata = ours::marked(std::mem::take(metadata));
}
