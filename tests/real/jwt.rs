//! Session JWTs as others see them: Envoy's own `jwt_authn` filter, a JWT library in another language, and the services that
//! get them and pass them on. All keys come from the JWKS that cloakroom serves.

mod onward;
mod rotation;

use anyhow::{Context, Result, ensure};
use e2e::envoy::{Envoy, EnvoyConfig};
use e2e::gate::{Cloakroom, CreatedSession, GateOptions, ISSUER};
use e2e::http1::{Message, exchange};
use e2e::jose::Jose;
use e2e::process::wait_until;
use e2e::sloppy::Sloppy;
use e2e::tools::EnvoyVersion;
use http::Method;
use serde_json::{Value, json};

use crate::on_each_envoy;
use crate::scene::{PATIENCE, cloakroom};

/// In the namespace `shop`, and one host of another namespace. Envoy's filter is told of the audiences `shop` and, for
/// `/stock`, `stock`.
const POLICIES: &str = "
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: shop, namespace: shop }
spec:
  hosts: [shop.localhost]
  rules:
  - { name: open, matches: [{ path: { type: PathPrefix, value: /open } }], access: Public }
  - { name: orders, matches: [{ path: { type: PathPrefix, value: /orders } }], forward: { audience: orders } }
  - name: stock
    matches: [{ path: { type: PathPrefix, value: /stock } }]
    authenticate: [{ sessionJwt: { audiences: [shop], namespaces: [shop] } }]
    forward: { audience: stock }
  - name: ledger
    matches: [{ path: { type: PathPrefix, value: /ledger } }]
    authenticate: [{ sessionJwt: { audiences: [ledger], namespaces: [shop] } }]
  - name: partners
    matches: [{ path: { type: PathPrefix, value: /partners } }]
    authenticate: [{ sessionJwt: { audiences: [shop], namespaces: [partner] } }]
  - { name: shop, matches: [{ path: { type: PathPrefix, value: / } }], forward: { audience: shop } }
---
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: partner, namespace: partner }
spec:
  hosts: [partner.localhost]
  rules:
  - { name: shop, matches: [{ path: { type: PathPrefix, value: / } }], forward: { audience: shop } }
";

/// How long Envoy and the strict verifier keep the key set, in seconds, in place of the 300 that are documented.
const KEYS_KEPT: u64 = 1;

on_each_envoy! {
    p08_p10_envoy_and_another_library_verify_each_algorithm => algorithms;
    p08_p09_envoy_refuses_other_audiences_issuers_and_none => refused_by_envoy;
    p08_envoy_judges_by_the_claims => judged_by_claims;
    p08_a_jwt_is_reused_until_the_session_or_the_audience_changes => reused;
    p08_a_jwt_is_reused_for_half_of_its_life => half_life;
}

/// cloakroom, and behind it an Envoy that verifies what cloakroom minted before it lets a request through.
struct Scene {
    gate: Cloakroom,
    envoy: Envoy,
    service: Sloppy,
}

impl Scene {
    async fn set(version: EnvoyVersion) -> Result<Self> {
        Self::with(version, GateOptions::new(cloakroom())).await
    }

    async fn with(version: EnvoyVersion, options: GateOptions) -> Result<Self> {
        let gate = Cloakroom::spawn(options.policy("shop.yaml", POLICIES)).await?;
        let service = Sloppy::spawn().await?;
        let mut config = verifying(&gate)?;
        config.service("shop", service.address())?;
        Ok(Self { envoy: Envoy::spawn(version, &config).await?, gate, service })
    }

    async fn log_in(&self, subject: &str) -> Result<CreatedSession> {
        self.gate.create_session(&json!({ "subject": subject })).await
    }

    async fn get(&self, path: &str, bearer: &str) -> Result<Message> {
        self.send(path, &format!("Authorization: Bearer {bearer}\r\n")).await
    }

    async fn send(&self, path: &str, lines: &str) -> Result<Message> {
        get(&self.envoy, "shop.localhost", path, lines).await
    }

    /// The JWT that the service got with a request that passed.
    async fn jwt(&self, path: &str, bearer: &str) -> Result<String> {
        received(&self.get(path, bearer).await?)
    }

    fn jose(&self, audience: &str) -> Result<Jose> {
        Jose::spawn(&self.gate.jwks_url(), &format!("{ISSUER}/ns/shop"), audience)
    }

    /// How many JWTs were minted, and how many handed out again.
    async fn minted_and_reused(&self) -> Result<(u64, u64)> {
        let metrics = self.gate.metrics().await?;
        let count = |source: &str| {
            let series = format!("cloakroom_session_jwts_total{{source=\"{source}\"}} ");
            let value = metrics.lines().find_map(|line| line.strip_prefix(&series));
            value.with_context(|| format!("no {series} in:\n{metrics}"))?.parse().context("a count")
        };
        Ok((count("minted")?, count("cached")?))
    }
}

/// The shipped configuration with the shipped `jwt_authn`, and a second provider for the audience `stock`.
fn verifying(gate: &Cloakroom) -> Result<EnvoyConfig> {
    let mut config = EnvoyConfig::shipped()?;
    config.plain()?.patient()?.gate(&gate.grpc()?)?.jwt_authn(gate.http(), KEYS_KEPT)?;
    let filter = config.at_filter("envoy.filters.http.jwt_authn", "")?;
    let mut stock = filter["providers"]["cloakroom"].clone();
    stock["audiences"] = json!(["stock"]);
    filter["providers"]["stock"] = stock;
    let rules = filter["rules"].as_array_mut().context("rules are a list")?;
    rules.insert(0, json!({ "match": { "prefix": "/stock" }, "requires": { "provider_name": "stock" } }));
    Ok(config)
}

async fn get(envoy: &Envoy, host: &str, path: &str, lines: &str) -> Result<Message> {
    exchange(envoy.address(), format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n").as_bytes()).await
}

/// The JWT that reached the service, by its echo of a request that passed.
fn received(answer: &Message) -> Result<String> {
    ensure!(answer.status() == 200, "{} {}", answer.status(), answer.text());
    let echo: Value = serde_json::from_str(&answer.text())?;
    let headers = echo["headers"].as_array().context("an echo has headers")?;
    let mut jwts = headers.iter().filter(|field| field[0] == "x-session-jwt").filter_map(|field| field[1].as_str());
    let jwt = jwts.next().context("no JWT reached the service")?;
    ensure!(jwts.next().is_none(), "two JWTs reached the service");
    Ok(jwt.to_owned())
}

/// Every algorithm that we can sign with is one that a stock Envoy verifies.
async fn algorithms(version: EnvoyVersion) -> Result<()> {
    for algorithm in ["ES256", "EdDSA", "RS256", "PS256", "ES384"] {
        let mut options = GateOptions::new(cloakroom());
        options.algorithm = algorithm.to_owned();
        let scene = Scene::with(version, options).await?;
        let session = scene.log_in("bob").await?;
        let jwt = scene.jwt("/cart", &session.token).await.context(algorithm)?;
        assert_eq!(rotation::header_of(&jwt)["alg"], algorithm);
        let claims = scene.jose("shop")?.verify(&jwt).context(algorithm)?;
        assert_eq!(
            (&claims["sub"], &claims["aud"], &claims["sid"]),
            (&json!("bob"), &json!("shop"), &json!(session.sid))
        );
        assert!(claims["exp"].as_i64() <= claims["iat"].as_i64().map(|iat| iat + 60), "{claims}");

        // A signature with one letter changed is none.
        let letter = if jwt.as_bytes()[jwt.len() - 10] == b'A' { "B" } else { "A" };
        let mut forged = jwt.clone();
        forged.replace_range(jwt.len() - 10..jwt.len() - 9, letter);
        let error = scene.jose("shop")?.verify(&forged).unwrap_err().to_string();
        assert!(error.contains("ERR_JWS_SIGNATURE_VERIFICATION_FAILED"), "{algorithm}: {error}");
    }
    Ok(())
}

async fn refused_by_envoy(version: EnvoyVersion) -> Result<()> {
    let scene = Scene::set(version).await?;
    let session = scene.log_in("bob").await?;
    let bearer = format!("Authorization: Bearer {}\r\n", session.token);
    // What cloakroom lets pass in each case; Envoy does not.
    for (host, path, status, reason) in [
        ("shop.localhost", "/orders", 403, "Audiences in Jwt are not allowed"),
        ("partner.localhost", "/cart", 401, "Jwt issuer is not configured"),
        ("shop.localhost", "/open", 401, "Jwt is missing"),
    ] {
        let answer = get(&scene.envoy, host, path, &bearer).await?;
        assert_eq!((answer.status(), answer.text().as_str()), (status, reason), "{host}{path}");
    }
    assert!(scene.service.take().is_empty());

    // The same JWTs where Envoy does not look: a service that verifies refuses them too.
    let mut config = EnvoyConfig::shipped()?;
    config.plain()?.patient()?.gate(&scene.gate.grpc()?)?.service("shop", scene.service.address())?;
    let trusting = Envoy::spawn(version, &config).await?;
    let mut jose = scene.jose("shop")?;
    for (host, path, claim) in [("shop.localhost", "/orders", "aud"), ("partner.localhost", "/cart", "iss")] {
        let jwt = received(&get(&trusting, host, path, &bearer).await?)?;
        let error = jose.verify(&jwt).unwrap_err().to_string();
        assert!(error.contains("ERR_JWT_CLAIM_VALIDATION_FAILED") && error.contains(claim), "{error}");
    }
    jose.verify(&received(&get(&trusting, "shop.localhost", "/cart", &bearer).await?)?)?;
    Ok(())
}

/// The claims are where other filters of Envoy find them.
async fn judged_by_claims(version: EnvoyVersion) -> Result<()> {
    let options = GateOptions::new(cloakroom()).policy("shop.yaml", POLICIES);
    let gate = Cloakroom::spawn(options).await?;
    let service = Sloppy::spawn().await?;
    let admin = json!({ "url_path": { "path": { "prefix": "/admin" } } });
    let has_role = json!({ "metadata": {
        "filter": "envoy.filters.http.jwt_authn",
        "path": [{ "key": "session" }, { "key": "roles" }],
        "value": { "list_match": { "one_of": { "string_match": { "exact": "admin" } } } },
    }});
    let mut config = EnvoyConfig::shipped()?;
    config.filter_after_check(json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": { "action": "ALLOW", "policies": {
                "admin": { "permissions": [admin], "principals": [has_role] },
                "others": { "permissions": [{ "not_rule": admin }], "principals": [{ "any": true }] },
            }},
        },
    }))?;
    config
        .plain()?
        .patient()?
        .gate(&gate.grpc()?)?
        .jwt_authn(gate.http(), KEYS_KEPT)?
        .service("shop", service.address())?;
    let envoy = Envoy::spawn(version, &config).await?;
    for (roles, path, status) in [
        (json!(["admin", "buyer"]), "/admin", 200),
        (json!(["buyer"]), "/admin", 403),
        (json!([]), "/admin", 403),
        (json!(["buyer"]), "/cart", 200),
    ] {
        let session = gate.create_session(&json!({ "subject": "bob", "roles": roles })).await?;
        let bearer = format!("Authorization: Bearer {}\r\n", session.token);
        let answer = get(&envoy, "shop.localhost", path, &bearer).await?;
        assert_eq!(answer.status(), status, "{roles} {path}: {}", answer.text());
    }
    Ok(())
}

async fn reused(version: EnvoyVersion) -> Result<()> {
    let scene = Scene::set(version).await?;
    let session = scene.log_in("bob").await?;
    let first = scene.jwt("/cart", &session.token).await?;
    for _ in 0..50 {
        assert!(scene.jwt("/cart", &session.token).await? == first, "another JWT within half of its life");
    }
    assert_eq!(scene.minted_and_reused().await?, (1, 50));

    // Another audience has a JWT of its own, also reused; Envoy refuses it, but it has been made.
    for _ in 0..2 {
        assert_eq!(scene.get("/orders", &session.token).await?.status(), 403);
    }
    assert_eq!(scene.minted_and_reused().await?, (2, 51));
    assert!(scene.jwt("/cart", &session.token).await? == first);

    // What the session says now is what the next request says.
    let path = format!("/v1/sessions/{}", session.sid);
    let (status, answer) = scene.gate.api(Method::PATCH, &path, Some(&json!({ "roles": ["admin"] }))).await?;
    assert_eq!(status, 200, "{answer}");
    let promoted = scene.jwt("/cart", &session.token).await?;
    let claims = scene.jose("shop")?.verify(&promoted)?;
    assert_eq!(claims["roles"], json!(["admin"]));
    assert_eq!(scene.minted_and_reused().await?, (3, 52));
    assert!(scene.jwt("/cart", &session.token).await? == promoted);

    // No session is given another's JWT.
    let other = scene.log_in("ada").await?;
    let claims = scene.jose("shop")?.verify(&scene.jwt("/cart", &other.token).await?)?;
    assert_eq!((&claims["sub"], &claims["sid"]), (&json!("ada"), &json!(other.sid)));
    assert_eq!(scene.minted_and_reused().await?, (4, 53));
    Ok(())
}

async fn half_life(version: EnvoyVersion) -> Result<()> {
    let lifetime = 10;
    let options = GateOptions { config: json!({ "jwt": { "lifetime": "10s" } }), ..GateOptions::new(cloakroom()) };
    let scene = Scene::with(version, options).await?;
    let session = scene.log_in("bob").await?;
    let mut jose = scene.jose("shop")?;
    let first = scene.jwt("/cart", &session.token).await?;
    let claims = jose.verify(&first)?;
    let replaced = async || scene.jwt("/cart", &session.token).await.unwrap() != first;
    wait_until(PATIENCE, "second JWT", replaced).await?;
    let next = scene.jwt("/cart", &session.token).await?;
    // Both count: the first one has not run out.
    let renewed = jose.verify(&next)?;
    jose.verify(&first)?;
    let time = |claims: &Value, name: &str| claims[name].as_i64().unwrap();
    assert_eq!(time(&claims, "exp") - time(&claims, "iat"), lifetime);
    let age = time(&renewed, "iat") - time(&claims, "iat");
    assert!((lifetime / 2..lifetime).contains(&age), "replaced after {age} s");
    assert_ne!(claims["jti"], renewed["jti"]);
    assert_eq!(scene.minted_and_reused().await?.0, 2);
    Ok(())
}
