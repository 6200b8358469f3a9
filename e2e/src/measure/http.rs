//! HTTP load, each answer judged by its status alone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};

/// What became of the requests of a load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// How many were sent.
    pub sent: usize,
    /// How many were not answered 200.
    pub failed: usize,
    /// How the failed ones failed, and how often each.
    pub failures: BTreeMap<String, usize>,
    /// How long it took.
    pub seconds: f64,
}

/// Requests to one URL, from several clients that each have a connection and send one request after the other.
pub struct HttpLoad {
    /// Where to.
    pub url: String,
    /// With each.
    pub headers: HeaderMap,
    /// How many clients.
    pub clients: usize,
    /// How many at least.
    pub requests: usize,
}

impl HttpLoad {
    /// Sends them, and more until `enough` is true.
    ///
    /// # Errors
    /// When a client cannot be made.
    pub async fn send(self, enough: Arc<AtomicBool>) -> Result<Outcome> {
        let began = Instant::now();
        let this = Arc::new(self);
        let sent = Arc::new(AtomicUsize::new(0));
        let failures = Arc::new(Mutex::new(BTreeMap::new()));
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..this.clients {
            let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
            let (this, sent, failures, enough) =
                (Arc::clone(&this), Arc::clone(&sent), Arc::clone(&failures), Arc::clone(&enough));
            clients.spawn(async move {
                loop {
                    let done = sent.load(Ordering::Relaxed) >= this.requests;
                    if done && enough.load(Ordering::Relaxed) {
                        return;
                    }
                    sent.fetch_add(1, Ordering::Relaxed);
                    if let Err(failure) = one(&client, &this).await {
                        let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                        *failures.entry(failure).or_insert(0) += 1;
                    }
                }
            });
        }
        while let Some(ended) = clients.join_next().await {
            ended.context("a client of the load died")?;
        }
        let failures = failures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let failed = failures.values().sum();
        Ok(Outcome { sent: sent.load(Ordering::Relaxed), failed, failures, seconds: began.elapsed().as_secs_f64() })
    }
}

async fn one(client: &reqwest::Client, load: &HttpLoad) -> Result<(), String> {
    let told = |error: reqwest::Error| format!("{:#}", anyhow::Error::from(error));
    let answer = client.get(&load.url).headers(load.headers.clone()).send().await.map_err(told)?;
    let status = answer.status();
    let body = answer.text().await.map_err(told)?;
    if status == 200 { Ok(()) } else { Err(format!("{status}: {}", body.chars().take(200).collect::<String>())) }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn every_answer_but_200_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        tokio::spawn(async move {
            // Every third connection is cut, every third is refused; each has one request.
            for n in 0.. {
                let (mut stream, _) = listener.accept().await.expect("accepts");
                let mut buffer = [0; 1024];
                if stream.read(&mut buffer).await.is_err() || n % 3 == 2 {
                    continue;
                }
                let status = if n % 3 == 0 { "200 OK" } else { "503 Service Unavailable" };
                let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.ok();
            }
        });
        let load = HttpLoad { url, headers: HeaderMap::new(), clients: 1, requests: 9 };
        let outcome = load.send(Arc::new(AtomicBool::new(true))).await.expect("sent");
        assert_eq!((outcome.sent, outcome.failed), (9, 6), "{outcome:?}");
        assert_eq!(outcome.failures.len(), 2, "{outcome:?}");
    }
}
