//! `providers`: how identity providers are asked.

use std::path::Path;

use super::file::ProvidersFile;
use super::{Wrong, wrong};
use crate::identity::outbound::{NetworkError, OutboundConfig};

pub(super) fn resolve(file: ProvidersFile, folder: &Path) -> Result<OutboundConfig, Wrong> {
    let written = file.networks.unwrap_or_default();
    if written.len() > 64 {
        return Err(wrong("providers.networks", format!("{} networks, the most is 64", written.len())));
    }
    let networks = written.iter().map(|text| text.parse().map_err(|error| wrong_network(&error)));
    Ok(OutboundConfig {
        networks: networks.collect::<Result<_, _>>()?,
        ca_file: file.ca_file.map(|path| folder.join(path)),
    })
}

fn wrong_network(error: &NetworkError) -> Wrong {
    wrong("providers.networks", error.to_string())
}
