//! The users that the controller makes in a store, one for each namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use cloakroom::authz::session::Realm;
use cloakroom::store::redis::users::{self, User, Users};
use cloakroom::store::redis::{Access, Address};
use e2e::process::wait_until;
use e2e::redis::resp::Reply;
use e2e::redis::{Redis, RedisOptions};
use serde_json::{Value, json};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::fleet::{Fleet, PATIENCE, STALE, believing_for};

const MAKER: &str = "maker";
const OF_THE_STORE: &str = "of-the-store";

/// A server whose users are kept.
struct Kept {
    redis: Redis,
    folder: tempfile::TempDir,
    wanted: watch::Sender<Arc<Users>>,
    told: Arc<AtomicUsize>,
    keeping: tokio::task::JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

impl Kept {
    async fn start(users: &[(&str, &[&str])]) -> Result<Self> {
        Self::with(users, Some(OF_THE_STORE), None).await
    }

    /// The store's password as it stands in the file, if there is one, and as it is known otherwise.
    async fn with(users: &[(&str, &[&str])], written: Option<&str>, known: Option<&str>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let password = folder.path().join("store");
        if let Some(written) = written {
            std::fs::write(&password, written)?;
        }
        let known = known.map(|it| Zeroizing::new(it.to_owned()));
        let users_of_others = vec![
            "somebody on >else ~theirs:* +get".to_owned(),
            // What docs/store.md says that the controller needs.
            format!("{MAKER} on >{OF_THE_STORE} nocommands +hello +auth +acl|setuser +acl|deluser +acl|users"),
        ];
        let options =
            RedisOptions { password: Some(OF_THE_STORE.to_owned()), users: users_of_others, ..RedisOptions::default() };
        let redis = Redis::spawn(options).await?;
        let address = Address::parse(&redis.address().to_string()).context("an address")?;
        let (wanted, wants) = watch::channel(Arc::new(of(users)));
        let told = Arc::new(AtomicUsize::new(0));
        let keeping = tokio::spawn({
            let told = Arc::clone(&told);
            async move {
                let access = Access { user: Some(MAKER.to_owned()), password: Some(password), tls: None };
                let hear = |outcome: Result<usize, users::UsersError>| {
                    if outcome.is_ok() {
                        told.fetch_add(1, Ordering::SeqCst);
                    }
                };
                match users::keep(&address, &access, known.as_ref(), wants, hear).await {}
            }
        });
        let kept = Self { redis, folder, wanted, told, keeping };
        kept.told_after(0).await?;
        Ok(kept)
    }

    async fn told_after(&self, before: usize) -> Result<()> {
        wait_until(PATIENCE, "users", async || self.told.load(Ordering::SeqCst) > before).await
    }

    async fn names(&self) -> Result<Vec<String>> {
        let names = self.redis.command(&["ACL", "USERS"]).await?;
        Ok(names.list().iter().map(Reply::text).collect())
    }

    /// `sessions.store.redis` of a gate in this namespace.
    fn way_of(&self, namespace: &str) -> Result<Value> {
        let password = self.folder.path().join(namespace);
        std::fs::write(&password, password_of(namespace))?;
        let username = format!("cloakroom-{namespace}");
        Ok(json!({ "url": self.redis.url(), "username": username, "passwordFile": password }))
    }
}

fn password_of(namespace: &str) -> String {
    format!("of-{namespace}")
}

fn of(users: &[(&str, &[&str])]) -> Users {
    let realm = |name: &&str| Realm::parse(name).unwrap();
    let user = |&(namespace, realms): &(&str, &[&str])| {
        let realms: BTreeSet<Realm> = realms.iter().map(realm).collect();
        (namespace.to_owned(), User::new(password_of(namespace).as_bytes(), realms, Realm::parse("shop").unwrap()))
    };
    users.iter().map(user).collect::<BTreeMap<_, _>>()
}

#[tokio::test(flavor = "multi_thread")]
async fn p27_a_namespace_has_a_user_that_reaches_its_own_realms() -> Result<()> {
    let kept = Kept::start(&[("shop", &["shop"]), ("bank", &["money"])]).await?;
    let fleet = Fleet::start(2, kept.way_of("shop")?, believing_for(STALE)).await?;
    let ada = fleet.log_in("ada").await?;
    fleet.0[1].until(&ada, 200).await?;

    // The neighbour has the same server and cannot read the record, though it may know its key.
    let mut neighbour = kept.redis.connect().await?;
    neighbour.call(&["AUTH", "cloakroom-bank", &password_of("bank")]).await?.ok()?;
    let record = format!("ckr:shop:s:{{{}}}", ada.sid);
    for command in [
        vec!["GET", record.as_str()],
        vec!["DEL", record.as_str()],
        vec!["SET", "ckr:shop:e:{x}", "1"],
        vec!["KEYS", "*"],
        vec!["ACL", "LIST"],
        vec!["CONFIG", "GET", "*"],
    ] {
        let answer = neighbour.call(&command).await?;
        ensure!(matches!(&answer, Reply::Error(words) if words.starts_with("NOPERM")), "{command:?}: {answer:?}");
    }
    neighbour.call(&["GET", "ckr:money:s:{x}"]).await?.ok()?;
    // Its gate serves, though the install's realm is not its own.
    let bank = Fleet::start(1, kept.way_of("bank")?, believing_for(STALE)).await?;
    ensure!(bank.0[0].process.is_ready().await, "the neighbour's gate is not ready");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn users_come_and_go_and_those_of_others_stay() -> Result<()> {
    let kept = Kept::start(&[("shop", &["shop"])]).await?;
    let before = kept.told.load(Ordering::SeqCst);
    kept.wanted.send(Arc::new(of(&[("bank", &["shop"])])))?;
    kept.told_after(before).await?;
    let names = kept.names().await?;
    ensure!(names.iter().any(|it| it == "cloakroom-bank"), "{names:?}");
    ensure!(!names.iter().any(|it| it == "cloakroom-shop"), "{names:?}");
    ensure!(names.iter().any(|it| it == "somebody"), "{names:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_restarts_is_told_of_its_users_again() -> Result<()> {
    let mut kept = Kept::start(&[("shop", &["shop"])]).await?;
    let fleet = Fleet::start(1, kept.way_of("shop")?, believing_for(STALE)).await?;
    fleet.log_in("ada").await?;
    kept.redis.restart().await?;
    // A new log-in needs the user; the server has lost it with the rest of its memory.
    let bob = fleet.log_in("bob").await?;
    fleet.0[0].until(&bob, 200).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_known_counts_until_the_file_has_one() -> Result<()> {
    // Each begins only once the server has taken the users.
    Kept::with(&[("shop", &["default"])], None, Some(OF_THE_STORE)).await?;
    Kept::with(&[("shop", &["default"])], Some("\n"), Some(OF_THE_STORE)).await?;
    Kept::with(&[("shop", &["default"])], Some(OF_THE_STORE), Some("another")).await?;
    Ok(())
}
