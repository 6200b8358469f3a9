//! The users of the store that enrolled namespaces have, in a real Redis.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use e2e::process::wait_until;
use e2e::redis::resp::Reply;
use e2e::redis::{Redis, RedisOptions};
use serde_json::json;

use super::scene::{Cluster, Controller, PATIENCE};
use super::sidecars::{SIDECAR, Scene, file, secret};

const OF_THE_STORE: &str = "of-the-store";
const TOLD: &str = "the store knows the users of the namespaces";

/// A cluster and a store.
struct Shop {
    scene: Scene,
    redis: Redis,
    password: PathBuf,
    _folder: tempfile::TempDir,
}

impl Shop {
    async fn open() -> Result<Self> {
        let scene = Scene::of(Cluster::spawn().await?).await?;
        let redis =
            Redis::spawn(RedisOptions { password: Some(OF_THE_STORE.to_owned()), ..RedisOptions::default() }).await?;
        let folder = tempfile::tempdir()?;
        let password = folder.path().join("store.password");
        std::fs::write(&password, OF_THE_STORE)?;
        Ok(Self { scene, redis, password, _folder: folder })
    }

    /// A controller that makes users; `bank` alone may use `money`, and it may use nothing else.
    async fn controller(&self) -> Result<Controller> {
        let store = |more: &str| {
            format!(
                "sessions: {{ store: {{ kind: redis, redis: {{ url: '{}', {more} passwordFile: p }} }} }}\n",
                self.redis.url()
            )
        };
        self.scene.write(&format!("{SIDECAR}{}", store("username: 'cloakroom-${namespace}',")))?;
        let sidecars = json!({
            "configFile": self.scene.file(),
            "image": "registry.example/cloakroom@sha256:0a",
            "store": { "users": true },
        });
        let settings = self.scene.settings_beside(&json!({ "sidecars": sidecars }));
        let mut config = self.scene.cluster.config_with(&settings)?;
        config["sessions"] = json!({
            "store": { "kind": "redis", "redis": { "url": self.redis.url(), "passwordFile": self.password } },
        });
        config["realms"] = json!({ "default": { "use": ["shop", "later"] }, "money": { "use": ["bank"] } });
        Cluster::ready(Controller::spawn(&config).await?).await
    }

    /// The password that this namespace has now.
    async fn password_of(&self, namespace: &str) -> Result<String> {
        let has_one = |it: &serde_json::Value| file(it, "store.user") == namespace;
        let made = self.scene.becomes(&secret(namespace, "cloakroom-gate"), "has a user", has_one).await?;
        let password = file(&made, "store.password");
        ensure!(password.len() == 43, "no 256 bits for {namespace}");
        Ok(password)
    }

    /// What the store says to the user of this namespace about a key.
    async fn asks(&self, namespace: &str, password: &str, key: &str) -> Result<Reply> {
        let mut connection = self.redis.connect_through(self.redis.address()).await?;
        connection.call(&["AUTH", &format!("cloakroom-{namespace}"), password]).await?.ok()?;
        connection.call(&["GET", key]).await
    }

    async fn comes_in(&self, namespace: &str, password: &str, comes_in: bool) -> Result<()> {
        let is_so = async || self.asks(namespace, password, "ckr:none").await.is_ok() == comes_in;
        wait_until(PATIENCE, &format!("{namespace} at the store: {comes_in}"), is_so).await
    }
}

fn has_told(controller: &Controller) -> bool {
    controller.process.output().contains(TOLD)
}

#[tokio::test(flavor = "multi_thread")]
async fn p27_an_enrolled_namespace_has_a_user_for_its_realms_alone() -> Result<()> {
    let mut shop = Shop::open().await?;
    for namespace in ["shop", "bank"] {
        shop.scene.enroll(namespace, true).await?;
    }
    // Before there were users, all had the store's own password: it must not become one of theirs.
    let before = shop.scene.controller().await?;
    let gate = secret("shop", "cloakroom-gate");
    let shared = shop.scene.becomes(&gate, "is made", |it| !file(it, "store.password").is_empty()).await?;
    before.end()?;

    let controller = shop.controller().await?;
    let (of_shop, of_bank) = (shop.password_of("shop").await?, shop.password_of("bank").await?);
    ensure!(of_shop != of_bank && of_shop != file(&shared, "store.password"), "one password for several");
    for (namespace, password, own, other) in
        [("shop", &of_shop, "default", "money"), ("bank", &of_bank, "money", "default")]
    {
        shop.comes_in(namespace, password, true).await?;
        let allowed = shop.asks(namespace, password, &format!("ckr:{own}:s:{{x}}")).await?;
        ensure!(matches!(allowed, Reply::Nil), "{namespace} in {own}: {allowed:?}");
        let refused = shop.asks(namespace, password, &format!("ckr:{other}:s:{{x}}")).await?;
        ensure!(
            matches!(&refused, Reply::Error(words) if words.starts_with("NOPERM")),
            "{namespace} in {other}: {refused:?}"
        );
    }
    shop.comes_in("shop", &of_bank, false).await?;

    // The store forgets, and is told again.
    shop.redis.restart().await?;
    shop.comes_in("shop", &of_shop, true).await?;
    shop.comes_in("bank", &of_bank, true).await?;

    // Who is no longer enrolled has no user; what others have outlasts the controller.
    shop.scene.enroll("bank", false).await?;
    shop.comes_in("bank", &of_bank, false).await?;
    let lines = controller.process.output().lines();
    ensure!(
        !lines.iter().any(|line| line.contains(&of_shop) || line.contains(OF_THE_STORE)),
        "P31: a password is told"
    );
    controller.end()?;
    let controller = shop.controller().await?;
    controller.process.wait_until(PATIENCE, "word of users", async || has_told(&controller)).await?;
    ensure!(shop.password_of("shop").await? == of_shop, "another password after a restart");
    shop.comes_in("shop", &of_shop, true).await?;
    controller.end()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_leader_tells_the_store() -> Result<()> {
    let shop = Shop::open().await?;
    shop.scene.enroll("shop", true).await?;
    let first = shop.controller().await?;
    let password = shop.password_of("shop").await?;
    shop.comes_in("shop", &password, true).await?;
    let second = shop.controller().await?;
    ensure!(has_told(&first) && !has_told(&second), "a follower tells the store");
    // A user that is not wanted goes by the hand of whoever leads.
    first.process.kill()?;
    shop.redis.command(&["ACL", "SETUSER", "cloakroom-gone", "on", ">gone", "~*", "+get"]).await?;
    shop.scene.enroll("later", true).await?;
    let later = shop.password_of("later").await?;
    shop.comes_in("later", &later, true).await?;
    shop.comes_in("shop", &password, true).await?;
    shop.comes_in("gone", "gone", false).await?;
    ensure!(has_told(&second), "{}", second.process.output().tail(20));
    second.end().context("the second one")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_stops_nothing_and_is_complained_of_once() -> Result<()> {
    let mut shop = Shop::open().await?;
    shop.redis.kill()?;
    shop.scene.enroll("shop", true).await?;
    let controller = shop.controller().await?;
    let complaint = "the store could not be told of the users of the namespaces";
    let password = shop.password_of("shop").await?;
    let complained = async || controller.process.output().contains(complaint);
    controller.process.wait_until(PATIENCE, "complaint about the store", complained).await?;
    shop.redis.restart().await?;
    shop.comes_in("shop", &password, true).await?;
    let lines = controller.process.output().lines();
    let complaints = lines.iter().filter(|line| line.contains(complaint)).count();
    ensure!(complaints <= 2, "{complaints} complaints: {lines:#?}");
    controller.end()
}
