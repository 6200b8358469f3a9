//! The sidecar and its volumes, as they should be.

use serde_json::{Value, json};

use super::proxy::Proxy;
use super::{CONTAINER, GateAddress, Injection};

/// Where the socket and the snapshot lie.
pub(super) const RUN: &str = "/run/cloakroom";
/// The volume of them.
pub(super) const RUN_VOLUME: &str = "cloakroom-run";

/// The gate's own user, who owns nothing anywhere.
const USER: u64 = 65532;
/// Files of a Secret belong to `root:root` unless the pod has an `fsGroup`, which is not ours to give it: it would change who owns
/// the app's volumes. The keys are for nobody else to read (mode 0440), so the gate is of the group `root`, without a right of
/// root's. Pod Security looks at the user.
const GROUP: u64 = 0;
const SECRET_MODE: u64 = 0o440;

/// The gate's port.
const GRPC: u64 = 9443;
/// The ports beside it: key sets, admin, sessions, health.
const PORTS: [u64; 4] = [9080, 9090, 9081, HEALTH];
const HEALTH: u64 = 9091;

pub(super) fn args() -> Value {
    json!(["serve", "--config", "/etc/cloakroom/config/cloakroom.yaml"])
}

/// A port of the gate's that `container` says to listen on.
pub(super) fn taken_port(container: &Value, listen: GateAddress) -> Option<u64> {
    let ports = container["ports"].as_array()?.iter();
    let tcp = ports.filter(|it| it["protocol"].as_str().is_none_or(|protocol| protocol == "TCP"));
    let mut ports = tcp.filter_map(|it| it["containerPort"].as_u64());
    ports.find(|port| PORTS.contains(port) || (*port == GRPC && listen == GateAddress::Loopback))
}

pub(super) fn container(settings: &Injection, proxy: Option<&Proxy>) -> Value {
    let user = proxy.and_then(|it| it.user).unwrap_or(USER);
    let probe = |path: &str| json!({ "path": path, "port": HEALTH });
    let mount = |name: &str, path: &str| json!({ "name": name, "mountPath": path, "readOnly": true });
    json!({
        "name": CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        // A native sidecar: it runs beside the containers and does not keep a Job from its end.
        "restartPolicy": "Always",
        "args": args(),
        // So that `kubectl exec … -- cloakroom session create` needs no flag.
        "env": [{ "name": "CLOAKROOM_API_TOKEN_FILE", "value": "/etc/cloakroom/secrets/admin.token" }],
        "ports": [{ "name": "cloakroom", "containerPort": HEALTH, "protocol": "TCP" }],
        // What comes after it in the list starts when it has started. It is not asked whether it is ready: policies may come late,
        // and the network may be a proxy's that starts after it.
        "startupProbe": { "httpGet": probe("/livez"), "periodSeconds": 1, "timeoutSeconds": 3, "failureThreshold": 120 },
        "readinessProbe": { "httpGet": probe("/readyz"), "periodSeconds": 2, "timeoutSeconds": 3, "failureThreshold": 3 },
        "resources": { "requests": settings.resources.requests, "limits": settings.resources.limits },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": user,
            "runAsGroup": GROUP,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "volumeMounts": [
            mount("cloakroom-config", "/etc/cloakroom/config"),
            mount("cloakroom-keys", "/etc/cloakroom/keys"),
            mount("cloakroom-secrets", "/etc/cloakroom/secrets"),
            mount("cloakroom-pod", "/etc/cloakroom/pod"),
            json!({ "name": RUN_VOLUME, "mountPath": RUN }),
            // Also where the pod asks for no token (`automountServiceAccountToken`): the gate watches policies.
            mount("cloakroom-api", "/var/run/secrets/kubernetes.io/serviceaccount"),
        ],
    })
}

pub(super) fn volumes() -> [(&'static str, Value); 6] {
    let own =
        |field: &str, path: &str| json!({ "path": path, "fieldRef": { "fieldPath": format!("metadata.{field}") } });
    let secret = |name: &str| json!({ "secretName": name, "defaultMode": SECRET_MODE });
    let token = json!({ "serviceAccountToken": { "path": "token", "expirationSeconds": 3607 } });
    let ca = json!({ "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } });
    let namespace = json!({ "downwardAPI": { "items": [own("namespace", "namespace")] } });
    let pod = json!({ "items": [own("namespace", "namespace"), own("labels", "labels")] });
    [
        ("cloakroom-config", "configMap", json!({ "name": "cloakroom-gate" })),
        ("cloakroom-keys", "secret", secret("cloakroom-keys")),
        ("cloakroom-secrets", "secret", secret("cloakroom-gate")),
        ("cloakroom-pod", "downwardAPI", pod),
        // Memory, so that nothing of it outlives the pod on the node's disk.
        (RUN_VOLUME, "emptyDir", json!({ "medium": "Memory", "sizeLimit": "64Mi" })),
        ("cloakroom-api", "projected", json!({ "sources": [token, ca, namespace] })),
    ]
    .map(|(name, kind, source)| (name, json!({ "name": name, kind: source })))
}
