//! What the link to Redis has done, counted.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// The metrics of one store.
#[derive(Clone, Debug)]
pub struct RedisStats {
    connected: IntGauge,
    connects: IntCounter,
    losses: IntCounter,
    /// Calls that a cluster sent to another server.
    pub(super) redirections: IntCounter,
    /// Changes of one session that servers told of.
    pub(super) sessions: IntCounter,
    /// Log-outs of all sessions of a subject that servers told of.
    pub(super) subjects: IntCounter,
    /// Times that everything was declared changed: after a connection, a flush, or a change of the cluster's slots.
    pub(super) everything: IntCounter,
    notices: IntCounterVec,
}

impl RedisStats {
    /// The metrics, at zero.
    ///
    /// # Errors
    /// When a name is not one that Prometheus takes.
    pub fn new() -> Result<Self, prometheus::Error> {
        let notices = IntCounterVec::new(
            Opts::new("cloakroom_redis_notices_total", "Changes that the session store told of, by what changed."),
            &["changed"],
        )?;
        let told = |changed: &str| notices.with_label_values(&[changed]);
        Ok(Self {
            connected: IntGauge::new("cloakroom_redis_connected", "Servers of the session store connected now.")?,
            connects: IntCounter::new("cloakroom_redis_connects_total", "Connections made to the session store.")?,
            losses: IntCounter::new(
                "cloakroom_redis_connection_losses_total",
                "Connections to the session store lost or given up.",
            )?,
            redirections: IntCounter::new(
                "cloakroom_redis_redirections_total",
                "Calls that a cluster sent to another server.",
            )?,
            sessions: told("session"),
            subjects: told("subject"),
            everything: told("everything"),
            notices,
        })
    }

    /// A server is connected until what this gives is dropped.
    pub(super) fn connected(&self) -> Connected<'_> {
        self.connects.inc();
        self.connected.inc();
        Connected(self)
    }

    /// Registers them.
    ///
    /// # Errors
    /// When the registry has one of them already.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.connected.clone()))?;
        registry.register(Box::new(self.connects.clone()))?;
        registry.register(Box::new(self.losses.clone()))?;
        registry.register(Box::new(self.redirections.clone()))?;
        registry.register(Box::new(self.notices.clone()))
    }
}

/// A server that is connected.
pub(super) struct Connected<'a>(&'a RedisStats);

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.connected.dec();
        self.0.losses.inc();
    }
}
