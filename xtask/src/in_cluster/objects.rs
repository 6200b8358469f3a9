//! What the user of the story has before cloakroom, and what they write for it.

use std::net::SocketAddr;

use anyhow::Result;
use e2e::envoy::{EnvoyConfig, GateAddress};
use serde_json::{Value, json};

use super::images::Images;
use super::{INSTALL, SHOP};

/// Where the gate listens beside Envoy.
const GATE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9443);

/// The one policy that protects the shop: five lines.
pub(super) fn policy() -> String {
    format!(
        "apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: {{ name: shop, namespace: {SHOP} }}
spec:
  selector: {{ matchLabels: {{ app: shop }} }}
"
    )
}

/// The same, grown: who may log in and out, and what the shop may keep in a session.
pub(super) fn grown_policy() -> String {
    policy()
        + "  rules:
  - name: login
    matches: [{ path: { type: PathPrefix, value: /login } }]
    access: Public
    session: { create: true }
  - name: logout
    matches: [{ path: { type: Exact, value: /logout }, method: POST }]
    session: { end: true }
  - name: cart
    matches: [{ path: { type: PathPrefix, value: /cart } }]
    session: { writableClaims: [cart] }
"
}

/// A shop as it was before cloakroom: two pods with an Envoy each. Its Envoy asks a gate at loopback, by the shipped example.
pub(super) fn shop(images: &Images, patient: bool) -> Result<String> {
    let drain = json!({ "preStop": { "exec": { "command": ["/usr/bin/e2e-pod", "drain", "http://127.0.0.1:9901"] } } });
    let issuer = format!("https://cloakroom-controller.{INSTALL}.svc/ns/{SHOP}");
    let jwks = format!("http://cloakroom-controller.{INSTALL}.svc:9080/ns/{SHOP}/.well-known/jwks.json");
    let audience = format!("{SHOP}/shop");
    let objects = [
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": "envoy", "namespace": SHOP },
            "data": { "envoy.yaml": envoy(patient)? },
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": "shop", "namespace": SHOP },
            "spec": { "selector": { "app": "shop" }, "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] },
        }),
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": "shop", "namespace": SHOP },
            "spec": {
                "replicas": 2,
                "selector": { "matchLabels": { "app": "shop" } },
                "strategy": { "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
                "template": {
                    "metadata": { "labels": { "app": "shop" } },
                    "spec": {
                        "terminationGracePeriodSeconds": 60,
                        "securityContext": pod_security(),
                        "containers": [
                            {
                                "name": "envoy",
                                "image": images.envoy.reference,
                                "imagePullPolicy": "IfNotPresent",
                                "args": ["-c", "/etc/envoy/envoy.yaml", "--concurrency", "1", "--drain-time-s", "5",
                                    "--drain-strategy", "immediate", "--log-level", "warning"],
                                "ports": [{ "name": "http", "containerPort": 8080 }],
                                "readinessProbe": { "tcpSocket": { "port": "http" }, "periodSeconds": 1 },
                                "lifecycle": drain,
                                "securityContext": container_security(),
                                "volumeMounts": [{ "name": "envoy", "mountPath": "/etc/envoy" }],
                            },
                            {
                                "name": "shop",
                                "image": images.pod.reference,
                                "imagePullPolicy": "IfNotPresent",
                                "args": ["serve", "127.0.0.1:8081", "127.0.0.1:8082", jwks, issuer, audience],
                                // It outlives the requests that its Envoy still has.
                                "lifecycle": drain,
                                "securityContext": container_security(),
                            },
                        ],
                        "volumes": [{ "name": "envoy", "configMap": { "name": "envoy" } }],
                    },
                },
            },
        }),
    ];
    Ok(list(&objects))
}

/// A pod from which requests are sent.
pub(super) fn client(images: &Images) -> String {
    list(&[json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "client", "namespace": SHOP, "labels": { "cloakroom.dev/inject": "false" } },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "securityContext": pod_security(),
            "containers": [{
                "name": "client",
                "image": images.pod.reference,
                "imagePullPolicy": "IfNotPresent",
                "args": ["wait"],
                "securityContext": container_security(),
            }],
        },
    })])
}

/// A namespace in which pods of the strictest level alone are taken.
pub(super) fn namespace(name: &str) -> String {
    let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
    list(&[json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } })])
}

fn list(items: &[Value]) -> String {
    // JSON is YAML.
    json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()
}

fn pod_security() -> Value {
    json!({ "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": { "type": "RuntimeDefault" } })
}

fn container_security() -> Value {
    json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } })
}

/// The shipped file, for a pod. A program without optimisations is given more time than the file's.
fn envoy(patient: bool) -> Result<String> {
    let mut config = EnvoyConfig::shipped()?;
    config.plain()?.gate(&GateAddress::Tcp(GATE))?;
    config.service("shop", ([127, 0, 0, 1], 8081).into())?.service("login", ([127, 0, 0, 1], 8082).into())?;
    config.listen(([0, 0, 0, 0], 8080).into())?.admin(([127, 0, 0, 1], 9901).into())?;
    if patient {
        config.patient()?;
    }
    Ok(config.render())
}
