//! The client inside of the cluster, and what it is answered.

use std::io::Read as _;
use std::process::Child;

use anyhow::{Context, Result, ensure};
use e2e::measure::Outcome;
use e2e::services::identity::Identity;
use e2e::services::shop::Seen;
use serde::Deserialize;
use serde_json::Value;

use super::SHOP;
use super::kube::Kube;
use crate::terminal;

/// Clients of the load, each with a connection of its own.
const CLIENTS: usize = 8;

/// An answer, as the client in the cluster tells it.
#[derive(Deserialize)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Value,
    pub(super) body: String,
}

impl Answer {
    /// What the shop knew of the caller.
    pub(super) fn identity(&self) -> Option<Identity> {
        serde_json::from_str::<Seen>(&self.body).ok()?.identity
    }

    pub(super) fn subject(&self) -> Option<String> {
        Some(self.identity()?.sub)
    }

    pub(super) fn cookie(&self) -> Option<String> {
        let line = self.headers["set-cookie"][0].as_str()?;
        Some(line.split(';').next()?.to_owned())
    }
}

/// The pod `client`, by whose eyes the story sees the shop.
#[derive(Clone, Copy)]
pub(super) struct Client<'a>(pub(super) &'a Kube);

impl Client<'_> {
    pub(super) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        self.send("GET", &format!("http://shop.{SHOP}.svc{path}"), headers, None)
    }

    pub(super) fn log_in(&self, user: &str, password: &str) -> Result<Answer> {
        let form = format!("user={user}&password={password}");
        self.send("POST", &format!("http://shop.{SHOP}.svc/login"), &[], Some(&form))
    }

    pub(super) fn send(&self, method: &str, url: &str, headers: &[(&str, &str)], form: Option<&str>) -> Result<Answer> {
        let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let mut words = vec!["--namespace", SHOP, "exec", "client", "--", "/usr/bin/e2e-pod", "request", method, url];
        words.extend(headers.iter().map(String::as_str).chain(form));
        let told = self.0.ask(&words)?;
        let answer: Answer = serde_json::from_str(&told).context("what the client tells")?;
        terminal::detail(&format!("     > {method} {url}: {}", answer.status));
        Ok(answer)
    }

    /// Many requests at once, until they are told to end and at least `requests` were sent.
    pub(super) fn start_load(&self, token: &str, requests: usize) -> Result<Load> {
        let (clients, requests) = (CLIENTS.to_string(), requests.to_string());
        let header = format!("authorization: Bearer {token}");
        let url = format!("http://shop.{SHOP}.svc/");
        let words = ["/usr/bin/e2e-pod", "load", &url, &clients, &requests, &header];
        Ok(Load(self.0.start_in(SHOP, "client", &words)?))
    }
}

/// Requests that are being sent.
pub(super) struct Load(Child);

impl Load {
    /// Lets it end, as soon as it has sent what it is to send.
    pub(super) fn end(self) -> Result<Outcome> {
        let Self(mut load) = self;
        drop(load.stdin.take());
        let mut told = String::new();
        load.stdout.take().context("the load has no output")?.read_to_string(&mut told)?;
        let mut words = String::new();
        load.stderr.take().context("the load has no output")?.read_to_string(&mut words)?;
        ensure!(load.wait()?.success(), "the load ended: {}", words.trim());
        serde_json::from_str(&told).context("what the load tells")
    }
}
