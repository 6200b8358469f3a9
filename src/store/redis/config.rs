//! Which servers there are, and how to speak to them.

use std::time::Duration;

use super::address::Address;
use super::call::Wait;
use super::dial::Access;
use super::sentinel::Sentinel;
use crate::authz::session::Realm;

/// Where Redis is, and how to speak to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfig {
    /// The servers.
    pub servers: Servers,
    /// The database number; 0 in a cluster.
    pub database: i64,
    /// Who we are to them.
    pub access: Access,
    /// How many replicas must confirm each change before it is answered.
    pub wait: Option<Wait>,
    /// The install's realm: a key of it is read to prove the link.
    pub realm: Realm,
    /// How long what is cached is believed without a proof; a server of which nobody can say whether it still is the master is
    /// given up after it.
    pub max_staleness: Duration,
    /// How often the link is proved.
    pub probe_every: Duration,
    /// How long that may take before the connection is given up.
    pub probe_within: Duration,
    /// How far ahead of the server's clock a gate may note a use of a session.
    pub clock_leeway: Duration,
}

/// One server, one with others that take over, or many with a part each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Servers {
    /// This one.
    One(Address),
    /// The master, as sentinels say.
    Sentinel(Sentinel),
    /// A cluster: these are asked first for the others.
    Cluster(Vec<Address>),
}
