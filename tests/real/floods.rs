//! What a neighbour pod can do that opens connections and says little: take no place, and no time, from those who ask (P28).

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::gate::{Cloakroom, GateOptions};
use e2e::http1::exchange;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// More than a listener has places, and enough to fill the kernel's queue behind them.
const FLOOD: usize = 1_500;
/// A probe's patience is 3 s.
const PATIENCE: Duration = Duration::from_secs(3);

/// Connections that have said so much and wait.
async fn flood(address: SocketAddr, said: &[u8]) -> Result<Vec<TcpStream>> {
    let mut quiet = Vec::new();
    while quiet.len() < FLOOD {
        // Who finds the queue full goes on with those that it has.
        let Ok(stream) = tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(address)).await else {
            break;
        };
        let mut stream = stream?;
        let _ = stream.write_all(said).await;
        quiet.push(stream);
    }
    Ok(quiet)
}

#[tokio::test(flavor = "multi_thread")]
async fn p28_connections_that_say_nothing_keep_nobody_from_an_answer() -> Result<()> {
    let gate = Cloakroom::spawn(GateOptions::new(env!("CARGO_BIN_EXE_cloakroom"))).await?;
    let bearer = format!("Authorization: Bearer {}\r\n", gate.api_token());
    let body = json!({ "subject": "ada" }).to_string();
    let create = format!(
        "POST /v1/sessions HTTP/1.1\r\nHost: x\r\n{bearer}Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    for (address, request, want) in [
        (gate.health(), get("/readyz"), 200),
        (gate.health(), get("/livez"), 200),
        (gate.health(), get("/metrics"), 200),
        (gate.http(), get("/.well-known/jwks.json"), 200),
        (gate.sessions(), create, 201),
    ] {
        // Nothing; half a head; a request that is answered, on a connection that stays.
        for said in ["", "GET / HTTP/1.1\r\nX-Slow: ", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"] {
            let quiet = flood(address, said.as_bytes()).await?;
            let answer = tokio::time::timeout(PATIENCE, exchange(address, request.as_bytes())).await;
            let answer = answer.with_context(|| format!("{address} beside {} that said {said:?}", quiet.len()))??;
            ensure!(answer.status() == want, "{request}: {answer:?}");
        }
    }
    Ok(())
}
