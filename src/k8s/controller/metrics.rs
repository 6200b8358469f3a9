//! What a controller counts.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::certificates::Term;
use crate::authz::policy::ObjectName;
use crate::k8s::metrics::ClusterMetrics;

/// The controller's metrics. Clones count together.
#[derive(Clone, Debug)]
pub struct ControllerMetrics {
    leading: IntGauge,
    policies: IntGaugeVec,
    namespaces: IntGaugeVec,
    writes: IntCounterVec,
    certificate_ends: IntGaugeVec,
    certificate_renewals: IntGaugeVec,
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
        let opts = Opts::new(
            "cloakroom_controller_certificate_expiration_timestamp_seconds",
            "When the certificate in a Secret of the install ends, in seconds since the epoch.",
        );
        let certificate_ends = IntGaugeVec::new(opts, &["secret"])?;
        let opts = Opts::new(
            "cloakroom_controller_certificate_renewal_timestamp_seconds",
            "From when on there should be another in its place, in seconds since the epoch.",
        );
        let certificate_renewals = IntGaugeVec::new(opts, &["secret"])?;
        registry.register(Box::new(leading.clone()))?;
        registry.register(Box::new(policies.clone()))?;
        registry.register(Box::new(namespaces.clone()))?;
        registry.register(Box::new(writes.clone()))?;
        registry.register(Box::new(certificate_ends.clone()))?;
        registry.register(Box::new(certificate_renewals.clone()))?;
        let metrics = Self { leading, policies, namespaces, writes, certificate_ends, certificate_renewals, cluster };
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

    /// How long the certificate in this Secret is good; `None`: there is none that is kept.
    pub fn certificate(&self, secret: &ObjectName, term: Option<Term>) {
        let label = format!("{}/{}", secret.0, secret.1);
        let times =
            [(&self.certificate_ends, term.map(|it| it.ends)), (&self.certificate_renewals, term.map(|it| it.renewal))];
        for (gauge, time) in times {
            match time {
                Some(time) => gauge.with_label_values(&[&label]).set(time.as_secs()),
                // An error says that there was none.
                None => drop(gauge.remove_label_values(&[&label])),
            }
        }
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
