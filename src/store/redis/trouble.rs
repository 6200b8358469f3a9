//! What goes wrong between us and Redis.

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind, Value};

use super::address::Address;

/// Why a server did not do what it was asked. The texts are the server's and ours; none holds a record or a password.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Trouble {
    /// There is no connection, and none came in time.
    #[error("no connection to {0}")]
    NotConnected(String),
    /// Nobody can say now whether the server still is the master: a change that it took could be lost.
    #[error("nobody can say whether {0} still is the master")]
    Unsure(String),
    /// No server is known for the key: a cluster that is not whole, or sentinels that do not agree.
    #[error("no server is known that holds the key")]
    NoServer,
    /// The call failed: a connection that broke, or the server's own error.
    #[error("the call failed")]
    Failed(#[source] RedisError),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// An answer that the command cannot have.
    #[error("an answer to {0} that it cannot have")]
    Odd(&'static str),
    /// Fewer replicas than asked for have confirmed a write. It is made on the server that took it.
    #[error("{confirmed} of {wanted} replicas confirmed the write in time")]
    NotReplicated {
        /// How many did.
        confirmed: i64,
        /// How many should.
        wanted: u32,
    },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The record was changed by others each time that we wanted to.
    #[error("others changed the record each time")]
    Contended,
}

/// What to do about a call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cure {
    /// Ask the server at this address, which has taken the slot over for good.
    Moved(Option<Address>),
    /// Ask the server at this address once: the slot is on its way there.
    Ask(Option<Address>),
    /// Ask again in a moment: a slot between two servers, a failover, a server that loads its data.
    Wait,
    /// The server is no master any more: look which one is.
    Lost,
    /// Send the script's text.
    Text,
    /// None.
    None,
}

impl Trouble {
    pub(super) fn cure(&self) -> Cure {
        let Self::Failed(error) = self else { return Cure::None };
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::Moved) => Cure::Moved(address(error)),
            ErrorKind::Server(ServerErrorKind::Ask) => Cure::Ask(address(error)),
            ErrorKind::Server(
                ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::BusyLoading,
            ) => Cure::Wait,
            ErrorKind::Server(ServerErrorKind::ReadOnly) => Cure::Lost,
            ErrorKind::Server(ServerErrorKind::NoScript) => Cure::Text,
            _ => Cure::None,
        }
    }

    /// Whether a cluster sends us to another server.
    pub(super) fn is_redirection(&self) -> bool {
        matches!(self.cure(), Cure::Moved(_) | Cure::Ask(_))
    }

    /// The server's word for its error: `READONLY`, `OOM`.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Failed(error) => error.code(),
            _ => None,
        }
    }

    /// Whether the connection broke before the answer: what was asked may or may not have been done.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self, Self::Failed(error) if error.is_unrecoverable_error())
    }
}

/// `MOVED 3999 127.0.0.1:6381`: what follows the slot.
fn address(error: &RedisError) -> Option<Address> {
    error.redirect_node().and_then(|(address, _slot)| Address::parse(address))
}

/// A server's error as an error.
pub(super) fn checked(value: Value) -> Result<Value, Trouble> {
    value.extract_error().map_err(Trouble::Failed)
}
