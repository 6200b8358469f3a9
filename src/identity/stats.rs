//! What identity providers were asked, counted. No label is a name that somebody wrote: the sets are closed.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use crate::authz::policy::provider::ProviderKind;

/// What became of a credential.
#[derive(Clone, Copy, Debug)]
pub(super) enum Judgement {
    Accepted,
    Refused,
    Unavailable,
}

/// What was asked of somebody else.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    Keys,
    Token,
}

/// The counters.
#[derive(Debug)]
pub struct ProviderStats {
    judged: IntCounterVec,
    asked: IntCounterVec,
    series: [[IntCounter; 3]; 3],
}

impl ProviderStats {
    /// Counters at zero.
    ///
    /// # Errors
    /// When a name is not one for Prometheus.
    pub fn new() -> Result<Self, prometheus::Error> {
        let help = "Credentials judged by identity providers, by the provider's kind and what became of them.";
        let judged = IntCounterVec::new(Opts::new("cloakroom_provider_credentials_total", help), &["kind", "outcome"])?;
        let help = "Requests to identity providers: for their keys, or about a token.";
        let asked = IntCounterVec::new(Opts::new("cloakroom_provider_requests_total", help), &["about", "outcome"])?;
        for about in ["keys", "token"] {
            for outcome in ["ok", "failed"] {
                asked.with_label_values(&[about, outcome]);
            }
        }
        let of =
            |kind| ["accepted", "refused", "unavailable"].map(|outcome| judged.with_label_values(&[kind, outcome]));
        let series = ["jwt", "introspection", "apiKeys"].map(of);
        Ok(Self { judged, asked, series })
    }

    /// Registers them.
    ///
    /// # Errors
    /// When the registry has one of them already.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.judged.clone()))?;
        registry.register(Box::new(self.asked.clone()))
    }

    pub(super) fn judged(&self, kind: &ProviderKind, judgement: Judgement) {
        let kind = match kind {
            ProviderKind::Jwt(_) => 0,
            ProviderKind::Introspection(_) => 1,
            ProviderKind::ApiKeys(_) => 2,
        };
        self.series[kind][judgement as usize].inc();
    }

    pub(super) fn asked(&self, about: Asked, ok: bool) {
        let about = match about {
            Asked::Keys => "keys",
            Asked::Token => "token",
        };
        self.asked.with_label_values(&[about, if ok { "ok" } else { "failed" }]).inc();
    }
}
