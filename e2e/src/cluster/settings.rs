//! The files that the parts of a node read, made anew for each cluster: its keys and tokens are nobody else's.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

use super::GROUP;
use super::network::{API_SERVICE, BRIDGE, NODE, PODS};
use super::programs::Programs;
use crate::tls::Certificates;

/// Of the administrator.
pub(super) const KUBECONFIG: &str = "kubeconfig";
/// The port of the API server.
pub(super) const API_PORT: u16 = 6443;
/// The image of the container that holds a pod's namespaces.
pub(super) const PAUSE: &str = "cloakroom.localhost/pause:1";
/// Volumes that are there for whoever claims one: nothing here makes them on demand.
const VOLUMES: usize = 4;

/// Who calls the API server: the name of the kubeconfig, the user and its groups.
const CALLERS: [(&str, &str, &str); 6] = [
    (KUBECONFIG, "admin", "system:masters"),
    // They act for all of its controllers, each of which has rights of its own in larger clusters.
    ("controller-manager", "system:kube-controller-manager", "system:masters"),
    ("scheduler", "system:kube-scheduler", ""),
    ("kubelet", "system:node:node", "system:nodes"),
    ("proxy", "system:kube-proxy", ""),
    ("names", "cloakroom:names", ""),
];

/// Writes them.
pub(super) fn write(folder: &Path, programs: &Programs) -> Result<()> {
    programs.write(folder)?;
    let names = [
        NODE,
        API_SERVICE,
        "127.0.0.1",
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let certificates = Certificates::make(folder, &names)?;
    let accounts = rcgen::KeyPair::generate()?;
    secret(&folder.join("accounts.key"), &accounts.serialize_pem())?;
    fs::write(folder.join("accounts.pub"), accounts.public_key_pem())?;
    let mut users = String::new();
    for (file, user, groups) in CALLERS {
        let token = token()?;
        users += &format!("{token},{user},{user},\"{groups}\"\n");
        secret(&folder.join(file), &kubeconfig(user, &token, &certificates.ca)?)?;
    }
    secret(&folder.join("users.csv"), &users)?;
    fs::write(folder.join("containerd.toml"), containerd(folder, programs))?;
    fs::create_dir_all(folder.join("cni"))?;
    fs::write(folder.join("cni/pods.conflist"), cni(folder).to_string())?;
    // JSON is YAML.
    fs::write(folder.join("kubelet.yaml"), kubelet(folder).to_string())?;
    fs::write(folder.join("proxy.yaml"), proxy(folder).to_string())?;
    fs::write(folder.join("Corefile"), corefile(folder))?;
    fs::write(folder.join("objects.json"), objects(folder)?.to_string())?;
    Ok(())
}

/// 128 bits that nobody guesses.
fn token() -> Result<String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn secret(file: &Path, content: &str) -> Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    Ok(file.write_all(content.as_bytes())?)
}

/// With the authority inside: it can be carried away.
fn kubeconfig(user: &str, token: &str, ca: &Path) -> Result<String> {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    let ca = BASE64_STANDARD.encode(fs::read(ca)?);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "cloakroom",
            "cluster": { "server": format!("https://{NODE}:{API_PORT}"), "certificate-authority-data": ca },
        }],
        "users": [{ "name": user, "user": { "token": token } }],
        "contexts": [{ "name": "cloakroom", "context": { "cluster": "cloakroom", "user": user } }],
        "current-context": "cloakroom",
    });
    Ok(format!("{config:#}"))
}

pub(super) fn containerd_socket(folder: &Path) -> PathBuf {
    folder.join("containerd.sock")
}

fn containerd(folder: &Path, programs: &Programs) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    format!(
        "version = 2
root = {root:?}
state = {state:?}
[grpc]
  address = {socket:?}
[plugins.\"io.containerd.grpc.v1.cri\"]
  sandbox_image = \"{PAUSE}\"
  # Where the capability CAP_SYS_RESOURCE is missing, runc dies of a better score.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.\"io.containerd.grpc.v1.cri\".cni]
    bin_dir = {plugins:?}
    conf_dir = {cni:?}
  [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]
    runtime_type = \"io.containerd.runc.v2\"
    [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]
      SystemdCgroup = false
",
        root = path("containerd"),
        state = path("containerd-state"),
        socket = containerd_socket(folder).display().to_string(),
        plugins = programs.cni_plugins.display().to_string(),
        cni = path("cni"),
    )
}

fn cni(folder: &Path) -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": true,
            "ipam": {
                "type": "host-local",
                "dataDir": folder.join("addresses"),
                "ranges": [[{ "subnet": PODS, "gateway": NODE }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    })
}

fn kubelet(folder: &Path) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE,
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": false },
            "x509": { "clientCAFile": folder.join("ca.pem") },
        },
        // That is, by whoever shows a certificate of the cluster's authority: the API server.
        "authorization": { "mode": "AlwaysAllow" },
        "containerRuntimeEndpoint": format!("unix://{}", containerd_socket(folder).display()),
        "clusterDNS": [NODE],
        "clusterDomain": "cluster.local",
        // There is no Internet for pods, and so no other names.
        "resolvConf": "",
        "podLogsDir": folder.join("log/pods"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{GROUP}"),
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "makeIPTablesUtilChains": false,
        // The disk and the memory of a developer's machine are not the node's alone.
        "evictionHard": { "memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%", "nodefs.inodesFree": "0%" },
        "imageGCHighThresholdPercent": 100,
        "imageMinimumGCAge": "24h",
        "syncFrequency": "10s",
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "registerNode": true,
        "maxPods": 200,
        "serializeImagePulls": false,
    })
}

fn proxy(folder: &Path) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": { "kubeconfig": folder.join("proxy") },
        "clusterCIDR": PODS,
        "hostnameOverride": "node",
        // The limits are the machine's.
        "conntrack": { "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s" },
        // Or an answer between two pods of the bridge would not pass the translation.
        "nftables": { "masqueradeAll": true, "minSyncPeriod": "100ms" },
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
    })
}

fn corefile(folder: &Path) -> String {
    format!(
        ".:53 {{
  bind {NODE}
  errors
  ready 127.0.0.1:8181
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {} cloakroom
    ttl 5
  }}
}}
",
        folder.join("names").display()
    )
}

/// What the cluster has before its user brings anything: the rights of its own parts, and volumes.
fn objects(folder: &Path) -> Result<Value> {
    let mut items = vec![
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": "cloakroom:names" },
            "rules": [
                { "apiGroups": [""], "resources": ["services", "namespaces", "pods", "endpoints"], "verbs": ["list", "watch"] },
                { "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"] },
            ],
        }),
        binding("cloakroom:names", "cloakroom:names", "cloakroom:names"),
        // kube-proxy calls under the name that the roles of Kubernetes know.
        binding("cloakroom:proxy", "system:node-proxier", "system:kube-proxy"),
    ];
    for n in 1..=VOLUMES {
        let path = folder.join(format!("volumes/{n}"));
        fs::DirBuilder::new().recursive(true).mode(0o777).create(&path)?;
        // Whoever claims it, as a user that is not known before.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
        items.push(json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": { "name": format!("volume-{n}") },
            "spec": {
                "capacity": { "storage": "10Gi" },
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": { "path": path },
            },
        }));
    }
    Ok(json!({ "apiVersion": "v1", "kind": "List", "items": items }))
}

fn binding(name: &str, role: &str, user: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": [{ "kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user }],
    })
}
