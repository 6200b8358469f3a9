//! The configuration file as it is written (DESIGN 14): every key, its default in `config.rs`, nothing resolved yet.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Deserialize;

use crate::api::byte_size::ByteSize;
use crate::api::duration::HumanDuration;
use crate::sessions::keyring::algorithm::SigningAlgorithm;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) realm: Option<String>,
    pub(super) realms: Option<BTreeMap<String, RealmFile>>,
    pub(super) listen: ListenFile,
    pub(super) token: TokenFile,
    pub(super) sessions: SessionsFile,
    pub(super) jwt: JwtFile,
    pub(super) policies: PoliciesFile,
    pub(super) proxy: ProxyFile,
    pub(super) providers: ProvidersFile,
    pub(super) api: ApiFile,
    pub(super) telemetry: TelemetryFile,
    pub(super) shutdown: ShutdownFile,
    pub(super) check: CheckFile,
    pub(super) response: ResponseFile,
    pub(super) controller: ControllerFile,
}

/// `realms.<name>`: the namespaces that may use, create in and write to it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RealmFile {
    #[serde(rename = "use")]
    pub(super) uses: Option<Vec<String>>,
    pub(super) create: Option<Vec<String>>,
    pub(super) write: Option<Vec<String>>,
}

/// `listen`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ListenFile {
    pub(super) grpc: Option<String>,
    pub(super) tls: Option<ListenTlsFile>,
    pub(super) http: Option<String>,
    pub(super) health: Option<String>,
    pub(super) admin: Option<String>,
    pub(super) sessions: Option<String>,
}

/// `listen.tls`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ListenTlsFile {
    pub(super) cert_file: Option<String>,
    pub(super) key_file: Option<String>,
    pub(super) client_ca_file: Option<String>,
    pub(super) client_names: Option<Vec<String>>,
}

/// `token`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct TokenFile {
    pub(super) key_file: Option<String>,
    pub(super) handle_key_file: Option<String>,
    pub(super) carriers: Option<Vec<CarrierFile>>,
}

/// One of `token.carriers`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum CarrierFile {
    Cookie(String),
    Bearer(Empty),
    Header(String),
}

/// `{}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Empty {}

/// `sessions`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct SessionsFile {
    pub(super) store: Option<StoreFile>,
    pub(super) idle: Option<HumanDuration>,
    pub(super) absolute: Option<HumanDuration>,
    pub(super) rotate: RotateFile,
    pub(super) view: ViewFile,
}

/// `sessions.store`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StoreFile {
    pub(super) kind: StoreKind,
    pub(super) path: Option<String>,
    pub(super) redis: Option<RedisFile>,
}

/// `sessions.store.kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum StoreKind {
    Memory,
    Embedded,
    Redis,
}

/// `sessions.store.redis`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RedisFile {
    pub(super) url: Option<String>,
    pub(super) sentinel: Option<SentinelFile>,
    pub(super) cluster: Option<ClusterFile>,
    pub(super) database: Option<i64>,
    pub(super) username: Option<String>,
    pub(super) password_file: Option<String>,
    pub(super) tls: Option<TlsFile>,
    pub(super) wait: Option<WaitFile>,
}

/// `sessions.store.redis.sentinel`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SentinelFile {
    pub(super) master: String,
    pub(super) addresses: Vec<String>,
    pub(super) username: Option<String>,
    pub(super) password_file: Option<String>,
}

/// `sessions.store.redis.cluster`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ClusterFile {
    pub(super) addresses: Vec<String>,
}

/// `sessions.store.redis.tls`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct TlsFile {
    pub(super) ca_file: Option<String>,
    pub(super) cert_file: Option<String>,
    pub(super) key_file: Option<String>,
}

/// `sessions.store.redis.wait`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WaitFile {
    pub(super) replicas: u32,
    pub(super) timeout: Option<HumanDuration>,
}

/// `sessions.rotate`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RotateFile {
    pub(super) every: Option<HumanDuration>,
    pub(super) overlap: Option<HumanDuration>,
}

/// `sessions.view`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ViewFile {
    pub(super) max_bytes: Option<ByteSize>,
    pub(super) max_staleness: Option<HumanDuration>,
    pub(super) negative: Option<HumanDuration>,
}

/// `jwt`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct JwtFile {
    pub(super) header: Option<String>,
    pub(super) algorithm: Option<SigningAlgorithm>,
    pub(super) keys_dir: Option<String>,
    pub(super) lifetime: Option<HumanDuration>,
    pub(super) issuer: Option<String>,
    pub(super) max_bytes: Option<ByteSize>,
}

/// `policies`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct PoliciesFile {
    pub(super) dir: Option<String>,
    pub(super) kubernetes: Option<KubernetesFile>,
    pub(super) pod: Option<String>,
}

/// `policies.kubernetes`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct KubernetesFile {
    pub(super) namespace: Option<String>,
    pub(super) selector: Option<String>,
    pub(super) gateways: Option<Vec<String>>,
    pub(super) install_namespace: Option<String>,
    pub(super) namespace_labels: Option<bool>,
    pub(super) secrets: Option<bool>,
    pub(super) snapshot: Option<String>,
    pub(super) kubeconfig: Option<String>,
    pub(super) context: Option<String>,
}

/// `proxy`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ProxyFile {
    pub(super) route_identity: Option<String>,
}

/// `providers`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ProvidersFile {
    pub(super) networks: Option<Vec<String>>,
    pub(super) ca_file: Option<String>,
}

/// `api`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ApiFile {
    pub(super) token_file: Option<String>,
    pub(super) callers: Vec<CallerFile>,
}

/// One of `api.callers`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CallerFile {
    pub(super) name: String,
    pub(super) token_file: String,
    pub(super) realms: Option<Vec<String>>,
    pub(super) verbs: Option<Vec<String>>,
}

/// `telemetry`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct TelemetryFile {
    pub(super) log: Option<String>,
    pub(super) format: Option<String>,
    pub(super) decisions: Option<String>,
}

/// `shutdown`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ShutdownFile {
    pub(super) settle: Option<HumanDuration>,
    pub(super) drain: Option<HumanDuration>,
}

/// `check`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct CheckFile {
    pub(super) timeout: Option<HumanDuration>,
    pub(super) workers: Option<usize>,
}

/// `response`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ResponseFile {
    pub(super) timeout: Option<HumanDuration>,
}

/// `controller`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ControllerFile {
    pub(super) lease: LeaseFile,
    pub(super) keys: ControllerKeysFile,
    pub(super) webhook: Option<WebhookFile>,
    pub(super) certificates: Option<CertificatesFile>,
    pub(super) gate_keys: Option<bool>,
    pub(super) secrets: Option<Vec<String>>,
    pub(super) sidecars: Option<SidecarsFile>,
}

/// `controller.sidecars`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SidecarsFile {
    pub(super) config_file: String,
    pub(super) image: String,
    pub(super) image_pull_policy: Option<String>,
    pub(super) listen: Option<String>,
    pub(super) proxy_containers: Option<Vec<String>>,
    pub(super) resources: Option<ResourcesFile>,
    pub(super) store: Option<SidecarStoreFile>,
}

/// `controller.sidecars.resources`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ResourcesFile {
    pub(super) requests: Option<BTreeMap<String, serde_json::Value>>,
    pub(super) limits: Option<BTreeMap<String, serde_json::Value>>,
}

/// `controller.sidecars.store`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct SidecarStoreFile {
    pub(super) password_secret: Option<String>,
    pub(super) password_key: Option<String>,
    pub(super) sentinel_password_secret: Option<String>,
    pub(super) sentinel_password_key: Option<String>,
    pub(super) ca_secret: Option<String>,
    pub(super) ca_key: Option<String>,
    pub(super) users: bool,
}

/// `controller.webhook`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WebhookFile {
    pub(super) listen: SocketAddr,
    pub(super) cert_file: Option<String>,
    pub(super) key_file: Option<String>,
}

/// `controller.certificates`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct CertificatesFile {
    pub(super) webhook: Option<WebhookCertificateFile>,
    pub(super) gate: Option<GateCertificateFile>,
    pub(super) proxies: Vec<String>,
    pub(super) life: Option<HumanDuration>,
}

/// `controller.certificates.webhook`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WebhookCertificateFile {
    pub(super) service: String,
    pub(super) validating: Option<String>,
    pub(super) mutating: Option<String>,
}

/// `controller.certificates.gate`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GateCertificateFile {
    pub(super) service: String,
}

/// `controller.lease`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct LeaseFile {
    pub(super) name: Option<String>,
    pub(super) duration: Option<HumanDuration>,
}

/// `controller.keys`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ControllerKeysFile {
    pub(super) enrolled: Option<Vec<String>>,
    pub(super) rotate_every: Option<HumanDuration>,
    pub(super) publish_for: Option<HumanDuration>,
    pub(super) algorithm: Option<SigningAlgorithm>,
}
