//! An issuer's public keys, each read once and ready for the algorithms that it may be used with.

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::super::problem::Findings;
use crate::api::exchange::{Jwk, JwkSet, Jwks, JwtAlgorithm};
use crate::api::read::listed;

const MAX_KEYS: usize = 16;
const MIN_RSA_BITS: usize = 2048;
/// As much as the provider verifies with.
const MAX_RSA_BITS: usize = 8192;

/// A key of the issuer.
#[derive(Clone, Debug)]
struct TrustedKey {
    kid: Option<Box<str>>,
    /// The algorithms of the rule that fit the key, and the key for each: a key is never tried with any other (RFC 8725 §3.1).
    verifiers: Vec<(JwtAlgorithm, ParsedPublicKey)>,
}

impl TrustedKey {
    fn verifier(&self, algorithm: JwtAlgorithm) -> Option<&ParsedPublicKey> {
        self.verifiers.iter().find(|(fits, _)| *fits == algorithm).map(|(_, key)| key)
    }
}

/// An issuer's keys.
#[derive(Clone, Debug, Default)]
pub struct KeySet(Box<[TrustedKey]>);

impl KeySet {
    /// The keys of a set that its issuer publishes. Those that do not read, or are for something else, are passed over, as RFC 7517
    /// §5 wants: issuers publish keys of new kinds before anybody needs them.
    pub fn published(set: &JwkSet) -> Self {
        Self(set.keys.iter().filter_map(|jwk| trusted_key(jwk, &JwtAlgorithm::ALL).ok()).collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key that must have signed a JWT whose header names these, ready for that algorithm and no other: the key called
    /// `kid`; without one, the only key that fits. Nothing else in a JWT's header is ever followed.
    pub(crate) fn key(&self, kid: Option<&str>, algorithm: JwtAlgorithm) -> Option<&ParsedPublicKey> {
        let mut fitting = self
            .0
            .iter()
            .filter(|key| kid.is_none_or(|kid| key.kid.as_deref() == Some(kid)))
            .filter_map(|key| key.verifier(algorithm));
        let first = fitting.next()?;
        fitting.next().is_none().then_some(first)
    }
}

/// What is wrong with a key: the member, and the words.
type Wrong = (&'static str, String);

/// The keys of `jwks` for `algorithms`, or findings below `at`.
pub(super) fn trusted_keys(
    jwks: &Jwks,
    algorithms: &[JwtAlgorithm],
    at: &str,
    findings: &mut Findings,
) -> Option<KeySet> {
    for (field, given) in [("uri", jwks.uri.is_some()), ("discovery", jwks.discovery.is_some())] {
        if given {
            findings.add(
                format!("{at}.jwks.{field}"),
                "keys of an `exchange` are not fetched in this version: copy what the issuer publishes there into `jwks.inline`, \
                 and again whenever it changes its keys",
            );
        }
    }
    let Some(set) = &jwks.inline else {
        if jwks.uri.is_none() && jwks.discovery.is_none() {
            findings.add(
                format!("{at}.jwks"),
                "the issuer's public keys are needed, like `inline: {keys: [{kty: EC, …}]}`",
            );
        }
        return None;
    };
    inline_keys(set, algorithms, at, findings)
}

/// The keys of an inline set for `algorithms`, or findings below `at`.
pub(in crate::authz::policy) fn inline_keys(
    set: &JwkSet,
    algorithms: &[JwtAlgorithm],
    at: &str,
    findings: &mut Findings,
) -> Option<KeySet> {
    let at = format!("{at}.jwks.inline.keys");
    if !(1..=MAX_KEYS).contains(&set.keys.len()) {
        findings.add(&at, format!("{} keys: 1 to {MAX_KEYS} are needed", set.keys.len()));
    }
    let mut keys: Vec<TrustedKey> = Vec::new();
    let mut all_read = (1..=MAX_KEYS).contains(&set.keys.len());
    for (i, jwk) in set.keys.iter().enumerate().take(MAX_KEYS) {
        match trusted_key(jwk, algorithms) {
            Ok(key) if key.kid.is_some() && keys.iter().any(|other| other.kid == key.kid) => {
                findings.add(format!("{at}[{i}].kid"), "another key has it too: a JWT could not say which signed it");
            }
            Ok(key) => keys.push(key),
            Err((member, words)) => {
                all_read = false;
                let dot = if member.is_empty() { "" } else { "." };
                findings.add(format!("{at}[{i}]{dot}{member}"), words);
            }
        }
    }
    for key in keys.iter().filter(|key| key.kid.is_none()) {
        let shared = |algorithm| keys.iter().filter(|other| other.verifier(algorithm).is_some()).count() > 1;
        if let Some((algorithm, _)) = key.verifiers.iter().find(|(algorithm, _)| shared(*algorithm)) {
            findings.add(
                &at,
                format!(
                    "several keys are for {}, and one of them has no `kid`: no JWT could name it",
                    algorithm.name()
                ),
            );
        }
    }
    // A key that does not read may be the one that is missed.
    for algorithm in algorithms.iter().filter(|_| all_read) {
        if !keys.iter().any(|key| key.verifier(*algorithm).is_some()) {
            findings.add(&at, format!("no key is for {}: add one, or take it out of `algorithms`", algorithm.name()));
        }
    }
    Some(KeySet(keys.into()))
}

fn trusted_key(jwk: &Jwk, algorithms: &[JwtAlgorithm]) -> Result<TrustedKey, Wrong> {
    if let Some(member) = jwk.private_member() {
        let words = "holds a private or secret key: remove this member, and have the issuer replace the key, since whoever has \
                     seen this policy can sign with it";
        return Err((member, words.to_owned()));
    }
    let public = PublicKey::read(jwk)?;
    check_purpose(jwk)?;
    let kid = match jwk.member("kid") {
        None => None,
        Some(Value::String(kid)) if (1..=255).contains(&kid.len()) => Some(kid.as_str().into()),
        Some(_) => return Err(("kid", "a text of 1 to 255 bytes is needed".to_owned())),
    };
    let fitting = fitting(jwk, &public)?;
    let verifiers: Vec<_> = fitting
        .iter()
        .filter(|algorithm| algorithms.contains(algorithm))
        .map(|algorithm| public.verifier(*algorithm).map(|key| (*algorithm, key)))
        .collect::<Result<_, _>>()?;
    if verifiers.is_empty() && !algorithms.is_empty() {
        let names: Vec<&str> = fitting.iter().map(|algorithm| algorithm.name()).collect();
        let words = format!(
            "the key is for {}, and `algorithms` does not have it: remove one, or add the other",
            listed(&names)
        );
        return Err(("", words));
    }
    Ok(TrustedKey { kid, verifiers })
}

/// A key for another purpose is not one for signatures (RFC 7517 §4.2, §4.3).
fn check_purpose(jwk: &Jwk) -> Result<(), Wrong> {
    if jwk.member("use").is_some_and(|it| it != "sig") {
        return Err(("use", "the key is not for signatures (`sig`): remove it".to_owned()));
    }
    let verifies = |it: &Value| it.as_array().is_some_and(|operations| operations.iter().any(|it| it == "verify"));
    if jwk.member("key_ops").is_some_and(|it| !verifies(it)) {
        return Err(("key_ops", "the key is not for verifying signatures (`verify`): remove it".to_owned()));
    }
    Ok(())
}

/// The algorithms that the key may be used with: the one that it names, else all of its type.
fn fitting(jwk: &Jwk, public: &PublicKey) -> Result<Vec<JwtAlgorithm>, Wrong> {
    let of_type = public.algorithms();
    let Some(named) = jwk.member("alg") else {
        return Ok(of_type.to_vec());
    };
    let named = named.as_str().and_then(JwtAlgorithm::from_name).filter(|named| of_type.contains(named));
    named.map(|named| vec![named]).ok_or_else(|| {
        let names: Vec<&str> = of_type.iter().map(|algorithm| algorithm.name()).collect();
        ("alg", format!("a key of this type is for {} here: remove the key, or correct its `alg`", listed(&names)))
    })
}

/// A public key by its type, its numbers decoded.
enum PublicKey {
    /// SEC 1 §2.3.3, uncompressed.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
}

impl PublicKey {
    fn read(jwk: &Jwk) -> Result<Self, Wrong> {
        match (jwk.text("kty"), jwk.text("crv")) {
            (Some("EC"), Some("P-256")) => Ok(Self::P256(point(jwk, 32)?)),
            (Some("EC"), Some("P-384")) => Ok(Self::P384(point(jwk, 48)?)),
            (Some("EC"), _) => Err(("crv", "the curve must be P-256 or P-384".to_owned())),
            (Some("OKP"), Some("Ed25519")) => Ok(Self::Ed25519(coordinate(jwk, "x", 32)?)),
            (Some("OKP"), _) => Err(("crv", "the curve must be Ed25519".to_owned())),
            (Some("RSA"), _) => rsa(jwk).map(Self::Rsa),
            _ => Err(("kty", "the key's type must be EC, OKP or RSA".to_owned())),
        }
    }

    fn algorithms(&self) -> &'static [JwtAlgorithm] {
        match self {
            Self::P256(_) => &[JwtAlgorithm::Es256],
            Self::P384(_) => &[JwtAlgorithm::Es384],
            Self::Ed25519(_) => &[JwtAlgorithm::EdDsa],
            Self::Rsa(_) => &[JwtAlgorithm::Rs256, JwtAlgorithm::Ps256],
        }
    }

    /// The key for `algorithm`, which is one of [`Self::algorithms`].
    fn verifier(&self, algorithm: JwtAlgorithm) -> Result<ParsedPublicKey, Wrong> {
        let parsed = match self {
            Self::P256(point) => {
                ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED as &dyn VerificationAlgorithm, point)
            }
            Self::P384(point) => ParsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point),
            Self::Ed25519(point) => ParsedPublicKey::new(&signature::ED25519, point),
            Self::Rsa(numbers) => {
                let padding: &'static RsaParameters = match algorithm {
                    JwtAlgorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                    _ => &signature::RSA_PKCS1_2048_8192_SHA256,
                };
                numbers.to_parsed_public_key(padding)
            }
        };
        parsed.map_err(|_| {
            ("", "is not a key: its numbers do not belong together, perhaps a character is missing".to_owned())
        })
    }
}

/// RFC 7518 §6.2.1: both coordinates have the full length of the field.
fn point(jwk: &Jwk, length: usize) -> Result<Vec<u8>, Wrong> {
    let mut point = vec![4];
    point.extend(coordinate(jwk, "x", length)?);
    point.extend(coordinate(jwk, "y", length)?);
    Ok(point)
}

fn coordinate(jwk: &Jwk, name: &'static str, length: usize) -> Result<Vec<u8>, Wrong> {
    let bytes = number(jwk, name)?;
    if bytes.len() == length {
        Ok(bytes)
    } else {
        Err((name, format!("{} bytes, where {length} are needed", bytes.len())))
    }
}

/// RFC 7518 §6.3.1.
fn rsa(jwk: &Jwk) -> Result<RsaPublicKeyComponents<Vec<u8>>, Wrong> {
    let (n, e) = (number(jwk, "n")?, number(jwk, "e")?);
    let bits = |number: &[u8]| number.len() * 8 - number.first().map_or(0, |it| it.leading_zeros() as usize);
    if n.first() == Some(&0) || !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits(&n)) {
        let words = format!(
            "{MIN_RSA_BITS} to {MAX_RSA_BITS} bits without a zero byte before them are needed, not {}",
            bits(&n)
        );
        return Err(("n", words));
    }
    // With the exponent 1 everything is its own signature.
    let odd = e.last().is_some_and(|it| it % 2 == 1);
    if e.first() == Some(&0) || !odd || !(2..=32).contains(&bits(&e)) {
        return Err(("e", "an odd number from 3 to 2^32 is needed, like AQAB".to_owned()));
    }
    Ok(RsaPublicKeyComponents { n, e })
}

fn number(jwk: &Jwk, name: &'static str) -> Result<Vec<u8>, Wrong> {
    let decoded = jwk.text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    decoded.ok_or_else(|| (name, "a text in base64url without padding is needed".to_owned()))
}
