//! What a controller counts.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::k8s::metrics::ClusterMetrics;

/// The controller's metrics. Clones count together.
#[derive(Clone, Debug)]
pub struct ControllerMetrics {
    leading: IntGauge,
    policies: IntGaugeVec,
    namespaces: IntGaugeVec,
    writes: IntCounterVec,
    /// Those of what it follows.
    pub(super) cluster: ClusterMetrics,
}

/// What became of a write.
#[derive(Clone, Copy, Debug)]
pub(super) enum Written {
    /// It was made.
    Done,
    /// Somebody else was faster.
    Conflict,
    /// The API server refused it or did not answer.
    Failed,
}

impl ControllerMetrics {
    /// Registers them, but for those of `cluster`.
    ///
    /// # Errors
    /// When one is registered already.
    pub fn register(registry: &Registry, cluster: ClusterMetrics) -> Result<Self, prometheus::Error> {
        let leading = IntGauge::new("cloakroom_controller_leading", "Whether this controller holds the Lease.")?;
        let opts =
            Opts::new("cloakroom_controller_policies", "Policies, by whether they count for all of their targets.");
        let policies = IntGaugeVec::new(opts, &["accepted"])?;
        let opts =
            Opts::new("cloakroom_controller_namespaces", "Enrolled namespaces, by whether they have signing keys.");
        let namespaces = IntGaugeVec::new(opts, &["keys"])?;
        let opts = Opts::new(
            "cloakroom_controller_writes_total",
            "Writes of statuses, keys, certificates, what sidecars need and the store's users, by outcome.",
        );
        let writes = IntCounterVec::new(opts, &["object", "outcome"])?;
        registry.register(Box::new(leading.clone()))?;
        registry.register(Box::new(policies.clone()))?;
        registry.register(Box::new(namespaces.clone()))?;
        registry.register(Box::new(writes.clone()))?;
        let metrics = Self { leading, policies, namespaces, writes, cluster };
        metrics.policies(0, 0);
        metrics.namespaces(0, 0);
        for outcome in ["done", "conflict", "failed"] {
            for object in ["status", "keys", "certificates", "gates", "users"] {
                metrics.writes.with_label_values(&[object, outcome]);
            }
        }
        Ok(metrics)
    }

    pub(super) fn leading(&self, leads: bool) {
        self.leading.set(i64::from(leads));
    }

    pub(super) fn policies(&self, accepted: usize, refused: usize) {
        set(&self.policies, [("true", accepted), ("false", refused)]);
    }

    pub(super) fn namespaces(&self, with_keys: usize, without: usize) {
        set(&self.namespaces, [("held", with_keys), ("missing", without)]);
    }

    pub(super) fn status(&self, written: Written) {
        self.count("status", written);
    }

    pub(super) fn keys(&self, written: Written) {
        self.count("keys", written);
    }

    pub(super) fn certificates(&self, written: Written) {
        self.count("certificates", written);
    }

    pub(super) fn gates(&self, written: Written) {
        self.count("gates", written);
    }

    /// What became of telling the store of its users.
    pub fn users(&self, is_done: bool) {
        self.count("users", if is_done { Written::Done } else { Written::Failed });
    }

    fn count(&self, object: &str, written: Written) {
        let outcome = match written {
            Written::Done => "done",
            Written::Conflict => "conflict",
            Written::Failed => "failed",
        };
        self.writes.with_label_values(&[object, outcome]).inc();
    }
}

fn set(gauge: &IntGaugeVec, values: [(&str, usize); 2]) {
    for (label, value) in values {
        gauge.with_label_values(&[label]).set(i64::try_from(value).unwrap_or(i64::MAX));
    }
}
