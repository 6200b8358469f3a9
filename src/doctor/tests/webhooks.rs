use super::*;
use crate::doctor::certificate::{Distrust, accepts};
use crate::doctor::webhooks;

const HOST: &str = "cloakroom-controller.cloakroom-system.svc";

struct Files {
    ca: Vec<u8>,
    shown: Vec<u8>,
}

fn files(name: &str) -> Files {
    let folder = tempfile::tempdir().unwrap();
    let made = e2e::tls::Certificates::make(folder.path(), &[name]).unwrap();
    Files { ca: std::fs::read(&made.ca).unwrap(), shown: std::fs::read(&made.server.certificate).unwrap() }
}

fn webhooks(ca: &[u8], shown: &[u8]) -> Scene {
    let service = "service: {name: cloakroom-controller, namespace: cloakroom-system}";
    let (ca, shown) = (base64(ca), base64(shown));
    scene(&format!(
        "
kind: ValidatingWebhookConfiguration
metadata: {{name: cloakroom-policies}}
webhooks: [{{name: a, failurePolicy: Ignore, clientConfig: {{caBundle: {ca}, {service}}}}}]
---
kind: Secret
metadata: {{name: cloakroom-webhook-tls, namespace: cloakroom-system}}
data: {{tls.crt: {shown}}}
"
    ))
}

#[test]
fn a_certificate_is_accepted_as_an_api_server_would() {
    let (ours, other) = (files(HOST), files(HOST));
    let now = Timestamp::now();
    let far = "4099-01-01T00:00:00Z".parse().unwrap();
    for (authority, shown, name, at, want) in [
        (&ours.ca, &ours.shown, HOST, now, Ok(())),
        (&ours.ca, &other.shown, HOST, now, Err(Distrust::Authority)),
        (&ours.ca, &ours.shown, "else.svc", now, Err(Distrust::Name)),
        (&ours.ca, &ours.shown, HOST, Timestamp::from_second(0).unwrap(), Err(Distrust::Expired)),
        (&ours.ca, &ours.shown, HOST, far, Err(Distrust::Expired)),
        (&Vec::new(), &ours.shown, HOST, now, Err(Distrust::NoAuthority)),
        (&ours.ca, &b"nonsense".to_vec(), HOST, now, Err(Distrust::NoCertificate)),
    ] {
        assert_eq!(accepts(authority, shown, name, at), want, "{name} {at}");
    }
}

#[test]
fn webhooks_trust_what_the_controller_serves() {
    let (ours, other) = (files(HOST), files(HOST));
    let judged = |scene: Scene| webhooks::judge(&scene);
    let check = Check::Webhooks;
    expect(&judged(webhooks(&ours.ca, &ours.shown)), check, &[(Level::Ok, "trusts the certificate")]);
    expect(
        &judged(webhooks(b"", &ours.shown)),
        check,
        &[(Level::Problem, "has an empty caBundle: the API server trusts no controller, and it is passed over")],
    );
    expect(&judged(webhooks(&ours.ca, &other.shown)), check, &[(Level::Problem, "trusts another authority")]);
    expect(&judged(webhooks(b"x", &ours.shown)), check, &[(Level::Problem, "caBundle that is no certificate")]);
    let elsewhere = files("elsewhere.svc");
    expect(&judged(webhooks(&elsewhere.ca, &elsewhere.shown)), check, &[(Level::Problem, "is for other names")]);
    let mut past = webhooks(&ours.ca, &ours.shown);
    past.now = "4099-01-01T00:00:00Z".parse().unwrap();
    expect(&judged(past), check, &[(Level::Problem, "whose time is over")]);
    let mut without = webhooks(&ours.ca, &ours.shown);
    without.objects.remove(&Kind::Secret);
    expect(&judged(without), check, &[(Level::Problem, "there is no Secret")]);
    expect(&judged(scene("")), check, &[(Level::Warning, "a policy that can never work is stored")]);
}
