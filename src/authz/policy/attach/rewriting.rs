//! Filters that make another request of the one that was judged: they run after the check.

use crate::api::gateway::RouteFilter;
use crate::authz::attributes::is_override;
use crate::authz::attributes::own_headers::OwnHeaders;

/// Whether a service may take what it is sent for another request than the one that was judged, or for somebody else's.
pub(super) fn may_rewrite(filter: &RouteFilter, own: &OwnHeaders) -> bool {
    match filter.kind.as_str() {
        "RequestHeaderModifier" => {
            let headers = filter.request_header_modifier.iter().flat_map(|it| it.set.iter().chain(&it.add));
            headers.map(|it| it.name.as_bytes()).any(|name| is_override(name) || own.owns(name) || is_target(name))
        }
        "ResponseHeaderModifier" | "RequestMirror" | "RequestRedirect" | "CORS" | "ExternalAuth" => false,
        // `URLRewrite`, and what is not known here.
        _ => true,
    }
}

/// Istio takes `Host` for the authority; what begins with `:` is no header.
fn is_target(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"host") || name.starts_with(b":")
}
