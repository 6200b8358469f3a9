//! `listen.tls`: what the gate shows, and whom it lets in.

use std::path::Path;

use rustls::pki_types::DnsName;

use super::file::ListenTlsFile;
use super::{Wrong, wrong};
use crate::tls::TlsFiles;

/// `listen.tls`: all three files, so that no peer is let in without a certificate.
pub(super) fn resolve(file: ListenTlsFile, folder: &Path) -> Result<TlsFiles, Wrong> {
    let needed = |key: &'static str, given: Option<String>, what: &str| match given {
        Some(path) => Ok(folder.join(path)),
        None => Err(wrong(key, format!("is missing: name {what}"))),
    };
    Ok(TlsFiles {
        certificate: needed("listen.tls.certFile", file.cert_file, "the gate's certificate, PEM")?,
        key: needed("listen.tls.keyFile", file.key_file, "the private key of listen.tls.certFile, PEM")?,
        client_ca: Some(needed(
            "listen.tls.clientCaFile",
            file.client_ca_file,
            "the authority, PEM, whose certificates the proxies show; others are not answered",
        )?),
        client_names: file.client_names.map(client_names).transpose()?,
    })
}

/// `listen.tls.clientNames`: left out, whoever the authority calls a client; empty, nobody.
fn client_names(given: Vec<String>) -> Result<Vec<DnsName<'static>>, Wrong> {
    let mut names = Vec::new();
    for text in given {
        let problem = match DnsName::try_from(text.clone()) {
            Ok(name) if names.contains(&name) => format!("`{text}` is named twice"),
            Ok(name) => {
                names.push(name);
                continue;
            }
            Err(_) => format!(
                "`{text}` is not a DNS name: write each name out as the certificates have it, such as \
                 infra.proxies.cloakroom.internal"
            ),
        };
        return Err(wrong("listen.tls.clientNames", problem));
    }
    Ok(names)
}
