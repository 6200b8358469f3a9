//! A shared gate: TLS, and a certificate of every proxy.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use e2e::network;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::objects::{GATE, exchange};
use super::square::{Place, Square, prepare};
use crate::town::claims;

#[test]
fn p30_the_gate_answers_proxies_that_show_a_certificate() {
    prepare().and_then(|()| network::alone(known)).unwrap();
}

async fn known() -> Result<()> {
    let square = Square::wired(Place::Elsewhere, true).await?;
    let cookie = square.log_in().await?;
    let answer = square.send("GET", "/x", &[&cookie]).await?;
    ensure!(answer.status() == 200, "{answer:?}");
    ensure!(claims(&square.arrived()?)?["sub"] == "ada");
    // The other half has the same certificate.
    let answer = square.send("POST", "/login", &[]).await?;
    ensure!(answer.header("set-cookie").iter().any(|it| it.starts_with("__Host-session=ckr_")), "{answer:?}");
    square.shop.take();

    // A neighbour without one gets no byte of an answer.
    let gate = SocketAddr::from(([127, 0, 0, 1], 9443));
    let mut stream = square.certificates.over(TcpStream::connect(gate).await?, GATE, false).await?;
    let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let mut read = Vec::new();
    let ended = stream.read_to_end(&mut read).await;
    ensure!(read.is_empty(), "{ended:?}: {read:?}");

    // Nor does a proxy that shows none, and then nobody gets in.
    let anonymous =
        "    clientCertificateRef:\n      group: \"\"\n      kind: Secret\n      name: cloakroom-proxy-tls\n";
    // By another name, as Envoy Gateway keeps what an object of its files had before.
    let nameless = exchange(&square.objects, anonymous, "")?;
    square.gateway.replace(&exchange(&nameless, "name: cloakroom\n", "name: anonymous\n")?)?;
    square.until("refusal", 503, "/x").await?;
    let answer = square.send("GET", "/x", &[&cookie]).await?;
    ensure!(answer.status() == 503 && square.shop.take().is_empty(), "{answer:?}");

    // A gate that somebody else is, is not asked either.
    let other = exchange(&square.objects, &format!("sni: {GATE}"), "sni: gate.evil.svc")?;
    square.gateway.replace(&square.objects)?;
    square.until("a checked route again", 401, "/x").await?;
    square.gateway.replace(&other)?;
    square.until("refusal", 503, "/x").await
}
