//! Our JWTs in other hands: a stock `jwt_authn` filter of Envoy, and the JavaScript library `jose`, both with the keys that
//! we serve.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::envoy::{Envoy, EnvoyConfig};
use e2e::gate::{Cloakroom, GateOptions, ISSUER};
use e2e::http1::{Message, exchange};
use e2e::jose::Jose;
use e2e::sloppy::Sloppy;
use e2e::tools::EnvoyVersion;
use serde_json::{Value, json};

use crate::on_each_envoy;
use crate::scene::cloakroom;

/// `/` is for the audience that the filter asks for, `/other` is not, `/inner` is for services that pass a JWT on.
const POLICY: &str = "
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: web, namespace: shop }
spec:
  hosts: [shop.example]
  rules:
  - matches: [{ path: { value: / } }]
    forward: { audience: shop }
  - matches: [{ path: { value: /other } }]
    forward: { audience: other }
  - matches: [{ path: { value: /inner } }]
    authenticate: [{ sessionJwt: { audiences: [shop], namespaces: [shop] } }]
    forward: { audience: inner }
";

on_each_envoy! {
    p08_stock_jwt_authn_and_jose_accept_every_algorithm => every_algorithm;
    p10_a_rotation_fails_no_verification => rotation;
    p09_another_audience_is_refused_by_jwt_authn => another_audience;
    p09_a_jwt_passed_on_counts_where_a_rule_says_so_and_while_its_session_lives => passed_on;
}

struct Scene {
    gate: Cloakroom,
    envoy: Envoy,
    shop: Sloppy,
}

impl Scene {
    /// With `jwt_authn` behind the check when `verified`.
    async fn set(version: EnvoyVersion, algorithm: &str, verified: bool) -> Result<Self> {
        let options = GateOptions { algorithm: algorithm.to_owned(), ..GateOptions::new(cloakroom()) };
        let gate = Cloakroom::spawn(options.policy("web.yaml", POLICY)).await?;
        let shop = Sloppy::spawn().await?;
        let mut config = EnvoyConfig::shipped()?;
        config.plain()?.gate(&gate.grpc()?)?.service("shop", shop.address())?;
        if verified {
            let address = json!({ "address": "127.0.0.1", "port_value": gate.http().port() });
            config.cluster(json!({
                "name": "jwks", "type": "STATIC", "connect_timeout": "1s",
                "load_assignment": { "cluster_name": "jwks", "endpoints": [
                    { "lb_endpoints": [{ "endpoint": { "address": { "socket_address": address } } }] }
                ] },
            }))?;
            config.filter_after_check(json!({
                "name": "envoy.filters.http.jwt_authn",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
                    "providers": { "cloakroom": {
                        "issuer": issuer(),
                        "audiences": ["shop"],
                        "from_headers": [{ "name": "x-session-jwt" }],
                        "forward": true,
                        "remote_jwks": {
                            "http_uri": { "uri": gate.jwks_url(), "cluster": "jwks", "timeout": "1s" },
                            "cache_duration": "2s",
                            "async_fetch": {},
                        },
                    } },
                    "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "cloakroom" } }],
                },
            }))?;
        }
        let envoy = Envoy::spawn(version, &config).await?;
        Ok(Self { gate, envoy, shop })
    }

    async fn get(&self, path: &str, authorization: &str) -> Result<Message> {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Bearer {authorization}\r\n\r\n");
        exchange(self.envoy.address(), request.as_bytes()).await
    }

    /// The JWT that the shop got for a new session, after Envoy's own verification where that is on.
    async fn jwt(&self, path: &str, subject: &str) -> Result<String> {
        let session = self.gate.create_session(&json!({ "subject": subject })).await?;
        let answer = self.get(path, &session.token).await?;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        self.seen()
    }

    fn seen(&self) -> Result<String> {
        let seen = self.shop.take().pop().context("the shop saw nothing")?;
        seen.0.header("x-session-jwt").pop().context("no JWT")
    }
}

fn issuer() -> String {
    format!("{ISSUER}/ns/shop")
}

fn jose(gate: &Cloakroom) -> Result<Jose> {
    Jose::spawn(&gate.jwks_url(), &issuer(), "shop")
}

/// `kid` of a JWT, as anybody reads it.
fn kid(jwt: &str) -> Result<String> {
    use base64::Engine as _;
    let header = jwt.split('.').next().context("a JWT has parts")?;
    let header: Value = serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header)?)?;
    Ok(header["kid"].as_str().context("no kid")?.to_owned())
}

async fn every_algorithm(version: EnvoyVersion) -> Result<()> {
    for algorithm in ["ES256", "EdDSA", "RS256", "PS256", "ES384"] {
        let scene = Scene::set(version, algorithm, true).await?;
        let jwt = scene.jwt("/", "ada").await.with_context(|| algorithm.to_owned())?;
        let claims = jose(&scene.gate)?.verify(&jwt).with_context(|| algorithm.to_owned())?;
        assert_eq!(claims["sub"], "ada", "{algorithm}");
    }
    Ok(())
}

/// Requests go on while a key is published, takes over and the one before it leaves the stage. Verifiers cache the key set
/// for two seconds; the new key is published for longer than that, as the documentation asks.
async fn rotation(version: EnvoyVersion) -> Result<()> {
    let scene = Scene::set(version, "ES256", true).await?;
    let mut jose = jose(&scene.gate)?;
    let mut verified = 0;
    let first = kid(&scene.jwt("/", "ada").await?)?;
    scene.gate.command(&["keys", "rotate", "--dir", "keys", "--publish-for", "6m"])?;
    // As if most of the six minutes had passed: the new key signs in eight seconds.
    let file = scene.gate.folder().join("keys/keyring.yaml");
    let earlier = shifted(&std::fs::read_to_string(&file)?, Duration::from_secs(352))?;
    let part = scene.gate.folder().join("keys/keyring.part");
    std::fs::write(&part, earlier)?;
    std::fs::set_permissions(&part, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    std::fs::rename(&part, &file)?;

    let (mut before, mut after) = (0, 0);
    let deadline = Instant::now() + Duration::from_secs(90);
    while after < 300 {
        assert!(Instant::now() < deadline, "the new key never signed: {before} JWTs of the old one");
        let jwt = scene.jwt("/", &format!("user-{verified}")).await?;
        jose.verify(&jwt)?;
        verified += 1;
        if kid(&jwt)? == first {
            before += 1
        } else {
            after += 1
        }
        assert!(after == 0 || kid(&jwt)? != first, "the old key signed after the new one");
    }
    assert!(before > 50, "the old key signed {before} only: the rotation was not watched");
    Ok(())
}

/// The same list with every time earlier by `by`.
fn shifted(list: &str, by: Duration) -> Result<String> {
    let mut value: Value = serde_saphyr::from_str(list)?;
    for key in value["keys"].as_array_mut().context("a list of keys")? {
        for time in ["published", "signing", "retired"] {
            if let Some(text) = key.get(time).and_then(Value::as_str) {
                key[time] = json!((text.parse::<jiff::Timestamp>()? - by).to_string());
            }
        }
    }
    Ok(value.to_string())
}

async fn another_audience(version: EnvoyVersion) -> Result<()> {
    let scene = Scene::set(version, "ES256", true).await?;
    let session = scene.gate.create_session(&json!({ "subject": "ada" })).await?;
    assert_eq!(scene.get("/", &session.token).await?.status(), 200);
    assert_eq!(scene.shop.take().len(), 1);
    // The gate allows it, with a JWT for somebody else; the filter does not.
    assert_eq!(scene.get("/other", &session.token).await?.status(), 403);
    assert!(scene.shop.take().is_empty());
    Ok(())
}

async fn passed_on(version: EnvoyVersion) -> Result<()> {
    let scene = Scene::set(version, "ES256", false).await?;
    let session = scene.gate.create_session(&json!({ "subject": "ada" })).await?;
    assert_eq!(scene.get("/", &session.token).await?.status(), 200);
    let jwt = scene.seen()?;
    assert_eq!(scene.get("/inner", &jwt).await?.status(), 200);
    let inner = scene.seen()?;
    assert_ne!(inner, jwt, "the next service gets a JWT of its own");
    let claims = Jose::spawn(&scene.gate.jwks_url(), &issuer(), "inner")?.verify(&inner)?;
    assert_eq!((&claims["sub"], &claims["sid"]), (&json!("ada"), &json!(session.sid)));
    // Not where no rule names it, not for an audience that the rule does not list, not instead of a token.
    assert_eq!(scene.get("/", &jwt).await?.status(), 401);
    assert_eq!(scene.get("/inner", &inner).await?.status(), 401);
    assert_eq!(scene.get("/inner", &session.token).await?.status(), 401);
    scene.gate.revoke_session(&session.sid).await?;
    assert_eq!(scene.get("/inner", &jwt).await?.status(), 401, "a log-out stops calls inside the mesh too");
    assert!(scene.shop.take().is_empty());
    Ok(())
}
