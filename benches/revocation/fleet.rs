//! The gates, and the Redis behind them.

use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;

use anyhow::{Result, bail};
use e2e::envoy::GateAddress;
use e2e::gate::{Cloakroom, GateOptions, Store};
use e2e::measure::{Reading, Usage, connect};
use e2e::redis::{Redis, RedisOptions};
use serde_json::json;
use tempfile::NamedTempFile;
use tonic::transport::Channel;

const POLICY: &str = "\
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: shop, namespace: shop }
spec: { hosts: [shop.example] }
";

/// Gates that share sessions and keys.
pub(crate) struct Fleet {
    pub(crate) gates: Vec<Gate>,
    redis: Redis,
    _password: NamedTempFile,
}

/// Whether the gates may ask Redis to tell them of changes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tracking {
    Allowed,
    Forbidden,
}

/// One of them, and a connection to it.
pub(crate) struct Gate {
    pub(crate) process: Cloakroom,
    pub(crate) channel: Channel,
}

impl Fleet {
    pub(crate) async fn start(count: usize, tracking: Tracking) -> Result<Self> {
        let but = if tracking == Tracking::Forbidden { "-client|tracking" } else { "" };
        let users = vec![format!("gate on >of-the-benchmark ~* &* +@all {but}")];
        let redis = Redis::spawn(RedisOptions { users, ..RedisOptions::default() }).await?;
        let mut password = NamedTempFile::new()?;
        password.write_all(b"of-the-benchmark")?;
        let access = json!({ "url": redis.url(), "username": "gate", "passwordFile": password.path() });
        let mut gates: Vec<Gate> = Vec::new();
        for _ in 0..count {
            let mut options = GateOptions::new(env!("CARGO_BIN_EXE_cloakroom")).policy("shop.yaml", POLICY);
            options.store = Store::Redis(json!({ "kind": "redis", "redis": access }));
            // The defaults, and not what tests run with.
            options.config = json!({ "check": null, "response": null });
            if let Some(first) = gates.first() {
                options = options.with_keys_of(&first.process);
            }
            let process = Cloakroom::spawn(options).await?;
            let channel = match process.grpc()? {
                GateAddress::Unix(path) => connect(&path).await?,
                GateAddress::Tcp(address) => bail!("it listens on {address} and on no socket file"),
            };
            gates.push(Gate { process, channel });
        }
        Ok(Self { gates, redis, _password: password })
    }

    /// A gate chosen at random.
    pub(crate) fn any(&self) -> &Gate {
        &self.gates[random(self.gates.len())]
    }

    /// What has been used so far by the gates together, by Redis, and by this process.
    pub(crate) fn read(&self) -> Result<[Reading; 3]> {
        let gates = self.gates.iter().map(|gate| Usage::of(gate.process.process().pid()).read());
        let gates = gates.collect::<Result<Vec<_>>>()?.into_iter().sum();
        Ok([gates, Usage::of(self.redis.process().pid()).read()?, Usage::of(std::process::id()).read()?])
    }
}

/// A random number below `bound`.
pub(crate) fn random(bound: usize) -> usize {
    // Each `RandomState` has other keys.
    usize::try_from(RandomState::new().hash_one(0) % bound as u64).expect("it is below a usize")
}
