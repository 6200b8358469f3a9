//! `controller`: what `cloakroom controller` needs to know beside what it shares with the gates.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::{PoliciesConfig, SidecarsSettings, StoreConfig, Wrong, file, sidecars, within, wrong};
use crate::api::meta::{is_label, is_subdomain};
use crate::k8s::controller::certificates::{CertificatesConfig, WebhookCertificate};
use crate::k8s::controller::{Enrolled, KeysConfig, OnceMade};
use crate::sessions::keyring::algorithm::SigningAlgorithm;
use crate::sessions::keyring::bundle::Schedule;
use crate::sessions::keyring::ceremony::MIN_PUBLISH;
use crate::tls::TlsFiles;

const HOUR: u64 = 3_600_000;

/// `controller`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerSettings {
    /// The Lease's name, in the install's namespace.
    pub lease_name: String,
    /// How long a controller that is gone is waited for.
    pub lease_duration: Duration,
    /// Whose keys are kept.
    pub keys: KeysConfig,
    /// Where the API server asks about policies before it stores them; `None` where it asks nobody.
    pub webhook: Option<WebhookSettings>,
    /// The certificates that are made and kept; `None` makes none.
    pub certificates: Option<CertificatesConfig>,
    /// The Secrets that are made once in the install's namespace.
    pub secrets: BTreeSet<OnceMade>,
    /// What pods of enrolled namespaces get, and what those namespaces get for it.
    pub sidecars: Option<SidecarsSettings>,
}

/// `controller.webhook`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Where it listens, with TLS.
    pub listen: SocketAddr,
    /// The certificate and its key; `None`: as [`ControllerSettings::certificates`] makes them.
    pub tls: Option<TlsFiles>,
}

pub(super) fn resolve(
    file: file::ControllerFile,
    folder: &Path,
    algorithm: SigningAlgorithm,
    policies: &PoliciesConfig,
    store: &StoreConfig,
) -> Result<ControllerSettings, Wrong> {
    let namespace = |key: &'static str, name: Option<String>| match name {
        Some(name) if !is_label(&name) => {
            Err(wrong(key, format!("`{name}` is not a namespace: 1 to 63 of a-z, 0-9 and -")))
        }
        name => Ok(name),
    };
    let watch = match policies {
        PoliciesConfig::Kubernetes(cluster) => cluster.namespace.clone(),
        PoliciesConfig::Dir(_) => None,
    };
    let lease_name = file.lease.name.unwrap_or_else(|| "cloakroom-controller".to_owned());
    if !is_subdomain(&lease_name) {
        return Err(wrong(
            "controller.lease.name",
            format!("`{lease_name}` is not a name: 1 to 253 of a-z, 0-9, - and ."),
        ));
    }
    let lease_duration = within("controller.lease.duration", file.lease.duration, 15_000, 2_000, 300_000)?;
    if lease_duration.subsec_nanos() != 0 {
        return Err(wrong("controller.lease.duration", "must be whole seconds, as a Lease tells them".into()));
    }
    let every = within("controller.keys.rotateEvery", file.keys.rotate_every, 720 * HOUR, HOUR, 24 * 400 * HOUR)?;
    let least = u64::try_from(MIN_PUBLISH.as_millis()).unwrap_or(u64::MAX);
    let publish_for = within("controller.keys.publishFor", file.keys.publish_for, HOUR / 2, least, 24 * HOUR)?;
    if publish_for >= every {
        return Err(wrong(
            "controller.keys.publishFor",
            "must be shorter than controller.keys.rotateEvery: a key signs for what is left of it".into(),
        ));
    }
    let together = file.gate_keys.unwrap_or_default().then_some(algorithm);
    let made_for = file.keys.algorithm.unwrap_or(algorithm);
    if together.is_some() && made_for.is_slower_than(algorithm) {
        return Err(wrong(
            "controller.keys.algorithm",
            format!(
                "{made_for} is slower than jwt.algorithm, {algorithm}, and shared gates take no such keys: set jwt.algorithm to {made_for}"
            ),
        ));
    }
    let enrolled = match (file.keys.enrolled, &watch) {
        (Some(names), _) => {
            let names = names.into_iter().map(|name| namespace("controller.keys.enrolled", Some(name)));
            Enrolled::These(names.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        }
        // Labels of namespaces are not for those to see who watch one namespace.
        (None, Some(watch)) => Enrolled::These(BTreeSet::from([watch.clone()])),
        (None, None) => Enrolled::ByLabel,
    };
    if let (Some(watch), Enrolled::These(names)) = (&watch, &enrolled)
        && let Some(other) = names.iter().find(|name| *name != watch)
    {
        return Err(wrong(
            "controller.keys.enrolled",
            format!(
                "`{other}` is not watched, which policies.kubernetes.namespace keeps to `{watch}`: remove one or the other"
            ),
        ));
    }
    let certificates = file.certificates.map(certificates).transpose()?;
    if file.sidecars.is_some() && file.webhook.is_none() {
        return Err(wrong(
            "controller.sidecars",
            "needs controller.webhook: it is the webhook that adds the sidecar to pods".into(),
        ));
    }
    Ok(ControllerSettings {
        secrets: sidecars::once_made(file.secrets)?,
        sidecars: file.sidecars.map(|file| sidecars::resolve(file, folder, store)).transpose()?,
        lease_name,
        lease_duration,
        keys: KeysConfig { enrolled, schedule: Schedule { every, publish_for }, algorithm: made_for, together },
        webhook: file.webhook.map(|file| webhook(file, folder, certificates.as_ref())).transpose()?,
        certificates,
    })
}

fn webhook(
    file: file::WebhookFile,
    folder: &Path,
    certificates: Option<&CertificatesConfig>,
) -> Result<WebhookSettings, Wrong> {
    let tls = match (file.cert_file, file.key_file) {
        (Some(certificate), Some(key)) => {
            let (certificate, key) = (folder.join(certificate), folder.join(key));
            Some(TlsFiles { certificate, key, client_ca: None, client_names: None })
        }
        (None, None) if certificates.is_some_and(|it| it.webhook.is_some()) => None,
        (None, None) => {
            return Err(wrong(
                "controller.webhook.certFile",
                "is missing: name a certificate and its key, or have them made with controller.certificates.webhook"
                    .into(),
            ));
        }
        (Some(_), None) => {
            return Err(wrong("controller.webhook.keyFile", "is missing: it belongs to certFile".into()));
        }
        (None, Some(_)) => {
            return Err(wrong("controller.webhook.certFile", "is missing: it belongs to keyFile".into()));
        }
    };
    Ok(WebhookSettings { listen: file.listen, tls })
}

fn certificates(file: file::CertificatesFile) -> Result<CertificatesConfig, Wrong> {
    let service = |key: &'static str, name: String| match is_label(&name) {
        true => Ok(name),
        false => Err(wrong(key, format!("`{name}` is not a Service: 1 to 63 of a-z, 0-9 and -"))),
    };
    let registration = |key: &'static str, name: Option<String>| match name {
        Some(name) if !is_subdomain(&name) => {
            Err(wrong(key, format!("`{name}` is not a name: 1 to 253 of a-z, 0-9, - and .")))
        }
        name => Ok(name),
    };
    let webhook = file.webhook.map(|file| {
        Ok(WebhookCertificate {
            service: service("controller.certificates.webhook.service", file.service)?,
            validating: registration("controller.certificates.webhook.validating", file.validating)?,
            mutating: registration("controller.certificates.webhook.mutating", file.mutating)?,
        })
    });
    if let Some(other) = file.proxies.iter().find(|name| !is_label(name)) {
        let problem = format!("`{other}` is not a namespace: 1 to 63 of a-z, 0-9 and -");
        return Err(wrong("controller.certificates.proxies", problem));
    }
    Ok(CertificatesConfig {
        webhook: webhook.transpose()?,
        gate: file.gate.map(|file| service("controller.certificates.gate.service", file.service)).transpose()?,
        proxies: file.proxies.into_iter().collect(),
        life: within("controller.certificates.life", file.life, 2160 * HOUR, HOUR, 24 * 3650 * HOUR)?,
    })
}
