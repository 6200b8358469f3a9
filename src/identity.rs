//! Who somebody is, as others tell it: a JWT of an issuer that a policy trusts becomes the owner of a session, and a credential that
//! is not ours becomes whom an identity provider vouches for.

mod introspection;
mod jwks;
pub mod jwt;
pub mod outbound;
pub mod stats;
#[cfg(test)]
mod tests;
mod vouch;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::introspection::Introspections;
use self::jwks::KeySources;
use self::outbound::{Outbound, OutboundConfig, OutboundError};
use self::stats::{Judgement, ProviderStats};
use self::vouch::Vouchers;
use crate::authz::credential::ForeignCredential;
use crate::authz::policy::PolicyIndex;
use crate::authz::policy::provider::{IdentityProvider, ProviderKind};
use crate::authz::reason::DenyReason;
use crate::authz::session::Timestamp;
use crate::authz::verdict::Lookup;

/// How often it is asked whether policies name other providers now, and whether keys are to be fetched again.
const TICK: Duration = Duration::from_secs(1);

/// Asks identity providers about credentials that are not ours. What it learns is kept within the bounds of each part:
/// `jwks.rs`, `introspection.rs` and `vouch.rs` say which.
pub struct Identities {
    keys: KeySources,
    introspections: Arc<Introspections>,
    vouchers: Vouchers,
    stats: Arc<ProviderStats>,
    tasks: TaskTracker,
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identities")
    }
}

impl Identities {
    /// With nothing known yet.
    ///
    /// # Errors
    /// When the file of certificates cannot be used.
    pub fn new(outbound: &OutboundConfig, stats: Arc<ProviderStats>) -> Result<Self, OutboundError> {
        let outbound = Arc::new(Outbound::new(outbound)?);
        let tasks = TaskTracker::new();
        Ok(Self {
            keys: KeySources::new(Arc::clone(&outbound), Arc::clone(&stats), tasks.clone()),
            introspections: Arc::new(Introspections::new(outbound, Arc::clone(&stats), tasks.clone())),
            vouchers: Vouchers::default(),
            stats,
            tasks,
        })
    }

    /// Whom `credential` belongs to, by the word of `provider`: `Vouched`, `Refused` or `Unavailable`.
    pub async fn resolve(
        &self,
        credential: &ForeignCredential,
        provider: &Arc<IdentityProvider>,
        now: Timestamp,
    ) -> Lookup {
        let found = match &provider.kind {
            // Known or unknown without asking anybody.
            ProviderKind::ApiKeys(keys) => keys
                .find(credential.digest())
                .map_or(Lookup::Refused(DenyReason::UnknownApiKey), |identity| Lookup::Vouched(Arc::clone(identity))),
            ProviderKind::Jwt(issuer) => self.vouchers.by_jwt(&self.keys, credential, provider, issuer, now).await,
            ProviderKind::Introspection(asked) => self.introspections.ask(credential, provider, asked, now).await,
        };
        self.stats.judged(
            &provider.kind,
            match &found {
                Lookup::Vouched(_) => Judgement::Accepted,
                Lookup::Unavailable(_) => Judgement::Unavailable,
                _ => Judgement::Refused,
            },
        );
        found
    }

    /// Keeps the keys of the providers that policies name fetched, and forgets those of all others and what was found out by them,
    /// until `stop`.
    pub async fn watch(&self, policies: &ArcSwap<PolicyIndex>, stop: CancellationToken) {
        let mut seen: Option<Arc<PolicyIndex>> = None;
        loop {
            let index = policies.load_full();
            if seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, &index)) {
                self.retain(&index.named_providers().collect::<Vec<_>>());
                seen = Some(index);
            }
            self.keys.refresh_due();
            if stop.run_until_cancelled(tokio::time::sleep(TICK)).await.is_none() {
                return;
            }
        }
    }

    /// Forgets all that belongs to other providers than these: one that comes back begins anew, since what it was may have ended
    /// meanwhile.
    fn retain(&self, named: &[&Arc<IdentityProvider>]) {
        let fingerprints: HashSet<_> = named.iter().map(|provider| provider.fingerprint).collect();
        // The keys first: a JWT that is being verified with those of one that left counts for nobody afterwards.
        self.keys.retain(named);
        self.vouchers.retain(&fingerprints);
        self.introspections.retain(&fingerprints);
    }

    /// Waits for what is under way. It ends by deadlines of its own.
    pub async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
