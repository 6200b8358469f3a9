//! The install's own certificates: an authority, what it signs for the webhook, for shared gates and for their proxies, and whom
//! it is told to (P30).
//!
//! What should be is a pure function of what is there and of the time (`plan`). The authority never leaves the install's
//! namespace. A new one is trusted everywhere before anything is signed by it, and the old one until nothing is any more, so that
//! no connection fails while it is replaced.

mod authority;
mod keeping;
mod objects;
mod plan;
mod registrations;
mod signer;
mod terms;
#[cfg(test)]
mod tests;
mod x509;

use std::collections::BTreeSet;
use std::time::Duration;

pub(super) use self::keeping::{Keeper, Keeping};
use crate::authz::policy::ObjectName;
use crate::authz::session::Timestamp;

/// The Secret of the authority, and the ConfigMap by which others are told to trust it.
const AUTHORITY: &str = "cloakroom-ca";
/// The Secret of the webhook's certificate.
const WEBHOOK: &str = "cloakroom-webhook-tls";
/// The Secret of the certificate of shared gates.
const GATE: &str = "cloakroom-gate-tls";
/// The Secret of the proxies' certificate.
const PROXY: &str = "cloakroom-proxy-tls";

/// The certificates that are made and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatesConfig {
    /// That of the webhook.
    pub webhook: Option<WebhookCertificate>,
    /// The Service of shared gates, in the install's namespace, if there are any.
    pub gate: Option<String>,
    /// The namespaces with proxies that ask shared gates.
    pub proxies: BTreeSet<String>,
    /// How long a certificate lives. It is renewed after two thirds of that, and the authority lives ten times as long.
    pub life: Duration,
}

/// Whom the API server calls, and what says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookCertificate {
    /// The Service of the webhook, in the install's namespace.
    pub service: String,
    /// The ValidatingWebhookConfiguration that is told whom to trust.
    pub validating: Option<String>,
    /// The MutatingWebhookConfiguration that is told whom to trust.
    pub mutating: Option<String>,
}

/// How long a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// From when on there should be another in its place.
    pub renewal: Timestamp,
    /// When it ends.
    pub ends: Timestamp,
}

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Purpose {
    /// A server with these names.
    Server(BTreeSet<String>),
    /// A client with these names.
    Client(BTreeSet<String>),
}

/// What the certificate of the proxies of a namespace calls them: `listen.tls.clientNames` of a gate lists whom it lets in. RFC 9525
/// knows a name by its type, and this is a DNS name because everybody can match one. Nobody resolves it: `internal` is kept for such.
pub fn name_of_proxies(namespace: &str) -> String {
    format!("{namespace}.proxies.cloakroom.internal")
}

impl CertificatesConfig {
    /// Each Secret with a certificate, and what that is for, in an install in `namespace`.
    fn leaves(&self, namespace: &str) -> Vec<(ObjectName, Purpose)> {
        let served = |service: &str| {
            let name = format!("{service}.{namespace}.svc");
            Purpose::Server([format!("{name}.cluster.local"), name].into())
        };
        let here = |name: &str| (namespace.to_owned(), name.to_owned());
        let webhook = self.webhook.as_ref().map(|it| (here(WEBHOOK), served(&it.service)));
        let gate = self.gate.as_ref().map(|service| (here(GATE), served(service)));
        let asking = |there: &str| Purpose::Client([name_of_proxies(there)].into());
        let proxies = self.proxies.iter().map(|there| ((there.clone(), PROXY.to_owned()), asking(there)));
        webhook.into_iter().chain(gate).chain(proxies).collect()
    }

    /// Each ConfigMap that says whom to trust.
    fn bundles(&self) -> impl Iterator<Item = ObjectName> + '_ {
        self.proxies.iter().map(|there| (there.clone(), AUTHORITY.to_owned()))
    }
}
