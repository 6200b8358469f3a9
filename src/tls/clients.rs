//! Whom a listener lets in (P30): whom its authorities call clients; and of those, where there is a list, who has a name on it.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, DnsName, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::{Text, TlsError, provider};

/// Those whom these authorities call clients: `clientAuth` among the extended key usages (RFC 5280 §4.2.1.12), and in time; and
/// with `names` those alone that have one of them.
pub(super) fn of(
    authorities: &Text<'_>,
    names: Option<&[DnsName<'static>]>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let wrong = |problem: String| TlsError::Authority { place: authorities.place.clone(), problem };
    let mut roots = RootCertStore::empty();
    for authority in authorities.certificates()? {
        roots.add(authority).map_err(|error| wrong(error.to_string()))?;
    }
    let all = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| wrong(error.to_string()))?;
    let Some(names) = names else { return Ok(all) };
    Ok(Arc::new(Named { all, names: names.iter().cloned().map(ServerName::from).collect() }))
}

/// Those of `all` that have one of these names.
#[derive(Debug)]
struct Named {
    all: Arc<dyn ClientCertVerifier>,
    names: Vec<ServerName<'static>>,
}

impl ClientCertVerifier for Named {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.all.root_hint_subjects()
    }

    /// A name is looked for among the DNS names of the subject's alternative names and nowhere else (RFC 9525 §6.3).
    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.all.verify_client_cert(certificate, between, now)?;
        let parsed = ParsedCertificate::try_from(certificate)?;
        match self.names.iter().any(|name| verify_server_name(&parsed, name).is_ok()) {
            true => Ok(verified),
            // The alert `access_denied` (RFC 8446 §6.2): the certificate is good, and its owner is not let in.
            false => Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.all.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.all.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.all.supported_verify_schemes()
    }
}
