//! A certificate authority for the moment: what a `__Host-` cookie needs, and a Redis that speaks TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData as _, SanType,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::envoy::TlsFiles;

/// A CA of our own, and what it signed: a certificate for some names, and one for a client. The CA's key is not kept.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// What clients must trust, PEM.
    pub ca: PathBuf,
    /// What the listener shows.
    pub server: TlsFiles,
    /// What a client shows.
    pub client: TlsFiles,
    /// SHA-256 of the listener's public key, in base64, for browsers that are told to trust it.
    pub spki_sha256: String,
}

impl Certificates {
    /// Writes `ca.pem`, `server.pem`, `server.key`, `client.pem` and `client.key` into a folder that only we can read.
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
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let mut client = CertificateParams::default();
        client.distinguished_name.push(DnType::CommonName, "cloakroom client");
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        for leaf in [&mut server, &mut client] {
            leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            leaf.use_authority_key_identifier_extension = true;
        }
        let issuer = Issuer::from_params(&ca, &ca_key);
        let (server_key, client_key) = (KeyPair::generate()?, KeyPair::generate()?);

        let spki = server_key.subject_public_key_info();
        let made = Self {
            spki_sha256: BASE64_STANDARD.encode(digest(&SHA256, &spki)),
            ca: folder.join("ca.pem"),
            server: TlsFiles { certificate: folder.join("server.pem"), key: folder.join("server.key") },
            client: TlsFiles { certificate: folder.join("client.pem"), key: folder.join("client.key") },
        };
        std::fs::write(&made.ca, ca_certificate.pem())?;
        std::fs::write(&made.server.certificate, server.signed_by(&server_key, &issuer)?.pem())?;
        std::fs::write(&made.server.key, server_key.serialize_pem())?;
        std::fs::write(&made.client.certificate, client.signed_by(&client_key, &issuer)?.pem())?;
        std::fs::write(&made.client.key, client_key.serialize_pem())?;
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

    /// TLS over an open stream, for a client that trusts this CA and no other; `shows` says that it shows its certificate.
    ///
    /// # Errors
    /// When the peer is not `name`, or a file is gone.
    pub async fn over(&self, stream: TcpStream, name: &str, shows: bool) -> Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.ca)?)?;
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_safe_default_protocol_versions()?.with_root_certificates(roots);
        let config = if shows {
            let certificate = CertificateDer::from_pem_file(&self.client.certificate)?;
            config.with_client_auth_cert(vec![certificate], PrivateKeyDer::from_pem_file(&self.client.key)?)?
        } else {
            config.with_no_client_auth()
        };
        let name = ServerName::try_from(name.to_owned())?;
        Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
    }
}

/// An authority whose key is kept, to sign what a test needs.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    certificate: String,
}

/// What a certificate is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// To answer by these names.
    Server(&'static [&'static str]),
    /// To ask.
    Client,
    /// To ask, by these names.
    ClientOf(&'static [&'static str]),
    /// To ask, once: its time is over.
    ClientOfThePast,
    /// To ask and to answer as a workload of a mesh, by its SPIFFE ID.
    Workload(&'static str),
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn make() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        // A name of its own, as ours have.
        let name = BASE64_STANDARD.encode(&digest(&SHA256, &key.subject_public_key_info()).as_ref()[..9]);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { params, key, certificate })
    }

    /// Its certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Signs a certificate of a new key: both in PEM.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn sign(&self, for_: Use) -> Result<(String, String)> {
        let names = match for_ {
            Use::Server(names) | Use::ClientOf(names) => names.iter().map(|&name| name.to_owned()).collect(),
            Use::Client | Use::ClientOfThePast | Use::Workload(_) => Vec::new(),
        };
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "leaf");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = match for_ {
            Use::Server(_) => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Use::Client | Use::ClientOf(_) | Use::ClientOfThePast => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Use::Workload(_) => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        };
        if let Use::Workload(identity) = for_ {
            params.subject_alt_names.push(SanType::URI(identity.try_into()?));
        }
        if for_ == Use::ClientOfThePast {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key))?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    /// [`Authority::sign`] into `tls.crt` and `tls.key` of a folder, which is made.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn sign_into(&self, folder: &Path, for_: Use) -> Result<TlsFiles> {
        std::fs::create_dir_all(folder)?;
        let (certificate, key) = self.sign(for_)?;
        let files = TlsFiles { certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
        std::fs::write(&files.certificate, certificate)?;
        std::fs::write(&files.key, key)?;
        Ok(files)
    }
}
