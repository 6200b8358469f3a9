//! Whether a client that trusts one PEM text would accept a server that shows another.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore};

/// Why it would not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Distrust {
    /// What is trusted is no certificate.
    NoAuthority,
    /// What is shown is no certificate.
    NoCertificate,
    /// Its time has passed, or has not come.
    Expired,
    /// It is for other names.
    Name,
    /// Another authority has signed it.
    Authority,
    /// Something else.
    Other(String),
}

/// Whether a client that trusts `authority` accepts `shown` for `name` at this time.
pub(super) fn accepts(authority: &[u8], shown: &[u8], name: &str, at: Timestamp) -> Result<(), Distrust> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(authority));
    if added == 0 {
        return Err(Distrust::NoAuthority);
    }
    let chain = certificates(shown);
    let (leaf, rest) = chain.split_first().ok_or(Distrust::NoCertificate)?;
    let name = ServerName::try_from(name.to_owned()).map_err(|_| Distrust::Name)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = verifier.map_err(|error| Distrust::Other(error.to_string()))?;
    let seconds = u64::try_from(at.as_second()).unwrap_or_default();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    match verifier.verify_server_cert(leaf, rest, &name, &[], now) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InvalidCertificate(error)) => Err(match error {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Distrust::Expired,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Distrust::Name,
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Distrust::Authority,
            CertificateError::BadEncoding => Distrust::NoCertificate,
            other => Distrust::Other(format!("{other:?}")),
        }),
        Err(error) => Err(Distrust::Other(error.to_string())),
    }
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect()
}
