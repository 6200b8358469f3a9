//! Where the policies come from, whichever it is.

use anyhow::Context as _;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use crate::authz::policy::Install;
use crate::config::{self, Config, PoliciesConfig};
use crate::folder::PolicyFolder;
use crate::k8s::metrics::ClusterMetrics;
use crate::k8s::{ClusterPolicies, Connection};
use crate::policies::Publisher;

/// See the module.
pub(super) enum PolicySource {
    /// `policies.dir`
    Folder(PolicyFolder),
    /// `policies.kubernetes`
    Cluster(Box<ClusterPolicies>),
}

impl PolicySource {
    /// Puts in force what there is at the start.
    pub(super) async fn open(config: &Config, registry: &Registry) -> anyhow::Result<Self> {
        let pod = config.pod.as_deref().map(config::pod::read).transpose().context("policies.pod")?;
        let install = |own_namespace: Option<&str>| Install { pod, ..super::install(config, own_namespace) };
        let settings = match &config.policies {
            PoliciesConfig::Dir(dir) => {
                let folder = PolicyFolder::open(dir.clone(), install(None));
                return Ok(Self::Folder(folder.context("policies.dir")?));
            }
            PoliciesConfig::Kubernetes(settings) => settings,
        };
        let metrics = ClusterMetrics::new()?;
        metrics.register(registry)?;
        let connection = Connection::open(settings).await?;
        let install = install(Some(&connection.namespace));
        Ok(Self::Cluster(Box::new(ClusterPolicies::open(connection, settings, install, metrics))))
    }

    /// What is in force.
    pub(super) fn publisher(&self) -> &Publisher {
        match self {
            Self::Folder(folder) => folder.publisher(),
            Self::Cluster(cluster) => cluster.publisher(),
        }
    }

    /// Publishes every change until `stop`.
    pub(super) async fn watch(self, stop: CancellationToken) {
        match self {
            Self::Folder(folder) => folder.watch(stop).await,
            Self::Cluster(cluster) => cluster.watch(stop).await,
        }
    }
}
