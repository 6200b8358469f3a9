//! Identities over real connections, without a proxy: TLS, and what is kept and asked again.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use e2e::identity_server::{IdentityServer, Manner};
use e2e::issuer::Issuer;
use e2e::tls::Certificates;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::authz::credential::{Carrier, Carriers};
use crate::authz::policy::Install;
use crate::authz::session::Realm;
use crate::folder;

const ISSUER: &str = "https://login.example";

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(since.as_millis().try_into().unwrap())
}

/// The only provider of a policy that names it.
fn provider(spec: &Value) -> Arc<IdentityProvider> {
    provider_of(None, spec)
}

fn provider_of(uid: Option<&str>, spec: &Value) -> Arc<IdentityProvider> {
    let object = |kind: &str, field: &str, value: Value| {
        let metadata = json!({ "name": "p", "namespace": "shop", "uid": uid });
        let mut object = json!({ "apiVersion": "cloakroom.dev/v1alpha1", "kind": kind, "metadata": metadata });
        object[field] = value;
        object.to_string()
    };
    let policy = json!({ "hosts": ["*"], "rules": [{ "authenticate": [{ "provider": { "name": "p" } }] }] });
    let secret = object("Secret", "stringData", json!({ "secret": "hush" })).replace("cloakroom.dev/v1alpha1", "v1");
    let documents = [object("AuthPolicy", "spec", policy), object("IdentityProvider", "spec", spec.clone()), secret];
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("all.yaml"), documents.join("\n---\n")).unwrap();
    let install = Install::open(Realm::parse("shop").unwrap(), Carriers::new(vec![Carrier::Bearer]).unwrap());
    let (index, problems) = folder::check(&[folder.path().to_owned()], &install).unwrap();
    assert!(problems.is_empty(), "{problems:?}");
    Arc::clone(index.named_providers().next().unwrap())
}

fn identities(ca_file: Option<&Path>) -> Identities {
    let networks = ["127.0.0.0/8", "::1/128"].iter().map(|text| text.parse().unwrap()).collect();
    let config = OutboundConfig { networks, ca_file: ca_file.map(Path::to_owned) };
    Identities::new(&config, Arc::new(ProviderStats::new().unwrap())).unwrap()
}

async fn found(identities: &Identities, provider: &Arc<IdentityProvider>, token: &str) -> String {
    let credential = ForeignCredential::read(token.as_bytes()).unwrap();
    match identities.resolve(&credential, provider, now()).await {
        Lookup::Vouched(identity) => identity.subject.clone(),
        Lookup::Refused(reason) | Lookup::Unavailable(reason) => reason.label().to_owned(),
        other => format!("{other:?}"),
    }
}

fn by_uri(uri: &str) -> Arc<IdentityProvider> {
    provider(&json!({ "jwt": {
        "issuer": ISSUER, "audiences": ["shop"], "algorithms": ["ES256"], "jwks": { "uri": uri },
    } }))
}

fn sign(issuer: &Issuer, subject: &str) -> String {
    let seconds = u64::try_from(now().as_secs()).unwrap();
    issuer.sign(seconds, &json!({ "sub": subject, "aud": "shop" })).unwrap()
}

/// Answers every request over TLS with this body.
async fn tls_server(certificates: &Certificates, body: String) -> u16 {
    let chain = vec![CertificateDer::from_pem_file(&certificates.server.certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&certificates.server.key).unwrap();
    let config =
        ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

#[tokio::test]
async fn keys_come_over_tls_that_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path(), &["localhost"]).unwrap();
    let issuer = Issuer::new(ISSUER).unwrap();
    let port = tls_server(&certificates, issuer.jwks().to_string()).await;
    let provider = by_uri(&format!("https://localhost:{port}/jwks"));
    let jwt = sign(&issuer, "ada");
    assert_eq!(found(&identities(Some(&certificates.ca)), &provider, &jwt).await, "ada");
    // Another name, or a certificate that nobody here trusts, is not the issuer.
    let by_address = by_uri(&format!("https://127.0.0.1:{port}/jwks"));
    assert_eq!(found(&identities(Some(&certificates.ca)), &by_address, &jwt).await, "provider_unavailable");
    assert_eq!(found(&identities(None), &provider, &jwt).await, "provider_unavailable");
}

#[tokio::test]
async fn p05_what_was_verified_counts_with_the_very_keys_and_provider() {
    let server = IdentityServer::spawn().await.unwrap();
    let issuer = Issuer::with_kid(ISSUER, "one").unwrap();
    server.publish(&[&issuer]);
    let all = identities(None);
    let provider = by_uri(&server.url("/jwks"));
    let jwt = sign(&issuer, "ada");
    assert_eq!(found(&all, &provider, &jwt).await, "ada");
    // The very same value is handed out again, so that the session JWT minted for it is found again.
    let credential = ForeignCredential::read(jwt.as_bytes()).unwrap();
    let resolve = async |provider| match all.resolve(&credential, provider, now()).await {
        Lookup::Vouched(identity) => identity,
        other => panic!("{other:?}"),
    };
    let (first, second) = (resolve(&provider).await, resolve(&provider).await);
    assert!(Arc::ptr_eq(&first, &second));
    // A provider that differs in anything has its own.
    let other = self::provider(&json!({ "jwt": {
        "issuer": ISSUER, "audiences": ["shop"], "algorithms": ["ES256"], "jwks": { "uri": server.url("/jwks") },
        "claims": { "subject": "aud" },
    } }));
    assert_eq!(resolve(&other).await.subject, "shop");
    // The key is taken back: a JWT by a new one makes us look, and then the old one counts no more.
    let new = Issuer::with_kid(ISSUER, "two").unwrap();
    server.publish(&[&new]);
    assert_eq!(found(&all, &provider, &sign(&new, "bob")).await, "bob");
    assert_eq!(found(&all, &provider, &jwt).await, "invalid_jwt");
    assert_eq!(server.asked("/jwks"), 2);
}

#[tokio::test]
async fn p24_a_provider_that_comes_back_counts_no_key_of_before() {
    let server = IdentityServer::spawn().await.unwrap();
    let (old, new) = (Issuer::with_kid(ISSUER, "one").unwrap(), Issuer::with_kid(ISSUER, "two").unwrap());
    server.publish(&[&old]);
    let all = identities(None);
    let provider = by_uri(&server.url("/jwks"));
    let jwt = sign(&old, "ada");
    assert_eq!(found(&all, &provider, &jwt).await, "ada");
    // While it stays, its keys do: policies change often.
    all.retain(&[&provider, &by_uri(&server.url("/other"))]);
    assert_eq!(found(&all, &provider, &jwt).await, "ada");
    assert_eq!(server.asked("/jwks"), 1);
    // It leaves, its issuer drops the key, and it is there again as it was.
    all.retain(&[]);
    server.publish(&[&new]);
    assert_eq!(found(&all, &by_uri(&server.url("/jwks")), &jwt).await, "invalid_jwt");
    assert_eq!(found(&all, &provider, &sign(&new, "bob")).await, "bob");
    assert_eq!(server.asked("/jwks"), 2);
}

#[tokio::test]
async fn p24_a_provider_that_is_made_again_has_keys_of_its_own() {
    let server = IdentityServer::spawn().await.unwrap();
    let (old, new) = (Issuer::with_kid(ISSUER, "one").unwrap(), Issuer::with_kid(ISSUER, "two").unwrap());
    server.publish(&[&old]);
    let all = identities(None);
    let spec = json!({ "jwt": {
        "issuer": ISSUER, "audiences": ["shop"], "algorithms": ["ES256"], "jwks": { "uri": server.url("/jwks") },
    } });
    let (first, again) = (provider_of(Some("1"), &spec), provider_of(Some("2"), &spec));
    let jwt = sign(&old, "ada");
    assert_eq!(found(&all, &first, &jwt).await, "ada");
    server.publish(&[&new]);
    // Nobody has seen that there was none between them.
    all.retain(&[&again]);
    assert_eq!(found(&all, &again, &jwt).await, "invalid_jwt");
    assert_eq!(found(&all, &again, &sign(&new, "bob")).await, "bob");
}

#[tokio::test]
async fn p24_a_server_whose_provider_left_is_asked_anew() {
    let server = IdentityServer::spawn().await.unwrap();
    server.activate("opaque", &json!({ "sub": "ada", "aud": "shop" }));
    let provider = provider(&json!({ "introspection": {
        "endpoint": server.url("/introspect"), "clientId": "shop", "clientSecretRef": { "name": "p", "key": "secret" },
        "audiences": ["shop"], "maxCache": "5m",
    } }));
    let all = identities(None);
    for _ in 0..2 {
        assert_eq!(found(&all, &provider, "opaque").await, "ada");
    }
    all.retain(&[&provider]);
    server.revoke("opaque");
    assert_eq!(found(&all, &provider, "opaque").await, "ada", "believed for maxCache");
    assert_eq!(server.asked("/introspect"), 1);
    all.retain(&[]);
    assert_eq!(found(&all, &provider, "opaque").await, "inactive_token");
}

#[tokio::test]
async fn p25_one_providers_trouble_is_its_own() {
    let (silent, well) = (IdentityServer::spawn().await.unwrap(), IdentityServer::spawn().await.unwrap());
    let issuer = Issuer::new(ISSUER).unwrap();
    for server in [&silent, &well] {
        server.publish(&[&issuer]);
    }
    silent.answer(Manner::Silent);
    let all = Arc::new(identities(None));
    let (slow, quick) = (by_uri(&silent.url("/jwks")), by_uri(&well.url("/jwks")));
    let jwt = sign(&issuer, "ada");
    let waiting = tokio::spawn({
        let (all, jwt) = (Arc::clone(&all), jwt.clone());
        async move { found(&all, &slow, &jwt).await }
    });
    e2e::process::wait_until(Duration::from_secs(60), "the silent one is asked", async || silent.asked("/jwks") > 0)
        .await
        .unwrap();
    assert_eq!(found(&all, &quick, &jwt).await, "ada");
    assert!(!waiting.is_finished());
    waiting.abort();
}

#[tokio::test]
async fn an_empty_cache_time_asks_each_time() {
    let server = IdentityServer::spawn().await.unwrap();
    server.activate("opaque", &json!({ "sub": "ada", "aud": "shop" }));
    let provider = provider(&json!({ "introspection": {
        "endpoint": server.url("/introspect"), "clientId": "shop", "clientSecretRef": { "name": "p", "key": "secret" },
        "audiences": ["shop"], "maxCache": "0s",
    } }));
    let all = identities(None);
    for _ in 0..2 {
        assert_eq!(found(&all, &provider, "opaque").await, "ada");
    }
    assert_eq!(server.asked("/introspect"), 2);
    server.revoke("opaque");
    assert_eq!(found(&all, &provider, "opaque").await, "inactive_token");
    assert_eq!(found(&all, &provider, "opaque").await, "inactive_token");
    assert_eq!(server.asked("/introspect"), 3, "kept for a moment");
}
