//! Load over a few HTTP/1.1 connections that stay open.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::http1::{Connection, Message};
use e2e::measure::Cost;

use super::arm::Arm;
use super::scene::Scene;

const CONNECTIONS: usize = 4;

/// What the requests of one arm cost in one round.
pub(crate) struct Sample {
    pub(crate) gate: Cost,
    pub(crate) envoy: Cost,
    /// What half of the requests did not exceed, from the first byte sent to the last one read.
    pub(crate) p50: Duration,
    /// What 99 of 100 did not exceed.
    pub(crate) p99: Duration,
    pub(crate) requests: usize,
    /// Requests that were not answered with 200, such as updates that lost to others too often.
    pub(crate) refused: usize,
}

/// A client's requests.
#[derive(Default)]
struct Taken {
    times: Vec<Duration>,
    refused: usize,
}

impl Taken {
    async fn ask(&mut self, connection: &mut Connection, request: &[u8]) -> Result<Message> {
        let began = Instant::now();
        connection.send(request).await?;
        let response = connection.response(false).await?;
        self.times.push(began.elapsed());
        self.refused += usize::from(response.status() != 200);
        Ok(response)
    }
}

/// Sends so many requests of an arm.
pub(crate) async fn measure(scene: &Scene, arm: Arm, requests: usize) -> Result<Sample> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = scene.connect().await?;
        // Opening it, and Envoy's own connections behind it, are not what is measured.
        Taken::default().ask(&mut connection, &scene.request(Arm::Without, 0)).await?;
        connections.push(connection);
    }
    let [gate, envoy] = scene.usage();
    let before = (gate.read()?, envoy.read()?);
    let next = AtomicUsize::new(0);
    let clients = connections.into_iter().map(|connection| client(scene, arm, connection, &next, requests));
    let taken = futures_util::future::try_join_all(clients).await?;
    let after = (gate.read()?, envoy.read()?);

    let mut times: Vec<Duration> = taken.iter().flat_map(|it| &it.times).copied().collect();
    times.sort();
    Ok(Sample {
        gate: before.0.until(&after.0, times.len()),
        envoy: before.1.until(&after.1, times.len()),
        p50: times[times.len() / 2],
        p99: times[times.len() * 99 / 100],
        requests: times.len(),
        refused: taken.iter().map(|it| it.refused).sum(),
    })
}

async fn client(
    scene: &Scene,
    arm: Arm,
    mut connection: Connection,
    next: &AtomicUsize,
    requests: usize,
) -> Result<Taken> {
    let mut taken = Taken::default();
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= requests {
            return Ok(taken);
        }
        let response = taken.ask(&mut connection, &scene.request(arm, n)).await?;
        if arm == Arm::CreateAndEnd
            && let Some(log_out) = Scene::log_out(&response)
        {
            // One of the two requests of this arm.
            next.fetch_add(1, Ordering::Relaxed);
            taken.ask(&mut connection, &log_out).await?;
        }
    }
}
