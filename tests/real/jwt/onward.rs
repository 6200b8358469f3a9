//! From service to service: the JWT that one service got, shown to the gate as `Authorization: Bearer` for the next one.

use anyhow::Result;
use e2e::tools::EnvoyVersion;
use serde_json::json;

use super::{Scene, get, received};
use crate::on_each_envoy;

on_each_envoy! {
    p09_a_jwt_passed_on_opens_the_rules_that_name_it => passed_on;
    p09_p17_a_jwt_passed_on_ends_with_its_session => ends_with_the_session;
}

async fn passed_on(version: EnvoyVersion) -> Result<()> {
    let scene = Scene::set(version).await?;
    let session = scene.log_in("bob").await?;
    let own = scene.jwt("/cart", &session.token).await?;
    scene.service.take();

    let next = scene.jwt("/stock", &own).await?;
    let seen = &scene.service.take()[0];
    assert!(!seen.contains(&own), "the next service got the JWT of the one before");
    assert!(seen.0.header("authorization").is_empty(), "{seen:?}");
    let (first, second) = (scene.jose("shop")?.verify(&own)?, scene.jose("stock")?.verify(&next)?);
    assert_eq!((&second["sub"], &second["aud"], &second["sid"]), (&first["sub"], &json!("stock"), &first["sid"]));
    assert_ne!(first["jti"], second["jti"]);

    // Everywhere else, and in every other shape, it opens nothing.
    let bearer = |jwt: &str| format!("Authorization: Bearer {jwt}\r\n");
    let half = own.rsplit_once('.').unwrap().0;
    let elsewhere = [
        ("a rule for sessions", "shop.localhost", "/cart", bearer(&own)),
        ("a rule for another audience", "shop.localhost", "/ledger", bearer(&own)),
        ("a rule for another namespace", "shop.localhost", "/partners", bearer(&own)),
        ("a policy of another namespace", "partner.localhost", "/stock", bearer(&own)),
        ("the JWT of the next service", "shop.localhost", "/stock", bearer(&next)),
        ("a token where a JWT is asked for", "shop.localhost", "/stock", bearer(&session.token)),
        ("no signature", "shop.localhost", "/stock", bearer(&format!("{half}."))),
        ("in the cookie", "shop.localhost", "/stock", format!("Cookie: __Host-session={own}\r\n")),
        ("in our own header", "shop.localhost", "/stock", format!("x-session-jwt: {own}\r\n")),
        ("in our own header", "shop.localhost", "/cart", format!("x-session-jwt: {own}\r\n")),
    ];
    for (what, host, path, lines) in elsewhere {
        let answer = get(&scene.envoy, host, path, &lines).await?;
        assert_eq!(answer.status(), 401, "{what}: {}", answer.text());
        // Refused by cloakroom, not by the filter behind it.
        assert_eq!(answer.header("content-type"), ["application/problem+json"], "{what}");
    }
    assert!(scene.service.take().is_empty());
    // Nothing of this has spoilt it.
    received(&scene.get("/stock", &own).await?)?;
    Ok(())
}

async fn ends_with_the_session(version: EnvoyVersion) -> Result<()> {
    let scene = Scene::set(version).await?;
    let (session, other) = (scene.log_in("bob").await?, scene.log_in("bob").await?);
    let own = scene.jwt("/cart", &session.token).await?;
    let others = scene.jwt("/cart", &other.token).await?;
    received(&scene.get("/stock", &own).await?)?;
    scene.gate.revoke_session(&session.sid).await?;
    // The signature is as good as before, and counts for nothing.
    scene.jose("shop")?.verify(&own)?;
    for _ in 0..20 {
        assert_eq!(scene.get("/stock", &own).await?.status(), 401);
    }
    received(&scene.get("/stock", &others).await?)?;
    Ok(())
}
