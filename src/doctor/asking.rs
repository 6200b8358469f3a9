//! Reads of a cluster what is judged, by `get` and `list` alone. Of Secrets the public parts are kept and nothing else.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::finding::Check;
use super::install::{CONTROLLER, GATE, PROXIES};
use super::request;
use super::scene::{Gap, Kind, Mesh, Scene, name_of, text};
use crate::k8s::{Connection, Unseen, crds};

/// What of a Secret may be looked at: what is public anyway.
const PUBLIC: [&str; 2] = ["tls.crt", "keyring.yaml"];
/// The port of the controller's key sets.
const KEYS_PORT: u16 = 9080;

/// What to look at.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The install's namespace.
    pub install: String,
    /// These namespaces; all that are enrolled where it is empty.
    pub namespaces: Vec<String>,
    /// What carries requests; what is found where it is empty.
    pub meshes: BTreeSet<Mesh>,
    /// The namespace of Istio's mesh configuration.
    pub istio_root: String,
    /// The namespace of Envoy Gateway.
    pub envoy_gateway_namespace: String,
    /// Where the controller's key sets are; through the API server unless told.
    pub keys: Option<reqwest::Url>,
}

/// Reads it. What cannot be read is told in the scene.
///
/// # Errors
/// When the API server does not answer at all.
pub async fn look(connection: &Connection, wanted: &Wanted) -> Result<Scene, Unseen> {
    match connection.get("/version").await {
        Ok(_) | Err(Unseen::Missing) => {}
        // Some servers tell their version to nobody they do not know; what comes next tells more.
        Err(Unseen::Refused(why)) if why.contains("forbidden") => {}
        Err(error) => return Err(error),
    }
    let scene = Scene {
        now: Timestamp::now(),
        install: wanted.install.clone(),
        istio_root: wanted.istio_root.clone(),
        envoy_gateway_namespace: wanted.envoy_gateway_namespace.clone(),
        is_told: !wanted.meshes.is_empty(),
        ..Scene::default()
    };
    let mut looker = Looker { connection, scene };
    looker.install().await;
    looker.namespaces(&wanted.namespaces).await;
    for namespace in looker.scene.namespaces.clone() {
        looker.namespace(&namespace).await;
    }
    looker.list_policies(Check::Policies, Kind::AuthPolicy, &wanted.namespaces).await;
    for namespace in looker.scene.namespaces.clone() {
        looker.keys(&namespace, wanted.keys.as_ref()).await;
    }
    for (mesh, group) in [
        (Mesh::Istio, "security.istio.io"),
        (Mesh::EnvoyGateway, "gateway.envoyproxy.io"),
        (Mesh::GatewayApi, "gateway.networking.k8s.io"),
    ] {
        let is_wanted = if wanted.meshes.is_empty() {
            connection.get(&format!("/apis/{group}")).await.is_ok()
        } else {
            wanted.meshes.contains(&mesh)
        };
        if is_wanted {
            looker.scene.meshes.insert(mesh);
            looker.mesh(mesh, &wanted.namespaces).await;
        }
    }
    Ok(looker.scene)
}

struct Looker<'a> {
    connection: &'a Connection,
    scene: Scene,
}

impl Looker<'_> {
    async fn install(&mut self) {
        let install = self.scene.install.clone();
        for crd in crds::all() {
            self.get(Check::Definitions, Kind::CustomResourceDefinition, None, &crd.name).await;
        }
        self.get(Check::Controller, Kind::ConfigMap, Some(&install), CONTROLLER).await;
        for name in [CONTROLLER, GATE] {
            self.get(Check::Controller, Kind::Deployment, Some(&install), name).await;
        }
        let file = self.scene.controller_file();
        let lease = match text(&file, "/controller/lease/name") {
            "" => CONTROLLER,
            name => name,
        };
        self.get(Check::Lease, Kind::Lease, Some(&install), lease).await;
        self.get(Check::Webhooks, Kind::ValidatingWebhookConfiguration, None, "cloakroom-policies").await;
        self.get(Check::Webhooks, Kind::MutatingWebhookConfiguration, None, "cloakroom-injector").await;
        self.get(Check::Webhooks, Kind::Secret, Some(&install), "cloakroom-webhook-tls").await;
        if self.scene.is_shared() {
            self.get(Check::Namespaces, Kind::Secret, Some(&install), "cloakroom-gate-keys").await;
            for namespace in self.scene.proxy_namespaces() {
                self.get(Check::Controller, Kind::Secret, Some(&namespace), PROXIES).await;
            }
        }
    }

    async fn namespaces(&mut self, named: &[String]) {
        if named.is_empty() {
            self.list(Check::Namespaces, Kind::Namespace, None, "cloakroom.dev/enrolled=true").await;
            self.scene.namespaces = self.scene.all(Kind::Namespace).iter().map(|it| name_of(it).to_owned()).collect();
            return;
        }
        for name in named {
            self.get(Check::Namespaces, Kind::Namespace, None, name).await;
        }
        self.scene.namespaces = named.to_vec();
    }

    async fn namespace(&mut self, namespace: &str) {
        self.get(Check::Namespaces, Kind::Secret, Some(namespace), "cloakroom-keys").await;
        if self.scene.has_sidecars() {
            for kind in [Kind::ConfigMap, Kind::Secret, Kind::RoleBinding] {
                self.get(Check::Namespaces, kind, Some(namespace), "cloakroom-gate").await;
            }
            self.list(Check::Sidecars, Kind::Pod, Some(namespace), "").await;
        }
    }

    /// Objects of the namespaces that were named and of those where the mesh itself is; everywhere, if none was named.
    async fn list_policies(&mut self, check: Check, kind: Kind, named: &[String]) {
        if named.is_empty() {
            self.list(check, kind, None, "").await;
            return;
        }
        // Where the Gateways are, whose policies check what comes in.
        let proxies = self.scene.proxy_namespaces();
        let root = Some(self.scene.istio_root.as_str()).filter(|_| kind.group().ends_with("istio.io"));
        let shared = root.into_iter().chain([self.scene.install.as_str()]).map(str::to_owned).chain(proxies);
        let namespaces: BTreeSet<String> = named.iter().cloned().chain(shared).collect();
        for namespace in namespaces {
            self.list(check, kind, Some(&namespace), "").await;
        }
    }

    async fn mesh(&mut self, mesh: Mesh, named: &[String]) {
        let install = self.scene.install.clone();
        match mesh {
            Mesh::Istio => {
                let root = self.scene.istio_root.clone();
                self.mesh_config(&root).await;
                self.list_policies(Check::IstioPolicies, Kind::AuthorizationPolicy, named).await;
                self.list_policies(Check::IstioProvider, Kind::ServiceEntry, named).await;
                self.list_policies(Check::IstioFilter, Kind::EnvoyFilter, named).await;
                self.list_policies(Check::IstioAuthentication, Kind::RequestAuthentication, named).await;
                self.list(Check::IstioProvider, Kind::Service, Some(&install), "").await;
                for namespace in self.scene.namespaces.clone() {
                    self.list(Check::IstioAmbient, Kind::Service, Some(&namespace), "").await;
                }
            }
            Mesh::EnvoyGateway => {
                let own = self.scene.envoy_gateway_namespace.clone();
                self.get(Check::EnvoyGateway, Kind::ConfigMap, Some(&own), "envoy-gateway-config").await;
                for (check, kind) in [
                    (Check::EnvoyGatewayCheck, Kind::SecurityPolicy),
                    (Check::EnvoyGatewayCheck, Kind::Backend),
                    (Check::EnvoyGatewayResponses, Kind::EnvoyExtensionPolicy),
                    (Check::EnvoyGatewayHeaders, Kind::ClientTrafficPolicy),
                    (Check::EnvoyGatewayHeaders, Kind::EnvoyPatchPolicy),
                ] {
                    self.list_policies(check, kind, named).await;
                }
            }
            Mesh::GatewayApi => {
                for kind in [Kind::HTTPRoute, Kind::ReferenceGrant, Kind::BackendTLSPolicy] {
                    self.list_policies(Check::RouteFilters, kind, named).await;
                }
            }
            Mesh::Envoy => {}
        }
    }

    /// All of them, as revisions have one each; where they may not be listed, the one without a revision.
    async fn mesh_config(&mut self, root: &str) {
        match self.connection.list(&Kind::ConfigMap.path("v1", Some(root), None), "").await {
            Ok(maps) => self.scene.objects.entry(Kind::ConfigMap).or_default().extend(maps.into_iter().map(kept)),
            Err(_) => self.get(Check::IstioProvider, Kind::ConfigMap, Some(root), "istio").await,
        }
    }

    async fn keys(&mut self, namespace: &str, base: Option<&reqwest::Url>) {
        let path = format!("ns/{namespace}/.well-known/jwks.json");
        let install = self.scene.install.clone();
        let set = match base {
            Some(base) => request::key_set(&format!("{}/{path}", base.as_str().trim_end_matches('/'))).await,
            None => {
                let service =
                    format!("/api/v1/namespaces/{install}/services/http:{CONTROLLER}:{KEYS_PORT}/proxy/{path}");
                match self.connection.get(&service).await {
                    Ok(set) => Ok(set),
                    // In a pod of the cluster there is a shorter way, for which nobody needs a right.
                    Err(_) if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => {
                        request::key_set(&format!("http://{CONTROLLER}.{install}.svc:{KEYS_PORT}/{path}")).await
                    }
                    Err(Unseen::Refused(why)) => {
                        self.gap(
                            Check::KeySets,
                            "get",
                            (Kind::ServiceProxy, Some(&install), Some(CONTROLLER)),
                            (true, why),
                        );
                        return;
                    }
                    Err(error) => Err(error.to_string()),
                }
            }
        };
        self.scene.key_sets.insert(namespace.to_owned(), set);
    }

    async fn list(&mut self, check: Check, kind: Kind, namespace: Option<&str>, selector: &str) {
        for version in kind.versions() {
            match self.connection.list(&kind.path(version, namespace, None), selector).await {
                Ok(objects) => {
                    let objects = objects.into_iter().map(kept);
                    let known = self.scene.objects.entry(kind).or_default();
                    for object in objects {
                        // It may have been got by its name before.
                        known.retain(|it| {
                            it["metadata"]["uid"].is_null() || it["metadata"]["uid"] != object["metadata"]["uid"]
                        });
                        known.push(object);
                    }
                    return;
                }
                Err(Unseen::Missing) => {}
                Err(error) => return self.gap(check, "list", (kind, namespace, None), cause(error)),
            }
        }
    }

    async fn get(&mut self, check: Check, kind: Kind, namespace: Option<&str>, name: &str) {
        for version in kind.versions() {
            match self.connection.get(&kind.path(version, namespace, Some(name))).await {
                Ok(object) => return self.scene.objects.entry(kind).or_default().push(kept(object)),
                Err(Unseen::Missing) => {}
                Err(error) => return self.gap(check, "get", (kind, namespace, Some(name)), cause(error)),
            }
        }
    }

    fn gap(
        &mut self,
        check: Check,
        verb: &'static str,
        (kind, namespace, name): (Kind, Option<&str>, Option<&str>),
        (is_refused, why): (bool, String),
    ) {
        let (namespace, name) = (namespace.map(str::to_owned), name.map(str::to_owned));
        let gap = Gap { check, verb, kind, namespace, name, is_refused, why };
        let is_known =
            self.scene.gaps.iter().any(|it| {
                (it.kind, it.verb, &it.namespace, &it.name) == (gap.kind, gap.verb, &gap.namespace, &gap.name)
            });
        if !is_known {
            self.scene.gaps.push(gap);
        }
    }
}

fn cause(error: Unseen) -> (bool, String) {
    match error {
        Unseen::Refused(why) => (true, why),
        Unseen::Missing | Unseen::Away(_) => (false, error.to_string()),
    }
}

/// An object without what is not ours to keep: the values of a Secret, and who wrote which field.
fn kept(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    let is_secret = object["kind"] == "Secret" || object.get("stringData").is_some();
    if is_secret && let Some(data) = object.get_mut("data").and_then(Value::as_object_mut) {
        for (_, value) in data.iter_mut().filter(|(name, _)| !PUBLIC.contains(&name.as_str())) {
            *value = json!("");
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_secret_the_public_parts_alone_are_kept() {
        let secret = json!({
            "kind": "Secret",
            "metadata": { "name": "a", "managedFields": [1] },
            "data": { "tls.crt": "c", "tls.key": "k", "keyring.yaml": "r", "x.pem": "p", "admin.token": "t" },
        });
        let want = json!({
            "kind": "Secret",
            "metadata": { "name": "a" },
            "data": { "tls.crt": "c", "tls.key": "", "keyring.yaml": "r", "x.pem": "", "admin.token": "" },
        });
        assert_eq!(kept(secret), want);
    }
}
