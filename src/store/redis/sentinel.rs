//! Which server is the master, by what most of the sentinels say.
//!
//! One sentinel is not believed: it may be cut off together with a master that the others have replaced, and that master would
//! go on answering us. So as long as less than half of them can be asked, nothing is proved (P18).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use redis::{Value, cmd};
use tokio::time::timeout;

use super::address::Address;
use super::dial::{Access, Connection, DialError};

/// How long one sentinel may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// The sentinels of a master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentinel {
    /// What they call it.
    pub master: String,
    /// All of them: most of these must agree.
    pub addresses: Vec<Address>,
    /// Who we are to them.
    pub access: Access,
}

/// The same, and the connections to them.
pub(super) struct Sentinels {
    config: Sentinel,
    connections: Mutex<HashMap<Address, Connection>>,
}

impl Sentinels {
    pub(super) fn new(config: Sentinel) -> Self {
        Self { config, connections: Mutex::default() }
    }

    /// The master.
    pub(super) async fn master(&self) -> Result<Address, DialError> {
        self.agreed().await.ok_or_else(|| DialError::Disagreed(self.config.master.clone()))
    }

    /// The address that most of all sentinels give, as soon as they have; `None` when there is none.
    pub(super) async fn agreed(&self) -> Option<Address> {
        let mut asked: FuturesUnordered<_> = self.config.addresses.iter().map(|sentinel| self.ask(sentinel)).collect();
        let most = self.config.addresses.len() / 2 + 1;
        let mut given: Vec<Address> = Vec::with_capacity(self.config.addresses.len());
        while let Some(answer) = asked.next().await {
            let Some(address) = answer else { continue };
            // One that hangs must not hold up every proof.
            if given.iter().filter(|it| **it == address).count() + 1 >= most {
                return Some(address);
            }
            given.push(address);
        }
        None
    }

    async fn ask(&self, sentinel: &Address) -> Option<Address> {
        let answer = timeout(ANSWER_WITHIN, self.ask_at_leisure(sentinel)).await.ok().flatten();
        if answer.is_none() {
            self.connections().remove(sentinel);
        }
        answer
    }

    async fn ask_at_leisure(&self, sentinel: &Address) -> Option<Address> {
        let kept = self.connections().get(sentinel).cloned();
        let connection = match kept {
            Some(connection) => connection,
            None => {
                let dialled = self.config.access.dial(sentinel, 0, |_| {}).await;
                let dialled = dialled.inspect_err(|error| {
                    tracing::debug!(%sentinel, error = error as &dyn std::error::Error, "sentinel cannot be reached");
                });
                let connection = dialled.ok()?.connection;
                self.connections().insert(sentinel.clone(), connection.clone());
                connection
            }
        };
        let question = cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.config.master).to_owned();
        match (*connection).clone().send_packed_command(&question).await.ok()? {
            Value::Array(parts) => match parts.as_slice() {
                [Value::BulkString(host), Value::BulkString(port)] => {
                    let port = std::str::from_utf8(port).ok()?.parse().ok()?;
                    Some(Address { host: String::from_utf8(host.clone()).ok()?, port })
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, HashMap<Address, Connection>> {
        // Nothing that can panic runs between two changes that belong together.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
