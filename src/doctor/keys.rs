//! The key sets that services fetch, against the keys that gates sign with.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::finding::{Check, Finding};
use super::install::CONTROLLER;
use super::scene::{Kind, Scene, Sight, list, text};

pub(super) fn judge(scene: &Scene) -> Vec<Finding> {
    scene.key_sets.iter().map(|(namespace, set)| one(scene, namespace, set)).collect()
}

fn one(scene: &Scene, namespace: &str, set: &Result<Value, String>) -> Finding {
    let about = format!("the key set of {namespace}");
    let log = format!(
        "see whether the controller is ready and may be reached: kubectl -n {} logs deployment/{CONTROLLER}",
        scene.install
    );
    let set = match set {
        Ok(set) => set,
        Err(why) => {
            let seen = format!("does not answer, so that no service can verify a session JWT: {why}");
            return Finding::problem(Check::KeySets, about, seen, log);
        }
    };
    let served: BTreeSet<&str> = list(set, "/keys").iter().map(|key| text(key, "/kid")).collect();
    let kept = match scene.find(Kind::Secret, namespace, "cloakroom-keys") {
        Sight::There(secret) => kept(secret, scene.now),
        // Said where the namespace is judged.
        Sight::Missing => BTreeSet::new(),
        Sight::Unseen => {
            let cure = "grant get on secrets of the name cloakroom-keys to compare them with the Secret";
            return Finding::unknown(Check::KeySets, about, format!("answers with {} keys", served.len()), cure);
        }
    };
    let missing: Vec<_> = kept.iter().filter(|kid| !served.contains(kid.as_str())).cloned().collect();
    if !missing.is_empty() {
        let seen = format!(
            "lacks {} of the Secret {namespace}/cloakroom-keys: JWTs of these keys are refused by services",
            missing.join(", ")
        );
        return Finding::problem(Check::KeySets, about, seen, log);
    }
    if served.is_empty() {
        return Finding::problem(Check::KeySets, about, "is empty", log);
    }
    Finding::ok(Check::KeySets, about, format!("answers with {} of the namespace's keys", served.len()))
}

/// The public names of the keys in a Secret that should be served now. Nothing else of it is read.
fn kept(secret: &Value, now: Timestamp) -> BTreeSet<String> {
    let bytes = STANDARD.decode(text(secret, "/data/keyring.yaml")).unwrap_or_default();
    let ring: Value =
        std::str::from_utf8(&bytes).ok().and_then(|it| serde_saphyr::from_str(it).ok()).unwrap_or_default();
    let time = |key: &Value, name: &str| key[name].as_str()?.parse::<Timestamp>().ok();
    let is_served = |key: &&Value| {
        time(key, "published").is_none_or(|it| it <= now) && time(key, "retired").is_none_or(|it| it > now)
    };
    let keys = list(&ring, "/keys").iter().filter(is_served);
    keys.map(|key| text(key, "/kid").to_owned()).filter(|kid| !kid.is_empty()).collect()
}
