//! One key: its private half ready to sign, its public half ready to verify and to publish.
//!
//! `jsonwebtoken::encode` reads its key's DER anew for each signature, which for RSA costs more than the signature; so the
//! signatures are made with the same provider (aws-lc-rs) on a key that was read once.

use std::fmt;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, ParsedPublicKey, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk;
use zeroize::Zeroizing;

use super::KeyId;
use super::algorithm::SigningAlgorithm;
use super::folder::MAX_RSA;

/// A private key with everything that does not change from one JWT to the next. `Debug` shows its `kid` only.
pub(super) struct SigningKey {
    id: KeyId,
    algorithm: SigningAlgorithm,
    pair: Pair,
    public: ParsedPublicKey,
    jwk: jwk::Jwk,
    /// The protected header in base64url, and the dot after it.
    header: String,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
}

impl SigningKey {
    /// The key of this PKCS#8 document (RFC 5208), when it is one for this algorithm.
    pub(super) fn from_pkcs8(algorithm: SigningAlgorithm, der: &[u8]) -> Result<Self, KeyRejected> {
        let pair = match algorithm {
            SigningAlgorithm::Es256 => {
                Pair::Ecdsa(EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, der)?)
            }
            SigningAlgorithm::Es384 => {
                Pair::Ecdsa(EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, der)?)
            }
            SigningAlgorithm::EdDsa => Pair::Ed25519(Ed25519KeyPair::from_pkcs8(der)?),
            SigningAlgorithm::Rs256 => Pair::Rsa(RsaKeyPair::from_pkcs8(der)?, &signature::RSA_PKCS1_SHA256),
            SigningAlgorithm::Ps256 => Pair::Rsa(RsaKeyPair::from_pkcs8(der)?, &signature::RSA_PSS_SHA256),
        };
        let public = ParsedPublicKey::new(verification(algorithm), pair.public_bytes())?;
        let mut jwk = jwk::Jwk {
            common: jwk::CommonParameters {
                public_key_use: Some(jwk::PublicKeyUse::Signature),
                key_algorithm: Some(jwk_algorithm(algorithm)),
                ..jwk::CommonParameters::default()
            },
            algorithm: pair.parameters(algorithm),
        };
        let thumbprint = jwk.thumbprint(jwk::ThumbprintHash::SHA256).expect("each of our key types has a thumbprint");
        let id = KeyId(thumbprint.into());
        jwk.common.key_id = Some(id.0.to_string());
        let header = header(algorithm, &id.0);
        Ok(Self { id, algorithm, pair, public, jwk, header })
    }

    /// A new private key from the system's CSPRNG, as a PKCS#8 document.
    pub(super) fn generate(algorithm: SigningAlgorithm) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
        let random = SystemRandom::new();
        let bytes = |document: &[u8]| Zeroizing::new(document.to_vec());
        Ok(match algorithm {
            SigningAlgorithm::Es256 => {
                bytes(EcdsaKeyPair::generate_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &random)?.as_ref())
            }
            SigningAlgorithm::Es384 => {
                bytes(EcdsaKeyPair::generate_pkcs8(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, &random)?.as_ref())
            }
            // Version 1 of PKCS#8: OpenSSL reads no other for Ed25519.
            SigningAlgorithm::EdDsa => bytes(Ed25519KeyPair::generate_pkcs8v1(&random)?.as_ref()),
            SigningAlgorithm::Rs256 | SigningAlgorithm::Ps256 => {
                bytes(RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048)?.as_der()?.as_ref())
            }
        })
    }

    pub(super) fn id(&self) -> &KeyId {
        &self.id
    }

    pub(super) fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// The protected header of every JWT that this key signs, in base64url, and the dot after it.
    pub(super) fn header(&self) -> &str {
        &self.header
    }

    /// The public key as published (RFC 7517). The type has no field for a private member.
    pub(super) fn jwk(&self) -> &jwk::Jwk {
        &self.jwk
    }

    /// The signature of `message`, as JWS writes it (RFC 7518 §3.4: `R ‖ S`, not DER).
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        match &self.pair {
            Pair::Ecdsa(pair) => Ok(pair.sign(&SystemRandom::new(), message)?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.try_sign(message)?.as_ref().to_vec()),
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &SystemRandom::new(), message, &mut signature)?;
                Ok(signature)
            }
        }
    }

    /// Whether `signature` is this key's, by this key's own algorithm, over `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.public.verify_sig(message, signature).is_ok()
    }

    /// The bits of an RSA key's modulus: a signature with twice as many takes about six times as long.
    pub(super) fn rsa_bits(&self) -> Option<usize> {
        match &self.pair {
            Pair::Rsa(pair, _) => Some(pair.public_modulus_len() * 8),
            Pair::Ecdsa(_) | Pair::Ed25519(_) => None,
        }
    }

    /// The length of each of this key's signatures, in bytes.
    pub(super) fn signature_len(&self) -> usize {
        match &self.pair {
            Pair::Ed25519(_) => 64,
            Pair::Ecdsa(_) if self.algorithm == SigningAlgorithm::Es384 => 96,
            Pair::Ecdsa(_) => 64,
            Pair::Rsa(pair, _) => pair.public_modulus_len(),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} {})", self.algorithm, self.id.0)
    }
}

impl Pair {
    fn public_bytes(&self) -> &[u8] {
        match self {
            Self::Ecdsa(pair) => pair.public_key().as_ref(),
            Self::Ed25519(pair) => pair.public_key().as_ref(),
            Self::Rsa(pair, _) => pair.public_key().as_ref(),
        }
    }

    fn parameters(&self, algorithm: SigningAlgorithm) -> jwk::AlgorithmParameters {
        match self {
            Self::Ecdsa(pair) => {
                let curve = match algorithm {
                    SigningAlgorithm::Es384 => jwk::EllipticCurve::P384,
                    _ => jwk::EllipticCurve::P256,
                };
                // SEC 1 §2.3.3: one byte 4, then both coordinates, each as long as the field.
                let coordinates = &pair.public_key().as_ref()[1..];
                let (x, y) = coordinates.split_at(coordinates.len() / 2);
                jwk::AlgorithmParameters::EllipticCurve(jwk::EllipticCurveKeyParameters {
                    key_type: jwk::EllipticCurveKeyType::EC,
                    curve,
                    x: URL_SAFE_NO_PAD.encode(x),
                    y: URL_SAFE_NO_PAD.encode(y),
                })
            }
            Self::Ed25519(pair) => jwk::AlgorithmParameters::OctetKeyPair(jwk::OctetKeyPairParameters {
                key_type: jwk::OctetKeyPairType::OctetKeyPair,
                curve: jwk::EllipticCurve::Ed25519,
                x: URL_SAFE_NO_PAD.encode(pair.public_key()),
            }),
            Self::Rsa(pair, _) => {
                let components = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                jwk::AlgorithmParameters::RSA(jwk::RSAKeyParameters {
                    key_type: jwk::RSAKeyType::RSA,
                    n: URL_SAFE_NO_PAD.encode(components.n),
                    e: URL_SAFE_NO_PAD.encode(components.e),
                })
            }
        }
    }
}

/// The protected header of JWTs by this key, in base64url, and the dot after it.
pub(super) fn header(algorithm: SigningAlgorithm, kid: &str) -> String {
    let header = format!(r#"{{"alg":"{algorithm}","typ":"{}","kid":"{kid}"}}"#, super::TYP);
    format!("{}.", URL_SAFE_NO_PAD.encode(header))
}

/// The length of the longest signature of any key for `algorithm` that is taken, in bytes.
pub(super) fn longest_signature(algorithm: SigningAlgorithm) -> usize {
    match algorithm {
        SigningAlgorithm::Es256 | SigningAlgorithm::EdDsa => 64,
        SigningAlgorithm::Es384 => 96,
        SigningAlgorithm::Rs256 | SigningAlgorithm::Ps256 => MAX_RSA / 8,
    }
}

fn verification(algorithm: SigningAlgorithm) -> &'static dyn signature::VerificationAlgorithm {
    match algorithm {
        SigningAlgorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
        SigningAlgorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
        SigningAlgorithm::EdDsa => &signature::ED25519,
        SigningAlgorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        SigningAlgorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
    }
}

fn jwk_algorithm(algorithm: SigningAlgorithm) -> jwk::KeyAlgorithm {
    match algorithm {
        SigningAlgorithm::Es256 => jwk::KeyAlgorithm::ES256,
        SigningAlgorithm::Es384 => jwk::KeyAlgorithm::ES384,
        SigningAlgorithm::EdDsa => jwk::KeyAlgorithm::EdDSA,
        SigningAlgorithm::Rs256 => jwk::KeyAlgorithm::RS256,
        SigningAlgorithm::Ps256 => jwk::KeyAlgorithm::PS256,
    }
}

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// The PEM text (RFC 7468 §10) of a PKCS#8 document.
pub(super) fn to_pem(der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut text = Zeroizing::new(String::with_capacity(body.len() + body.len() / 64 + 64));
    text.push_str(BEGIN);
    for (at, character) in body.chars().enumerate() {
        if at % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push('\n');
    text.push_str(END);
    text.push('\n');
    text
}

/// The PKCS#8 document of a PEM text with exactly one `PRIVATE KEY` block and nothing beside it; else what is wrong and
/// what to do.
pub(super) fn from_pem(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "this is not a PEM file")?.trim();
    if text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return Err("the key is encrypted; decrypt it with `openssl pkcs8 -in FILE`");
    }
    if text.starts_with("-----BEGIN EC PRIVATE KEY-----") || text.starts_with("-----BEGIN RSA PRIVATE KEY-----") {
        return Err("the key is not in PKCS#8; convert it with `openssl pkcs8 -topk8 -nocrypt -in FILE`");
    }
    let body = text.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
    let body = body.ok_or("this is not a PEM file with one `PRIVATE KEY` block and nothing else")?;
    let joined = Zeroizing::new(body.split_ascii_whitespace().collect::<String>());
    STANDARD.decode(joined.as_str()).map(Zeroizing::new).map_err(|_| "its base64 is broken; restore the file")
}
