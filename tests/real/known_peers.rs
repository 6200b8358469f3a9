//! A gate that others than the local proxy can reach answers proxies with a certificate of its own authority, and nobody else; and
//! goes on to while certificates and authority are replaced.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::envoy::EnvoyConfig;
use e2e::http1::{Connection, exchange};
use e2e::mount::Mount;
use e2e::process::wait_until;
use e2e::tls::{Authority, Use};
use e2e::tools::EnvoyVersion;
use serde_json::json;

use crate::attacks::{HOST, Setting, Town, Wall};
use crate::on_each_envoy;

on_each_envoy! {
    p30_a_gate_on_a_network_answers_proxies_with_a_certificate_of_ours_and_nobody_else => strangers;
    p30_of_its_authoritys_proxies_a_gate_answers_those_that_are_on_its_list => unlisted;
    p33_certificates_and_their_authority_are_replaced_under_load => replaced;
}

const PATIENCE: Duration = Duration::from_secs(60);
const NAME: &str = "cloakroom-gate.cloakroom-system.svc";
const GATE: Use = Use::Server(&[NAME]);
/// Proxies of the namespaces `infra` and `past`.
const INFRA: &str = "infra.proxies.cloakroom.internal";
const PAST: &str = "past.proxies.cloakroom.internal";

/// A Secret with a certificate and whom to trust.
fn secret(by: &Authority, for_: Use, trusts: &[&Authority]) -> Result<BTreeMap<String, String>> {
    let (certificate, key) = by.sign(for_)?;
    let trusts = trusts.iter().map(|it| it.certificate()).collect();
    Ok([("tls.crt".to_owned(), certificate), ("tls.key".to_owned(), key), ("ca.crt".to_owned(), trusts)].into())
}

/// A gate on every address of this machine.
async fn town(mount: &Mount) -> Result<Town> {
    town_of(mount, None).await
}

/// Such a gate, which lets in those of its authority that are named.
async fn town_of(mount: &Mount, names: Option<&[&str]>) -> Result<Town> {
    let file = |name: &str| mount.path().join(name);
    let mut tls = json!({ "certFile": file("tls.crt"), "keyFile": file("tls.key"), "clientCaFile": file("ca.crt") });
    if let Some(names) = names {
        tls["clientNames"] = json!(names);
    }
    Town::with(|mut options| {
        options.config = json!({ "listen": { "grpc": "0.0.0.0:0", "tls": tls } });
        options
    })
    .await
}

fn request(town: &Town) -> String {
    format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\nCookie: __Host-session={}\r\n\r\n", town.customer.token)
}

async fn status(town: &Town, wall: &Wall) -> Result<u16> {
    Ok(exchange(wall.envoy.address(), request(town).as_bytes()).await?.status())
}

async fn strangers(version: EnvoyVersion) -> Result<()> {
    let (ours, theirs) = (Authority::make()?, Authority::make()?);
    let gate = Mount::of(&secret(&ours, GATE, &[&ours])?)?;
    let town = town(&gate).await?;
    let setting = Setting::all(version)[0];
    let proxy = Mount::of(&secret(&ours, Use::Client, &[&ours])?)?;
    let known = town.wall_with(setting, |config| config.gate_tls(proxy.path(), NAME, true).map(drop)).await?;
    ensure!(status(&town, &known).await? == 200);

    for (what, by, for_, name, shows) in [
        ("no certificate", &ours, Use::Client, NAME, false),
        ("another authority's", &theirs, Use::Client, NAME, true),
        ("one whose time is over", &ours, Use::ClientOfThePast, NAME, true),
        ("a server's", &ours, GATE, NAME, true),
        // And the proxy asks nobody whom it does not know.
        ("a gate of another name", &ours, Use::Client, "other.cloakroom-system.svc", true),
    ] {
        let proxy = Mount::of(&secret(by, for_, &[&ours])?)?;
        let wall = town.wall_with(setting, |config| config.gate_tls(proxy.path(), name, shows).map(drop)).await?;
        let status_ = status(&town, &wall).await?;
        ensure!(status_ == 503, "{what}: {status_}");
        ensure!(wall.shop.take().is_empty(), "{what}");
        ensure!(status(&town, &known).await? == 200, "{what}: nobody is answered any more");
    }
    let plain = town.wall(setting).await?;
    ensure!(status(&town, &plain).await? == 503 && plain.shop.take().is_empty(), "plain text");
    ensure!(status(&town, &known).await? == 200);
    Ok(())
}

async fn unlisted(version: EnvoyVersion) -> Result<()> {
    let ours = Authority::make()?;
    let gate = Mount::of(&secret(&ours, GATE, &[&ours])?)?;
    // As before and after an upgrade that takes a namespace away.
    let before = town_of(&gate, Some(&[INFRA, PAST])).await?;
    let after = town_of(&gate, Some(&[INFRA])).await?;
    let setting = Setting::all(version)[0];
    for (what, for_, answers) in [
        ("one on both lists", Use::ClientOf(&[INFRA]), [200, 200]),
        ("one that was taken off", Use::ClientOf(&[PAST]), [200, 503]),
        ("one without a name", Use::Client, [503, 503]),
    ] {
        let proxy = Mount::of(&secret(&ours, for_, &[&ours])?)?;
        for (town, want) in [&before, &after].into_iter().zip(answers) {
            let wall = town.wall_with(setting, |config| config.gate_tls(proxy.path(), NAME, true).map(drop)).await?;
            let status = status(town, &wall).await?;
            ensure!(status == want, "{what}: {status}, not {want}");
            ensure!(wall.shop.take().is_empty() == (want == 503), "{what}");
        }
    }
    Ok(())
}

async fn replaced(version: EnvoyVersion) -> Result<()> {
    let (old, new) = (Authority::make()?, Authority::make()?);
    let mut gate = Mount::of(&secret(&old, GATE, &[&old])?)?;
    let mut proxy = Mount::of(&secret(&old, Use::Client, &[&old])?)?;
    let town = town(&gate).await?;
    let wall = town
        .wall_with(Setting::all(version)[0], |config: &mut EnvoyConfig| {
            config.gate_tls(proxy.path(), NAME, true)?;
            // A new connection, and so a handshake, all the time.
            let options = config.at(
                "/static_resources/clusters/0/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            )?;
            options["common_http_protocol_options"] = json!({ "max_requests_per_connection": 10 });
            Ok(())
        })
        .await?;
    let request = request(&town);
    let (answered, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let client = async || -> Result<()> {
        let mut connection = Connection::open(wall.envoy.address()).await?;
        while !over.load(Ordering::Relaxed) {
            connection.send(request.as_bytes()).await?;
            let answer = connection.response(false).await?;
            ensure!(answer.status() == 200, "{answer:?}");
            answered.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let goes_on = async || {
        let before = answered.load(Ordering::Relaxed);
        wait_until(PATIENCE, "load", async || answered.load(Ordering::Relaxed) > before + 100).await
    };
    let read = || town.gate.output().lines().iter().filter(|it| it.contains("a certificate was read again")).count();
    let rotation = async {
        goes_on().await?;
        let both = [&old, &new];
        // As the controller does it: both are trusted everywhere before anything is signed by the new one.
        for (step, (gate_by, proxy_by, trusts)) in
            [(&old, &old, &both[..]), (&old, &new, &both), (&new, &new, &both), (&new, &new, &[&new])]
                .into_iter()
                .enumerate()
        {
            let updates =
                wall.envoy.stat("cluster.cloakroom.client_ssl_socket_factory.ssl_context_update_by_sds").await?;
            proxy.update(&secret(proxy_by, Use::Client, trusts)?)?;
            wait_until(PATIENCE, "the proxy's files read again", async || {
                let stat = "cluster.cloakroom.client_ssl_socket_factory.ssl_context_update_by_sds";
                wall.envoy.stat(stat).await.is_ok_and(|now| now > updates)
            })
            .await?;
            goes_on().await?;
            gate.update(&secret(gate_by, GATE, trusts)?)?;
            wait_until(PATIENCE, "the gate's files read again", async || read() > step).await?;
            goes_on().await?;
        }
        over.store(true, Ordering::Relaxed);
        anyhow::Ok(())
    };
    tokio::try_join!(rotation, client(), client(), client())?;
    ensure!(answered.load(Ordering::Relaxed) > 900);
    // Who is of the old authority is nobody now.
    let past = Mount::of(&secret(&old, Use::Client, &[&new])?)?;
    let past =
        town.wall_with(Setting::all(version)[0], |config| config.gate_tls(past.path(), NAME, true).map(drop)).await?;
    let refused = status(&town, &past).await.context("the old authority's proxy")?;
    ensure!(refused == 503, "{refused}");
    Ok(())
}
