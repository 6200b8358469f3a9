//! Where requests carry a provider's credentials (`from`).

use std::sync::Arc;

use crate::api::auth_policy::CarrierRef;
use crate::authz::attributes::headers::same_name;
use crate::authz::credential::{Carrier, CarrierError, Carriers};
use crate::authz::policy::install::Install;
use crate::authz::policy::problem::Findings;
use crate::authz::policy::rule::carrier_text;

const MAX_PLACES: usize = 4;

/// The places that `refs` name, or findings below the path `at`.
pub(super) fn places(refs: &[CarrierRef], at: &str, install: &Install, findings: &mut Findings) -> Arc<[Carrier]> {
    if !(1..=MAX_PLACES).contains(&refs.len()) {
        findings.add(
            at,
            format!("name 1 to {MAX_PLACES} places where requests carry the credential, like `- bearer: {{}}`"),
        );
    }
    let mut places: Vec<Carrier> = Vec::new();
    for (i, written) in refs.iter().take(MAX_PLACES).enumerate() {
        let at = format!("{at}[{i}]");
        let place = match (&written.cookie, &written.bearer, &written.header) {
            (Some(name), None, None) => Carrier::Cookie(name.as_str().into()),
            (None, Some(_), None) => Carrier::Bearer,
            (None, None, Some(name)) => Carrier::Header(name.to_ascii_lowercase().into()),
            _ => {
                findings
                    .add(at, "exactly one of `bearer`, `header` and `cookie` is needed, like `- header: x-api-key`");
                continue;
            }
        };
        if places.contains(&place) {
            findings.add(at, "the same place twice");
        } else if let Some(place) = findings.catch(at, free(place, install)) {
            places.push(place);
        }
    }
    places.into()
}

/// The place, if nothing else travels there. `Authorization: Bearer` is shared: a token of ours, a session JWT and a credential of
/// somebody else can be told apart there.
fn free(place: Carrier, install: &Install) -> Result<Carrier, String> {
    if place != Carrier::Bearer {
        Carriers::new(vec![place.clone()]).map_err(|error| match error {
            CarrierError::HeaderName(_) => {
                "is not a header's name, or one with a meaning of its own: choose another, like `x-api-key`".to_owned()
            }
            _ => "is not a cookie's name (RFC 6265), or one that servers read in different ways".to_owned(),
        })?;
    }
    let taken = match &place {
        Carrier::Bearer => false,
        Carrier::Cookie(name) => install.carriers.cookie_names().any(|ours| ours.eq_ignore_ascii_case(name)),
        Carrier::Header(name) => {
            if install.own_headers.owns(name.as_bytes()) {
                return Err(format!(
                    "`{name}` is one of our own, which are taken off every request: choose another name"
                ));
            }
            install
                .carriers
                .as_slice()
                .iter()
                .any(|ours| matches!(ours, Carrier::Header(ours) if same_name(ours.as_bytes(), name.as_bytes())))
        }
    };
    if taken {
        return Err(format!(
            "`{}` carries our own tokens (`token.carriers`): choose another place",
            carrier_text(&place)
        ));
    }
    Ok(place)
}
