//! What was read of a cluster: the objects as JSON, and what could not be read.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::finding::Check;

/// What carries requests to cloakroom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
#[value(rename_all = "kebab-case")]
pub enum Mesh {
    /// Istio, with sidecars, gateways or waypoints.
    Istio,
    /// Envoy Gateway.
    EnvoyGateway,
    /// Another implementation of the Gateway API, by the filter `ExternalAuth`.
    GatewayApi,
    /// An Envoy with a file of its own.
    Envoy,
}

macro_rules! kinds {
    ($($name:ident => $resource:literal in $group:literal [$($version:literal),+] $scope:ident,)*) => {
        /// The kinds that are looked at.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "each is called what Kubernetes calls it")]
        pub enum Kind {
            $($name,)*
        }

        impl Kind {
            /// Its name, as objects have it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Its name in paths and rules.
            pub const fn plural(self) -> &'static str {
                match self { $(Self::$name => $resource,)* }
            }

            /// Its group; empty for the core.
            pub const fn group(self) -> &'static str {
                match self { $(Self::$name => $group,)* }
            }

            /// Its versions, the one to ask for first.
            pub const fn versions(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($version),+],)* }
            }

            const fn is_namespaced(self) -> bool {
                match self { $(Self::$name => kinds!(@ $scope),)* }
            }
        }
    };
    (@ namespaced) => { true };
    (@ cluster) => { false };
}

kinds! {
    CustomResourceDefinition => "customresourcedefinitions" in "apiextensions.k8s.io" ["v1"] cluster,
    Namespace => "namespaces" in "" ["v1"] cluster,
    Deployment => "deployments" in "apps" ["v1"] namespaced,
    Lease => "leases" in "coordination.k8s.io" ["v1"] namespaced,
    ConfigMap => "configmaps" in "" ["v1"] namespaced,
    Secret => "secrets" in "" ["v1"] namespaced,
    Service => "services" in "" ["v1"] namespaced,
    ServiceProxy => "services/proxy" in "" ["v1"] namespaced,
    Pod => "pods" in "" ["v1"] namespaced,
    RoleBinding => "rolebindings" in "rbac.authorization.k8s.io" ["v1"] namespaced,
    ValidatingWebhookConfiguration => "validatingwebhookconfigurations" in "admissionregistration.k8s.io" ["v1"] cluster,
    MutatingWebhookConfiguration => "mutatingwebhookconfigurations" in "admissionregistration.k8s.io" ["v1"] cluster,
    AuthPolicy => "authpolicies" in "cloakroom.dev" ["v1alpha1"] namespaced,
    AuthorizationPolicy => "authorizationpolicies" in "security.istio.io" ["v1", "v1beta1"] namespaced,
    RequestAuthentication => "requestauthentications" in "security.istio.io" ["v1", "v1beta1"] namespaced,
    ServiceEntry => "serviceentries" in "networking.istio.io" ["v1", "v1beta1"] namespaced,
    EnvoyFilter => "envoyfilters" in "networking.istio.io" ["v1alpha3"] namespaced,
    SecurityPolicy => "securitypolicies" in "gateway.envoyproxy.io" ["v1alpha1"] namespaced,
    EnvoyExtensionPolicy => "envoyextensionpolicies" in "gateway.envoyproxy.io" ["v1alpha1"] namespaced,
    Backend => "backends" in "gateway.envoyproxy.io" ["v1alpha1"] namespaced,
    ClientTrafficPolicy => "clienttrafficpolicies" in "gateway.envoyproxy.io" ["v1alpha1"] namespaced,
    EnvoyPatchPolicy => "envoypatchpolicies" in "gateway.envoyproxy.io" ["v1alpha1"] namespaced,
    HTTPRoute => "httproutes" in "gateway.networking.k8s.io" ["v1", "v1beta1"] namespaced,
    ReferenceGrant => "referencegrants" in "gateway.networking.k8s.io" ["v1", "v1beta1"] namespaced,
    BackendTLSPolicy => "backendtlspolicies" in "gateway.networking.k8s.io" ["v1", "v1alpha3"] namespaced,
}

impl Kind {
    /// Its resource with its group, as `kubectl auth can-i` takes it: `authpolicies.cloakroom.dev`.
    pub fn resource(self) -> String {
        match self.group() {
            "" => self.plural().to_owned(),
            group => format!("{}.{group}", self.plural()),
        }
    }

    /// The path of its collection; of one object, with a name.
    pub fn path(self, version: &str, namespace: Option<&str>, name: Option<&str>) -> String {
        let mut path = match self.group() {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        if let Some(namespace) = namespace.filter(|_| self.is_namespaced()) {
            path += &format!("/namespaces/{namespace}");
        }
        path += &format!("/{}", self.plural());
        if let Some(name) = name {
            path += &format!("/{name}");
        }
        path
    }
}

/// What could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// What it was wanted for.
    pub check: Check,
    /// `get` or `list`.
    pub verb: &'static str,
    /// Of which kind.
    pub kind: Kind,
    /// Where; everywhere unless told.
    pub namespace: Option<String>,
    /// Which; all unless told.
    pub name: Option<String>,
    /// Whether we may not look, in the place of cannot.
    pub is_refused: bool,
    /// What the server said.
    pub why: String,
}

impl Gap {
    /// `Secret shop/cloakroom-keys`, `Pods in shop`.
    pub fn describe(&self) -> String {
        match &self.name {
            Some(name) => named(self.kind, self.namespace.as_deref().unwrap_or_default(), name),
            None => format!("every {} {}", self.kind.name(), self.place()),
        }
    }

    /// `in the namespace shop`, `in every namespace`.
    pub fn place(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("in the namespace {namespace}"),
            None => "in the whole cluster".to_owned(),
        }
    }
}

/// One object, as far as it could be seen.
#[derive(Clone, Copy, Debug)]
pub enum Sight<'a> {
    /// It.
    There(&'a Value),
    /// There is none.
    Missing,
    /// That could not be seen, and is told by a [`Gap`].
    Unseen,
}

impl<'a> Sight<'a> {
    /// The object, if there is one.
    pub fn object(self) -> Option<&'a Value> {
        match self {
            Self::There(object) => Some(object),
            Self::Missing | Self::Unseen => None,
        }
    }
}

/// What was read of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// When.
    pub now: Timestamp,
    /// The install's namespace.
    pub install: String,
    /// The namespaces that are looked at: those that are enrolled, or those that were named.
    pub namespaces: Vec<String>,
    /// What carries requests, in the order in which it is judged.
    pub meshes: BTreeSet<Mesh>,
    /// Whether the user named the mesh, so that nothing of it may be missing.
    pub is_told: bool,
    /// The namespace of Istio's mesh configuration.
    pub istio_root: String,
    /// The namespace of Envoy Gateway.
    pub envoy_gateway_namespace: String,
    /// The objects of each kind.
    pub objects: BTreeMap<Kind, Vec<Value>>,
    /// What could not be read.
    pub gaps: Vec<Gap>,
    /// The key set of each namespace, or why there is none.
    pub key_sets: BTreeMap<String, Result<Value, String>>,
}

/// `Kind namespace/name`.
pub fn named(kind: Kind, namespace: &str, name: &str) -> String {
    match namespace {
        "" => format!("{} {name}", kind.name()),
        namespace => format!("{} {namespace}/{name}", kind.name()),
    }
}

/// A text in an object; empty where there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A list in an object; empty where there is none.
pub fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The namespace of an object.
pub fn namespace_of(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// The name of an object.
pub fn name_of(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// What an object is called in a finding.
pub fn called(kind: Kind, object: &Value) -> String {
    named(kind, namespace_of(object), name_of(object))
}

/// A label of an object.
pub fn label<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object["metadata"]["labels"].get(name)?.as_str()
}

impl Scene {
    /// All objects of a kind that were read.
    pub fn all(&self, kind: Kind) -> &[Value] {
        self.objects.get(&kind).map(Vec::as_slice).unwrap_or_default()
    }

    /// Those in a namespace.
    pub fn within<'a>(&'a self, kind: Kind, namespace: &'a str) -> impl Iterator<Item = &'a Value> {
        self.all(kind).iter().filter(move |it| namespace_of(it) == namespace)
    }

    /// Whether the objects of a kind in a namespace could be read, as far as they were asked for.
    pub fn sees(&self, kind: Kind, namespace: &str) -> bool {
        !self.gaps.iter().any(|gap| gap.covers(kind, namespace, None))
    }

    /// One object, which was asked for.
    pub fn find(&self, kind: Kind, namespace: &str, name: &str) -> Sight<'_> {
        let is_it = |it: &&Value| namespace_of(it) == namespace && name_of(it) == name;
        if let Some(object) = self.all(kind).iter().find(is_it) {
            return Sight::There(object);
        }
        if self.gaps.iter().any(|gap| gap.covers(kind, namespace, Some(name))) { Sight::Unseen } else { Sight::Missing }
    }

    /// The YAML in a ConfigMap's file, if it is there and reads.
    pub fn file(&self, namespace: &str, name: &str, file: &str) -> Option<Value> {
        let object = self.find(Kind::ConfigMap, namespace, name).object()?;
        serde_saphyr::from_str(object["data"].get(file)?.as_str()?).ok()
    }

    /// The controller's configuration.
    pub fn controller_file(&self) -> Value {
        self.file(&self.install, "cloakroom-controller", "cloakroom.yaml").unwrap_or_default()
    }

    /// Whether pods get a sidecar.
    pub fn has_sidecars(&self) -> bool {
        self.controller_file().pointer("/controller/sidecars").is_some()
            || self.find(Kind::MutatingWebhookConfiguration, "", "cloakroom-injector").object().is_some()
    }

    /// Whether a gate answers for others' proxies.
    pub fn is_shared(&self) -> bool {
        self.find(Kind::Deployment, &self.install, "cloakroom-gate").object().is_some()
    }

    /// The namespaces whose proxies ask a shared gate.
    pub fn proxy_namespaces(&self) -> Vec<String> {
        let file = self.controller_file();
        let names = list(&file, "/controller/certificates/proxies").iter().filter_map(Value::as_str);
        names.map(str::to_owned).collect()
    }

    /// The header of session JWTs.
    pub fn jwt_header(&self) -> String {
        let file = self.controller_file();
        let name = text(&file, "/jwt/header");
        if name.is_empty() { "x-session-jwt".to_owned() } else { name.to_ascii_lowercase() }
    }
}

impl Gap {
    fn covers(&self, kind: Kind, namespace: &str, name: Option<&str>) -> bool {
        self.kind == kind
            && self.namespace.as_deref().is_none_or(|it| it == namespace)
            && match (&self.name, name) {
                (Some(own), Some(name)) => own == name,
                (None, _) => true,
                (Some(_), None) => false,
            }
    }
}
