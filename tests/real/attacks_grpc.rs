//! gRPC, and HTTP/2 from end to end: real clients and a real server, since what counts here is what a library makes of it.

use anyhow::{Result, ensure};
use e2e::envoy::EnvoyConfig;
use e2e::gate::Listen;
use e2e::tools::EnvoyVersion;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::attacks::{Setting, Town, Who};
use crate::http2_peers::{Arrived, EMPTY_MESSAGE, Reply, Service, call};
use crate::on_each_envoy;

on_each_envoy! {
    p07_p11_nothing_of_ours_passes_over_http2 => both_ways;
    p02_grpc_clients_are_refused_in_their_own_words => refusals;
}

const OURS: [&str; 5] = ["x-session-jwt", "x_session_jwt", "x.session.jwt", "x-session-update", "x-session-end"];

fn forged(more: (&'static str, &'static str)) -> HeaderMap {
    let ours = OURS.map(|name| (HeaderName::from_static(name), HeaderValue::from_static("forged")));
    let (name, value) = more;
    ours.into_iter().chain([(HeaderName::from_static(name), HeaderValue::from_static(value))]).collect()
}

/// A service that answers with forged headers and trailers.
fn forger(_: &HeaderMap) -> Reply {
    let (headers, trailers) = (forged(("content-type", "application/grpc")), forged(("grpc-status", "0")));
    Reply { headers, data: EMPTY_MESSAGE.to_vec(), trailers: Some(trailers), ..Reply::default() }
}

async fn both_ways(version: EnvoyVersion) -> Result<()> {
    let town = Town::found().await?;
    for setting in Setting::all(version) {
        let service = Service::answering(forger).await?;
        let wall = town
            .wall_with(setting, |config: &mut EnvoyConfig| {
                config.service("shop", service.address)?.http2_service("shop")?;
                if setting.strict {
                    config.allow_underscores()?;
                }
                Ok(())
            })
            .await?;
        for (path, token) in [("/x", Some(&*town.customer.token)), ("/public", None)] {
            let name = format!("{setting:?} {path}");
            let answer = call(wall.envoy.address(), path, token, Some(forged(("x-checksum", "mine")))).await?;
            ensure!(answer.status == 200 && answer.trailer("grpc-status") == Some("0"), "{name}: {answer:?}");
            let arrived = service.take();
            let [Arrived { headers, trailers }] = &arrived[..] else {
                anyhow::bail!("{name}: {} arrived", arrived.len())
            };
            ensure!(trailers.get("x-checksum").is_some(), "{name}: {trailers:?}");
            for name in OURS {
                ensure!(trailers.get(name).is_none() && answer.headers.get(name).is_none(), "{name}: {answer:?}");
                ensure!(answer.trailers.get(name).is_none(), "{name}: {answer:?}");
            }
            ensure!(
                headers.get_all("x-session-jwt").iter().count() == usize::from(token.is_some()),
                "{name}: {headers:?}"
            );
            ensure!(headers.get("authorization").is_none(), "{name}: {headers:?}");
        }
    }
    Ok(())
}

/// gRPC status codes, never a page: 3 INVALID_ARGUMENT, 7 PERMISSION_DENIED, 14 UNAVAILABLE, 16 UNAUTHENTICATED.
async fn refusals(version: EnvoyVersion) -> Result<()> {
    for listen in [Listen::Unix, Listen::Loopback] {
        let town = Town::with(|mut options| {
            options.listen = listen;
            options
        })
        .await?;
        let walls = town.walls(version).await?;
        let refused = async |path: &str, who: Who, code: &str| -> Result<()> {
            for wall in &walls {
                let answer = call(wall.envoy.address(), path, town.token(who), None).await?;
                let name = format!("{:?}: {who:?} {path}: {answer:?}", wall.setting);
                ensure!(answer.status == 200 && answer.trailer("grpc-status") == Some(code), "{name}");
                let content_type = answer.headers.get("content-type").and_then(|it| it.to_str().ok());
                ensure!(content_type.is_some_and(|it| it.starts_with("application/grpc")), "{name}");
                let message = answer.trailer("grpc-message").unwrap_or_default();
                ensure!(answer.data.is_empty() && !message.contains('<') && !message.contains('{'), "{name}");
                ensure!(wall.shop.take().is_empty(), "{name}: arrived");
            }
            Ok(())
        };
        refused("/x", Who::Nobody, "16").await?;
        refused("/admin", Who::Customer, "7").await?;
        refused("/closed", Who::Admin, "7").await?;
        refused("/Admin", Who::Customer, "3").await?;
        town.gate.process().kill()?;
        refused("/x", Who::Customer, "14").await?;
        refused("/public", Who::Nobody, "14").await?;
    }
    Ok(())
}
