//! The Gateway API's own filter `ExternalAuth` (GEP-1494): the check, for any proxy that knows it. It has no response half.

use super::{File, Piece, Site, WiringError, chart_file};

const BACKEND_TLS_POLICY: File = chart_file!("gateway-api/backend-tls-policy.yaml");
const REFERENCE_GRANT: File = chart_file!("gateway-api/reference-grant.yaml");
const GATEWAY: File = chart_file!("gateway-api/gateway.yaml");
const FILTERS: File = chart_file!("gateway-api/filters.yaml");
const FILTERS_OPEN: File = chart_file!("gateway-api/filters-open.yaml");

/// All pieces: what is applied, then the lines of objects that are the user's.
pub(super) fn pieces(site: &Site) -> Result<Vec<Piece>, WiringError> {
    let install = ("installNamespace", &*site.install_namespace);
    let (gate, names) = (site.gate_name(), own_names(site));
    let mut pieces =
        vec![BACKEND_TLS_POLICY.document("How gateways call the gate: by TLS.", &[install, ("gateName", &*gate)])?];
    for namespace in &site.namespaces {
        pieces.push(REFERENCE_GRANT.document(
            format!("Routes of {namespace} may name the gate in another namespace."),
            &[install, ("namespace", namespace)],
        )?);
    }
    pieces.push(GATEWAY.lines(
        "Lines for the Gateway: it shows a client certificate, or the gate does not answer it. The Secret is made in the \
         namespaces of the Gateways that the install names (`gateways` in the chart's values).",
        &[],
    )?);
    let names = ("names", &*names);
    pieces.push(FILTERS.lines("Lines for each rule of an HTTPRoute that is to be checked.", &[install, names])?);
    pieces.push(FILTERS_OPEN.lines("Lines for each rule of an HTTPRoute that is not checked.", &[names])?);
    Ok(pieces)
}

/// Our names one by one, as the Gateway API knows no patterns.
fn own_names(site: &Site) -> String {
    [&site.headers.jwt, "x-session-create", "x-session-update", "x-session-end"].join(",")
}
