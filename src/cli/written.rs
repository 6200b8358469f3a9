//! Policies as they are written, in files or in a cluster, compiled as the gate does: for commands that need no gate.

use std::path::PathBuf;

use clap::Args;

use crate::authz::credential::{Carrier, Carriers};
use crate::authz::policy::{Install, PolicyIndex, PolicyProblem, RealmRights};
use crate::authz::session::Realm;
use crate::config::{Config, PoliciesConfig};
use crate::folder;
use crate::k8s::{self, Access, ClusterSettings, Connection};

/// Where the policies are, and what the install says about them.
#[derive(Args, Clone, Debug)]
pub(super) struct WrittenArgs {
    /// Read the objects of a cluster: as the `policies.kubernetes` of a `--config` says, else as kubectl would, and judge them as a
    /// shared gate does, with the labels of Namespaces.
    #[arg(long, short = 'k')]
    pub(super) kubernetes: bool,

    /// The kubeconfig, instead of the one that kubectl would use.
    #[arg(long, requires = "kubernetes", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig, instead of its current one.
    #[arg(long, requires = "kubernetes", value_name = "NAME")]
    context: Option<String>,

    /// The namespace to read; all of them unless told.
    #[arg(long, short, requires = "kubernetes", value_name = "NAME")]
    namespace: Option<String>,

    /// The gate's configuration, for its realms and who may do what in them, its carriers and its header name. Without it the
    /// defaults count, and `--realm`.
    #[arg(long, short, env = "CLOAKROOM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// A realm that policies may name, when there is no `--config`; may be given more than once.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    realm: Vec<String>,
}

impl WrittenArgs {
    /// Compiles the policies of these files, or those of the cluster, and says what is wrong with them.
    pub(super) async fn compile(&self, files: &[PathBuf]) -> anyhow::Result<(PolicyIndex, Vec<PolicyProblem>)> {
        let config = self.config.as_deref().map(Config::load).transpose()?;
        if !self.kubernetes {
            let own_namespace = match config.as_ref().map(|config| &config.policies) {
                Some(PoliciesConfig::Kubernetes(settings)) => settings.install_namespace.as_deref(),
                Some(PoliciesConfig::Dir(_)) | None => None,
            };
            let install = self.install(config.as_ref(), own_namespace)?;
            return Ok(folder::check(files, &install)?);
        }
        let settings = self.settings(config.as_ref());
        let connection = Connection::open(&settings).await?;
        let found = k8s::read(&connection, &settings).await?;
        // Whose hosts count is for the configuration to say; without one, everybody's do.
        let own_namespace = config.is_some().then_some(connection.namespace.as_str());
        let install = self.install(config.as_ref(), own_namespace)?;
        let (index, mut problems) = PolicyIndex::compile(&found.objects, &install, None);
        problems.extend(found.notes);
        Ok((index, problems))
    }

    /// What to read, over what the configuration says.
    fn settings(&self, config: Option<&Config>) -> ClusterSettings {
        let configured = match config.map(|config| &config.policies) {
            Some(PoliciesConfig::Kubernetes(settings)) => ClusterSettings::clone(settings),
            Some(PoliciesConfig::Dir(_)) | None => {
                ClusterSettings { access: Access::Inferred, namespace_labels: true, ..ClusterSettings::default() }
            }
        };
        let access = match (&self.kubeconfig, &self.context) {
            (None, None) => configured.access,
            (file, context) => Access::Kubeconfig { file: file.clone(), context: context.clone() },
        };
        let namespace = self.namespace.clone().or(configured.namespace);
        ClusterSettings { access, namespace, ..configured }
    }

    fn install(&self, config: Option<&Config>, own_namespace: Option<&str>) -> anyhow::Result<Install> {
        if let Some(config) = config {
            return Ok(crate::app::install(config, own_namespace));
        }
        let realm = |name: &str| {
            Realm::parse(name)
                .ok_or_else(|| anyhow::anyhow!("--realm: `{name}` is not a realm's name: 1 to 63 of a-z, 0-9 and -"))
        };
        let carriers = vec![Carrier::Cookie("__Host-session".into()), Carrier::Bearer];
        let realms: anyhow::Result<_> =
            self.realm.iter().map(|name| Ok((realm(name)?, RealmRights::default()))).collect();
        Ok(Install { realms: realms?, ..Install::open(realm("default")?, Carriers::new(carriers)?) })
    }
}
