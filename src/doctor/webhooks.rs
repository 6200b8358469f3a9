//! The webhooks: who asks, whom it trusts, and what the controller shows.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::SignedDuration;
use serde_json::Value;

use super::certificate::{Distrust, accepts};
use super::finding::{Check, Finding};
use super::install::CONTROLLER;
use super::scene::{Kind, Scene, Sight, list, named, text};

/// The Secret that the controller serves from.
const SHOWN: &str = "cloakroom-webhook-tls";
/// A certificate is renewed at two thirds of its life, so that one with less than this left was not.
const NEAR: SignedDuration = SignedDuration::from_hours(24 * 7);

pub(super) fn judge(scene: &Scene) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (kind, name, is_needed) in [
        (Kind::ValidatingWebhookConfiguration, "cloakroom-policies", true),
        (Kind::MutatingWebhookConfiguration, "cloakroom-injector", scene.has_sidecars()),
    ] {
        match scene.find(kind, "", name) {
            Sight::There(found) => findings.extend(one(scene, kind, name, found)),
            Sight::Missing if is_needed => {
                let seen = if kind == Kind::MutatingWebhookConfiguration {
                    Finding::problem(
                        Check::Webhooks,
                        named(kind, "", name),
                        "is not there: new pods get no sidecar",
                        "upgrade the release: helm upgrade makes it again",
                    )
                } else {
                    Finding::warning(
                        Check::Webhooks,
                        named(kind, "", name),
                        "is not there: a policy that can never work is stored, and only its status says so",
                        "upgrade the release: helm upgrade makes it again",
                    )
                };
                findings.push(seen);
            }
            Sight::Missing | Sight::Unseen => {}
        }
    }
    findings
}

fn one(scene: &Scene, kind: Kind, name: &str, found: &Value) -> Vec<Finding> {
    let about = named(kind, "", name);
    let log = format!("the controller fills it: kubectl -n {} logs deployment/{CONTROLLER}", scene.install);
    let consequence = |webhook: &Value| match text(webhook, "/failurePolicy") {
        "Ignore" => "it is passed over",
        _ => "what it is asked about is refused",
    };
    let mut findings = Vec::new();
    for webhook in list(found, "/webhooks") {
        let bundle = STANDARD.decode(text(webhook, "/clientConfig/caBundle")).unwrap_or_default();
        let trouble = |seen: String, cure: &str| Finding::problem(Check::Webhooks, about.clone(), seen, cure);
        if bundle.is_empty() {
            let seen =
                format!("has an empty caBundle: the API server trusts no controller, and {}", consequence(webhook));
            findings.push(trouble(seen, &log));
            continue;
        }
        let shown = match scene.find(Kind::Secret, &scene.install, SHOWN) {
            Sight::There(secret) => STANDARD.decode(text(secret, "/data/tls.crt")).unwrap_or_default(),
            Sight::Missing => {
                let file = scene.controller_file();
                if text(&file, "/controller/webhook/certFile").is_empty() {
                    let seen = format!(
                        "trusts an authority, and there is no Secret {}/{SHOWN} that the controller could serve from",
                        scene.install
                    );
                    findings.push(trouble(seen, &log));
                } else {
                    let seen = "trusts an authority; the certificate is a file of the controller's (controller.webhook.certFile)";
                    findings.push(Finding::ok(Check::Webhooks, about.clone(), seen));
                }
                continue;
            }
            // Told as what could not be read.
            Sight::Unseen => continue,
        };
        findings.push(trust(scene, webhook, &about, (&bundle, &shown), &log));
    }
    findings.dedup();
    findings
}

fn trust(scene: &Scene, webhook: &Value, about: &str, (bundle, shown): (&[u8], &[u8]), log: &str) -> Finding {
    let service = webhook.pointer("/clientConfig/service");
    let part = |name: &str| service.map(|it| text(it, name)).filter(|it| !it.is_empty());
    let host = match (part("/name"), part("/namespace")) {
        (Some(name), Some(namespace)) => format!("{name}.{namespace}.svc"),
        _ => format!("{CONTROLLER}.{}.svc", scene.install),
    };
    let problem = |seen: String| Finding::problem(Check::Webhooks, about, seen, log);
    let secret = format!("Secret {}/{SHOWN}", scene.install);
    match accepts(bundle, shown, &host, scene.now) {
        Err(Distrust::NoAuthority) => problem("has a caBundle that is no certificate".to_owned()),
        Err(Distrust::NoCertificate) => problem(format!("is served from {secret}, which holds no certificate")),
        Err(Distrust::Expired) => problem(format!("is served with a certificate whose time is over ({secret})")),
        Err(Distrust::Name) => problem(format!("asks {host}, and the certificate in {secret} is for other names")),
        Err(Distrust::Authority) => {
            problem(format!("trusts another authority than the one that signed {secret}: every call fails"))
        }
        Err(Distrust::Other(why)) => problem(format!("would not accept the certificate in {secret}: {why}")),
        Ok(()) if accepts(bundle, shown, &host, scene.now + NEAR).is_err() => Finding::warning(
            Check::Webhooks,
            about,
            format!("is served with a certificate that ends within a week ({secret}), and should have been renewed"),
            log,
        ),
        Ok(()) => Finding::ok(Check::Webhooks, about, "trusts the certificate that the controller serves"),
    }
}
