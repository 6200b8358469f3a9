//! Where the parts meet: `cloakroom serve`, from its configuration to its end.

mod controller;
mod listeners;
mod policies;
mod public;
mod shutdown;
mod store_users;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use prometheus::Registry;
use prometheus::process_collector::ProcessCollector;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::controller::{ControllerOptions, controller};
use self::listeners::Listeners;
use self::policies::PolicySource;
use crate::admin::caller::{Callers, Tenant};
use crate::admin::explain::{self, ExplainParts, PolicyReport, Report};
use crate::admin::health::{self, Readiness, ReadyCheck};
use crate::admin::jwks;
use crate::admin::listener::{self, Limits};
use crate::admin::session_api::{ApiParts, SessionApi};
use crate::authz::attributes::own_headers::OwnHeaders;
use crate::authz::credential::Carrier;
use crate::authz::policy::{HostsFrom, Install};
use crate::config::{Config, PoliciesConfig, StoreConfig};
use crate::ext_authz::metrics::{self, CheckMetrics};
use crate::ext_authz::service::{Gate, GateConfig};
use crate::ext_proc::metrics::ResponseMetrics;
use crate::ext_proc::service::{Processor, ProcessorConfig};
use crate::ext_proc::stream::ExternalProcessor;
use crate::grpc;
use crate::identity::Identities;
use crate::identity::stats::ProviderStats;
use crate::policies::Publisher;
use crate::sessions::Sessions;
use crate::sessions::clock::Clock;
use crate::sessions::keyring::KeyRing;
use crate::sessions::token::TokenKeys;
use crate::store::Store;
use crate::store::embedded::EmbeddedStore;
use crate::store::memory::MemoryStore;
use crate::store::redis::stats::RedisStats;
use crate::store::redis::{RedisConfig, RedisStore};
use crate::telemetry::Telemetry;

/// What must be so before a gate is ready.
const CHECKS: &[ReadyCheck] = &[ReadyCheck::Policies, ReadyCheck::Store, ReadyCheck::Keys, ReadyCheck::TokenKey];
/// How often what is over is forgotten by the store.
const SWEEP: Duration = Duration::from_secs(60);
/// How often it is asked whether everything that readiness hangs on still holds.
const LOOK: Duration = Duration::from_millis(200);

/// What the command line adds to the configuration file.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The file.
    pub config: PathBuf,
    /// Where to write the addresses that were bound.
    pub addresses: Option<PathBuf>,
    /// Instead of `telemetry.log`.
    pub log: Option<String>,
    /// Instead of `check.workers`.
    pub workers: Option<usize>,
}

/// Runs the gate until it is told to stop.
///
/// # Errors
/// What keeps it from starting, with its cure; or the part that ended by itself.
pub fn serve(options: &ServeOptions) -> anyhow::Result<()> {
    let mut config = Config::load(&options.config)?;
    if let Some(log) = &options.log {
        config.telemetry.log.clone_from(log);
    }
    if let Some(workers) = options.workers {
        anyhow::ensure!((1..=256).contains(&workers), "--workers: {workers} is out of bounds: 1 to 256");
        config.check.workers = workers;
    }
    let registry = Registry::new();
    registry.register(Box::new(ProcessCollector::for_self()))?;
    let _telemetry = Telemetry::install(&config.telemetry.log, config.telemetry.format, &registry)?;
    // One thread answers fastest while one core suffices: no work is stolen, nothing is woken on another core.
    let mut builder = match config.check.workers {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime =
        builder.worker_threads(config.check.workers).enable_all().build().context("cannot start the runtime")?;
    let served = runtime.block_on(run(config, registry, options.addresses.clone()));
    // What is still blocked in a system call must not keep the process from ending.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

/// The one namespace that is served, with its rights.
fn tenant(config: &Config) -> Option<Tenant> {
    let PoliciesConfig::Kubernetes(settings) = &config.policies else { return None };
    Some(Tenant { namespace: settings.namespace.clone()?, realms: config.realms.clone() })
}

async fn run(config: Config, registry: Registry, addresses: Option<PathBuf>) -> anyhow::Result<()> {
    let clock = Arc::new(Clock::start());
    let readiness = Readiness::of(CHECKS);
    let mut token_keys = TokenKeys::load(&config.token_key_file).context("token.keyFile")?;
    if let Some(file) = &config.handle_key_file {
        token_keys = token_keys.with_handles_under(TokenKeys::load(file).context("token.handleKeyFile")?);
    }
    readiness.set(ReadyCheck::TokenKey, true);
    let keyring = Arc::new(KeyRing::open(config.jwt.ring.clone()).context("jwt.keysDir")?);
    let store = Arc::new(open_store(&config.store, &registry)?);
    readiness.set(ReadyCheck::Store, store.is_open());
    let source = PolicySource::open(&config, &registry).await?;
    let publisher = source.publisher().clone();
    publisher.register(&registry)?;
    let (policies, status) = (publisher.index(), publisher.status());
    let sessions = Arc::new(Sessions::new(
        config.sessions.clone(),
        Arc::clone(&store),
        token_keys,
        Arc::clone(&keyring),
        Arc::clone(&clock),
    ));
    metrics::register_sessions(&registry, Arc::clone(sessions.stats()))?;
    let provider_stats = Arc::new(ProviderStats::new()?);
    provider_stats.register(&registry)?;
    let identities = Arc::new(Identities::new(&config.providers, provider_stats).context("providers.caFile")?);
    let gate = Arc::new(Gate::new(
        GateConfig {
            realm: config.realm.clone(),
            jwt_header: config.jwt.header.clone().into(),
            deadline: config.check.timeout,
            decisions: config.telemetry.decisions,
        },
        Arc::clone(&policies),
        Arc::clone(&sessions),
        Arc::clone(&identities),
        Arc::clone(&clock),
        CheckMetrics::register(&registry)?,
    ));
    let cookie = config.carriers.as_slice().iter().find_map(|carrier| match carrier {
        Carrier::Cookie(name) => Some(Arc::clone(name)),
        Carrier::Bearer | Carrier::Header(_) => None,
    });
    let process = ExternalProcessor::new(Arc::new(Processor::new(
        ProcessorConfig { own_headers: OwnHeaders::new(&config.jwt.header), cookie, deadline: config.response.timeout },
        Arc::clone(&policies),
        Arc::clone(&sessions),
        Arc::clone(&clock),
        ResponseMetrics::register(&registry)?,
    )));
    let api = match config.callers.is_empty() {
        true => None,
        false => Some(SessionApi::new(ApiParts {
            sessions: Arc::clone(&sessions),
            callers: Callers::open(config.callers.clone()).context("api")?,
            realm: config.realm.clone(),
            realms: config.realms.keys().cloned().collect(),
            tenant: tenant(&config).map(Arc::new),
            clock: Arc::clone(&clock),
        })),
    };
    let report = Report::new(move || {
        let status = status.load();
        PolicyReport { generation: status.generation, problems: status.problems.clone(), errors: status.errors.clone() }
    });
    let explain = explain::router(ExplainParts {
        policies: Arc::clone(&policies),
        report,
        sessions: Arc::clone(&sessions),
        identities: Arc::clone(&identities),
        clock: Arc::clone(&clock),
        carriers: config.carriers.clone(),
        jwt_header: config.jwt.header.clone().into(),
        issuer: config.jwt.ring.issuer.clone().into(),
    });
    let listeners = Listeners::bind(&config.listen).await?;
    if let Some(path) = &addresses {
        listeners.write(path)?;
    }

    // Watchers end at once when the end begins; listeners once readiness has been down long enough to be seen.
    let (stop_watching, stop_listening) = (CancellationToken::new(), CancellationToken::new());
    let (ready, known_ready) = watch::channel(false);
    let mut tasks: JoinSet<(&str, anyhow::Result<()>)> = JoinSet::new();
    let stop = || stop_listening.clone();
    let Listeners { grpc, http, health, admin, sessions: sessions_listener } = listeners;
    tasks.spawn({
        let (gate, stop, limits) = (Arc::clone(&gate), stop(), grpc::Limits::at(&config.listen.grpc));
        let check = move |message| {
            let gate = Arc::clone(&gate);
            async move { gate.check(message).await }
        };
        async move {
            ("the check listener", grpc.serve(limits, check, process, known_ready, stop).await.map_err(Into::into))
        }
    });
    let key_sets = jwks::router(Arc::clone(&keyring), Arc::clone(&clock));
    tasks.spawn(public::serve((http, key_sets), (health, health::router(readiness.clone(), registry)), stop()));
    for (name, listener, router) in [
        ("the admin listener", Some(admin), Some(explain)),
        ("the session API", sessions_listener, api.as_ref().map(SessionApi::router)),
    ] {
        if let (Some(listener), Some(router)) = (listener, router) {
            let stop = stop();
            tasks.spawn(async move {
                listener::serve(listener, router, Limits::default(), stop).await;
                (name, Ok(()))
            });
        }
    }
    let mut watchers: JoinSet<&str> = JoinSet::new();
    let stop = || stop_watching.clone();
    watchers.spawn({
        let stop = stop();
        async move {
            source.watch(stop).await;
            "the policy watch"
        }
    });
    watchers.spawn({
        let (identities, policies, stop) = (Arc::clone(&identities), Arc::clone(&policies), stop());
        async move {
            identities.watch(&policies, stop).await;
            "the watch of identity providers"
        }
    });
    watchers.spawn({
        let (keyring, stop) = (Arc::clone(&keyring), stop());
        async move {
            keyring.watch(stop).await;
            "the key watch"
        }
    });
    watchers.spawn({
        let (store, clock, stop) = (Arc::clone(&store), Arc::clone(&clock), stop());
        async move {
            stop.run_until_cancelled(sweep(&store, &clock)).await;
            "the sweep"
        }
    });
    watchers.spawn({
        let (readiness, keyring, store, stop) = (readiness.clone(), Arc::clone(&keyring), Arc::clone(&store), stop());
        async move {
            stop.run_until_cancelled(look(&readiness, &publisher, &keyring, &store, &clock, &ready)).await;
            "readiness"
        }
    });
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "serving");

    let ended = tokio::select! {
        signal = shutdown::signal() => {
            tracing::info!(signal = signal?, "draining");
            Ok(())
        }
        Some(ended) = tasks.join_next() => Err(early(ended.map(|(part, outcome)| (part, outcome.err())))),
        Some(ended) = watchers.join_next() => Err(early(ended.map(|part| (part, None)))),
    };
    readiness.close();
    stop_watching.cancel();
    while watchers.join_next().await.is_some() {}
    tokio::time::sleep(if ended.is_ok() { config.shutdown.settle } else { Duration::ZERO }).await;
    stop_listening.cancel();
    let drained = tokio::time::timeout(config.shutdown.drain, async {
        while tasks.join_next().await.is_some() {}
        if let Some(api) = &api {
            api.finish().await;
        }
        sessions.close().await;
        identities.close().await;
    });
    if drained.await.is_err() {
        tracing::warn!(drain = ?config.shutdown.drain, "what still ran after shutdown.drain was cut off");
    }
    store.close().await.context("the session store did not close in order")?;
    tracing::info!("stopped");
    ended
}

fn early(ended: Result<(&str, Option<anyhow::Error>), tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok((part, Some(error))) => error.context(format!("{part} failed")),
        Ok((part, None)) => anyhow::anyhow!("{part} ended by itself"),
        Err(error) => anyhow::Error::new(error).context("a part of the process panicked"),
    }
}

fn open_store(config: &StoreConfig, registry: &Registry) -> anyhow::Result<Store> {
    Ok(match config {
        StoreConfig::Memory => Store::Memory(MemoryStore::default()),
        StoreConfig::Embedded { path } => Store::Embedded(EmbeddedStore::open(path).context("sessions.store")?),
        // It connects in the background: a gate that starts while the store is away is not ready, and waits.
        StoreConfig::Redis(config) => {
            let stats = RedisStats::new()?;
            stats.register(registry)?;
            Store::Redis(RedisStore::open(RedisConfig::clone(config), stats))
        }
    })
}

/// What policies may say here. A folder has one owner, so every namespace in it may claim every host, and may do in every
/// realm what the configuration does not keep for others. In a cluster only `own_namespace`, the install's, may claim hosts.
pub(crate) fn install(config: &Config, own_namespace: Option<&str>) -> Install {
    let gateways = match &config.policies {
        PoliciesConfig::Dir(_) => None,
        PoliciesConfig::Kubernetes(settings) => settings.gateways.clone(),
    };
    Install {
        default_realm: config.realm.clone(),
        realms: config.realms.clone(),
        carriers: config.carriers.clone(),
        own_headers: OwnHeaders::new(&config.jwt.header),
        hosts: own_namespace.map_or(HostsFrom::Everyone, |namespace| HostsFrom::Namespace(namespace.to_owned())),
        gateways,
        pod: None,
        route_identity: config.route_identity,
    }
}

async fn sweep(store: &Store, clock: &Clock) {
    loop {
        tokio::time::sleep(SWEEP).await;
        match store.sweep(clock.now()).await {
            Ok(0) => {}
            Ok(forgotten) => tracing::debug!(forgotten, "sessions that are over were forgotten"),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "sweep failed; tried again later"),
        }
    }
}

/// Keeps readiness, and gRPC health after it, true to whether there are policies, whether there is a key to sign with (keys
/// have times) and whether the store answers. The token key is a condition of the start. Policies that were in force once stay.
async fn look(
    readiness: &Readiness,
    policies: &Publisher,
    keyring: &KeyRing,
    store: &Store,
    clock: &Clock,
    ready: &watch::Sender<bool>,
) {
    loop {
        readiness.beat();
        let has_policies = policies.index().load().is_ready();
        readiness.explain(ReadyCheck::Policies, (!has_policies).then(|| policies.status().load().errors.join("; ")));
        readiness.set(ReadyCheck::Policies, has_policies);
        readiness.set(ReadyCheck::Store, store.is_open());
        readiness.set(ReadyCheck::Keys, keyring.is_ready(clock.now()));
        let now = readiness.is_ready();
        ready.send_if_modified(|known| std::mem::replace(known, now) != now);
        let _ = tokio::time::timeout(LOOK, readiness.changed_from(now)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::metrics::ClusterMetrics;
    use crate::sessions::stats::SessionsStats;
    use crate::telemetry;

    #[test]
    fn each_metric_has_its_row_in_the_documentation() {
        let registry = Registry::new();
        telemetry::register(&registry).unwrap();
        metrics::register_sessions(&registry, Arc::new(SessionsStats::default())).unwrap();
        CheckMetrics::register(&registry).unwrap();
        ProviderStats::new().unwrap().register(&registry).unwrap();
        ResponseMetrics::register(&registry).unwrap();
        RedisStats::new().unwrap().register(&registry).unwrap();
        let cluster = ClusterMetrics::new().unwrap();
        cluster.register(&registry).unwrap();
        let controller = crate::k8s::controller::metrics::ControllerMetrics::register(&registry, cluster).unwrap();
        // What has a label for each Secret is not there before there is one.
        let moment = crate::authz::session::Timestamp::from_millis(0);
        let term = crate::k8s::controller::certificates::Term { renewal: moment, ends: moment };
        controller.certificate(&("infra".to_owned(), "cloakroom-proxy-tls".to_owned()), Some(term));
        let carriers = crate::authz::credential::Carriers::new(vec![Carrier::Bearer]).unwrap();
        let install = Install::open(crate::authz::session::Realm::parse("shop").unwrap(), carriers);
        Publisher::new(install).register(&registry).unwrap();
        let families = registry.gather();
        let registered: Vec<_> = families.iter().map(|family| family.name()).collect();
        let rows = include_str!("../docs/operations.md").lines().filter_map(|row| row.strip_prefix("| `cloakroom_"));
        let documented: Vec<_> =
            rows.map(|row| format!("cloakroom_{}", row.split(['`', '{']).next().unwrap_or_default())).collect();
        for name in &registered {
            assert_eq!(documented.iter().filter(|it| it == name).count(), 1, "docs/operations.md: {name}");
        }
        assert_eq!(documented.len(), registered.len(), "a metric that there is not: {documented:?}");
    }
}
