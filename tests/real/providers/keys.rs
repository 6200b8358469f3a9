//! API keys.

use anyhow::Result;
use e2e::process::wait_until;
use e2e::tools::EnvoyVersion;
use serde_json::json;

use super::{Scene, object, policy, provider, secret};
use crate::on_each_envoy;
use crate::scene::PATIENCE;

const KEY: &str = "partner-key-0123456789";

on_each_envoy! {
    a_partner_comes_with_a_key_and_the_service_never_sees_it => partner;
    a_key_that_is_taken_away_counts_no_more => taken_away;
    p13_a_missing_provider_lets_no_second_credential_through => missing;
    p31_a_header_that_the_proxy_keeps_is_never_shown => kept_by_the_proxy;
    p27_keys_and_providers_of_another_namespace_are_not_there => elsewhere;
}

fn keys() -> String {
    provider("keys", &json!({ "apiKeys": { "selector": { "matchLabels": { "for": "partners" } } } }))
}

fn partner_key() -> String {
    secret("partner", &json!({ "key": KEY, "subject": "partner-7", "roles": "buyer seller", "scopes": "orders.read" }))
}

fn rule() -> String {
    policy("[{ session: {} }, { provider: { name: keys } }]", "require: { roles: [buyer] }")
}

async fn partner(version: EnvoyVersion) -> Result<()> {
    let scene = Scene::set(version, format!("{}{}{}", rule(), keys(), partner_key())).await?;
    let lines = format!("X-Api-Key: {KEY}\r\nX-Other: kept\r\nCookie: theme=dark\r\nAuthorization: Basic YTpi\r\n");
    let answer = scene.get("/cart", &lines).await?;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let seen = &scene.shop.take()[0];
    assert!(!seen.contains(KEY), "{seen:?}");
    assert_eq!(seen.0.header("x-other"), ["kept"]);
    assert_eq!(seen.0.header("cookie"), ["theme=dark"]);
    assert_eq!(seen.0.header("authorization"), ["Basic YTpi"]);
    let claims = super::payload(&seen.0.header("x-session-jwt")[0])?;
    assert_eq!((&claims["sub"], &claims["aud"]), (&json!("partner-7"), &json!("shop")));
    assert_eq!((&claims["scope"], &claims["roles"]), (&json!("orders.read"), &json!(["buyer", "seller"])));
    assert!(claims.get("sid").is_none() && claims.get("auth_time").is_none(), "{claims}");
    assert!(claims["exp"].as_i64() <= claims["iat"].as_i64().map(|iat| iat + 60), "{claims}");

    // A session of ours still counts beside it, and both at once do not.
    let session = scene.gate.create_session(&json!({ "subject": "bob", "roles": ["buyer"] })).await?;
    let bearer = format!("Authorization: Bearer {}\r\n", session.token);
    assert_eq!(scene.claims(&bearer).await?.1["sub"], "bob");
    assert_eq!(scene.claims(&format!("{bearer}x-api-key: {KEY}\r\n")).await?.0, 400);
    for (lines, status) in [
        ("x-api-key: partner-key-9876543210\r\n".to_owned(), 401),
        (format!("x-api-key: {KEY}\r\nx-api-key: {KEY}\r\n"), 400),
        (format!("Authorization: Bearer {KEY}\r\n"), 401),
        (String::new(), 401),
    ] {
        assert_eq!(scene.claims(&lines).await?.0, status, "{lines}");
    }
    let refused = scene.get("/cart", "x-api-key: partner-key-9876543210\r\n").await?;
    assert!(refused.header("www-authenticate")[0].starts_with("Bearer realm="), "{refused:?}");
    // Where no rule of the request reads it, the header is the service's.
    assert_eq!(scene.get("/open", &format!("x-api-key: {KEY}\r\n")).await?.status(), 200);
    assert_eq!(scene.shop.take()[0].0.header("x-api-key"), [KEY]);

    // It is reused as a session's is, records name who vouched, and nothing names the key (P31).
    scene.claims(&format!("x-api-key: {KEY}\r\n")).await?;
    let metrics = scene.gate.metrics().await?;
    assert!(metrics.contains("cloakroom_check_verdicts_total{reason=\"provider\",verdict=\"allow\"} 2"), "{metrics}");
    assert!(
        metrics.contains("cloakroom_provider_credentials_total{kind=\"apiKeys\",outcome=\"accepted\"} 2"),
        "{metrics}"
    );
    assert!(metrics.contains("cloakroom_session_jwts_total{source=\"minted\"} 2"), "{metrics}");
    let log = scene.gate.output().lines().join("\n");
    assert!(log.contains("\"provider\":\"shop/keys\"") && log.contains("unknown_api_key"), "{log}");
    assert!(!log.contains(KEY) && !log.contains("9876543210"));
    let admin = format!("http://{}", scene.gate.admin());
    let header = format!("x-api-key: {KEY}");
    let explained =
        scene.gate.command(&["explain", "--admin", &admin, "-H", &header, "GET", "https://shop.localhost/cart"])?;
    for words in ["ALLOWED, with the identity that a provider vouches for", "shop/keys", "partner-7"] {
        assert!(explained.contains(words), "{words}\n{explained}");
    }
    assert!(!explained.contains(KEY));
    Ok(())
}

async fn taken_away(version: EnvoyVersion) -> Result<()> {
    let scene = Scene::set(version, format!("{}{}{}", rule(), keys(), partner_key())).await?;
    let line = format!("x-api-key: {KEY}\r\n");
    let meets = async |status: u16| {
        let answered = async || scene.claims(&line).await.is_ok_and(|(got, _)| got == status);
        wait_until(PATIENCE, "the change of the folder", answered).await
    };
    meets(200).await?;
    scene.gate.write_policy("shop.yaml", &format!("{}{}", rule(), keys()))?;
    meets(401).await?;
    // The provider is gone: nobody can say what the key is worth.
    scene.gate.write_policy("shop.yaml", &rule())?;
    meets(503).await?;
    assert!(scene.denied("provider_missing").await? > 0);
    let answer = scene.get("/cart", &line).await?;
    assert_eq!(answer.header("retry-after"), ["1"]);
    scene.gate.write_policy("shop.yaml", &format!("{}{}{}", rule(), keys(), partner_key()))?;
    meets(200).await
}

async fn missing(version: EnvoyVersion) -> Result<()> {
    let scene = Scene::set(version, format!("{}{}{}", rule(), keys(), partner_key())).await?;
    let session = scene.gate.create_session(&json!({ "subject": "bob", "roles": ["buyer"] })).await?;
    let bearer = format!("Authorization: Bearer {}\r\n", session.token);
    let both = format!("{bearer}x-api-key: {KEY}\r\n");
    assert_eq!((scene.claims(&bearer).await?.0, scene.claims(&both).await?.0), (200, 400));
    // The provider leaves: sessions go on, and its credential beside one is as bad as before.
    scene.gate.write_policy("shop.yaml", &rule())?;
    let line = format!("x-api-key: {KEY}\r\n");
    let gone = async || scene.claims(&line).await.is_ok_and(|(got, _)| got == 503);
    wait_until(PATIENCE, "the provider to leave", gone).await?;
    assert_eq!((scene.claims(&bearer).await?.0, scene.claims(&both).await?.0), (200, 400));
    // A gate that never saw it cannot tell which header is a credential, and so nothing passes but what other rules judge.
    let scene = Scene::set(version, rule()).await?;
    let session = scene.gate.create_session(&json!({ "subject": "bob", "roles": ["buyer"] })).await?;
    let bearer = format!("Authorization: Bearer {}\r\n", session.token);
    for lines in [&bearer, &format!("{bearer}x-api-key: {KEY}\r\n"), &line, &String::new()] {
        assert_eq!(scene.claims(lines).await?.0, 503, "{lines}");
    }
    assert_eq!(scene.denied("provider_missing").await?, 4);
    assert_eq!(scene.get("/open", &bearer).await?.status(), 200);
    scene.shop.take();
    scene.gate.write_policy("shop.yaml", &format!("{}{}{}", rule(), keys(), partner_key()))?;
    let back = async || scene.claims(&bearer).await.is_ok_and(|(got, _)| got == 200);
    wait_until(PATIENCE, "the provider to come", back).await?;
    assert_eq!(scene.claims(&both).await?.0, 400);
    Ok(())
}

async fn elsewhere(version: EnvoyVersion) -> Result<()> {
    let theirs = json!({ "apiKeys": { "selector": { "matchLabels": { "for": "partners" } } } });
    let theirs = object("IdentityProvider", "cloakroom.dev/v1alpha1", "bank", "keys", "spec", &theirs);
    let their_key = json!({ "key": "bank-key-0123456789", "subject": "bank", "roles": "buyer" });
    let their_key = object("Secret", "v1", "bank", "key", "stringData", &their_key);
    let scene = Scene::set(version, format!("{}{theirs}{their_key}{}", rule(), partner_key())).await?;
    assert_eq!(scene.claims(&format!("x-api-key: {KEY}\r\n")).await?.0, 503);
    assert_eq!(scene.claims("x-api-key: bank-key-0123456789\r\n").await?.0, 503);
    scene.gate.write_policy("shop.yaml", &format!("{}{theirs}{their_key}{}{}", rule(), partner_key(), keys()))?;
    let line = format!("x-api-key: {KEY}\r\n");
    let answered = async || scene.claims(&line).await.is_ok_and(|(got, _)| got == 200);
    wait_until(PATIENCE, "the provider of the policy's own namespace", answered).await?;
    assert_eq!(scene.claims("x-api-key: bank-key-0123456789\r\n").await?.0, 401);
    Ok(())
}

/// The shipped configuration names the headers that may be taken off. One that it does not name fails the request.
async fn kept_by_the_proxy(version: EnvoyVersion) -> Result<()> {
    let from = json!([{ "header": "x-partner" }]);
    let keys = json!({ "apiKeys": { "selector": { "matchLabels": { "for": "partners" } }, "from": from } });
    let scene = Scene::set(version, format!("{}{}{}", rule(), provider("keys", &keys), partner_key())).await?;
    assert_eq!(scene.claims(&format!("x-partner: {KEY}\r\n")).await?.0, 500);
    // What has nothing to take off goes on.
    let session = scene.gate.create_session(&json!({ "subject": "bob", "roles": ["buyer"] })).await?;
    assert_eq!(scene.bearer(&session.token).await?.0, 200);
    Ok(())
}
