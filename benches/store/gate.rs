//! The real gate, with its real configuration: policies, keys, a store.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::bail;
use bytes::Bytes;
use e2e::checker::browsers_check;
use e2e::envoy::GateAddress;
use e2e::gate::{Cloakroom, GateOptions, Store};
use e2e::measure::Usage;
use serde_json::json;

/// A number of rules over a number of hosts: per host path prefixes with methods and roles, as an install grows them.
pub(crate) struct Policies {
    pub(crate) rules: usize,
    hosts: usize,
}

impl Policies {
    pub(crate) fn rules(rules: usize, hosts: usize) -> Self {
        Self { rules, hosts }
    }

    /// A check with this token of a host and path that one of the rules in the middle judges.
    pub(crate) fn hot(&self, token: &str) -> Bytes {
        let (host, path) = (self.hosts / 2, self.rules / self.hosts / 2);
        browsers_check(&format!("h{host}.example"), &format!("/area-{path}/orders/7"), token)
    }

    /// A gate with these policies that caches sessions in `view` (such as `256Mi`) and writes no line for each check.
    pub(crate) fn gate(&self, store: Store, view: &str) -> anyhow::Result<GateOptions> {
        let config = json!({
            "sessions": { "view": { "maxBytes": view } },
            "telemetry": { "log": "warn", "decisions": "none" },
            "shutdown": { "settle": "0s" },
        });
        let policies = self.files()?;
        Ok(GateOptions { store, policies, config, ..GateOptions::new(env!("CARGO_BIN_EXE_cloakroom")) })
    }

    fn files(&self) -> anyhow::Result<Vec<(String, String)>> {
        let (mut files, mut text) = (Vec::new(), String::new());
        for host in 0..self.hosts {
            write!(
                text,
                "---\napiVersion: cloakroom.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{ name: p{host}, namespace: bench }}\n\
                 spec:\n  hosts: [h{host}.example]\n  rules:\n"
            )?;
            for rule in 0..self.rules / self.hosts {
                writeln!(
                    text,
                    "  - matches: [{{ path: {{ type: PathPrefix, value: /area-{rule} }} }}]\n    require: {{ roles: [customer] }}"
                )?;
            }
            if text.len() > 200_000 {
                files.push((format!("policies-{host}.yaml"), std::mem::take(&mut text)));
            }
        }
        files.push(("policies-rest.yaml".to_owned(), text));
        Ok(files)
    }
}

/// A running gate; ends with the benchmark.
pub(crate) struct Gate(pub(crate) Cloakroom);

impl Gate {
    pub(crate) async fn start(options: GateOptions) -> anyhow::Result<Self> {
        Ok(Self(Cloakroom::spawn(options).await?))
    }

    pub(crate) fn socket(&self) -> anyhow::Result<PathBuf> {
        match self.0.grpc()? {
            GateAddress::Unix(path) => Ok(path),
            GateAddress::Tcp(address) => bail!("it listens on {address} and on no socket file"),
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage::of(self.0.process().pid())
    }
}
