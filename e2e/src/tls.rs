//! A certificate authority for the moment: what a `__Host-` cookie needs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData as _,
};

use crate::envoy::TlsFiles;

/// A CA of our own, and a certificate that it signed for some names. The CA's key is not kept.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// What clients must trust, PEM.
    pub ca: PathBuf,
    /// What the listener shows.
    pub server: TlsFiles,
    /// SHA-256 of the listener's public key, in base64, for browsers that are told to trust it.
    pub spki_sha256: String,
}

impl Certificates {
    /// Writes `ca.pem`, `server.pem` and `server.key` into a folder that only we can read.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn make(folder: &Path, names: &[&str]) -> Result<Self> {
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "cloakroom demo CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_key = KeyPair::generate()?;
        let ca_certificate = ca.self_signed(&ca_key)?;

        let mut server = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
        server.distinguished_name.push(DnType::CommonName, *names.first().context("a certificate for no name")?);
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.use_authority_key_identifier_extension = true;
        let server_key = KeyPair::generate()?;
        let server_certificate = server.signed_by(&server_key, &Issuer::from_params(&ca, &ca_key))?;

        let spki = server_key.subject_public_key_info();
        let made = Self {
            spki_sha256: BASE64_STANDARD.encode(digest(&SHA256, &spki)),
            ca: folder.join("ca.pem"),
            server: TlsFiles { certificate: folder.join("server.pem"), key: folder.join("server.key") },
        };
        std::fs::write(&made.ca, ca_certificate.pem())?;
        std::fs::write(&made.server.certificate, server_certificate.pem())?;
        std::fs::write(&made.server.key, server_key.serialize_pem())?;
        Ok(made)
    }

    /// A client that trusts this CA and no other, follows no redirect, keeps no cookie, and finds `host` at `address`.
    ///
    /// # Errors
    /// When the CA's file is gone.
    pub fn client(&self, host: &str, address: std::net::SocketAddr) -> Result<reqwest::Client> {
        let ca = reqwest::Certificate::from_pem(&std::fs::read(&self.ca)?)?;
        let client = reqwest::Client::builder().tls_certs_only([ca]).resolve(host, address).no_proxy();
        Ok(client.redirect(reqwest::redirect::Policy::none()).build()?)
    }
}
