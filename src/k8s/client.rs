//! The API server, and who we are to it.

use std::time::Duration;

use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt as _;
use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

use super::{Access, ClusterSettings};

/// After how long without a byte the kernel asks whether the API server is still there, and how often it asks then: a watch
/// may be silent for minutes.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Why there is no way to the API server. That it does not answer is no reason: it may come.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// This is no pod.
    #[error(
        "policies.kubernetes: this process does not run in a pod with a service account: run it in one, or name a kubeconfig \
         in policies.kubernetes.kubeconfig (--kubeconfig)"
    )]
    InCluster(#[source] kube::config::InClusterError),
    /// The kubeconfig cannot be used.
    #[error(
        "policies.kubernetes: the kubeconfig cannot be used: name another in policies.kubernetes.kubeconfig (--kubeconfig), or \
         another context of it"
    )]
    Kubeconfig(#[source] kube::config::KubeconfigError),
    /// Neither the one nor the other.
    #[error(
        "there is no kubeconfig that can be used, and this process does not run in a pod: name one with --kubeconfig"
    )]
    Inferred(#[source] kube::config::InferConfigError),
    /// What it says cannot be used.
    #[error("policies.kubernetes: the API server cannot be called as configured")]
    Client(#[source] kube::Error),
}

/// A way to the API server.
#[derive(Clone)]
pub struct Connection {
    pub(super) client: Client,
    /// Its address.
    pub(super) server: String,
    /// The install's own namespace.
    pub namespace: String,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Connection {
    /// Finds the way. The API server is not called.
    ///
    /// # Errors
    /// When there is none.
    pub async fn open(settings: &ClusterSettings) -> Result<Self, ConnectError> {
        let config = match &settings.access {
            Access::InCluster => Config::incluster().map_err(ConnectError::InCluster)?,
            Access::Kubeconfig { file, context } => {
                let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
                match file {
                    Some(file) => match kube::config::Kubeconfig::read_from(file) {
                        Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
                        Err(error) => Err(error),
                    },
                    None => Config::from_kubeconfig(&options).await,
                }
                .map_err(ConnectError::Kubeconfig)?
            }
            Access::Inferred => Config::infer().await.map_err(ConnectError::Inferred)?,
        };
        let namespace = settings.install_namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string();
        Ok(Self { client: client(&config).map_err(ConnectError::Client)?, server, namespace })
    }
}

/// A client with a connection that notices when the other side is gone. Retries and lines about failures are ours to make.
fn client(config: &Config) -> Result<Client, kube::Error> {
    // kube takes the process's provider of cryptography; whoever set one before has chosen.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    connector.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(HttpClient::builder(TokioExecutor::new()).build(connector));
    Ok(Client::new(service, config.default_namespace.clone()))
}
