//! Making certificates: P-256, with random serial numbers, and with names where clients look for them (RFC 9525 §2).

use std::fmt;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber, date_time_ymd,
};
use zeroize::Zeroizing;

use super::Purpose;
use super::x509::Certificate;
use crate::authz::session::Timestamp;

/// A certificate begins so long before it is made: clocks differ.
pub(super) const SKEW: Duration = Duration::from_secs(300);

/// An authority's certificate and key. `Debug` shows no byte of the key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Signer {
    pub(super) certificate: Certificate,
    pub(super) key: Zeroizing<String>,
}

/// A certificate and its key. `Debug` shows no byte of the key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) certificate: Certificate,
    pub(super) key: Zeroizing<String>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({:?} to {:?}, redacted)", self.certificate.begins, self.certificate.ends)
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leaf({:?} to {:?}, redacted)", self.certificate.begins, self.certificate.ends)
    }
}

impl Signer {
    /// A new authority.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(super) fn make(life: Duration, now: Timestamp) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let (serial, number) = serial()?;
        // A name of its own: who has two authorities of ours finds the right one by it.
        let mut params = params(&format!("authority {number}"), serial, now, now.plus(life));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key)?.pem();
        Self::read(&pem, &Zeroizing::new(key.serialize_pem())).map_err(anyhow::Error::msg)
    }

    /// # Errors
    /// Why they are no authority, in words.
    pub(super) fn read(certificate: &str, key: &str) -> Result<Self, String> {
        let certificate = Certificate::read(certificate)?;
        if !certificate.is_authority {
            return Err("is no authority's".to_owned());
        }
        let key = fitting(&certificate, key)?;
        Ok(Self { certificate, key })
    }

    /// A new key and a certificate of it, which does not outlive this authority.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(super) fn sign(&self, purpose: &Purpose, life: Duration, now: Timestamp) -> anyhow::Result<Leaf> {
        let key = KeyPair::generate()?;
        let (serial, _) = serial()?;
        let ends = now.plus(life).min(self.certificate.ends);
        let (called, names, usage) = match purpose {
            Purpose::Server(names) => ("server", names, ExtendedKeyUsagePurpose::ServerAuth),
            Purpose::Client(names) => ("proxies", names, ExtendedKeyUsagePurpose::ClientAuth),
        };
        let mut params = params(called, serial, now, ends);
        params.extended_key_usages = vec![usage];
        let names = names.iter().map(|name| Ok(SanType::DnsName(name.as_str().try_into()?)));
        params.subject_alt_names = names.collect::<Result<_, rcgen::Error>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate.pem, KeyPair::from_pem(&self.key)?)?;
        let pem = params.signed_by(&key, &issuer)?.pem();
        Leaf::read(&pem, &Zeroizing::new(key.serialize_pem())).map_err(anyhow::Error::msg)
    }
}

impl Leaf {
    /// # Errors
    /// Why they do not fit, in words.
    pub(super) fn read(certificate: &str, key: &str) -> Result<Self, String> {
        let certificate = Certificate::read(certificate)?;
        let key = fitting(&certificate, key)?;
        Ok(Self { certificate, key })
    }

    /// From when on there is to be another: two thirds of its life are over.
    pub(super) fn renewal(&self) -> Timestamp {
        let Certificate { begins, ends, .. } = &self.certificate;
        begins.plus(ends.since(*begins) / 3 * 2)
    }
}

/// The key, if it is that of the certificate.
fn fitting(certificate: &Certificate, key: &str) -> Result<Zeroizing<String>, String> {
    let pair = KeyPair::from_pem(key).map_err(|_| "its key is no private key in PEM".to_owned())?;
    if pair.subject_public_key_info() != certificate.public_key {
        return Err("its key is another's".to_owned());
    }
    Ok(Zeroizing::new(key.to_owned()))
}

fn params(name: &str, serial: SerialNumber, now: Timestamp, ends: Timestamp) -> CertificateParams {
    let epoch = date_time_ymd(1970, 1, 1);
    let at = |moment: Timestamp| epoch + Duration::from_secs(u64::try_from(moment.as_secs()).unwrap_or_default());
    let skew = i64::try_from(SKEW.as_millis()).unwrap_or_default();
    let mut distinguished_name = DistinguishedName::new();
    // For people: nobody looks for a name in here.
    distinguished_name.push(DnType::OrganizationName, "cloakroom");
    distinguished_name.push(DnType::CommonName, name);
    let mut params = CertificateParams::default();
    params.not_before = at(Timestamp::from_millis(now.as_millis().saturating_sub(skew)));
    params.not_after = at(ends);
    params.serial_number = Some(serial);
    params.distinguished_name = distinguished_name;
    params
}

/// A random serial number (RFC 5280 §4.1.2.2: positive, at most 20 octets), and how it is written.
fn serial() -> anyhow::Result<(SerialNumber, String)> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system's random generator failed"))?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    let written = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((SerialNumber::from_slice(&bytes), written))
}
