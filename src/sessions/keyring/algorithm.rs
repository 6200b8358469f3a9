//! The fixed list of algorithms that sign session JWTs (P8).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a key signs: its JWS `alg` (RFC 7518 §3.1, RFC 8037 §3.1). All are asymmetric; there is no `none` and no HMAC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SigningAlgorithm {
    /// ECDSA on P-256 with SHA-256: small, fast, understood everywhere.
    #[default]
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519: faster still, less widely understood.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256: for verifiers that know nothing else; a signature costs about 25 of ES256.
    #[serde(rename = "RS256")]
    Rs256,
    /// RSASSA-PSS with SHA-256.
    #[serde(rename = "PS256")]
    Ps256,
    /// ECDSA on P-384 with SHA-384.
    #[serde(rename = "ES384")]
    Es384,
}

impl SigningAlgorithm {
    /// Every algorithm, in the order of the documentation.
    pub const ALL: [Self; 5] = [Self::Es256, Self::EdDsa, Self::Rs256, Self::Ps256, Self::Es384];

    /// The `alg` value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es384 => "ES384",
        }
    }

    /// Whether a signature takes several times as long as one for `other`: with RSA longer than with ES384, and with that longer
    /// than with ES256 and EdDSA, which are alike.
    pub const fn is_slower_than(self, other: Self) -> bool {
        self.effort() > other.effort()
    }

    const fn effort(self) -> u8 {
        match self {
            Self::Es256 | Self::EdDsa => 0,
            Self::Es384 => 1,
            Self::Rs256 | Self::Ps256 => 2,
        }
    }
}

impl fmt::Display for SigningAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no [`SigningAlgorithm`].
#[derive(Debug, thiserror::Error)]
#[error("no algorithm is called `{0}`: use ES256, EdDSA, RS256, PS256 or ES384")]
pub struct UnknownAlgorithm(String);

impl FromStr for SigningAlgorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        let known = Self::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        known.ok_or_else(|| UnknownAlgorithm(name.to_owned()))
    }
}
