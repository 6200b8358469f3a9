//! A provider that others wrote: keys by its discovery document, and its word about opaque tokens.

use anyhow::Result;
use e2e::oidc::OidcProvider;
use e2e::process::wait_until;
use e2e::tools::EnvoyVersion;
use serde_json::json;

use super::{Scene, policy, provider, secret};
use crate::scene::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_certified_provider_count() -> Result<()> {
    let oidc = OidcProvider::spawn().await?;
    let jwt = json!({ "jwt": {
        "issuer": oidc.url(""), "audiences": ["shop"], "algorithms": ["RS256"], "typ": "at+jwt", "jwks": { "discovery": {} },
    } });
    let opaque = json!({ "introspection": {
        "endpoint": oidc.url("/token/introspection"), "clientId": "gate", "audiences": ["shop"], "issuer": oidc.url(""),
        "clientSecretRef": { "name": "gate", "key": "secret" }, "maxCache": "1s", "claims": { "subject": "client_id" },
    } });
    let rule = policy("[{ provider: { name: jwt } }, { provider: { name: opaque } }]", "require: { scopes: [read] }");
    let gate = secret("gate", &json!({ "secret": "gate-secret" }));
    let policies = format!("{rule}{}{}{gate}", provider("jwt", &jwt), provider("opaque", &opaque));
    let scene = Scene::set(EnvoyVersion::Newest, policies).await?;
    for resource in ["urn:jwt", "urn:opaque"] {
        let (status, claims) = scene.bearer(&oidc.token(resource, "read write").await?).await?;
        assert_eq!((status, &claims["sub"], &claims["scope"]), (200, &json!("program"), &json!("read write")));
        assert_eq!(scene.bearer(&oidc.token(resource, "write").await?).await?.0, 403, "{resource}: no scope");
    }
    let token = oidc.token("urn:opaque", "read").await?;
    assert_eq!(scene.bearer(&token).await?.0, 200);
    oidc.revoke(&token).await?;
    let refused = async || scene.bearer(&token).await.is_ok_and(|(status, _)| status == 401);
    wait_until(PATIENCE, "the end of maxCache", refused).await
}
