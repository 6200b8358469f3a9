//! Certificates as Secrets, ConfigMaps and registrations of webhooks hold them.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::WebhookClientConfig;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use super::authority::Authority;
use super::plan::Shown;
use super::signer::{Leaf, Signer};
use super::x509::Certificate;
use crate::authz::policy::ObjectName;
use crate::authz::session::Timestamp;
use crate::k8s::controller::ours::{self, Fault};

/// The type of a Secret with a certificate.
const TLS: &str = "kubernetes.io/tls";
/// The file that says whom to trust.
const BUNDLE: &str = "ca.crt";

/// The authority of its Secret.
pub(super) fn authority(secret: &Secret) -> Result<Authority, Fault> {
    if !ours::is_ours(&secret.metadata) || secret.type_.as_deref().is_some_and(|it| it != "Opaque") {
        return Err(Fault::foreign("the install's authority", "no certificates are made"));
    }
    let broken = |problem: String| Fault {
        reason: "AuthorityBroken",
        words: format!(
            "{problem}; restore the Secret. Or delete it: a new authority is made, and connections fail until everybody has read it"
        ),
    };
    let signer = |name: &str| -> Result<Signer, Fault> {
        let file = |end: &str| text(secret, &format!("{name}.{end}")).unwrap_or_default();
        Signer::read(file("crt"), file("key")).map_err(|problem| broken(format!("{name}.crt {problem}")))
    };
    let next = text(secret, "next.crt").is_some().then(|| signer("next")).transpose()?;
    let previous = text(secret, "previous.crt").map(Certificate::read).transpose();
    let since = text(secret, "since").map(|since| since.parse::<k8s_openapi::jiff::Timestamp>()).transpose();
    Ok(Authority {
        current: signer("ca")?,
        next,
        previous: previous.map_err(|problem| broken(format!("previous.crt {problem}")))?,
        since: since
            .map_err(|_| broken("since is not a time in RFC 3339".to_owned()))?
            .map(|since| Timestamp::from_millis(since.as_millisecond())),
    })
}

/// The Secret of an authority.
pub(super) fn of_authority(authority: &Authority, metadata: ObjectMeta) -> Secret {
    let since = authority.since.and_then(|it| k8s_openapi::jiff::Timestamp::from_millisecond(it.as_millis()).ok());
    let next = authority.next.as_ref();
    let files = [
        ("ca.crt", Some(authority.current.certificate.pem.clone())),
        ("ca.key", Some(authority.current.key.to_string())),
        ("next.crt", next.map(|it| it.certificate.pem.clone())),
        ("next.key", next.map(|it| it.key.to_string())),
        ("previous.crt", authority.previous.as_ref().map(|it| it.pem.clone())),
        ("since", since.map(|it| it.to_string())),
    ];
    secret("Opaque", files, metadata)
}

/// What a Secret with a certificate shows.
pub(super) fn shown(secret: &Secret) -> Result<Shown, Fault> {
    if !ours::is_ours(&secret.metadata) || secret.type_.as_deref() != Some(TLS) {
        return Err(Fault::foreign("a certificate of ours", "there is none"));
    }
    let file = |name: &str| text(secret, name).unwrap_or_default();
    Ok(Shown { leaf: Leaf::read(file("tls.crt"), file("tls.key")).ok(), bundle: file(BUNDLE).to_owned() })
}

/// What is held, unless it can never be written again: the turn of the authority would wait for it for ever.
pub(super) fn changeable<T>(held: Result<T, Fault>, immutable: Option<bool>) -> Result<T, Fault> {
    match immutable {
        Some(true) => held.and(Err(Fault {
            reason: "Immutable",
            words: "it says `immutable: true`, so nothing in it is renewed, and who reads it loses its connections in time; delete it: \
                    it is made again"
                .to_owned(),
        })),
        _ => held,
    }
}

/// The Secret of a certificate.
pub(super) fn of_leaf(leaf: &Leaf, bundle: &str, metadata: ObjectMeta) -> Secret {
    let files = [
        ("tls.crt", Some(leaf.certificate.pem.clone())),
        ("tls.key", Some(leaf.key.to_string())),
        (BUNDLE, Some(bundle.to_owned())),
    ];
    secret(TLS, files, metadata)
}

/// Whom a ConfigMap says to trust.
pub(super) fn bundle(map: &ConfigMap) -> Result<String, Fault> {
    if !ours::is_ours(&map.metadata) {
        return Err(Fault::foreign("the ConfigMap with the install's authority", "nobody is told whom to trust"));
    }
    Ok(map.data.as_ref().and_then(|data| data.get(BUNDLE)).cloned().unwrap_or_default())
}

/// The ConfigMap that says whom to trust.
pub(super) fn of_bundle(bundle: &str, metadata: ObjectMeta) -> ConfigMap {
    ConfigMap {
        metadata: ours::marked(metadata),
        data: Some([(BUNDLE.to_owned(), bundle.to_owned())].into()),
        binary_data: None,
        immutable: None,
    }
}

/// Whom the API server is told to trust, if it is our Service that a webhook calls.
pub(super) fn trusted(config: &WebhookClientConfig, (namespace, service): (&str, &str)) -> Option<String> {
    let called = config.service.as_ref()?;
    let is_ours = called.namespace == namespace && called.name == service;
    let bundle = || config.ca_bundle.as_ref().map(|it| String::from_utf8_lossy(&it.0).into_owned());
    is_ours.then(|| bundle().unwrap_or_default())
}

/// The strategic merge patch that tells the API server whom to trust, of these webhooks and in this version of the object.
pub(super) fn trust(bundle: &str, webhooks: impl Iterator<Item = String>, version: Option<&str>) -> Value {
    let bundle = json!(ByteString(bundle.as_bytes().to_vec()));
    let webhooks = webhooks.map(|name| json!({ "name": name, "clientConfig": { "caBundle": bundle } }));
    json!({ "metadata": { "resourceVersion": version }, "webhooks": webhooks.collect::<Vec<_>>() })
}

/// What a new object of this name is called, or an old one has been.
pub(super) fn metadata(name: &ObjectName, present: Option<&ObjectMeta>) -> ObjectMeta {
    let fresh = || ObjectMeta { name: Some(name.1.clone()), ..ObjectMeta::default() };
    present.cloned().unwrap_or_else(fresh)
}

fn secret<const N: usize>(type_: &str, files: [(&str, Option<String>); N], metadata: ObjectMeta) -> Secret {
    let files = files.into_iter().filter_map(|(name, text)| Some((name.to_owned(), ByteString(text?.into_bytes()))));
    Secret {
        metadata: ours::marked(metadata),
        data: Some(files.collect::<BTreeMap<_, _>>()),
        type_: Some(type_.to_owned()),
        immutable: None,
        string_data: None,
    }
}

/// A file of a Secret, if it is text.
pub(super) fn text<'a>(secret: &'a Secret, name: &str) -> Option<&'a str> {
    std::str::from_utf8(&secret.data.as_ref()?.get(name)?.0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_never_be_written_is_left_alone_with_a_complaint() {
        assert_eq!(changeable(Ok(1), None), Ok(1));
        assert_eq!(changeable(Ok(1), Some(false)), Ok(1));
        let fault = changeable(Ok(1), Some(true)).unwrap_err();
        assert!(fault.reason == "Immutable" && fault.words.contains("delete it"), "{fault:?}");
        let foreign = || Fault::foreign("x", "y");
        assert_eq!(changeable::<u8>(Err(foreign()), Some(true)), Err(foreign()), "the first fault is told");
    }
}
