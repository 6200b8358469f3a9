//! Opaque tokens of an authorization server.

use std::time::Instant;

use anyhow::{Context, Result};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use e2e::identity_server::{IdentityServer, Manner};
use e2e::process::wait_until;
use e2e::tools::EnvoyVersion;
use serde_json::{Value, json};

use super::{Scene, now, policy, provider, secret};
use crate::on_each_envoy;
use crate::scene::PATIENCE;

on_each_envoy! {
    a_token_that_its_server_calls_active_counts => active;
}

fn policies(server: &IdentityServer, change: &Value) -> String {
    let mut spec = json!({
        "endpoint": server.url("/introspect"), "clientId": "shop gate", "audiences": ["shop"], "maxCache": "1s",
        "clientSecretRef": { "name": "login", "key": "secret" },
    });
    if let (Some(spec), Some(change)) = (spec.as_object_mut(), change.as_object()) {
        spec.extend(change.clone());
    }
    let rule = policy("[{ session: {} }, { provider: { name: login } }]", "");
    let login = secret("login", &json!({ "secret": "hush:hush\n" }));
    format!("{rule}{}{login}", provider("login", &json!({ "introspection": spec })))
}

fn answer(change: Value) -> Value {
    let mut answer = json!({ "sub": "ada", "aud": ["shop", "bank"], "scope": "read", "exp": now() + 300 });
    if let (Some(all), Some(change)) = (answer.as_object_mut(), change.as_object()) {
        all.extend(change.clone());
        all.retain(|_, value| !value.is_null());
    }
    answer
}

async fn active(version: EnvoyVersion) -> Result<()> {
    let server = IdentityServer::spawn().await?;
    server.activate("opaque-1", &answer(json!({ "roles": ["admin"] })));
    let scene = Scene::set(version, policies(&server, &json!({}))).await?;
    let (status, claims) = scene.bearer("opaque-1").await?;
    assert_eq!(status, 200);
    assert_eq!(
        (&claims["sub"], &claims["scope"], &claims["roles"]),
        (&json!("ada"), &json!("read"), &json!(["admin"]))
    );
    assert!(claims.get("sid").is_none(), "{claims}");
    // It was asked as RFC 7662 and RFC 6749 §2.3.1 say.
    let asked = server.last("/introspect").context("asked")?;
    assert_eq!(asked.header("authorization"), [format!("Basic {}", BASE64_STANDARD.encode("shop%20gate:hush%3Ahush"))]);
    assert_eq!(asked.text(), "token_type_hint=access_token&token=opaque-1");

    // Revoked at the server, it counts for `maxCache` at most.
    server.revoke("opaque-1");
    let refused = async || scene.bearer("opaque-1").await.is_ok_and(|(status, _)| status == 401);
    wait_until(PATIENCE, "the end of maxCache", refused).await?;
    assert!(scene.denied("inactive_token").await? > 0);
    // Nothing that is ours is shown to it.
    let before = server.asked("/introspect");
    let session = scene.gate.create_session(&json!({ "subject": "bob" })).await?;
    assert_eq!(scene.bearer(&session.token).await?.0, 200);
    assert_eq!(scene.bearer("ckr_something-else").await?.0, 401);
    assert_eq!(server.asked("/introspect"), before);
    let log = scene.gate.output().lines().join("\n");
    assert!(!log.contains("opaque-1") && !log.contains("hush"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p24_an_active_token_that_is_not_for_us_does_not_count() -> Result<()> {
    let server = IdentityServer::spawn().await?;
    let scene =
        Scene::set(EnvoyVersion::Newest, policies(&server, &json!({ "issuer": "https://login.example" }))).await?;
    let ours = json!({ "iss": "https://login.example" });
    for (i, (change, status)) in [
        (json!({}), 200),
        (json!({ "aud": "shop" }), 200),
        (json!({ "exp": null }), 200),
        (json!({ "token_type": "bearer" }), 200),
        (json!({ "aud": "bank" }), 401),
        (json!({ "aud": null }), 401),
        (json!({ "iss": "https://other.example" }), 401),
        (json!({ "iss": null }), 401),
        (json!({ "exp": now() - 1 }), 401),
        (json!({ "exp": "soon" }), 401),
        (json!({ "nbf": now() + 3600 }), 401),
        (json!({ "sub": null }), 401),
        (json!({ "token_type": "DPoP" }), 401),
        (json!({ "token_use": "refresh_token" }), 401),
        (json!({ "cnf": { "jkt": "x" } }), 401),
    ]
    .into_iter()
    .enumerate()
    {
        let mut said = answer(ours.clone());
        if let (Some(said), Some(change)) = (said.as_object_mut(), change.as_object()) {
            said.extend(change.clone());
            said.retain(|_, value| !value.is_null());
        }
        let token = format!("token-{i}");
        server.activate(&token, &said);
        assert_eq!(scene.bearer(&token).await?.0, status, "{change}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p25_a_server_that_gives_no_answer_is_503_and_slows_nobody_else() -> Result<()> {
    let mut server = IdentityServer::spawn().await?;
    server.activate("opaque", &answer(json!({})));
    let scene = Scene::set(EnvoyVersion::Newest, policies(&server, &json!({ "timeout": "300ms" }))).await?;
    for manner in [
        Manner::Silent,
        Manner::Status(401),
        Manner::Status(500),
        Manner::Huge(100_000),
        Manner::Nonsense,
        Manner::Redirect(server.url("/elsewhere")),
    ] {
        server.answer(manner.clone());
        let answer = scene.get("/cart", "Authorization: Bearer opaque\r\n").await?;
        assert_eq!((answer.status(), answer.header("retry-after").len()), (503, 1), "{manner:?}");
        let session = scene.gate.create_session(&json!({ "subject": "bob" })).await?;
        assert_eq!(scene.bearer(&session.token).await?.0, 200, "{manner:?}");
    }
    assert_eq!(server.asked("/elsewhere"), 0);
    server.stop();
    assert_eq!(scene.bearer("opaque").await?.0, 503);
    server.answer(Manner::Well);
    server.start()?;
    assert_eq!(scene.bearer("opaque").await?.0, 200);
    assert!(scene.denied("provider_unavailable").await? >= 7);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p32_one_token_is_asked_about_once() -> Result<()> {
    let server = IdentityServer::spawn().await?;
    server.activate("opaque", &answer(json!({})));
    let scene = Scene::set(EnvoyVersion::Newest, policies(&server, &json!({ "maxCache": "5m" }))).await?;
    let begun = Instant::now();
    let lines = "Authorization: Bearer opaque\r\n";
    let all = (0..16).map(|_| scene.get("/cart", lines));
    for answer in futures_util::future::join_all(all).await {
        assert_eq!(answer?.status(), 200);
    }
    assert_eq!(server.asked("/introspect"), 1, "after {:?}", begun.elapsed());
    // A token that is not active costs one question in two seconds at most.
    let dead = (0..16).map(|_| scene.get("/cart", "Authorization: Bearer dead\r\n"));
    for answer in futures_util::future::join_all(dead).await {
        assert_eq!(answer?.status(), 401);
    }
    assert!(server.asked("/introspect") < 16);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_secret_that_is_not_there_is_503() -> Result<()> {
    let server = IdentityServer::spawn().await?;
    server.activate("opaque", &answer(json!({})));
    let missing = policies(&server, &json!({ "clientSecretRef": { "name": "login", "key": "other" } }));
    let scene = Scene::set(EnvoyVersion::Newest, missing).await?;
    assert_eq!(scene.bearer("opaque").await?.0, 503);
    assert_eq!(server.asked("/introspect"), 0);
    scene.gate.write_policy("shop.yaml", &policies(&server, &json!({})))?;
    let accepted = async || scene.bearer("opaque").await.is_ok_and(|(status, _)| status == 200);
    wait_until(PATIENCE, "the secret", accepted).await
}
