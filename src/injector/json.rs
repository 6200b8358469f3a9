//! Pods as JSON: what is looked at is read, and all else passes through as it came.

use serde_json::{Value, json};

use super::Refusal;

/// The parts of every pod that are changed. The list with the proxy's container may be one more.
const CHANGED: [(&str, &str); 4] =
    [("metadata", "labels"), ("metadata", "annotations"), ("spec", "initContainers"), ("spec", "volumes")];

pub(super) fn text<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    object.get(field)?.as_str()
}

/// The list `field`; one that is left out has no entries.
pub(super) fn list<'a>(spec: &'a Value, field: &'static str) -> Result<&'a [Value], Refusal> {
    match spec.get(field) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(entries)) => Ok(entries),
        Some(_) => Err(Refusal::Unreadable(field)),
    }
}

/// The list `field`, to add to. What is no list was refused before.
pub(super) fn entry<'a>(object: &'a mut Value, field: &str) -> &'a mut Vec<Value> {
    if !object[field].is_array() {
        object[field] = json!([]);
    }
    object[field].as_array_mut().expect("it was made a list")
}

pub(super) fn named<'a>(entries: &'a [Value], name: &str) -> Option<&'a Value> {
    entries.iter().find(|it| it["name"] == name)
}

/// Whether all of `wanted` is in `present`. Lists of plain values are equal or they are not.
pub(super) fn contains(present: &Value, wanted: &Value) -> bool {
    match (present, wanted) {
        (Value::Object(present), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| present.get(key).is_some_and(|it| contains(it, value)))
        }
        (Value::Array(present), Value::Array(wanted)) if wanted.iter().all(Value::is_object) => {
            wanted.iter().all(|value| present.iter().any(|it| contains(it, value)))
        }
        (present, wanted) => present == wanted,
    }
}

/// What an API server writes into what was left out. All else that is more than was wanted is somebody's: a command, a variable, or
/// a path from which a last message would be read.
fn is_default(field: &str, value: &Value) -> bool {
    match field {
        "terminationMessagePath" => value == "/dev/termination-log",
        "terminationMessagePolicy" => value == "File",
        "successThreshold" => value == 1,
        "scheme" => value == "HTTP",
        "procMount" => value == "Default",
        "defaultMode" => value == 0o644,
        "apiVersion" => value == "v1",
        _ => value.is_null(),
    }
}

/// Whether `present` is `wanted` and nothing more but defaults. Lists of objects may be in another order. Of `resources` there may
/// be more: a LimitRange adds to them.
pub(super) fn equals(present: &Value, wanted: &Value) -> bool {
    match (present, wanted) {
        (Value::Object(present), Value::Object(wanted)) => {
            let is_there = |(key, wanted): (&String, &Value)| match present.get(key) {
                Some(present) if key == "resources" => contains(present, wanted),
                Some(present) => equals(present, wanted),
                None => false,
            };
            let is_more = |(key, value): (&String, &Value)| !wanted.contains_key(key) && !is_default(key, value);
            wanted.iter().all(is_there) && !present.iter().any(is_more)
        }
        (Value::Array(present), Value::Array(wanted)) if wanted.iter().all(Value::is_object) => {
            present.len() == wanted.len() && wanted.iter().all(|value| present.iter().any(|it| equals(it, value)))
        }
        (present, wanted) => present == wanted,
    }
}

/// Of `pod` what is changed, with its list `proxy`, and nothing else: a pod may be large, and is not there twice for that.
pub(super) fn changeable(pod: &Value, proxy: Option<&str>) -> Value {
    let mut parts = json!({ "metadata": {}, "spec": {} });
    for (of, part) in CHANGED.into_iter().chain(proxy.map(|it| ("spec", it))) {
        if let Some(present) = pod[of].get(part) {
            parts[of][part] = present.clone();
        }
    }
    parts
}

/// What makes of `pod` what is in `wanted`; the rest of it stays. Each changed part is put whole: `add` replaces a member that is
/// there (RFC 6902 §4.1).
pub(super) fn patch(pod: &Value, wanted: Value) -> Vec<Value> {
    let mut changes = Vec::new();
    let Value::Object(wanted) = wanted else { return changes };
    for (of, parts) in wanted {
        let Value::Object(parts) = parts else { continue };
        for (part, value) in parts {
            if pod[&of].get(&part) != Some(&value) {
                let mut change = json!({ "op": "add", "path": format!("/{of}/{part}") });
                change["value"] = value;
                changes.push(change);
            }
        }
    }
    changes
}
