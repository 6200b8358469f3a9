//! The registrations of the install's webhooks, in which the API server is told whom to trust when it calls them.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::api::ObjectMeta;

use super::plan::Registration;
use super::{WebhookCertificate, objects};
use crate::k8s::controller::collection::Collection;

/// The registrations as they are, each if there is to be one.
pub(super) struct Registrations {
    pub(super) validating: Option<Collection<ValidatingWebhookConfiguration>>,
    pub(super) mutating: Option<Collection<MutatingWebhookConfiguration>>,
}

/// A registration of webhooks: each that calls our Service, and whom the API server trusts when it calls it.
pub(super) struct Registered {
    pub(super) name: Registration,
    pub(super) version: Option<String>,
    pub(super) webhooks: Vec<(String, String)>,
}

impl Registrations {
    pub(super) fn of(webhook: Option<&WebhookCertificate>) -> Self {
        Self {
            validating: webhook.and_then(|it| it.validating.as_ref()).map(|_| Collection::default()),
            mutating: webhook.and_then(|it| it.mutating.as_ref()).map(|_| Collection::default()),
        }
    }

    /// Whether all have been seen.
    pub(super) fn is_whole(&self) -> bool {
        self.validating.as_ref().is_none_or(Collection::is_whole)
            && self.mutating.as_ref().is_none_or(Collection::is_whole)
    }

    /// Those that are there, with those of their webhooks that call `service` (namespace and name).
    pub(super) fn calling(&self, service: (&str, &str)) -> Vec<Registered> {
        let validating = self.validating.iter().flat_map(Collection::iter).map(|((_, name), object)| {
            let webhooks = object.webhooks.iter().flatten().map(|it| (&it.name, &it.client_config));
            Registered::of(Registration::Validating(name.clone()), &object.metadata, webhooks, service)
        });
        let mutating = self.mutating.iter().flat_map(Collection::iter).map(|((_, name), object)| {
            let webhooks = object.webhooks.iter().flatten().map(|it| (&it.name, &it.client_config));
            Registered::of(Registration::Mutating(name.clone()), &object.metadata, webhooks, service)
        });
        validating.chain(mutating).collect()
    }
}

impl Registered {
    fn of<'a>(
        name: Registration,
        metadata: &ObjectMeta,
        webhooks: impl Iterator<Item = (&'a String, &'a WebhookClientConfig)>,
        service: (&str, &str),
    ) -> Self {
        let trusted = |(name, config): (&String, _)| Some((name.clone(), objects::trusted(config, service)?));
        Self { name, version: metadata.resource_version.clone(), webhooks: webhooks.filter_map(trusted).collect() }
    }
}
