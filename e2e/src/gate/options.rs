//! How a gate is to run, and the configuration file that says so.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Cloakroom;

/// The issuer before `/ns/<namespace>`.
pub const ISSUER: &str = "https://cloakroom.example";

/// Where the proxy reaches the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// By a socket file.
    Unix,
    /// On loopback.
    Loopback,
}

/// Where sessions are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// In memory: gone with the process.
    Memory,
    /// In one file.
    Embedded,
    /// In Redis: the value of `sessions.store`, as in `{ "kind": "redis", "redis": { "url": … } }`.
    Redis(Value),
}

/// How to run it.
#[derive(Clone, Debug)]
pub struct GateOptions {
    /// The binary: `env!("CARGO_BIN_EXE_cloakroom")` in tests of the root package.
    pub binary: PathBuf,
    /// Where it listens for the proxy.
    pub listen: Listen,
    /// Its store.
    pub store: Store,
    /// Policy files: name and content.
    pub policies: Vec<(String, String)>,
    /// The algorithm of the signing key, as in JWS.
    pub algorithm: String,
    /// Put over the configuration file, as a JSON merge patch (RFC 7396).
    pub config: Value,
}

impl GateOptions {
    /// A socket file, the memory store, an ES256 key, no policies.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            listen: Listen::Unix,
            store: Store::Memory,
            policies: Vec::new(),
            algorithm: "ES256".to_owned(),
            config: json!({}),
        }
    }

    /// With one more policy file.
    #[must_use]
    pub fn policy(mut self, name: &str, content: impl Into<String>) -> Self {
        self.policies.push((name.to_owned(), content.into()));
        self
    }

    /// With the keys of another gate: one that shares its sessions.
    #[must_use]
    pub fn with_keys_of(mut self, gate: &Cloakroom) -> Self {
        let file = |name: &str| gate.folder().join(name);
        merge(
            &mut self.config,
            &json!({ "token": { "keyFile": file("token.key") }, "jwt": { "keysDir": file("keys") } }),
        );
        self
    }
}

/// The configuration file in this folder.
pub(super) fn config(folder: &Path, options: &GateOptions) -> Value {
    let file = |name: &str| folder.join(name);
    let grpc = match options.listen {
        Listen::Unix => format!("unix://{}", file("gate.sock").display()),
        Listen::Loopback => "127.0.0.1:0".to_owned(),
    };
    let store = match &options.store {
        Store::Memory => json!({ "kind": "memory" }),
        Store::Embedded => json!({ "kind": "embedded", "path": file("sessions.redb") }),
        Store::Redis(store) => store.clone(),
    };
    let loopback = "127.0.0.1:0";
    json!({
        "realm": "shop",
        "listen": { "grpc": grpc, "http": loopback, "health": loopback, "admin": loopback, "sessions": loopback },
        "token": { "keyFile": file("token.key") },
        "sessions": { "store": store },
        "jwt": { "algorithm": options.algorithm, "keysDir": file("keys"), "issuer": ISSUER },
        "policies": { "dir": file("policies") },
        "api": { "tokenFile": file("admin.token") },
        // Longer than users wait, so that a busy machine is not taken for a store that does not answer.
        "check": { "timeout": "5s" },
        "response": { "timeout": "5s" },
    })
}

/// RFC 7396.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, change) in changes {
        if change.is_null() {
            target.as_object_mut().map(|it| it.remove(key));
        } else {
            merge(&mut target[key.as_str()], change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_changes_adds_and_removes() {
        let mut config = json!({ "a": { "b": 1, "c": 2 }, "d": 3 });
        merge(&mut config, &json!({ "a": { "b": 7, "c": null }, "e": { "f": 4 } }));
        assert_eq!(config, json!({ "a": { "b": 7 }, "d": 3, "e": { "f": 4 } }));
    }

    #[test]
    fn a_redis_store_is_written_as_given() {
        let store = json!({ "kind": "redis", "redis": { "url": "redis://127.0.0.1:6379/0" } });
        let options = GateOptions { store: Store::Redis(store.clone()), ..GateOptions::new("cloakroom") };
        assert_eq!(config(Path::new("/folder"), &options)["sessions"]["store"], store);
    }
}
