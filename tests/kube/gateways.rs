//! The wiring of Envoy Gateway and of the Gateway API on a real API server with the definitions of their kinds: what we print is
//! accepted as it is.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use cloakroom::wiring::{self, Form, Gateway, Listener, Mesh, Piece, Shape, Site};
use e2e::kube::{ApiServer, ApiServerOptions};
use e2e::tools;
use serde_json::{Value, json};

use crate::definitions::namespace;

#[tokio::test(flavor = "multi_thread")]
async fn the_wiring_is_accepted_as_it_is_printed() -> Result<()> {
    let server = ApiServer::spawn(ApiServerOptions::default()).await?;
    server.apply_folder(&tools::gateway_api_crds()?.join("experimental")).await?;
    server.apply_folder(&tools::envoy_gateway_crds()?).await?;
    for name in ["infra", "shop", "cloakroom-system"] {
        server.apply(&namespace(name)).await?;
    }
    let gateway = Gateway { namespace: "infra".into(), name: "public".into() };
    let shared = Site {
        gateways: vec![gateway.clone()],
        patched: vec![Listener { gateway, name: "https".into() }],
        namespaces: vec!["shop".into()],
        ..Site::new("cloakroom-system", Shape::Shared)
    };
    let beside = Site { shape: Shape::Sidecar, ..shared.clone() };
    for (mesh, site, count) in [
        (Mesh::EnvoyGateway, &shared, 5),
        (Mesh::EnvoyGateway, &beside, 5),
        (Mesh::GatewayApi, &Site { gateways: vec![], ..shared.clone() }, 2),
    ] {
        let pieces = wiring::pieces(mesh, site)?;
        let objects: Vec<&str> = pieces.iter().filter(|it| it.form == Form::Document).map(|it| &*it.yaml).collect();
        let said = dry_run(&server, &objects.join("\n---\n"))?;
        ensure!(said.lines().count() == count, "{mesh:?}: {said}");
    }

    let pieces = wiring::pieces(Mesh::GatewayApi, &shared)?;
    let said = dry_run(&server, &gateway_and_route(&pieces)?)?;
    ensure!(said.contains("gateway.gateway.networking.k8s.io/public") && said.contains("httproute"), "{said}");
    Ok(())
}

/// A Gateway and a route of a user's, with the lines that are printed for them.
fn gateway_and_route(pieces: &[Piece]) -> Result<String> {
    let lines: Vec<Value> = pieces
        .iter()
        .filter(|it| it.form == Form::Lines)
        .map(|it| serde_saphyr::from_str(&it.yaml).with_context(|| it.yaml.clone()))
        .collect::<Result<_>>()?;
    let [of_gateway, checked, open] = &lines[..] else { anyhow::bail!("{lines:#?}") };
    let gateway = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": { "name": "public", "namespace": "infra" },
        "spec": {
            "gatewayClassName": "any",
            "listeners": [{ "name": "http", "protocol": "HTTP", "port": 80 }],
            "tls": of_gateway["tls"],
        },
    });
    let rule = |path: &str, filters: &Value| {
        json!({
            "matches": [{ "path": { "type": "PathPrefix", "value": path } }],
            "filters": filters,
            "backendRefs": [{ "name": "shop", "port": 80 }],
        })
    };
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": { "name": "shop", "namespace": "shop" },
        "spec": {
            "parentRefs": [{ "name": "public", "namespace": "infra" }],
            "rules": [rule("/", checked), rule("/assets", open)],
        },
    });
    // JSON is YAML.
    Ok(json!({ "apiVersion": "v1", "kind": "List", "items": [gateway, route] }).to_string())
}

/// What the API server says of objects without keeping them; one line an object.
fn dry_run(server: &ApiServer, objects: &str) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("objects.yaml");
    fs::write(&file, objects)?;
    let file = file.display().to_string();
    server.kubectl(&["apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename", &file])
}
