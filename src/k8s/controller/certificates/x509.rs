//! What we need to know of a certificate that we have made.

use std::collections::BTreeSet;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::Purpose;
use crate::authz::session::Timestamp;

/// A certificate, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) pem: String,
    der: CertificateDer<'static>,
    pub(super) begins: Timestamp,
    pub(super) ends: Timestamp,
    /// What it is for; `None`: it is an authority's, or of no use to us.
    pub(super) purpose: Option<Purpose>,
    pub(super) is_authority: bool,
    /// Its public key, as it stands in it.
    pub(super) public_key: Vec<u8>,
}

impl Certificate {
    /// Reads the first one of a text in PEM.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    pub(super) fn read(pem: &str) -> Result<Self, String> {
        let der =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| "holds no certificate in PEM".to_owned())?;
        let (_, parsed) = parse_x509_certificate(&der).map_err(|error| format!("is no certificate: {error}"))?;
        let at = |seconds: i64| Timestamp::from_millis(seconds.saturating_mul(1000));
        let usage = parsed.extended_key_usage().ok().flatten().map(|it| (it.value.server_auth, it.value.client_auth));
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names.iter().flat_map(|it| &it.value.general_names).filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
        let names: BTreeSet<_> = names.collect();
        let purpose = match usage {
            Some((true, false)) => Some(Purpose::Server(names)),
            Some((false, true)) => Some(Purpose::Client(names)),
            _ => None,
        };
        Ok(Self {
            begins: at(parsed.validity().not_before.timestamp()),
            ends: at(parsed.validity().not_after.timestamp()),
            purpose,
            is_authority: parsed.is_ca(),
            public_key: parsed.public_key().raw.to_vec(),
            pem: pem.to_owned(),
            der: der.clone().into_owned(),
        })
    }

    /// Whether `authority` has signed it.
    pub(super) fn is_signed_by(&self, authority: &Self) -> bool {
        let (Ok((_, this)), Ok((_, that))) =
            (parse_x509_certificate(&self.der), parse_x509_certificate(&authority.der))
        else {
            return false;
        };
        this.issuer() == that.subject() && this.verify_signature(Some(that.public_key())).is_ok()
    }
}
