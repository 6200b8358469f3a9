//! A JWT library that shares no code with ours (`jose` on Node's OpenSSL) makes the keys, fetches the key set over HTTP as a
//! service would, and verifies the JWTs.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::*;
use crate::sessions::keyring::folder::rfc3339;
use crate::sessions::keyring::tests::{session, spec};
use crate::sessions::keyring::{KeyRing, KeyRingConfig};

const MAKE_KEYS: &str = include_str!("make_keys.mjs");
const VERIFY: &str = include_str!("verify.mjs");

/// Runs a script in `place`, with JSON in and JSON out.
fn node(place: &Path, script: &str, input: &Value) -> Value {
    let mut node = Command::new(e2e::tools::node().unwrap())
        .args(["--input-type=module", "--eval", script])
        .current_dir(place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    node.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let done = node.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

#[tokio::test]
async fn p08_p10_another_library_verifies_every_algorithm() {
    let place = e2e::tools::jose().unwrap();
    let names: Vec<&str> = SigningAlgorithm::ALL.iter().map(|algorithm| algorithm.name()).collect();
    let made = node(&place, MAKE_KEYS, &json!(names));

    let clock = Arc::new(Clock::start());
    let now = clock.now();
    let mut cases = Vec::new();
    let mut folders = Vec::new();
    for algorithm in SigningAlgorithm::ALL {
        let key = &made[algorithm.name()];
        let folder = tempfile::TempDir::new().unwrap();
        write_folder(folder.path(), algorithm, key, &rfc3339(now));
        let config = KeyRingConfig {
            dir: folder.path().join("keys"),
            issuer: "https://cloakroom.example".to_owned(),
            algorithm,
            lifetime: std::time::Duration::from_secs(60),
            max_bytes: 6144,
        };
        // That it opens says that our thumbprint is theirs: `keyring.yaml` has theirs.
        let ring = Arc::new(KeyRing::open(config).unwrap());
        let jwt = ring.mint_for(&session(now), &spec(), now).unwrap().jwt;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = router(ring, Arc::clone(&clock));
        tokio::spawn(async move { axum::serve(listener, app).await });
        cases.push(json!({
            "alg": algorithm.name(),
            "jwksUri": format!("http://{address}/.well-known/jwks.json"),
            "jwt": String::from_utf8(jwt.to_vec()).unwrap(),
            "issuer": "https://cloakroom.example/ns/shop",
            "audience": "shop/orders",
        }));
        folders.push(folder);
    }

    let verified = tokio::task::spawn_blocking(move || node(&place, VERIFY, &Value::Array(cases))).await.unwrap();
    for (algorithm, verified) in SigningAlgorithm::ALL.into_iter().zip(verified.as_array().unwrap()) {
        let kid = &made[algorithm.name()]["kid"];
        assert_eq!(verified["header"], json!({ "alg": algorithm.name(), "typ": "session+jwt", "kid": kid }));
        assert_eq!(verified["payload"]["sub"], session(now).subject, "{algorithm}");
        assert_eq!(verified["payload"]["claims"]["tier"], "gold", "{algorithm}");
        // jose's own words for each forged variant, so that none is refused for another reason than its own.
        assert_eq!(
            verified["refused"],
            json!({
                "audience": "ERR_JWT_CLAIM_VALIDATION_FAILED",
                "issuer": "ERR_JWT_CLAIM_VALIDATION_FAILED",
                "type": "ERR_JWT_CLAIM_VALIDATION_FAILED",
                "algorithm": "ERR_JOSE_ALG_NOT_ALLOWED",
                "signature": "ERR_JWS_SIGNATURE_VERIFICATION_FAILED",
                "time": "ERR_JWT_EXPIRED",
            }),
            "{algorithm}"
        );
    }
}

fn write_folder(dir: &Path, algorithm: SigningAlgorithm, key: &Value, now: &str) {
    let keys = dir.join("keys");
    std::fs::DirBuilder::new().mode(0o700).create(&keys).unwrap();
    let kid = key["kid"].as_str().unwrap();
    let write = |name: String, text: &str| {
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(keys.join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    write(format!("{kid}.pem"), key["pem"].as_str().unwrap());
    let ring = format!("keys:\n- kid: '{kid}'\n  algorithm: {algorithm}\n  published: {now}\n  signing: {now}\n");
    write("keyring.yaml".to_owned(), &ring);
}
