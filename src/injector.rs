//! What is added to a pod of an enrolled namespace before it is stored: the gate as a native sidecar, and what it needs.
//!
//! A function of the pod and the settings, so that every pod is a row in a table of tests. It asks for what should be there and
//! leaves what is: a second look at its own work, or one after another injector's, adds nothing and puts back what was moved.

mod istio;
mod json;
mod parts;
mod proxy;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use self::json::{entry, equals, list, named, text};
use self::proxy::Proxy;

/// The label by which a pod stays as it is, with the value `false`.
pub const OPT_OUT: &str = "cloakroom.dev/inject";
/// The label of a pod that has the sidecar.
pub const INJECTED: &str = "cloakroom.dev/injected";
/// The annotation with the sidecar's image, as the webhook knew it.
pub const INJECTED_IMAGE: &str = "cloakroom.dev/injected-image";
/// The annotation that names the container of the proxy, over the settings.
pub const PROXY_CONTAINER: &str = "cloakroom.dev/proxy-container";
/// The sidecar's name.
pub const CONTAINER: &str = "cloakroom";

/// What pods get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// The sidecar's image.
    pub image: String,
    /// When it is pulled.
    pub pull_policy: String,
    /// Where the proxy asks.
    pub listen: GateAddress,
    /// The names that the proxy's container may have, the first that is there.
    pub proxy_containers: Vec<String>,
    /// What the sidecar asks for of processor and memory, and what it gets at most.
    pub resources: Resources,
    /// Namespaces that are left alone whatever the webhook's registration says: nothing there may hang on a controller.
    pub spared: BTreeSet<String>,
}

impl Injection {
    /// The same, but for one more namespace.
    #[must_use]
    pub fn sparing(&self, namespace: &str) -> Self {
        let mut injection = self.clone();
        injection.spared.insert(namespace.to_owned());
        injection
    }
}

/// Where the proxy asks the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateAddress {
    /// At 127.0.0.1:9443.
    Loopback,
    /// At a socket file, which only the proxy's container sees.
    Socket,
}

/// Quantities by resource, as Kubernetes writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// What is set aside for it.
    pub requests: BTreeMap<String, String>,
    /// What it gets at most.
    pub limits: BTreeMap<String, String>,
}

/// What is to be done with a pod.
#[derive(Debug, Default, PartialEq)]
pub struct Injected {
    /// A JSON patch (RFC 6902); empty leaves the pod as it is.
    pub patch: Vec<Value>,
    /// What whoever makes the pod should know.
    pub warnings: Vec<String>,
}

/// Why a pod cannot have the sidecar. Every one says what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no pod.
    #[error("{0} is not as in a pod")]
    Unreadable(&'static str),
    /// The opt-out says something else.
    #[error(
        "the label `{OPT_OUT}` is `{0}`: write `\"false\"` to leave this pod without the gate, or take the label away"
    )]
    OptOut(String),
    /// Others could reach into the gate.
    #[error(
        "spec.{field}: {why}, so it gets no gate. Take it away, or leave this pod without the gate by the label `{OPT_OUT}: \"false\"`"
    )]
    Shared {
        /// The field of the spec.
        field: &'static str,
        /// What that would mean.
        why: &'static str,
    },
    /// It is no Linux pod.
    #[error("spec.os.name: the gate runs on Linux: leave this pod without it by the label `{OPT_OUT}: \"false\"`")]
    NotLinux,
    /// Another container has the name.
    #[error("the container `{CONTAINER}` is not the gate's, and two cannot have one name: give it another")]
    ContainerTaken,
    /// Another volume has the name.
    #[error("the volume `{0}` is not the gate's, and two cannot have one name: give it another")]
    VolumeTaken(&'static str),
    /// Another container listens where the gate does.
    #[error(
        "the container `{container}` has the port {port}, which is the gate's in this pod: let it listen elsewhere"
    )]
    PortTaken {
        /// Whose port it is.
        container: String,
        /// The port.
        port: u64,
    },
    /// The proxy has something else where the socket would be.
    #[error("the container `{container}` mounts something else at {}: mount it elsewhere", parts::RUN)]
    MountTaken {
        /// The proxy's container.
        container: String,
    },
    /// Another container would see what is the gate's.
    #[error(
        "the container `{container}` mounts the volume `{volume}`: those called `cloakroom-…` are the gate's, with its keys and \
         secrets. Take the mount away, or give a volume of your own another name"
    )]
    GateMounted {
        /// Whose mount it is.
        container: String,
        /// The volume.
        volume: String,
    },
    /// Nobody knows whom to give the socket to.
    #[error(
        "the gate's socket is for the user of the proxy's container `{container}`, and {why}: set securityContext.runAsUser \
         (not 0) on it or on the pod, or securityContext.fsGroup on the pod"
    )]
    ProxyUser {
        /// The proxy's container.
        container: String,
        /// What is not known.
        why: &'static str,
    },
}

/// What is to be done with a new pod of `namespace`, where this is wanted.
///
/// # Errors
/// Why it can neither have the sidecar nor be left without.
pub fn inject(pod: &Value, namespace: &str, settings: &Injection) -> Result<Injected, Refusal> {
    let labels = &pod["metadata"]["labels"];
    // The mirror of a static pod is there already, on its node, as it is.
    let is_mirror = !pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null();
    if settings.spared.contains(namespace) || is_mirror {
        return Ok(Injected::default());
    }
    match labels.get(OPT_OUT).map(|it| it.as_str().unwrap_or_default()) {
        Some("false") => return Ok(Injected::default()),
        None | Some("true") => {}
        Some(other) => return Err(Refusal::OptOut(other.to_owned())),
    }
    for field in ["metadata", "spec"] {
        if !pod[field].is_object() {
            return Err(Refusal::Unreadable(field));
        }
    }
    refuse_what_is_shared(&pod["spec"])?;
    let was_injected = text(labels, INJECTED) == Some("true");
    let proxy = match settings.listen {
        GateAddress::Loopback => None,
        GateAddress::Socket => proxy::of(pod, settings)?,
    };
    refuse_mounts(&pod["spec"], proxy.as_ref())?;
    let mut wanted = json::changeable(pod, proxy.as_ref().map(Proxy::field));
    put_container(&mut wanted, &pod["spec"], was_injected, settings, proxy.as_ref())?;
    put_volumes(&mut wanted, was_injected)?;
    if let Some(proxy) = &proxy {
        proxy.mount(&mut wanted)?;
    }
    mark(&mut wanted, settings);
    istio::make_way(&mut wanted);
    let mut warnings = Vec::new();
    if settings.listen == GateAddress::Socket && proxy.is_none() {
        warnings.push(format!(
            "no container here is called {}: unless another webhook adds the proxy, nobody asks the gate of this pod. The annotation \
             `{PROXY_CONTAINER}` names another one",
            settings.proxy_containers.join(" or ")
        ));
    }
    Ok(Injected { patch: json::patch(pod, wanted), warnings })
}

/// The gate holds the keys of its namespace and listens on the pod's loopback: neither may be anybody else's.
fn refuse_what_is_shared(spec: &Value) -> Result<(), Refusal> {
    for (field, why) in [
        ("hostNetwork", "the whole node could ask a gate on its loopback"),
        ("hostPID", "processes of this pod could reach into gates of the whole node"),
        ("shareProcessNamespace", "the other containers could reach into the gate and its keys"),
    ] {
        match &spec[field] {
            Value::Null | Value::Bool(false) => {}
            Value::Bool(true) => return Err(Refusal::Shared { field, why }),
            _ => return Err(Refusal::Unreadable("spec")),
        }
    }
    match text(&spec["os"], "name") {
        None | Some("linux") => Ok(()),
        Some(_) => Err(Refusal::NotLinux),
    }
}

/// The gate's volumes hold the keys of the namespace, its secrets and its socket: no other container sees them, but the proxy the
/// folder of the socket.
fn refuse_mounts(spec: &Value, proxy: Option<&Proxy>) -> Result<(), Refusal> {
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        let others = list(spec, field)?.iter().filter(|it| it["name"] != CONTAINER);
        for container in others {
            for mount in list(container, "volumeMounts")? {
                let volume = text(mount, "name").unwrap_or_default();
                if volume.starts_with("cloakroom-") && !proxy.is_some_and(|it| it.has(field, container, mount)) {
                    let container = text(container, "name").unwrap_or_default().to_owned();
                    return Err(Refusal::GateMounted { container, volume: volume.to_owned() });
                }
            }
        }
    }
    Ok(())
}

/// Puts the sidecar first, so that it has started before the proxy and ends after it.
fn put_container(
    wanted: &mut Value,
    spec: &Value,
    was_injected: bool,
    settings: &Injection,
    proxy: Option<&Proxy>,
) -> Result<(), Refusal> {
    let is_ours = |it: &Value| was_injected && it["args"] == parts::args() && it["restartPolicy"] == "Always";
    for field in ["containers", "ephemeralContainers"] {
        if named(list(spec, field)?, CONTAINER).is_some() {
            return Err(Refusal::ContainerTaken);
        }
    }
    if list(spec, "initContainers")?.iter().any(|it| it["name"] == CONTAINER && !is_ours(it)) {
        return Err(Refusal::ContainerTaken);
    }
    for field in ["initContainers", "containers"] {
        for container in list(spec, field)?.iter().filter(|it| it["name"] != CONTAINER) {
            if let Some(port) = parts::taken_port(container, settings.listen) {
                let container = text(container, "name").unwrap_or_default().to_owned();
                return Err(Refusal::PortTaken { container, port });
            }
        }
    }
    let init = entry(&mut wanted["spec"], "initContainers");
    let present = init.iter().position(|it| it["name"] == CONTAINER).map(|at| init.remove(at));
    let container = parts::container(settings, proxy);
    init.insert(0, present.filter(|it| equals(it, &container)).unwrap_or(container));
    Ok(())
}

fn put_volumes(pod: &mut Value, was_injected: bool) -> Result<(), Refusal> {
    list(&pod["spec"], "volumes")?;
    let volumes = entry(&mut pod["spec"], "volumes");
    for (name, volume) in parts::volumes() {
        match volumes.iter_mut().find(|it| it["name"] == name) {
            None => volumes.push(volume),
            Some(present) if equals(present, &volume) => {}
            Some(present) if was_injected => *present = volume,
            Some(_) => return Err(Refusal::VolumeTaken(name)),
        }
    }
    Ok(())
}

fn mark(pod: &mut Value, settings: &Injection) {
    for (field, name, value) in [("labels", INJECTED, "true"), ("annotations", INJECTED_IMAGE, settings.image.as_str())]
    {
        if !pod["metadata"][field].is_object() {
            pod["metadata"][field] = json!({});
        }
        pod["metadata"][field][name] = json!(value);
    }
}
