//! What keeps the gate from starting: said at once, with the key at fault, and never half way.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};
use e2e::gate::{Cloakroom, GateOptions, Store};
use serde_json::{Value, json};

use crate::scene::cloakroom;

async fn refuses(what: &str, options: GateOptions, says: &[&str]) -> Result<()> {
    let error = match Cloakroom::spawn(options).await {
        Ok(gate) => anyhow::bail!("{what}: it started: {}", gate.output().tail(20)),
        Err(error) => format!("{error:#}"),
    };
    // It ended by itself; it was not waited for in vain.
    ensure!(error.contains("ended"), "{what}: {error}");
    for text in says {
        ensure!(error.contains(text), "{what}: no {text:?} in {error}");
    }
    Ok(())
}

fn with(config: Value) -> GateOptions {
    GateOptions { config, ..GateOptions::new(cloakroom()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn p30_others_than_the_local_proxy_are_never_listened_to() -> Result<()> {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9443"] {
        refuses(address, with(json!({ "listen": { "grpc": address } })), &["can be reached by others"]).await?;
        refuses(address, with(json!({ "listen": { "admin": address } })), &["can be reached by others"]).await?;
        refuses(address, with(json!({ "listen": { "sessions": address } })), &["can be reached by others"]).await?;
    }
    // Nor by a gate that could not tell who they are.
    let tls = json!({ "certFile": "tls.crt", "keyFile": "tls.key", "clientCaFile": "ca.crt" });
    let listen = json!({ "listen": { "grpc": "0.0.0.0:0", "tls": tls } });
    refuses("no certificate", with(listen), &["listen.grpc", "cannot read", "tls.crt"]).await?;
    // Nor is a listener shared or taken over.
    let first = Cloakroom::spawn(GateOptions::new(cloakroom())).await?;
    let socket = format!("unix://{}", first.folder().join("gate.sock").display());
    refuses("the same socket", with(json!({ "listen": { "grpc": socket } })), &["another server is listening"]).await?;
    let folder = tempfile::tempdir()?;
    let path = format!("unix://{}", folder.path().join("gate.sock").display());
    std::fs::write(folder.path().join("gate.sock"), "precious")?;
    refuses("a file", with(json!({ "listen": { "grpc": path } })), &["is not a socket"]).await?;
    std::fs::remove_file(folder.path().join("gate.sock"))?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777))?;
    refuses("a folder of everybody", with(json!({ "listen": { "grpc": path } })), &["written to by others"]).await?;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = taken.local_addr()?.to_string();
    refuses("the same port", with(json!({ "listen": { "grpc": address } })), &["cannot listen on"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p02_what_cannot_be_used_keeps_the_gate_from_starting() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let embedded = |at: &str| {
        let options = with(json!({ "sessions": { "store": { "path": path(at) } } }));
        GateOptions { store: Store::Embedded, ..options }
    };
    std::fs::create_dir(path("folder.redb"))?;
    std::fs::write(path("garbage.redb"), "these are no sessions".repeat(1000))?;
    std::fs::write(path("short.key"), "c2hvcnQ\n")?;
    std::fs::create_dir(path("nokeys"))?;
    std::fs::create_dir(path("nopolicies"))?;
    std::fs::write(path("nopolicies/a.yaml"), "apiVersion: cloakroom.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {")?;
    let rows: [(&str, GateOptions, &[&str]); 10] = [
        ("a folder for a store", embedded("folder.redb"), &["sessions.store"]),
        ("a store of garbage", embedded("garbage.redb"), &["sessions.store"]),
        ("a store in no folder", embedded("nowhere/sessions.redb"), &["sessions.store"]),
        ("no token key", with(json!({ "token": { "keyFile": path("none") } })), &["token.keyFile"]),
        ("a short token key", with(json!({ "token": { "keyFile": path("short.key") } })), &["token.keyFile"]),
        ("no keys", with(json!({ "jwt": { "keysDir": path("nokeys") } })), &["jwt.keysDir"]),
        ("no policies", with(json!({ "policies": { "dir": path("none") } })), &["policies.dir"]),
        ("broken policies", with(json!({ "policies": { "dir": path("nopolicies") } })), &["policies.dir", "a.yaml"]),
        ("an unknown key", with(json!({ "sesions": {} })), &["sesions", "sessions"]),
        ("no caller for the API", with(json!({ "api": null })), &["api"]),
    ];
    for (what, options, says) in rows {
        refuses(what, options, says).await?;
    }
    Ok(())
}
