//! Whether the proxy has a route, by the word of its Gateway's controller (`status.parents`).

use super::super::acceptance::Acceptance;
use super::super::install::ObjectName;
use super::routes::Route;
use crate::api::gateway::{Listener, ParentRef};
use crate::api::route_status::{ParentStatus, RouteCondition};

/// With these reasons a rule of an HTTPRoute whose `ResolvedRefs` is not true is there, and answers 500 (Gateway API,
/// `RouteReasonBackendNotFound`). With any other the proxy may have left the route out: Istio does where a filter is unknown to it,
/// and calls it accepted. Of GRPCRoutes Istio leaves out some with these reasons, too.
const THERE: [&str; 2] = ["BackendNotFound", "RefNotPermitted"];

impl Route {
    /// What its status says of it on this listener, as the route is now.
    pub(super) fn acceptance(&self, gateway: &ObjectName, listener: &Listener) -> Acceptance {
        let wanted = || self.parents.iter().filter(|parent| self.is_parent(parent, gateway, listener));
        let told =
            self.status().parents.iter().filter(|told| wanted().any(|parent| self.is_same(parent, &told.parent_ref)));
        let mut found = Acceptance::Untold;
        for said in told.filter_map(|told| self.said(told)) {
            found = match (found, said) {
                // Of two controllers one is not the Gateway's: who was there before leaves words about earlier generations behind.
                (Acceptance::Untold | Acceptance::Older, said) => said,
                (found, Acceptance::Older) => found,
                (found, said) if found == said => found,
                _ => Acceptance::InPart,
            };
        }
        found
    }

    /// What one entry says; `None` where it does not say whether the route is taken.
    fn said(&self, told: &ParentStatus) -> Option<Acceptance> {
        let accepted = told.condition("Accepted")?;
        let is_now = |it: &RouteCondition| it.observed_generation == self.generation();
        let is = |kind: &str, status: &str| told.condition(kind).is_some_and(|it| it.status == status);
        let is_resolved = |it: &RouteCondition| {
            it.status == "True" || (self.kind == "HTTPRoute" && THERE.contains(&it.reason.as_str()))
        };
        let refs = told.condition("ResolvedRefs");
        Some(match accepted.status.as_str() {
            _ if !is_now(accepted) || refs.is_some_and(|it| !is_now(it)) => Acceptance::Older,
            "False" => Acceptance::Refused,
            "True" if refs.is_some_and(|it| !is_resolved(it)) || is("PartiallyInvalid", "True") => Acceptance::InPart,
            "True" if is("Programmed", "False") || is("Programmed", "Unknown") => Acceptance::InPart,
            "True" => Acceptance::Taken,
            _ => Acceptance::Untold,
        })
    }

    fn is_same(&self, parent: &ParentRef, told: &ParentRef) -> bool {
        let namespace = |it: &ParentRef| it.namespace.as_ref().unwrap_or(&self.name.0).clone();
        (&parent.group, &parent.kind, &parent.name) == (&told.group, &told.kind, &told.name)
            && namespace(parent) == namespace(told)
            && (&parent.section_name, parent.port) == (&told.section_name, told.port)
    }
}
