//! The signing keys of namespaces: made, replaced with an overlap, and never mixed up with what is somebody else's.

use std::collections::BTreeSet;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::checker::Checker;
use e2e::gate::{Cloakroom, GateOptions};
use e2e::jose::Jose;
use e2e::mount::{Mount, files_of as files};
use e2e::process::wait_until;
use http::Method;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::scene::{Cluster, Controller, ISSUER, PATIENCE, version};

const POLICY: &str = "
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: shop, namespace: shop }
spec:
  hosts: [shop.example]
  rules: [{ name: shop, forward: { audience: shop } }]
";

fn enrolled(namespace: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {namespace}, labels: {{ cloakroom.dev/enrolled: 'true' }} }}\n"
    )
}

fn secret_path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets/cloakroom-keys")
}

/// The lines of its `keyring.yaml`.
fn ring(secret: &Value) -> Result<Vec<Value>> {
    let ring: Value = serde_saphyr::from_str(&files(secret)?["keyring.yaml"])?;
    Ok(ring["keys"].as_array().context("no keys")?.clone())
}

fn kids(secret: &Value) -> Vec<String> {
    let ring = ring(secret).unwrap_or_default();
    ring.iter().map(|key| key["kid"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Now, and so many seconds later.
fn at(seconds: i64) -> String {
    let at = Timestamp::now() + SignedDuration::from_secs(seconds);
    Timestamp::from_second(at.as_second()).unwrap().to_string()
}

/// A Secret of ours with one key that has signed since `seconds` ago.
pub(super) fn old_secret(namespace: &str, seconds: i64) -> Result<String> {
    old_secret_for("ES256", namespace, seconds)
}

/// The same, with a key for this algorithm.
fn old_secret_for(algorithm: &str, namespace: &str, seconds: i64) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let keys = folder.path().join("keys");
    let mut made = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
    made.args(["keys", "generate", "--algorithm", algorithm, "--dir"])
        .arg(&keys)
        .arg("--token-key")
        .arg(folder.path().join("token.key"));
    let made = made.output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut data = json!({});
    for file in std::fs::read_dir(&keys)? {
        let file = file?;
        let name = file.file_name().into_string().unwrap();
        let mut text = std::fs::read_to_string(file.path())?;
        if name == "keyring.yaml" {
            let mut ring: Value = serde_saphyr::from_str(&text)?;
            ring["keys"][0]["published"] = json!(at(-seconds));
            ring["keys"][0]["signing"] = json!(at(-seconds));
            text = ring.to_string();
        }
        data[name] = json!(text);
    }
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "cloakroom-keys",
            "namespace": namespace,
            "labels": { "app.kubernetes.io/managed-by": "cloakroom-controller" },
            "annotations": { "example.com/note": "kept" },
        },
        "type": "Opaque",
        "stringData": data,
    })
    .to_string())
}

impl Cluster {
    /// Waits until the Secret of a namespace is like this.
    async fn secret(&self, namespace: &str, what: &str, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        let path = secret_path(namespace);
        let seen = async || self.get(&path).await.is_ok_and(|secret| is_it(&secret));
        wait_until(PATIENCE, &format!("Secret in {namespace} {what}"), seen).await?;
        self.get(&path).await
    }

    /// Waits until an Event on the Secret of a namespace warns for this reason.
    async fn warned(&self, namespace: &str, reason: &str) -> Result<()> {
        let is_told = async || {
            let events = self.events(&format!("{namespace}/cloakroom-keys")).await;
            events.is_ok_and(|events| events.iter().any(|event| event.starts_with(&format!("Warning {reason} "))))
        };
        wait_until(PATIENCE, &format!("Event {reason}"), is_told).await
    }

    /// Changes the times in a Secret's `keyring.yaml`.
    async fn retime(&self, namespace: &str, change: impl Fn(&mut Value)) -> Result<Value> {
        let mut secret = self.get(&secret_path(namespace)).await?;
        let mut ring = json!({ "keys": ring(&secret)? });
        change(&mut ring["keys"]);
        secret["data"]["keyring.yaml"] = json!(STANDARD.encode(ring.to_string()));
        let (status, answer) = self.server.api(Method::PUT, &secret_path(namespace), Some(&secret)).await?;
        ensure!(status == 200, "{answer}");
        Ok(answer)
    }
}

/// The ids in the key set of a namespace, as a controller serves it.
async fn served(controller: &Controller, namespace: &str) -> Result<Vec<String>> {
    let answer = controller.fetch(&format!("/ns/{namespace}/.well-known/jwks.json")).await?;
    ensure!(answer.status() == 200, "{}", answer.text());
    let set: Value = serde_json::from_str(&answer.text())?;
    let keys = set["keys"].as_array().context("a key set")?;
    Ok(keys.iter().map(|key| key["kid"].as_str().unwrap_or_default().to_owned()).collect())
}

async fn serves(controller: &Controller, namespace: &str, kids: &[String]) -> Result<()> {
    let them = async || served(controller, namespace).await.is_ok_and(|served| served == kids);
    wait_until(PATIENCE, &format!("key set {kids:?} of {namespace}"), them).await
}

/// A gate that signs with the keys of a mounted Secret, and a session behind it.
struct Signer {
    _gate: Cloakroom,
    checker: Checker,
    token: String,
}

impl Signer {
    async fn with(mount: &Path) -> Result<Self> {
        let mut options = GateOptions::new(env!("CARGO_BIN_EXE_cloakroom")).policy("shop.yaml", POLICY);
        options.config = json!({ "jwt": { "keysDir": mount } });
        let gate = Cloakroom::spawn(options).await?;
        let checker = Checker::connect(&gate.grpc()?).await?;
        let token = gate.create_session(&json!({ "subject": "ada" })).await?.token;
        Ok(Self { _gate: gate, checker, token })
    }

    async fn jwt(&self) -> Result<String> {
        let answer = self.checker.get("shop.example", "/", &self.token).await?;
        answer.jwt.with_context(|| format!("no JWT but {}", answer.status))
    }

    /// Waits for a JWT that this key has signed.
    async fn jwt_by(&self, kid: &str) -> Result<String> {
        let by = async || self.jwt().await.is_ok_and(|jwt| kid_of(&jwt).is_ok_and(|it| it == kid));
        wait_until(PATIENCE, &format!("JWT by {kid}"), by).await?;
        self.jwt().await
    }
}

fn kid_of(jwt: &str) -> Result<String> {
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(jwt.split('.').next().unwrap_or_default())?;
    let header: Value = serde_json::from_slice(&header)?;
    Ok(header["kid"].as_str().unwrap_or_default().to_owned())
}

fn verifier(controller: &Controller) -> Result<Jose> {
    let keys = format!("http://{}/ns/shop/.well-known/jwks.json", controller.http());
    Jose::spawn(&keys, &format!("{ISSUER}/ns/shop"), "shop")
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_an_enrolled_namespace_gets_keys_that_every_controller_serves() -> Result<()> {
    let cluster = Cluster::spawn().await?;
    let (one, two) = (cluster.controller().await?, cluster.controller().await?);
    let answer = one.fetch("/ns/shop/.well-known/jwks.json").await?;
    assert_eq!((answer.status(), answer.header("retry-after")), (503, vec!["5".to_owned()]), "it is not enrolled");
    cluster.server.apply(&enrolled("shop")).await?;
    let secret = cluster.secret("shop", "with keys", |secret| kids(secret).len() == 1).await?;
    assert_eq!((&secret["type"], &secret["immutable"]), (&json!("Opaque"), &json!(false)));
    assert_eq!(secret["metadata"]["labels"]["app.kubernetes.io/managed-by"], "cloakroom-controller");
    let names: BTreeSet<String> = files(&secret)?.into_keys().collect();
    assert_eq!(names, BTreeSet::from([format!("{}.pem", kids(&secret)[0]), "keyring.yaml".to_owned()]));
    for controller in [&one, &two] {
        serves(controller, "shop", &kids(&secret)).await?;
        let discovery = controller.fetch("/ns/shop/.well-known/openid-configuration").await?;
        let discovery: Value = serde_json::from_str(&discovery.text())?;
        assert_eq!(discovery["issuer"], format!("{ISSUER}/ns/shop"));
        assert_eq!(discovery["jwks_uri"], format!("{ISSUER}/ns/shop/.well-known/jwks.json"));
        // There is no key that speaks for all.
        assert_eq!(controller.fetch("/.well-known/jwks.json").await?.status(), 503);
    }

    // A gate signs with it as it is mounted, and services verify by what the controllers serve.
    let mount = Mount::of(&files(&secret)?)?;
    let signer = Signer::with(mount.path()).await?;
    let jwt = signer.jwt().await?;
    for controller in [&one, &two] {
        assert_eq!(verifier(controller)?.verify(&jwt)?["sub"], "ada");
    }

    // A Secret that is deleted is made again, with other keys.
    cluster.delete(&secret_path("shop")).await?;
    let again =
        cluster.secret("shop", "with new keys", |again| kids(again).len() == 1 && kids(again) != kids(&secret)).await?;
    serves(&two, "shop", &kids(&again)).await?;
    assert!(verifier(&two)?.verify(&jwt).is_err(), "a key that is gone speaks for nobody");
    // No key has been logged.
    for controller in [&one, &two] {
        assert!(!controller.process.output().contains("PRIVATE KEY"));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_keys_are_replaced_with_an_overlap() -> Result<()> {
    let cluster = Cluster::spawn().await?;
    cluster.server.apply(&enrolled("shop")).await?;
    cluster.server.apply(&old_secret("shop", 31 * 86_400)?).await?;
    let old = kids(&cluster.get(&secret_path("shop")).await?);
    let controller = cluster.controller().await?;

    // The next key is published at once and signs later; nothing else of the Secret has changed.
    let secret = cluster.secret("shop", "with the next key", |secret| kids(secret).len() == 2).await?;
    let both = kids(&secret);
    assert_eq!(both[0], old[0]);
    let ring = ring(&secret)?;
    assert_eq!(ring[0]["retired"], ring[1]["signing"]);
    let moment = |value: &Value| value.as_str().unwrap().parse::<Timestamp>().unwrap();
    assert_eq!(
        moment(&ring[1]["signing"]).duration_since(moment(&ring[1]["published"])),
        SignedDuration::from_mins(30)
    );
    assert_eq!(secret["metadata"]["annotations"]["example.com/note"], "kept");
    serves(&controller, "shop", &both).await?;
    let mut mount = Mount::of(&files(&secret)?)?;
    let signer = Signer::with(mount.path()).await?;
    let by_old = signer.jwt_by(&both[0]).await?;
    assert_eq!(verifier(&controller)?.verify(&by_old)?["sub"], "ada");

    // Half an hour in two seconds: the next key takes over, and what the old one signed still counts.
    let soon = at(2);
    let secret = cluster
        .retime("shop", |ring| {
            ring[0]["retired"] = json!(soon);
            ring[1]["signing"] = json!(soon);
        })
        .await?;
    mount.update(&files(&secret)?)?;
    let by_new = signer.jwt_by(&both[1]).await?;
    for jwt in [&by_old, &by_new] {
        assert_eq!(verifier(&controller)?.verify(jwt)?["sub"], "ada");
    }
    assert_eq!(kids(&cluster.get(&secret_path("shop")).await?), both);

    // Two minutes later no JWT of the old one lives, and so it goes.
    let (published, past) = (at(-3600), at(-121));
    cluster
        .retime("shop", |ring| {
            ring[1]["published"] = json!(published);
            ring[0]["retired"] = json!(past);
            ring[1]["signing"] = json!(past);
        })
        .await?;
    let secret = cluster.secret("shop", "with the new key alone", |secret| kids(secret) == both[1..]).await?;
    assert_eq!(files(&secret)?.len(), 2, "its file is gone too");
    serves(&controller, "shop", &both[1..]).await?;
    assert_eq!(verifier(&controller)?.verify(&by_new)?["sub"], "ada");
    assert!(verifier(&controller)?.verify(&by_old).is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p27_a_secret_that_is_not_ours_or_is_broken_is_left_alone() -> Result<()> {
    let cluster = Cluster::spawn().await?;
    let foreign = "
apiVersion: v1
kind: Secret
metadata: { name: cloakroom-keys, namespace: theirs }
stringData: { keyring.yaml: theirs }
";
    cluster.server.apply(&format!("{}---{foreign}", enrolled("theirs"))).await?;
    cluster.server.apply(&enrolled("broken")).await?;
    let broken = old_secret("broken", 60)?.replace("PRIVATE KEY", "PUBLIC KEY");
    cluster.server.apply(&broken).await?;
    let before = async |namespace: &str| cluster.get(&secret_path(namespace)).await;
    let before = [before("theirs").await?, before("broken").await?];
    let controller = cluster.controller().await?;
    for (namespace, reason, before) in [("theirs", "NotOurs", &before[0]), ("broken", "KeysBroken", &before[1])] {
        cluster.warned(namespace, reason).await?;
        assert_eq!(version(&cluster.get(&secret_path(namespace)).await?), version(before));
        assert_eq!(controller.fetch(&format!("/ns/{namespace}/.well-known/jwks.json")).await?.status(), 503);
    }
    // The owner takes theirs away, and there are keys.
    cluster.delete(&secret_path("theirs")).await?;
    let made = cluster.secret("theirs", "with keys", |secret| kids(secret).len() == 1).await?;
    serves(&controller, "theirs", &kids(&made)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_keys_for_another_algorithm_are_served_until_the_next_ones_sign() -> Result<()> {
    let cluster = Cluster::spawn().await?;
    for (algorithm, namespace) in [("EdDSA", "quick"), ("RS256", "dear")] {
        cluster.server.apply(&enrolled(namespace)).await?;
        cluster.server.apply(&old_secret_for(algorithm, namespace, 60)?).await?;
    }
    let controller = cluster.controller_with(&json!({ "gateKeys": true })).await?;
    for (algorithm, namespace) in [("EdDSA", "quick"), ("RS256", "dear")] {
        let secret = cluster.secret(namespace, "with the next key", |secret| kids(secret).len() == 2).await?;
        let ring = ring(&secret)?;
        assert_eq!([&ring[0]["algorithm"], &ring[1]["algorithm"]], [algorithm, "ES256"]);
        serves(&controller, namespace, &kids(&secret)).await?;
    }
    // What signatures cost is not for one namespace to choose where others wait for them (P28).
    cluster.warned("dear", "KeysTooSlow").await?;
    let together = async || {
        let secret = cluster.get("/api/v1/namespaces/cloakroom-system/secrets/cloakroom-gate-keys").await?;
        files(&secret)
    };
    let of = |files: &[String], namespace: &str| files.iter().filter(|it| it.starts_with(namespace)).count();
    let names = async || together().await.map(|it| it.into_keys().collect::<Vec<_>>());
    wait_until(PATIENCE, "both keys for shared gates", async || names().await.is_ok_and(|it| of(&it, "quick_") == 3))
        .await?;
    assert_eq!(of(&names().await?, "dear_"), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_dies_at_its_work_leaves_whole_keys_to_the_next() -> Result<()> {
    let cluster = Cluster::spawn().await?;
    let first = cluster.controller().await?;
    let names: Vec<String> = (0..24).map(|i| format!("team-{i:02}")).collect();
    cluster.server.apply(&names.iter().map(|name| enrolled(name)).collect::<Vec<_>>().join("---\n")).await?;
    let made = async || {
        let mut made = std::collections::BTreeMap::new();
        for name in &names {
            let found = cluster.get(&secret_path(name)).await;
            made.extend(found.ok().map(|secret| (name.clone(), secret)));
        }
        made
    };
    wait_until(PATIENCE, "first Secret", async || !made().await.is_empty()).await?;
    first.process.kill()?;
    let before = made().await;
    let next = cluster.controller().await?;
    wait_until(PATIENCE, "Secrets of all", async || made().await.len() == names.len()).await?;
    for (name, secret) in made().await {
        assert_eq!(kids(&secret).len(), 1, "{name}");
        serves(&next, &name, &kids(&secret)).await?;
        if let Some(before) = before.get(&name) {
            assert_eq!(version(before), version(&secret), "{name} was whole");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p27_a_gate_of_several_namespaces_signs_for_each_with_its_own_key_or_not_at_all() -> Result<()> {
    let cluster = Cluster::spawn().await?;
    cluster.server.apply(&format!("{}---\n{}", enrolled("shop"), enrolled("pay"))).await?;
    let controller = cluster.controller().await?;
    let keys = tempfile::tempdir()?;
    for namespace in ["shop", "pay"] {
        let secret = cluster.secret(namespace, "with keys", |secret| kids(secret).len() == 1).await?;
        serves(&controller, namespace, &kids(&secret)).await?;
        std::fs::create_dir(keys.path().join(namespace))?;
        for (name, content) in files(&secret)? {
            let path = keys.path().join(namespace).join(name);
            let mut options = std::fs::OpenOptions::new();
            std::io::Write::write_all(
                &mut options.write(true).create_new(true).mode(0o400).open(path)?,
                content.as_bytes(),
            )?;
        }
    }
    let policy = |namespace: &str| {
        POLICY
            .replace("namespace: shop", &format!("namespace: {namespace}"))
            .replace("shop.example", &format!("{namespace}.example"))
    };
    let mut options = GateOptions::new(env!("CARGO_BIN_EXE_cloakroom"));
    options.policies = ["shop", "pay", "late"].map(|it| (format!("{it}.yaml"), policy(it))).to_vec();
    options.config = json!({ "jwt": { "keysDir": keys.path() } });
    let gate = Cloakroom::spawn(options).await?;
    let checker = Checker::connect(&gate.grpc()?).await?;
    let token = gate.create_session(&json!({ "subject": "ada" })).await?.token;
    for namespace in ["shop", "pay"] {
        let jwt = checker.get(&format!("{namespace}.example"), "/", &token).await?.jwt.context("no JWT")?;
        assert_eq!(vec![kid_of(&jwt)?], served(&controller, namespace).await?);
        let of_its_own = format!("http://{}/ns/{namespace}/.well-known/jwks.json", controller.http());
        let claims = Jose::spawn(&of_its_own, &format!("{ISSUER}/ns/{namespace}"), "shop")?.verify(&jwt)?;
        assert_eq!(claims["sub"], "ada");
    }
    // A namespace without a key gets none of another's.
    assert_eq!(checker.get("late.example", "/", &token).await?.status, 503);
    Ok(())
}
