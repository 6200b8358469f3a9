//! Beside Istio's injector, before it or after it.
//!
//! Istio leads what comes to the pod's ports through its proxy, which may ask for its mesh's certificates. The kubelet has none,
//! and our probes are there before the proxy is: so the port of our probes is left out. What the gate itself asks (the API
//! server, the store) may go through the proxy.

use serde_json::{Value, json};

use super::json::text;

/// The annotation with the ports that Istio leaves alone.
const ANNOTATION: &str = "traffic.sidecar.istio.io/excludeInboundPorts";
/// The container that sets its rules up, and the argument before those ports.
const SETS_UP: (&str, &str) = ("istio-init", "-d");
/// The port of our probes.
const PORT: &str = "9091";

pub(super) fn make_way(pod: &mut Value) {
    let told = text(&pod["metadata"]["annotations"], ANNOTATION).unwrap_or_default().to_owned();
    if !has(&told) {
        pod["metadata"]["annotations"][ANNOTATION] = json!(with(&told));
    }
    // Where Istio came first, it has read the annotation already.
    let init = pod["spec"]["initContainers"].as_array_mut().into_iter().flatten();
    for container in init.filter(|it| it["name"] == SETS_UP.0) {
        let Some(args) = container["args"].as_array_mut() else { continue };
        let ports = args.iter().position(|it| it == SETS_UP.1).and_then(|at| args.get_mut(at + 1));
        if let Some(ports) = ports
            && let Some(told) = ports.as_str()
            && !has(told)
        {
            *ports = json!(with(told));
        }
    }
}

fn has(ports: &str) -> bool {
    ports.split(',').any(|it| it.trim() == PORT)
}

fn with(ports: &str) -> String {
    if ports.trim().is_empty() { PORT.to_owned() } else { format!("{ports},{PORT}") }
}
