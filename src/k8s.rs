//! Policies from Kubernetes: every kind that decides is listed and watched, gathered, compiled and published as one.
//!
//! What the API server does not answer changes nothing: the last set stays in force, and a snapshot of it on disk is what a
//! restart begins with (P34). An answer that is older than what was seen is refused (P29). An object that does not read is
//! that object's trouble alone (P26).

pub mod admission;
mod ask;
mod backoff;
mod client;
pub mod controller;
pub mod crds;
mod follow;
mod kind;
mod known;
mod look;
pub mod metrics;
mod snapshot;
mod version;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;

pub use self::client::{ConnectError, Connection};
pub use self::look::Unseen;
pub use self::watch::ClusterPolicies;
use crate::authz::policy::{ObjectName, PolicyObjects, PolicyProblem};

/// `policies.kubernetes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterSettings {
    /// The API server, and who we are to it.
    pub access: Access,
    /// The namespace whose objects count; those of the whole cluster unless told.
    pub namespace: Option<String>,
    /// Which AuthPolicies and IdentityProviders count, by their labels, as `kubectl -l` takes it.
    pub selector: Option<String>,
    /// The Gateways that this gate serves; every one there is an object of unless told.
    pub gateways: Option<BTreeSet<ObjectName>>,
    /// The install's own namespace, whose policies may say `hosts`; the pod's own, or the context's, unless told.
    pub install_namespace: Option<String>,
    /// Whether the Namespaces of the cluster are watched, whose labels listeners of Gateways may select by.
    pub namespace_labels: bool,
    /// Whether the Secrets are watched that IdentityProviders may read.
    pub secrets: bool,
    /// Where the last set is kept, without Secrets.
    pub snapshot: Option<PathBuf>,
}

/// How the API server is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// As the pod that this is: its service account, and the address in its environment.
    #[default]
    InCluster,
    /// As a kubeconfig says: this file, or where kubectl looks for one; this context of it, or its current one.
    Kubeconfig {
        /// The file.
        file: Option<PathBuf>,
        /// The context.
        context: Option<String>,
    },
    /// As kubectl does: by the kubeconfig if there is one, else as the pod that this is.
    Inferred,
}

impl ClusterSettings {
    /// The namespaces that are watched: its own, and those of the Gateways that it serves, since a policy there may judge
    /// what they let in. `None` is the whole cluster.
    fn namespaces(&self) -> Vec<Option<String>> {
        let Some(own) = &self.namespace else { return vec![None] };
        let gateways = self.gateways.iter().flatten().map(|(namespace, _)| namespace);
        let all: BTreeSet<&String> = gateways.chain([own]).collect();
        all.into_iter().cloned().map(Some).collect()
    }
}

/// What was found in a cluster.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The objects.
    pub objects: PolicyObjects,
    /// What does not read, and what was passed over.
    pub notes: Vec<PolicyProblem>,
}

/// Reads every object once, for those who look and do not stay.
///
/// # Errors
/// Why a kind cannot be read, with the cure.
pub async fn read(connection: &Connection, settings: &ClusterSettings) -> anyhow::Result<Found> {
    watch::read(connection, settings).await
}
