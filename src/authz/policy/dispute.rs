//! Requests that are found to be one namespace's, and that the proxy may send to another's: a tenant must not be able to judge what
//! another's service is sent (P27).
//!
//! A route is found by what it says. Which routes the proxy has, only their status tells: one that it left out gets nothing, and the
//! next that matches gets the request.

use std::cell::Cell;
use std::sync::Arc;

use super::PolicyIndex;
use super::port::Port;
use super::routed::{RouteEntry, RouteHit, RouteTable};
use crate::authz::attributes::{LetterCase, Reading, RequestAttributes};
use crate::authz::reason::DenyReason;

impl RouteTable {
    /// Another namespace's route with other policies, to which a request that is `found`'s may go as well.
    pub(super) fn rival<'a>(
        &'a self,
        request: &RequestAttributes<'_>,
        found: &RouteEntry,
        port: &'a Port,
    ) -> Result<Option<&'a RouteEntry>, DenyReason> {
        if self.is_sure {
            return Ok(None);
        }
        // Where the proxy has none of these routes, it does not have the host, and takes a wider one.
        let wider =
            || port.all(&request.host).filter(|table| !self.is_there && !std::ptr::eq(Arc::as_ptr(table), self));
        let tables = || std::iter::once(self).chain(wider().map(Arc::as_ref));
        if tables().all(|table| table.is_of(found.namespace())) {
            return Ok(None);
        }
        let rival = Cell::new(None);
        let judged = request.judge(LetterCase::Sensitive, |reading| {
            let Some(hit) = self.matches.find_exact(reading)? else { return Ok(false) };
            let other = tables().find_map(|table| table.rival_of(reading, *hit, &self.routes[hit.route]));
            rival.set(rival.get().or(other));
            Ok(other.is_some())
        });
        judged.and_then(|it| it)?;
        Ok(rival.get())
    }

    /// Where nothing here matches and the proxy may not have the host: what a listener's next wider one has for the request.
    pub(super) fn wider<'a>(
        &self,
        request: &RequestAttributes<'_>,
        port: &'a Port,
    ) -> Result<Vec<&'a RouteEntry>, DenyReason> {
        let mut found = Vec::new();
        if self.is_there {
            return Ok(found);
        }
        for tables in port.by_listener(&request.host) {
            for table in tables.filter(|table| !std::ptr::eq(Arc::as_ptr(table), self)) {
                let entry = table.find(request)?;
                found.extend(entry);
                if entry.is_some() || table.is_there {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Whether all routes that a request of this host may take are of one namespace.
    pub(super) fn is_one_tenants(&self, request: &RequestAttributes<'_>, port: &Port) -> bool {
        self.namespace().is_some_and(|own| port.all(&request.host).all(|table| table.is_of(own)))
    }

    fn rival_of(&self, reading: &Reading<'_>, hit: RouteHit, found: &RouteEntry) -> Option<&RouteEntry> {
        let may_get = |other: &RouteEntry, has_method: bool| {
            // A proxy that keeps the two kinds apart may ask for no method.
            let matches = has_method || other.is_grpc();
            // Which of the two kinds comes first is the proxy's choice, unless it refused one: so the Gateway API wants it.
            let is_beside = other.is_grpc() != found.is_grpc();
            matches && !other.is_refused() && (is_beside || other.is_unknown || !hit.is_sure)
        };
        let other = self.matches.find_among(reading, |other, has_method| {
            let other = &self.routes[other.route];
            other.namespace() != found.namespace()
                && !other.chain.same(&found.chain)
                // Behind a redirect there is no service.
                && !other.redirects
                && may_get(other, has_method)
        });
        other.map(|hit| &*self.routes[hit.route])
    }
}

impl PolicyIndex {
    /// Why the routes of a request are in conflict, for people; `None` where they are not.
    pub(crate) fn conflict(&self, request: &RequestAttributes<'_>) -> Option<String> {
        let mut first: Option<&RouteEntry> = None;
        for (port, table) in self.ports.looked_into(&request.host) {
            let Some(found) = table.find(request).ok()? else {
                if let Some(wider) = table.wider(request, port).ok()?.first()
                    && !table.is_one_tenants(request, port)
                {
                    return Some(format!(
                        "a narrower host has routes of which none matches it and none is taken, so it may be for {} of a wider host, and \
                         they are of several namespaces",
                        wider.name
                    ));
                }
                continue;
            };
            if let Some(rival) = table.rival(request, found, port).ok()? {
                let doubt: String = match found.acceptance.doubt() {
                    Some(doubt) => format!("{} {doubt}", found.route),
                    None if rival.is_unknown => {
                        format!("{} has a match that cannot be read here, and the proxy may read it", rival.route)
                    }
                    None if found.is_grpc() != rival.is_grpc() => {
                        "proxies differ in which of the two kinds comes first".into()
                    }
                    None => "it is found by an expression, which proxies rank and read differently".into(),
                };
                return Some(format!(
                    "it is found to be for {}, and {} of another namespace matches it too, with other policies; {doubt}",
                    found.name, rival.name
                ));
            }
            if found.redirects {
                continue;
            }
            let first = *first.get_or_insert(found);
            if !first.chain.same(&found.chain) {
                return Some(format!(
                    "one listener has it for {} and another for {}, with different policies",
                    first.name, found.name
                ));
            }
        }
        None
    }
}
