//! `controller.sidecars` and `controller.secrets`: what pods and namespaces get from the controller.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::file::{ResourcesFile, SidecarStoreFile, SidecarsFile};
use super::{Config, PoliciesConfig, StoreConfig, Wrong, wrong};
use crate::api::meta::{is_label, is_subdomain};
use crate::grpc::Address;
use crate::injector::{GateAddress, Injection, Resources};
use crate::k8s::controller::{FileInSecret, OnceMade, SidecarsConfig};
use crate::store::redis::users;
use crate::store::redis::{Access, Address as StoreAddress, Servers};

/// Where sidecars are asked.
const GRPC_PORT: u16 = 9443;
const SOCKET_FOLDER: &str = "/run/cloakroom";

/// `controller.sidecars`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarsSettings {
    /// What is added to pods.
    pub injection: Injection,
    /// What is put into their namespaces.
    pub namespaces: SidecarsConfig,
    /// Where each of these namespaces has a user of its own; `None` where they share one.
    pub users: Option<UsersSettings>,
}

/// `controller.sidecars.store.users`: the server whose users are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsersSettings {
    /// The one server.
    pub address: StoreAddress,
    /// Somebody who may make users there.
    pub access: Access,
}

impl SidecarsSettings {
    /// Whether this text of `configFile` is a file for the gates of a namespace.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub fn check(&self, text: &str) -> Result<(), String> {
        // Any namespace does: one is as good as another.
        let namespace = "some-namespace";
        let text = SidecarsConfig::for_namespace(text, namespace);
        let config = Config::parse(&self.namespaces.config_file, &text).map_err(|error| error.to_string())?;
        match &config.policies {
            PoliciesConfig::Kubernetes(cluster) if cluster.namespace.as_deref() == Some(namespace) => {}
            _ => {
                return Err(
                    "policies.kubernetes.namespace: must be ${namespace}: a gate may watch its own alone".into()
                );
            }
        }
        self.check_store(&config.store, namespace)?;
        match (self.injection.listen, &config.listen.grpc) {
            (GateAddress::Loopback, Address::Loopback(address)) if address.port() == GRPC_PORT => Ok(()),
            (GateAddress::Socket, Address::Unix(path)) if path.starts_with(SOCKET_FOLDER) => Ok(()),
            (GateAddress::Loopback, _) => {
                Err(format!("listen.grpc: must be 127.0.0.1:{GRPC_PORT}, since controller.sidecars.listen is loopback"))
            }
            (GateAddress::Socket, _) => Err(format!(
                "listen.grpc: must be a socket below {SOCKET_FOLDER}, such as unix://{SOCKET_FOLDER}/gate/gate.sock, since \
                 controller.sidecars.listen is socket"
            )),
        }
    }
}

impl SidecarsSettings {
    /// With users, gates must be those; without, nobody makes them.
    fn check_store(&self, store: &StoreConfig, namespace: &str) -> Result<(), String> {
        if self.users.is_none() {
            return Ok(());
        }
        let own = format!("{}{namespace}", users::PREFIX);
        match store {
            StoreConfig::Redis(redis) if redis.access.user.as_ref() == Some(&own) => Ok(()),
            _ => Err(format!(
                "sessions.store.redis.username: must be {}${{namespace}}, since controller.sidecars.store.users is true",
                users::PREFIX
            )),
        }
    }
}

pub(super) fn once_made(names: Option<Vec<String>>) -> Result<BTreeSet<OnceMade>, Wrong> {
    let known = |name: String| {
        OnceMade::ALL
            .into_iter()
            .find(|it| it.name() == name)
            .ok_or_else(|| wrong("controller.secrets", format!("`{name}` is not one of token, admin, store")))
    };
    names.into_iter().flatten().map(known).collect()
}

pub(super) fn resolve(
    file: SidecarsFile,
    folder: &Path,
    store_of_all: &StoreConfig,
) -> Result<SidecarsSettings, Wrong> {
    if file.image.is_empty() || !file.image.bytes().all(|byte| byte.is_ascii_graphic()) {
        let words = "is no image: write one such as registry.example/cloakroom@sha256:…".into();
        return Err(wrong("controller.sidecars.image", words));
    }
    let pull_policy = file.image_pull_policy.unwrap_or_else(|| "IfNotPresent".to_owned());
    if !matches!(pull_policy.as_str(), "Always" | "IfNotPresent" | "Never") {
        return Err(wrong(
            "controller.sidecars.imagePullPolicy",
            format!("`{pull_policy}` is not one of Always, IfNotPresent, Never"),
        ));
    }
    let listen = match file.listen.as_deref().unwrap_or("loopback") {
        "loopback" => GateAddress::Loopback,
        "socket" => GateAddress::Socket,
        other => {
            return Err(wrong("controller.sidecars.listen", format!("`{other}` is not one of loopback, socket")));
        }
    };
    let proxy_containers =
        file.proxy_containers.unwrap_or_else(|| ["envoy", "istio-proxy"].map(str::to_owned).to_vec());
    if let Some(name) = proxy_containers.iter().find(|name| !is_label(name)) {
        return Err(wrong(
            "controller.sidecars.proxyContainers",
            format!("`{name}` is not a container's name: 1 to 63 of a-z, 0-9 and -"),
        ));
    }
    let of_store = file.store.unwrap_or_default();
    let users = of_store.users.then(|| users(&of_store, store_of_all)).transpose()?;
    Ok(SidecarsSettings {
        users,
        injection: Injection {
            image: file.image,
            pull_policy,
            listen,
            proxy_containers,
            resources: resources(file.resources.unwrap_or_default())?,
            spared: ["kube-system", "kube-public", "kube-node-lease"].map(str::to_owned).into(),
        },
        namespaces: store(of_store, folder.join(file.config_file))?,
    })
}

fn resources(file: ResourcesFile) -> Result<Resources, Wrong> {
    let default =
        |written: &[(&str, &str)]| written.iter().map(|(name, value)| ((*name).into(), Value::from(*value))).collect();
    let requests = file.requests.unwrap_or_else(|| default(&[("cpu", "10m"), ("memory", "32Mi")]));
    let limits = file.limits.unwrap_or_else(|| default(&[("memory", "256Mi")]));
    Ok(Resources {
        requests: quantities("controller.sidecars.resources.requests", requests)?,
        limits: quantities("controller.sidecars.resources.limits", limits)?,
    })
}

/// Whether they are quantities the API server says, of the first pod; what can be none is said here.
fn quantities(key: &'static str, written: BTreeMap<String, Value>) -> Result<BTreeMap<String, String>, Wrong> {
    let quantity = |(resource, value): (String, Value)| {
        let text = match &value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
        if text.starts_with(|first: char| first.is_ascii_digit() || first == '.') && text.bytes().all(plain) {
            return Ok((resource, text));
        }
        Err(wrong(key, format!("`{resource}: {text}` is not a quantity: write one such as 10m, 0.5 or 64Mi")))
    };
    written.into_iter().map(quantity).collect()
}

/// The server whose users the controller makes: that of its own file.
fn users(file: &SidecarStoreFile, store: &StoreConfig) -> Result<UsersSettings, Wrong> {
    let key = "controller.sidecars.store.users";
    if file.password_secret.is_some() {
        let words = "and passwordSecret exclude each other: either each namespace has a password of its own, or all have that one";
        return Err(wrong(key, words.into()));
    }
    let StoreConfig::Redis(redis) = store else {
        let words = "needs sessions.store.kind: redis in this file too: the url of the one server, and the passwordFile of \
                     somebody who may make users there";
        return Err(wrong(key, words.into()));
    };
    let Servers::One(address) = &redis.servers else {
        let words = "is for one server (sessions.store.redis.url): with sentinels or a cluster make the users by hand on every \
                     server, as docs/store.md shows, and leave this out";
        return Err(wrong(key, words.into()));
    };
    if redis.access.user.as_ref().is_some_and(|it| it.starts_with(users::PREFIX)) {
        let words = format!(
            "must not begin with {}: users of these names are those of namespaces, and others are taken away",
            users::PREFIX
        );
        return Err(wrong("sessions.store.redis.username", words));
    }
    Ok(UsersSettings { address: address.clone(), access: redis.access.clone() })
}

fn store(file: SidecarStoreFile, config_file: std::path::PathBuf) -> Result<SidecarsConfig, Wrong> {
    let in_secret = |keys: [&'static str; 2], secret: Option<String>, key: Option<String>, default: &str| {
        let Some(secret) = secret else {
            return match key {
                Some(_) => {
                    Err(wrong(keys[1], format!("says which file of {}: set that too, or leave it out", keys[0])))
                }
                None => Ok(None),
            };
        };
        if !is_subdomain(&secret) {
            return Err(wrong(keys[0], format!("`{secret}` is not a Secret's name: 1 to 253 of a-z, 0-9, - and .")));
        }
        let key = key.unwrap_or_else(|| default.to_owned());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if key.is_empty() || !key.bytes().all(plain) {
            return Err(wrong(keys[1], format!("`{key}` is not a key of a Secret: a-z, A-Z, 0-9, -, _ and .")));
        }
        Ok(Some(FileInSecret { secret, key }))
    };
    let keys = ["controller.sidecars.store.passwordSecret", "controller.sidecars.store.passwordKey"];
    let password = in_secret(keys, file.password_secret, file.password_key, "password")?;
    let keys = ["controller.sidecars.store.sentinelPasswordSecret", "controller.sidecars.store.sentinelPasswordKey"];
    let sentinel = in_secret(keys, file.sentinel_password_secret, file.sentinel_password_key, "password")?;
    let keys = ["controller.sidecars.store.caSecret", "controller.sidecars.store.caKey"];
    let ca = in_secret(keys, file.ca_secret, file.ca_key, "ca.crt")?;
    Ok(SidecarsConfig { config_file, password, sentinel_password: sentinel, ca, users: file.users })
}
