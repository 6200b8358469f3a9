//! The listeners of one port of a Gateway, and which of them may have a request.

use std::sync::Arc;

use super::routed::RouteTable;
use crate::authz::attributes::host::Host;
use crate::authz::matching::{HostPattern, HostTable};

/// The listeners of a port, each with its hostname and its routes by host.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) listeners: Vec<(HostPattern, HostTable<Arc<RouteTable>>)>,
}

impl Port {
    /// The tables that a proxy may look into for this host. One that merges listeners takes the narrowest host of all their routes;
    /// one that isolates them (`GatewayHTTPListenerIsolation`) the listener with the narrowest hostname, and its routes alone. Which kind it is, we
    /// do not know.
    pub(super) fn tables(&self, host: &Host<'_>) -> impl Iterator<Item = &Arc<RouteTable>> {
        let found = || {
            self.listeners.iter().filter_map(|(listener, table)| {
                let (rank, table) = table.ranked(host)?;
                Some((listener.rank(host), rank, table))
            })
        };
        let listener = found().map(|(listener, ..)| listener).max();
        let narrowest = found().map(|(_, rank, _)| rank).max();
        found()
            .filter(move |(of_listener, rank, _)| {
                Some(of_listener) == listener.as_ref() || Some(rank) == narrowest.as_ref()
            })
            .map(|(.., table)| table)
    }
}
