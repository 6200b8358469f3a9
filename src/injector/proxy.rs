//! The container whose proxy asks at the socket file, and as whom it may.

use serde_json::{Value, json};

use super::json::{entry, equals, list, named, text};
use super::{Injection, PROXY_CONTAINER, Refusal, parts};

/// The proxy of a pod.
#[derive(Debug)]
pub(super) struct Proxy {
    container: String,
    /// The list that it is in.
    field: &'static str,
    /// The user that the gate shares with it; without one they share the pod's `fsGroup`.
    pub(super) user: Option<u64>,
}

/// The proxy; `None` where it is not here, which another webhook may yet change.
pub(super) fn of(pod: &Value, settings: &Injection) -> Result<Option<Proxy>, Refusal> {
    let spec = &pod["spec"];
    let told = text(&pod["metadata"]["annotations"], PROXY_CONTAINER).map(|it| vec![it.to_owned()]);
    let names = told.as_ref().unwrap_or(&settings.proxy_containers);
    for name in names {
        // Istio's may be a native sidecar as well.
        for field in ["containers", "initContainers"] {
            if let Some(container) = named(list(spec, field)?, name) {
                return Ok(Some(Proxy { container: name.clone(), field, user: user(spec, container)? }));
            }
        }
    }
    Ok(None)
}

/// Who the proxy runs as. A socket of mode 0660 in a folder of mode 0750 is for its owner and its group alone.
fn user(spec: &Value, container: &Value) -> Result<Option<u64>, Refusal> {
    let pod = &spec["securityContext"];
    let told = [&container["securityContext"], pod].into_iter().find_map(|it| it.get("runAsUser")?.as_u64());
    match (told, pod["fsGroup"].as_u64()) {
        (Some(user @ 1..), _) => Ok(Some(user)),
        // Both are members of the group of the pod's volumes.
        (_, Some(1..)) => Ok(None),
        (told, _) => Err(Refusal::ProxyUser {
            container: text(container, "name").unwrap_or_default().to_owned(),
            why: if told.is_some() { "the gate does not run as root" } else { "who that is is not known" },
        }),
    }
}

/// How it sees the socket. To write there is not for it: the gate's snapshot lies beside.
fn view() -> Value {
    json!({ "name": parts::RUN_VOLUME, "mountPath": parts::RUN, "readOnly": true })
}

impl Proxy {
    /// The list that it is in.
    pub(super) fn field(&self) -> &'static str {
        self.field
    }

    /// Whether `mount` of `container` is the one that the proxy is given.
    pub(super) fn has(&self, field: &str, container: &Value, mount: &Value) -> bool {
        (field, &container["name"]) == (self.field, &json!(self.container)) && equals(mount, &view())
    }

    /// Lets it see the socket.
    pub(super) fn mount(&self, pod: &mut Value) -> Result<(), Refusal> {
        let mount = view();
        let Some(container) = entry(&mut pod["spec"], self.field).iter_mut().find(|it| it["name"] == self.container)
        else {
            return Ok(());
        };
        let mounts = entry(container, "volumeMounts");
        match mounts.iter_mut().find(|it| it["mountPath"] == parts::RUN) {
            None => mounts.push(mount),
            Some(present) if equals(present, &mount) => {}
            Some(_) => return Err(Refusal::MountTaken { container: self.container.clone() }),
        }
        Ok(())
    }
}
