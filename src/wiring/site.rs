//! The place that is to be wired: what the pieces are about.

use super::{Envoy, Headers};
use crate::api::meta::is_label;

/// Where the gate runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// Beside the proxy, in each pod.
    #[default]
    Sidecar,
    /// A Deployment for the proxies of gateways.
    Shared,
}

/// A Gateway of the Gateway API that the shared gate guards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A listener of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The Gateway.
    pub gateway: Gateway,
    /// The listener's name in it.
    pub name: String,
}

/// An install and what it guards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Where cloakroom is installed.
    pub install_namespace: String,
    /// The domain of the cluster's names.
    pub cluster_domain: String,
    /// Where the gate runs.
    pub shape: Shape,
    /// The gateways of the shared shape.
    pub gateways: Vec<Gateway>,
    /// The namespaces whose proxies also verify the session JWTs, or whose routes are guarded.
    pub namespaces: Vec<String>,
    /// `jwt.issuer`.
    pub issuer: String,
    /// The header names.
    pub headers: Headers,
    /// What only Istio has.
    pub istio: Istio,
    /// What only Envoy Gateway has: the listeners whose proxies take our names off trailers, too, by an EnvoyPatchPolicy.
    pub patched: Vec<Listener>,
    /// What only a plain Envoy has.
    pub envoy: Envoy,
}

/// What only Istio has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Istio {
    /// The root namespace of the mesh (`rootNamespace` in its configuration).
    pub root_namespace: String,
    /// The name of the extension provider.
    pub provider: String,
    /// The service accounts of the proxies of Gateways, where istiod has not made them.
    pub accounts: Vec<Account>,
}

/// The service account of a Gateway's proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The Gateway.
    pub gateway: Gateway,
    /// The account's name.
    pub name: String,
}

impl Default for Istio {
    fn default() -> Self {
        Self { root_namespace: "istio-system".to_owned(), provider: "cloakroom".to_owned(), accounts: Vec::new() }
    }
}

impl Istio {
    /// The account that may have the certificate for a gateway: as istiod calls it, unless it has another.
    pub(super) fn account(&self, gateway: &Gateway) -> String {
        let own = self.accounts.iter().find(|it| it.gateway == *gateway);
        own.map_or_else(|| format!("{}-istio", gateway.name), |it| it.name.clone())
    }
}

/// Why a site cannot be wired.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// A name that Kubernetes would refuse.
    #[error("`{0}` is not a {1}: 1 to 63 of a-z, 0-9 and -, not at the ends")]
    Name(String, &'static str),
    /// A domain that is none.
    #[error("`{0}` is not a domain of a cluster: labels of a-z, 0-9 and - with dots between, such as cluster.local")]
    Domain(String),
    /// The gate has this name.
    #[error("an upstream cannot be called `{0}`: that is the gate's own name")]
    Taken(String),
    /// A path prefix that is none.
    #[error("`{0}` is not a path prefix: `/`, or a path as it is written in a URL, without a slash at its end")]
    Prefix(String),
    /// Every pod has this account that asks for none.
    #[error(
        "{0}: the account `default` is that of every pod that asks for none, and they could all read the Secrets of its namespace: give \
         the Gateway's proxies an account of their own, and name it"
    )]
    Default(String),
    /// An account of a Gateway that is not named.
    #[error("{0}: an account is given for a Gateway that is not named")]
    NoGateway(String),
    /// The issuer is not one.
    #[error("`{0}` is not an issuer: an https URL without query and fragment")]
    Issuer(String),
}

impl Site {
    /// The site of an install with all defaults.
    pub fn new(install_namespace: impl Into<String>, shape: Shape) -> Self {
        let install_namespace = install_namespace.into();
        Self {
            issuer: default_issuer(&install_namespace),
            install_namespace,
            cluster_domain: "cluster.local".to_owned(),
            shape,
            gateways: Vec::new(),
            namespaces: Vec::new(),
            headers: Headers::default(),
            istio: Istio::default(),
            patched: Vec::new(),
            envoy: Envoy::default(),
        }
    }

    /// The name in the shared gate's certificate, whatever the domain of the cluster's names.
    pub fn gate_name(&self) -> String {
        format!("cloakroom-gate.{}.svc", self.install_namespace)
    }

    /// The host of the shared gate's Service.
    pub fn gate_host(&self) -> String {
        format!("{}.{}", self.gate_name(), self.cluster_domain)
    }

    /// The host of the controller's Service, which has the key sets.
    pub fn controller_host(&self) -> String {
        format!("cloakroom-controller.{}.svc.{}", self.install_namespace, self.cluster_domain)
    }

    /// Whether every name can be one, so that no value is more than a value.
    pub(super) fn check(&self) -> Result<(), SiteError> {
        let named = |name: &String, what| {
            if is_label(name) { Ok(()) } else { Err(SiteError::Name(name.clone(), what)) }
        };
        named(&self.install_namespace, "namespace")?;
        if self.cluster_domain.len() > 180 || !self.cluster_domain.split('.').all(is_label) {
            return Err(SiteError::Domain(self.cluster_domain.clone()));
        }
        named(&self.istio.root_namespace, "namespace")?;
        named(&self.istio.provider, "name of an extension provider")?;
        self.namespaces.iter().try_for_each(|name| named(name, "namespace"))?;
        for gateway in self.gateways.iter().chain(self.patched.iter().map(|it| &it.gateway)) {
            named(&gateway.namespace, "namespace")?;
            // A Gateway's name may be longer and have dots; the objects that are called after it may, too.
            let parts = || gateway.name.split('.').all(is_label);
            if gateway.name.len() > 180 || !parts() {
                return Err(SiteError::Name(gateway.name.clone(), "name of a Gateway"));
            }
        }
        for account in &self.istio.accounts {
            let gateway = format!("{}/{}", account.gateway.namespace, account.gateway.name);
            if account.name == "default" {
                return Err(SiteError::Default(gateway));
            }
            if !self.gateways.contains(&account.gateway) {
                return Err(SiteError::NoGateway(gateway));
            }
            if account.name.len() > 253 || !account.name.split('.').all(is_label) {
                return Err(SiteError::Name(account.name.clone(), "name of a service account"));
            }
        }
        self.patched.iter().try_for_each(|it| named(&it.name, "name of a listener"))?;
        if let Some((namespace, name)) = &self.envoy.config_map {
            named(namespace, "namespace")?;
            named(name, "name of a ConfigMap")?;
        }
        for upstream in &self.envoy.upstreams {
            named(&upstream.name, "name of an upstream")?;
            if upstream.name == "cloakroom" {
                return Err(SiteError::Taken(upstream.name.clone()));
            }
            let unwritten = || !upstream.prefix.starts_with('/') || !upstream.prefix.chars().all(is_of_a_path);
            if unwritten() || (upstream.prefix.len() > 1 && upstream.prefix.ends_with('/')) {
                return Err(SiteError::Prefix(upstream.prefix.clone()));
            }
        }
        let plain = |sign: char| sign.is_ascii_alphanumeric() || "-._~:/[]%".contains(sign);
        if !self.issuer.starts_with("https://") || !self.issuer.chars().all(plain) {
            return Err(SiteError::Issuer(self.issuer.clone()));
        }
        Ok(())
    }
}

/// The issuer of an install that was told none.
pub fn default_issuer(install_namespace: &str) -> String {
    format!("https://cloakroom-controller.{install_namespace}.svc")
}

/// What a path is written with (RFC 3986 §3.3), but for what would mean something in YAML.
fn is_of_a_path(sign: char) -> bool {
    sign.is_ascii_alphanumeric() || "/-._~%!$()*+,=:@".contains(sign)
}
