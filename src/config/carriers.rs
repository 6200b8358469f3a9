//! `token.carriers`: where tokens travel.

use super::file::{CarrierFile, Empty};
use super::{Wrong, wrong};
use crate::authz::credential::{Carrier, Carriers};

/// The carriers of the file; left out, they are the cookie `__Host-session` and the bearer token.
pub(super) fn resolve(given: Option<Vec<CarrierFile>>) -> Result<Carriers, Wrong> {
    let key = "token.carriers";
    let written =
        given.unwrap_or_else(|| vec![CarrierFile::Cookie("__Host-session".to_owned()), CarrierFile::Bearer(Empty {})]);
    let mut carriers = Vec::new();
    for carrier in written {
        carriers.push(match carrier {
            CarrierFile::Bearer(_) => Carrier::Bearer,
            CarrierFile::Header(name) => Carrier::Header(name.to_ascii_lowercase().into()),
            // RFC 6265bis §4.1.3.2: only this prefix binds a cookie to its host, in every browser.
            CarrierFile::Cookie(name) if name.starts_with("__Host-") && (8..=64).contains(&name.len()) => {
                Carrier::Cookie(name.into())
            }
            CarrierFile::Cookie(name) => {
                return Err(wrong(
                    key,
                    format!(
                        "`{name}` is not host-bound: begin the cookie's name with `__Host-`, at most 64 bytes in all"
                    ),
                ));
            }
        });
    }
    if carriers.len() > 8 || carriers.iter().filter(|it| matches!(it, Carrier::Cookie(_))).count() > 1 {
        return Err(wrong(key, "list at most 8 carriers and one cookie: two cookies would have to be ranked".into()));
    }
    Carriers::new(carriers).map_err(|error| wrong(key, error.to_string()))
}
