//! An issuer with a private key for each algorithm, made for the test by aws-lc-rs.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::api::exchange::JwtAlgorithm;

pub(super) struct Issuer {
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
    rsa: RsaKeyPair,
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Issuer {
    pub(super) fn new() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = |algorithm: &'static EcdsaSigningAlgorithm| {
            EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap().as_ref().to_vec()
        };
        let (es256, es384) = (pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING), pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING));
        Self {
            p256: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &es256).unwrap(),
            p384: EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &es384).unwrap(),
            ed25519: Ed25519KeyPair::generate().unwrap(),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
        }
    }

    /// The public keys: each is called after its algorithm, and the RSA key `RS256`.
    pub(super) fn jwks(&self) -> Value {
        let rsa = RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public_key());
        let ec = |curve: &str, kid: &str, pair: &EcdsaKeyPair| {
            let point = &pair.public_key().as_ref()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            json!({"kty": "EC", "crv": curve, "kid": kid, "x": encode(x), "y": encode(y)})
        };
        json!([
            ec("P-256", "ES256", &self.p256),
            ec("P-384", "ES384", &self.p384),
            {"kty": "OKP", "crv": "Ed25519", "kid": "EdDSA", "x": encode(self.ed25519.public_key())},
            {"kty": "RSA", "kid": "RS256", "n": encode(&rsa.n), "e": encode(&rsa.e)},
        ])
    }

    /// The RSA public key as others may have it: its modulus, and as a DER document.
    pub(super) fn rsa_public(&self) -> [Vec<u8>; 2] {
        let modulus = RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public_key()).n;
        [modulus, self.rsa.public_key().as_der().unwrap().as_ref().to_vec()]
    }

    /// A JWT with the usual header, `change` merged over it, and this payload.
    pub(super) fn sign(&self, algorithm: JwtAlgorithm, change: Value, payload: &str) -> String {
        let kid = if algorithm == JwtAlgorithm::Ps256 { JwtAlgorithm::Rs256 } else { algorithm };
        let mut header = json!({"alg": algorithm.name(), "kid": kid.name()});
        json_patch::merge(&mut header, &change);
        self.sign_as(algorithm, &header.to_string(), payload)
    }

    /// A JWT with exactly this header.
    pub(super) fn sign_as(&self, algorithm: JwtAlgorithm, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(payload));
        let signature = self.signature(algorithm, message.as_bytes());
        format!("{message}.{}", encode(signature))
    }

    pub(super) fn signature(&self, algorithm: JwtAlgorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |encoding| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(encoding, &random, message, &mut signature).unwrap();
            signature
        };
        match algorithm {
            JwtAlgorithm::Es256 => self.p256.sign(&random, message).unwrap().as_ref().to_vec(),
            JwtAlgorithm::Es384 => self.p384.sign(&random, message).unwrap().as_ref().to_vec(),
            JwtAlgorithm::EdDsa => self.ed25519.sign(message).as_ref().to_vec(),
            JwtAlgorithm::Rs256 => rsa(&RSA_PKCS1_SHA256),
            JwtAlgorithm::Ps256 => rsa(&RSA_PSS_SHA256),
        }
    }
}
