//! `cloakroom controller`, from its configuration to its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use prometheus::Registry;
use prometheus::process_collector::ProcessCollector;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::listeners::{bind, replace};
use super::store_users::StoreTeller;
use super::{early, install, public, shutdown};
use crate::admin::health::{self, Readiness, ReadyCheck};
use crate::admin::jwks;
use crate::config::{Config, PoliciesConfig};
use crate::k8s::admission::{self, Judges};
use crate::k8s::controller::metrics::ControllerMetrics;
use crate::k8s::controller::{
    Controller, ControllerConfig, ControllerState, FileCheck, GatesConfig, LeaseConfig, StoreUsers,
};
use crate::k8s::metrics::ClusterMetrics;
use crate::k8s::{ClusterSettings, Connection};
use crate::sessions::clock::Clock;
use crate::sessions::keyring::KeyRing;
use crate::telemetry::Telemetry;
use crate::tls::{Protocol, Tls};

/// What must be so before a controller is ready. Whether it is the leader is no part of it: the others serve key sets too.
const CHECKS: &[ReadyCheck] = &[ReadyCheck::Policies, ReadyCheck::Keys];
/// With a webhook.
const WEBHOOK_CHECKS: &[ReadyCheck] = &[ReadyCheck::Policies, ReadyCheck::Keys, ReadyCheck::Webhook];

/// What the command line adds to the configuration file.
#[derive(Clone, Debug)]
pub struct ControllerOptions {
    /// The file.
    pub config: PathBuf,
    /// Where to write the addresses that were bound.
    pub addresses: Option<PathBuf>,
    /// Instead of `telemetry.log`.
    pub log: Option<String>,
}

/// Runs the controller until it is told to stop.
///
/// # Errors
/// What keeps it from starting, with its cure; or the part that ended by itself.
pub fn controller(options: &ControllerOptions) -> anyhow::Result<()> {
    let mut config = Config::load(&options.config)?;
    if let Some(log) = &options.log {
        config.telemetry.log.clone_from(log);
    }
    let registry = Registry::new();
    registry.register(Box::new(ProcessCollector::for_self()))?;
    let _telemetry = Telemetry::install(&config.telemetry.log, config.telemetry.format, &registry)?;
    // Two threads: the Lease is held on to while many policies compile.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ran = runtime.block_on(run(config, registry, options.addresses.clone()));
    runtime.shutdown_timeout(Duration::from_secs(1));
    ran
}

async fn run(config: Config, registry: Registry, addresses: Option<PathBuf>) -> anyhow::Result<()> {
    let PoliciesConfig::Kubernetes(cluster) = &config.policies else {
        anyhow::bail!(
            "policies.kubernetes: is needed by the controller, as the gates have it; `{{gateways: ['*']}}` follows the whole cluster"
        );
    };
    let connection = Connection::open(cluster).await?;
    let namespace = connection.namespace.clone();
    let settings = &config.controller;
    let identity = identity()?;
    let clock = Arc::new(Clock::start());
    let ring = Arc::new(KeyRing::without_keys(config.jwt.ring.clone()).context("jwt")?);
    let install = install(&config, Some(&namespace));
    let webhook = match &settings.webhook {
        Some(webhook) => {
            let tls = match &webhook.tls {
                Some(files) => Tls::load(files.clone(), Protocol::Http1).context("controller.webhook")?,
                None => Tls::awaited(Protocol::Http1),
            };
            Some((bind("controller.webhook.listen", webhook.listen).await?, Arc::new(tls)))
        }
        None => None,
    };
    // With files it has its certificate from the start.
    let awaited = webhook.as_ref().map(|(_, tls)| Arc::clone(tls)).filter(|tls| !tls.is_there());
    let sidecars = settings.sidecars.clone();
    let check = FileCheck(Arc::new({
        let sidecars = sidecars.clone();
        move |text| sidecars.as_ref().map_or(Ok(()), |it| it.check(text))
    }));
    if let Some(sidecars) = &sidecars {
        let file = &sidecars.namespaces.config_file;
        let text = std::fs::read_to_string(file).map_err(|error| error.to_string());
        text.and_then(|text| sidecars.check(&text))
            .map_err(|problem| anyhow::anyhow!("controller.sidecars.configFile: {}: {problem}", file.display()))?;
    }
    let injection = sidecars.as_ref().map(|it| it.injection.sparing(&namespace));
    let judges = Judges { install: install.clone(), injection };
    let metrics = ClusterMetrics::new()?;
    metrics.register(&registry)?;
    let metrics = ControllerMetrics::register(&registry, metrics)?;
    let store_users = StoreUsers::default();
    let teller = sidecars.as_ref().and_then(|it| it.users.clone()).map(|settings| {
        let (realm, realms) = (config.realm.clone(), config.realms.clone());
        (StoreTeller { settings, realm, realms, metrics: metrics.clone() }, store_users.subscribe())
    });
    let controller = Controller::new(
        connection,
        ControllerConfig {
            // What identity providers name in Secrets is for gates alone to read.
            cluster: ClusterSettings { secrets: false, ..ClusterSettings::clone(cluster) },
            identity: identity.clone(),
            lease: LeaseConfig {
                namespace,
                name: settings.lease_name.clone(),
                identity,
                duration: settings.lease_duration,
            },
            keys: settings.keys.clone(),
            certificates: settings.certificates.clone(),
            webhook: awaited.clone(),
            gates: GatesConfig {
                once: settings.secrets.clone(),
                sidecars: sidecars.map(|it| it.namespaces),
                check,
                store_users,
            },
        },
        install,
        Arc::clone(&ring),
        Arc::clone(&clock),
        metrics,
    );
    let http = bind("listen.http", config.listen.http).await?;
    let health = bind("listen.health", config.listen.health).await?;
    if let Some(path) = &addresses {
        let webhook = webhook.as_ref().map(|(listener, _)| listener.local_addr()).transpose()?;
        let bound = json!({
            "http": http.local_addr()?.to_string(),
            "health": health.local_addr()?.to_string(),
            "webhook": webhook.map(|address| address.to_string()),
        });
        replace(path, &bound.to_string()).with_context(|| format!("--addresses: cannot write {}", path.display()))?;
    }

    let readiness = Readiness::of(if webhook.is_some() { WEBHOOK_CHECKS } else { CHECKS });
    readiness.set(ReadyCheck::Webhook, awaited.is_none());
    let awaits_certificate = awaited.is_some();
    let state = controller.state();
    let (stop, stop_listening) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks: JoinSet<(&str, anyhow::Result<()>)> = JoinSet::new();
    tasks.spawn({
        let stop = stop.clone();
        async move { ("the controller", controller.run(stop).await) }
    });
    let health = (health, health::router(readiness.clone(), registry));
    tasks.spawn(public::serve((http, jwks::router(ring, clock)), health, stop_listening.clone()));
    if let Some((teller, leads)) = teller {
        let stop = stop.clone();
        tasks.spawn(async move {
            stop.run_until_cancelled(teller.run(leads)).await;
            ("the users of the store", Ok(()))
        });
    }
    if let Some((listener, tls)) = webhook {
        let stop = stop_listening.clone();
        tasks.spawn(async move {
            admission::serve(listener, tls, judges, stop).await;
            ("the admission webhook", Ok(()))
        });
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "controlling");
    let ended = tokio::select! {
        signal = shutdown::signal() => {
            tracing::info!(signal = signal?, "stopping");
            Ok(())
        }
        Some(ended) = tasks.join_next() => Err(early(ended.map(|(part, outcome)| (part, outcome.err())))),
        () = follow(&readiness, &state, awaits_certificate) => Err(anyhow::anyhow!("readiness ended by itself")),
    };
    readiness.close();
    stop.cancel();
    let drained = tokio::time::timeout(config.shutdown.drain, async {
        tokio::time::sleep(if ended.is_ok() { config.shutdown.settle } else { Duration::ZERO }).await;
        stop_listening.cancel();
        while tasks.join_next().await.is_some() {}
    });
    if drained.await.is_err() {
        tracing::warn!(drain = ?config.shutdown.drain, "what still ran after shutdown.drain was cut off");
    }
    tracing::info!("stopped");
    ended
}

/// Keeps readiness true to what the controller has seen.
async fn follow(readiness: &Readiness, state: &ControllerState, awaits_certificate: bool) {
    loop {
        readiness.beat();
        readiness.explain(ReadyCheck::Policies, state.awaited());
        readiness.set(ReadyCheck::Policies, state.has_policies());
        readiness.set(ReadyCheck::Keys, state.has_keys());
        if awaits_certificate {
            readiness.explain(ReadyCheck::Webhook, state.awaited_webhook());
            readiness.set(ReadyCheck::Webhook, state.has_webhook());
        }
        let _ = tokio::time::timeout(super::LOOK, state.changed()).await;
    }
}

/// Who this process is, for the Lease: no other has the same, not even its own successor in the same pod.
fn identity() -> anyhow::Result<String> {
    let mut random = [0; 6];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| anyhow::anyhow!("the system's random generator failed"))?;
    let suffix: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let host = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME"));
    Ok(format!("{}-{suffix}", host.unwrap_or_else(|_| "controller".to_owned())))
}
