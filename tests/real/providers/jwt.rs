//! JWTs of an issuer: keys in the object, at a URL, and found by discovery.

use anyhow::{Context, Result};
use e2e::identity_server::{IdentityServer, Manner};
use e2e::issuer::Issuer;
use e2e::process::wait_until;
use e2e::tools::EnvoyVersion;
use serde_json::{Value, json};

use super::{Scene, now, policy, provider};
use crate::on_each_envoy;
use crate::scene::PATIENCE;

const ISSUER: &str = "https://login.example";

on_each_envoy! {
    p24_a_jwt_counts_when_all_of_it_is_right => inline;
    p07_only_what_a_provider_reads_is_taken_off => taken_off;
}

fn spec(issuer: &str, jwks: Value) -> Value {
    json!({ "jwt": {
        "issuer": issuer, "audiences": ["shop"], "algorithms": ["ES256"], "jwks": jwks,
        "claims": { "roles": "groups", "keep": ["tier"] },
        "from": [{ "bearer": {} }, { "cookie": "partner_token" }],
    } })
}

fn policies(spec: &Value) -> String {
    let rule = policy("[{ session: {} }, { provider: { name: login } }]", "");
    format!("{rule}{}", provider("login", spec))
}

fn claims(change: Value) -> Value {
    let mut claims = json!({ "sub": "ada", "aud": "shop", "scope": "read write", "groups": ["admin"], "tier": "gold" });
    if let (Some(all), Some(change)) = (claims.as_object_mut(), change.as_object()) {
        all.extend(change.clone());
    }
    claims
}

async fn inline(version: EnvoyVersion) -> Result<()> {
    let (issuer, other) = (Issuer::new(ISSUER)?, Issuer::new(ISSUER)?);
    let scene = Scene::set(version, policies(&spec(ISSUER, json!({ "inline": issuer.jwks() })))).await?;
    let good = issuer.sign(now(), &claims(json!({})))?;
    let (status, got) = scene.bearer(&good).await?;
    assert_eq!(status, 200);
    assert_eq!((&got["sub"], &got["scope"], &got["roles"]), (&json!("ada"), &json!("read write"), &json!(["admin"])));
    assert_eq!((&got["claims"], &got["aud"]), (&json!({ "tier": "gold" }), &json!("shop")));
    assert!(got.get("sid").is_none(), "{got}");
    // Never past its own end.
    let short = issuer.sign(now(), &claims(json!({ "exp": now() + 20 })))?;
    let (_, got) = scene.bearer(&short).await?;
    assert!(got["exp"].as_u64().context("an end")? <= now() + 20, "{got}");

    let header = |header: Value| issuer.sign_as(&header, now(), &claims(json!({})));
    let refused = [
        ("other key", other.sign(now(), &claims(json!({})))?, "invalid_jwt"),
        ("other audience", issuer.sign(now(), &claims(json!({ "aud": "bank" })))?, "invalid_jwt"),
        ("no audience", issuer.sign(now(), &claims(json!({ "aud": null })))?, "invalid_jwt"),
        ("other issuer", issuer.sign(now(), &claims(json!({ "iss": "https://login.example/" })))?, "unknown_issuer"),
        ("expired", issuer.sign(now(), &claims(json!({ "exp": now() - 3600 })))?, "expired_credential"),
        ("no end", issuer.sign(now(), &claims(json!({ "exp": null })))?, "invalid_jwt"),
        ("from the future", issuer.sign(now(), &claims(json!({ "nbf": now() + 3600 })))?, "invalid_jwt"),
        ("no subject", issuer.sign(now(), &claims(json!({ "sub": null })))?, "invalid_jwt"),
        ("bound to a key", issuer.sign(now(), &claims(json!({ "cnf": { "jkt": "x" } })))?, "invalid_jwt"),
        ("an event", issuer.sign(now(), &claims(json!({ "events": {} })))?, "invalid_jwt"),
        ("other type", header(json!({ "typ": "at+jwt" }))?, "invalid_jwt"),
        ("other kid", header(json!({ "kid": "x" }))?, "invalid_jwt"),
        ("none", header(json!({ "alg": "none" }))?, "invalid_jwt"),
        ("none, unsigned", good.rsplit_once('.').context("parts")?.0.to_owned() + ".", "invalid_jwt"),
        ("other algorithm", header(json!({ "alg": "HS256" }))?, "invalid_jwt"),
        ("critical", header(json!({ "crit": ["b64"] }))?, "invalid_jwt"),
        ("a key of its own", header(json!({ "jku": "https://evil.example/jwks", "kid": "x" }))?, "invalid_jwt"),
        // Ours by name, and so never a provider's.
        ("session jwt", header(json!({ "typ": "session+jwt" }))?, "invalid_session_jwt"),
        ("opaque", "opaque-token".to_owned(), "invalid_credential"),
    ];
    for (what, jwt, reason) in refused {
        let before = scene.denied(reason).await?;
        assert_eq!(scene.bearer(&jwt).await?.0, 401, "{what}");
        assert_eq!(scene.denied(reason).await?, before + 1, "{what}: {reason}");
    }
    let log = scene.gate.output().lines().join("\n");
    assert!(!log.contains("eyJ"), "a JWT in the log");
    Ok(())
}

async fn taken_off(version: EnvoyVersion) -> Result<()> {
    let issuer = Issuer::new(ISSUER)?;
    let scene = Scene::set(version, policies(&spec(ISSUER, json!({ "inline": issuer.jwks() })))).await?;
    let jwt = issuer.sign(now(), &claims(json!({})))?;
    let lines = format!("Cookie: a=1; partner_token={jwt}; b=\"2\"\r\nX-Api-Key: theirs\r\n");
    let answer = scene.get("/cart", &lines).await?;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let seen = &scene.shop.take()[0];
    assert_eq!(seen.0.header("cookie"), ["a=1; b=\"2\""]);
    assert_eq!(seen.0.header("x-api-key"), ["theirs"]);
    assert!(!seen.contains(&jwt));
    // By `Authorization` it goes with the whole field.
    assert_eq!(scene.get("/cart", &format!("Authorization: Bearer {jwt}\r\n")).await?.status(), 200);
    let seen = &scene.shop.take()[0];
    assert!(seen.0.header("authorization").is_empty() && !seen.contains(&jwt), "{seen:?}");
    // Two at once are one too many, and a public rule takes none for its own.
    let both = format!("Authorization: Bearer {jwt}\r\nCookie: partner_token={jwt}\r\n");
    assert_eq!(scene.get("/cart", &both).await?.status(), 400);
    assert_eq!(scene.get("/open", &both).await?.status(), 200);
    let seen = &scene.shop.take()[0];
    assert_eq!(seen.0.header("authorization"), [format!("Bearer {jwt}")]);
    // Another site cannot use the cookie.
    let forced = format!("Cookie: partner_token={jwt}\r\nSec-Fetch-Site: cross-site\r\n");
    let request = format!("POST /cart HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 0\r\n{forced}\r\n");
    assert_eq!(e2e::http1::exchange(scene.envoy.address(), request.as_bytes()).await?.status(), 403);
    Ok(())
}

/// Keys that are fetched, on one Envoy: nothing of it depends on the proxy.
#[tokio::test(flavor = "multi_thread")]
async fn p25_keys_are_fetched_rotated_and_outlive_their_issuer() -> Result<()> {
    let mut server = IdentityServer::spawn().await?;
    let (old, new) = (Issuer::with_kid(ISSUER, "old")?, Issuer::with_kid(ISSUER, "new")?);
    server.publish(&[&old]);
    let spec = spec(ISSUER, json!({ "uri": server.url("/jwks") }));
    let scene = Scene::set(EnvoyVersion::Newest, policies(&spec)).await?;
    let by_old = old.sign(now(), &claims(json!({})))?;
    assert_eq!(scene.bearer(&by_old).await?.0, 200);
    assert_eq!(scene.bearer(&by_old).await?.0, 200);
    assert_eq!(server.asked("/jwks"), 1, "fetched once");

    // The issuer rotates: the first JWT by the new key makes the gate look, and the old key still counts.
    server.publish(&[&old, &new]);
    assert_eq!(scene.bearer(&new.sign(now(), &claims(json!({})))?).await?.0, 200);
    assert_eq!(scene.bearer(&old.sign(now(), &claims(json!({ "sub": "bob" })))?).await?.0, 200);
    assert_eq!(server.asked("/jwks"), 2);
    // Keys that nobody has cause no more than that within half a minute, however many come.
    let stranger = Issuer::with_kid(ISSUER, "stranger")?;
    for subject in ["a", "b", "c"] {
        let jwt = stranger.sign(now(), &claims(json!({ "sub": subject })))?;
        assert_eq!(scene.bearer(&jwt).await?.0, 401);
    }
    assert_eq!(server.asked("/jwks"), 2);

    // The issuer goes away: what it published is still known.
    server.stop();
    assert_eq!(scene.bearer(&old.sign(now(), &claims(json!({ "sub": "eve" })))?).await?.0, 200);
    assert_eq!(scene.bearer(&new.sign(now(), &claims(json!({ "sub": "eve" })))?).await?.0, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p25_an_issuer_that_was_never_there_is_no_bad_credential() -> Result<()> {
    let mut server = IdentityServer::spawn().await?;
    let issuer = Issuer::new(ISSUER)?;
    server.publish(&[&issuer]);
    server.stop();
    let spec = spec(ISSUER, json!({ "uri": server.url("/jwks") }));
    let scene = Scene::set(EnvoyVersion::Newest, policies(&spec)).await?;
    let jwt = issuer.sign(now(), &claims(json!({})))?;
    let answer = scene.get("/cart", &format!("Authorization: Bearer {jwt}\r\n")).await?;
    assert_eq!((answer.status(), answer.header("retry-after")), (503, vec!["1".to_owned()]));
    // Sessions are not slowed by it.
    let session = scene.gate.create_session(&json!({ "subject": "bob" })).await?;
    assert_eq!(scene.bearer(&session.token).await?.0, 200);
    // It comes, and the gate finds it by itself.
    server.start()?;
    let accepted = async || scene.bearer(&jwt).await.is_ok_and(|(status, _)| status == 200);
    wait_until(PATIENCE, "the issuer's keys", accepted).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p25_an_answer_that_is_none_is_no_key() -> Result<()> {
    for manner in [
        Manner::Silent,
        Manner::Status(404),
        Manner::Huge(300_000),
        Manner::Nonsense,
        Manner::Redirect("http://127.0.0.1:1/jwks".to_owned()),
    ] {
        let server = IdentityServer::spawn().await?;
        let issuer = Issuer::new(ISSUER)?;
        server.publish(&[&issuer]);
        server.answer(manner.clone());
        let spec = spec(ISSUER, json!({ "uri": server.url("/jwks") }));
        let scene = Scene::set(EnvoyVersion::Newest, policies(&spec)).await?;
        assert_eq!(scene.bearer(&issuer.sign(now(), &claims(json!({})))?).await?.0, 503, "{manner:?}");
        assert!(scene.denied("provider_unavailable").await? > 0, "{manner:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p24_discovery_must_name_the_very_issuer() -> Result<()> {
    let server = IdentityServer::spawn().await?;
    let name = server.url("");
    let issuer = Issuer::new(&name)?;
    server.publish(&[&issuer]);
    server.call_itself(&format!("{name}/"));
    let scene = Scene::set(EnvoyVersion::Newest, policies(&spec(&name, json!({ "discovery": {} })))).await?;
    let jwt = issuer.sign(now(), &claims(json!({})))?;
    assert_eq!(scene.bearer(&jwt).await?.0, 503);
    assert_eq!(server.asked("/jwks"), 0);
    server.call_itself(&name);
    let accepted = async || scene.bearer(&jwt).await.is_ok_and(|(status, _)| status == 200);
    wait_until(PATIENCE, "the right discovery document", accepted).await
}

/// Without a word of the install, no provider may name an address of this machine.
#[tokio::test(flavor = "multi_thread")]
async fn p25_private_addresses_are_not_asked() -> Result<()> {
    let server = IdentityServer::spawn().await?;
    let issuer = Issuer::new(ISSUER)?;
    server.publish(&[&issuer]);
    let port = server.address().port();
    for host in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"] {
        for scheme in ["http", "https"] {
            let spec = spec(ISSUER, json!({ "uri": format!("{scheme}://{host}:{port}/jwks") }));
            let mut options = e2e::gate::GateOptions::new(crate::scene::cloakroom());
            options = options.policy("shop.yaml", policies(&spec));
            let scene = Scene::with(EnvoyVersion::Newest, options).await?;
            assert_eq!(scene.bearer(&issuer.sign(now(), &claims(json!({})))?).await?.0, 503, "{host}");
            let log = scene.gate.output();
            wait_until(PATIENCE, "the reason", async || log.contains("its address is not allowed")).await?;
        }
    }
    assert_eq!(server.asked("/jwks"), 0);
    Ok(())
}
