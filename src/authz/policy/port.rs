//! The listeners of one port of a Gateway, and which of them may have a request.

use std::collections::HashMap;
use std::sync::Arc;

use super::routed::RouteTable;
use crate::authz::attributes::host::Host;
use crate::authz::matching::{HostPattern, HostTable};

/// All ports of all Gateways that are served.
#[derive(Debug, Default)]
pub(super) struct Ports {
    pub(super) all: Vec<Port>,
    /// Where a host can be found at all, so that a thousand Gateways cost a check what one does. Empty for a few.
    by_host: HostTable<Vec<usize>>,
}

/// So many ports are asked one by one.
const FEW: usize = 4;

impl Ports {
    pub(super) fn of(all: Vec<Port>) -> Self {
        if all.len() <= FEW {
            return Self { all, by_host: HostTable::default() };
        }
        let mut places: HashMap<HostPattern, Vec<usize>> = HashMap::new();
        for (i, port) in all.iter().enumerate() {
            for host in port.listeners.iter().flat_map(|(_, table)| table.patterns()) {
                let places = places.entry(host).or_default();
                if places.last() != Some(&i) {
                    places.push(i);
                }
            }
        }
        Self { by_host: HostTable::build(places), all }
    }

    /// The tables of all ports that a proxy may look into for this host, each with its port.
    pub(super) fn looked_into(&self, host: &Host<'_>) -> impl Iterator<Item = (&Port, &Arc<RouteTable>)> {
        let is_few = self.all.len() <= FEW;
        let mut places: Vec<usize> = self.by_host.all(host).flatten().copied().collect();
        places.sort_unstable();
        places.dedup();
        let few = self.all.iter().filter(move |_| is_few);
        few.chain(places.into_iter().map(|i| &self.all[i]))
            .flat_map(|port| port.tables(host).map(move |table| (port, table)))
    }
}

/// The listeners of a port, each with its hostname and its routes by host.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) listeners: Vec<(HostPattern, HostTable<Arc<RouteTable>>)>,
}

impl Port {
    /// The tables that a proxy may look into for this host. One that merges listeners takes the narrowest host of all their routes;
    /// one that isolates them (`GatewayHTTPListenerIsolation`) the listener with the narrowest hostname, and its routes alone. Which kind it is, we
    /// do not know.
    ///
    /// A host of which the proxy has refused every route is none, as long as there is another.
    pub(super) fn tables(&self, host: &Host<'_>) -> impl Iterator<Item = &Arc<RouteTable>> {
        let has_live = self.all(host).any(|table| !table.is_refused);
        let found = move || {
            self.listeners.iter().filter_map(move |(listener, table)| {
                let (rank, table) = table.ranked(host).find(|(_, table)| !(has_live && table.is_refused))?;
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

    /// The tables of all its listeners and hosts that this host is in, the most specific of a listener first.
    pub(super) fn by_listener(&self, host: &Host<'_>) -> impl Iterator<Item = impl Iterator<Item = &Arc<RouteTable>>> {
        self.listeners.iter().map(|(_, table)| table.all(host))
    }

    /// The tables of all its listeners and hosts that this host is in.
    pub(super) fn all(&self, host: &Host<'_>) -> impl Iterator<Item = &Arc<RouteTable>> {
        self.listeners.iter().flat_map(|(_, table)| table.all(host))
    }
}
