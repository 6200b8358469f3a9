//! New signing keys under load, with verifiers that cache the key set: Envoy's `jwt_authn`, and `jose` in Node.js.
//!
//! `cloakroom keys rotate` lets a new key wait for 6 minutes at least, so that services that cache for 5 know it before it
//! signs. No test waits so long: the verifiers cache for [`KEYS_KEPT`] instead, and the test moves the times in
//! `keyring.yaml` to the past, as if it had waited, once Envoy has fetched the keys as often as it would have in that time.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use e2e::gate::{Cloakroom, ISSUER};
use e2e::http1::{Connection, exchange};
use e2e::jose::Jose;
use e2e::process::wait_until;
use e2e::tools::EnvoyVersion;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{KEYS_KEPT, Scene, received};
use crate::on_each_envoy;
use crate::scene::PATIENCE;

on_each_envoy! {
    p10_a_planned_rotation_fails_no_verifier => planned;
    p10_a_rotation_at_once_heals_with_the_next_fetch => at_once;
}

/// The protected header of a JWT.
pub(super) fn header_of(jwt: &str) -> Value {
    let header = URL_SAFE_NO_PAD.decode(jwt.split('.').next().unwrap()).unwrap();
    serde_json::from_slice(&header).unwrap()
}

/// Clients that never stop, each with a session of its own and new ones in between, and what became of their requests.
struct Load {
    scene: Scene,
    jose: Mutex<Jose>,
    stop: AtomicBool,
    verified: AtomicUsize,
    /// Requests verified since the last failure.
    streak: AtomicUsize,
    failures: Mutex<Vec<String>>,
    /// The keys that signed, in the order of their first JWT.
    keys: Mutex<Vec<String>>,
}

impl Load {
    async fn start(version: EnvoyVersion) -> Result<(Arc<Self>, JoinSet<Result<()>>)> {
        let scene = Scene::set(version).await?;
        let issuer = format!("{ISSUER}/ns/shop");
        let jose = Jose::caching(&scene.gate.jwks_url(), &issuer, "shop", Duration::from_secs(KEYS_KEPT))?;
        let load = Arc::new(Self {
            scene,
            jose: Mutex::new(jose),
            stop: AtomicBool::new(false),
            verified: AtomicUsize::new(0),
            streak: AtomicUsize::new(0),
            failures: Mutex::default(),
            keys: Mutex::default(),
        });
        let mut clients = JoinSet::new();
        for number in 0..3 {
            clients.spawn(Arc::clone(&load).client(number));
        }
        Ok((load, clients))
    }

    async fn client(self: Arc<Self>, number: usize) -> Result<()> {
        let mut connection = Connection::open(self.scene.envoy.address()).await?;
        let old = self.scene.log_in(&format!("old-{number}")).await?.token;
        let mut new = String::new();
        for round in 0_usize.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            if round % 10 == 0 {
                new = self.scene.log_in(&format!("new-{number}-{round}")).await?.token;
            }
            let token = if round % 2 == 0 { &new } else { &old };
            let request =
                format!("GET /cart HTTP/1.1\r\nHost: shop.localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
            connection.send(request.as_bytes()).await?;
            // Whoever passed was accepted by Envoy; then the other library has its say.
            let jwt = received(&connection.response(false).await?);
            match jwt.and_then(|jwt| tokio::task::block_in_place(|| self.verify(&jwt))) {
                Ok(()) => {
                    self.verified.fetch_add(1, Ordering::Relaxed);
                    self.streak.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    self.streak.store(0, Ordering::Relaxed);
                    self.failures.lock().unwrap().push(format!("{error:#}"));
                }
            }
            self.scene.service.take();
        }
        Ok(())
    }

    fn verify(&self, jwt: &str) -> Result<()> {
        let kid = header_of(jwt)["kid"].as_str().context("a key id")?.to_owned();
        let mut keys = self.keys.lock().unwrap();
        if !keys.contains(&kid) {
            keys.push(kid);
        }
        drop(keys);
        self.jose.lock().unwrap().verify(jwt)?;
        Ok(())
    }

    /// Waits for so many more verified requests.
    async fn more(&self, count: usize) -> Result<()> {
        let wanted = self.verified.load(Ordering::Relaxed) + count;
        let done =
            async || self.verified.load(Ordering::Relaxed) >= wanted || !self.failures.lock().unwrap().is_empty();
        wait_until(PATIENCE, &format!("{count} verified requests"), done).await?;
        self.no_failure()
    }

    fn no_failure(&self) -> Result<()> {
        let failures = self.failures.lock().unwrap();
        ensure!(failures.is_empty(), "{} failures, the first: {:?}", failures.len(), failures[0]);
        Ok(())
    }

    /// Waits until every verifier's copy of the key set is younger than this call: Envoy has fetched a whole one since, and
    /// the other library's copy has become too old.
    async fn copies_replaced(&self) -> Result<()> {
        let fetched = async || self.scene.envoy.stat("http.ingress.jwt_authn.jwks_fetch_success").await.unwrap();
        let before = fetched().await;
        // Each of the two providers fetches for itself; the first fetch of each may have begun before.
        wait_until(PATIENCE, "fetches of the key set", async || fetched().await >= before + 6).await
    }

    fn keys(&self) -> Vec<String> {
        self.keys.lock().unwrap().clone()
    }

    async fn end(&self, mut clients: JoinSet<Result<()>>) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(client) = clients.join_next().await {
            client??;
        }
        Ok(())
    }
}

/// The ids in the key set that is served.
async fn published(gate: &Cloakroom) -> Result<Vec<String>> {
    let answer = exchange(gate.http(), b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: keys\r\n\r\n").await?;
    let set: Value = serde_json::from_str(&answer.text())?;
    let keys = set["keys"].as_array().context("a key set")?;
    Ok(keys.iter().filter_map(|key| key["kid"].as_str()).map(str::to_owned).collect())
}

/// Gives the two keys of the folder the times of a rotation whose new key signs from `signs` on, as if it had been made half
/// an hour earlier, and the first key an hour before that.
fn move_rotation_to(gate: &Cloakroom, signs: Timestamp) -> Result<()> {
    let file = gate.folder().join("keys/keyring.yaml");
    let mut ring: Value = serde_saphyr::from_str(&std::fs::read_to_string(&file)?)?;
    let before = |minutes: i64| json!((signs - SignedDuration::from_mins(minutes)).to_string());
    let keys = ring["keys"].as_array_mut().context("a list of keys")?;
    let [old, new] = keys.as_mut_slice() else { anyhow::bail!("{} keys", keys.len()) };
    (old["published"], old["signing"], old["retired"]) = (before(90), before(90), before(0));
    (new["published"], new["signing"]) = (before(30), before(0));
    // JSON is YAML. Whole, by a rename, as the command does it.
    let partial = gate.folder().join("keyring.partial");
    std::fs::write(&partial, ring.to_string())?;
    std::fs::set_permissions(&partial, std::fs::Permissions::from_mode(0o600))?;
    Ok(std::fs::rename(partial, file)?)
}

async fn planned(version: EnvoyVersion) -> Result<()> {
    let (load, clients) = Load::start(version).await?;
    let gate = &load.scene.gate;
    load.more(600).await?;
    let [old] = <[String; 1]>::try_from(published(gate).await?).unwrap();
    let session = load.scene.log_in("bob").await?;

    // The new key is published, and signs nothing yet.
    gate.command(&["keys", "rotate", "--dir", "keys", "--publish-for", "6m"])?;
    wait_until(PATIENCE, "new key in the key set", async || published(gate).await.unwrap().len() == 2).await?;
    let new = published(gate).await?.into_iter().find(|kid| *kid != old).context("the new key")?;
    load.copies_replaced().await?;
    load.more(300).await?;
    assert_eq!(load.keys(), std::slice::from_ref(&old));
    let by_old = load.scene.jwt("/cart", &session.token).await?;

    // The time has come, with requests on their way.
    move_rotation_to(gate, Timestamp::now() + SignedDuration::from_secs(1))?;
    wait_until(PATIENCE, "first JWT of the new key", async || load.keys().len() == 2).await?;
    load.more(800).await?;
    assert_eq!(load.keys(), [old.clone(), new.clone()]);
    // A JWT of the old key lives on where it is, and for the services that it is passed on to.
    assert_eq!(published(gate).await?, [old.clone(), new.clone()]);
    assert_eq!(header_of(&by_old)["kid"], old);
    load.verify(&by_old)?;
    assert_eq!(header_of(&load.scene.jwt("/stock", &by_old).await?)["kid"], new);

    // Two minutes later the old key is gone, and the next rotation deletes it.
    move_rotation_to(gate, Timestamp::now() - SignedDuration::from_secs(121))?;
    wait_until(PATIENCE, "end of the old key", async || published(gate).await.unwrap() == [new.clone()]).await?;
    load.copies_replaced().await?;
    load.more(300).await?;
    gate.command(&["keys", "rotate", "--dir", "keys", "--publish-for", "6m"])?;
    assert!(!gate.folder().join(format!("keys/{old}.pem")).exists());
    load.more(100).await?;

    load.end(clients).await?;
    load.no_failure()?;
    assert!(load.verified.load(Ordering::Relaxed) >= 2000);
    assert_eq!(load.keys(), [old, new]);
    Ok(())
}

async fn at_once(version: EnvoyVersion) -> Result<()> {
    let (load, clients) = Load::start(version).await?;
    let gate = &load.scene.gate;
    load.more(200).await?;
    // Two services that know the old key: one keeps the key set as long as it may, one looks again for an unknown key.
    let session = load.scene.log_in("bob").await?;
    let issuer = format!("{ISSUER}/ns/shop");
    let mut patient = Jose::caching(&gate.jwks_url(), &issuer, "shop", Duration::from_secs(300))?;
    let mut curious = load.scene.jose("shop")?;
    let by_old = load.scene.jwt("/cart", &session.token).await?;
    patient.verify(&by_old)?;
    curious.verify(&by_old)?;

    let told = gate.command(&["keys", "rotate", "--dir", "keys", "--now"])?;
    assert!(told.contains("refuse requests until they fetch it again"), "{told}");
    wait_until(PATIENCE, "JWT of the new key", async || load.keys().len() == 2).await?;
    load.copies_replaced().await?;
    wait_until(PATIENCE, "recovery", async || load.streak.load(Ordering::Relaxed) >= 500).await?;
    load.end(clients).await?;
    // What the command said it costs, and to whom.
    let by_new = load.scene.jwt("/cart", &session.token).await?;
    let error = patient.verify(&by_new).unwrap_err().to_string();
    assert!(error.contains("ERR_JWKS_NO_MATCHING_KEY"), "{error}");
    patient.verify(&by_old)?;
    curious.verify(&by_old)?;
    curious.verify(&by_new)?;
    // Under load, some may have met a key that they did not know; none failed in another way.
    for failure in load.failures.lock().unwrap().iter() {
        let unknown_key = ["Jwks doesn't have key to match kid", "ERR_JWKS_NO_MATCHING_KEY"];
        assert!(unknown_key.iter().any(|it| failure.contains(it)), "{failure}");
    }
    Ok(())
}
