//! The users of a server, one for each namespace, limited to the records of the realms that it may use (P27).
//!
//! A server forgets users that it was only told of when it restarts. So they are told again after each new connection, and
//! whoever keeps them holds one open to notice.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use redis::{Cmd, PushKind, RedisError, cmd};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::address::Address;
use super::dial::{Access, Connection, DialError};
use crate::authz::session::Realm;

/// What every user of ours is called before its namespace. Others are never touched.
pub const PREFIX: &str = "cloakroom-";
/// All that a gate asks a server for. `docs/store.md` shows the same to those who make their users themselves.
const COMMANDS: &[&str] = &[
    "nocommands",
    "+hello",
    "+auth",
    "+select",
    "+ping",
    "+client|tracking",
    "+client|caching",
    "+get",
    "+set",
    "+del",
    "+unlink",
    "+exists",
    "+getrange",
    "+pttl",
    "+pexpire",
    "+time",
    "+zadd",
    "+zrem",
    "+zrange",
    "+zremrangebyscore",
    "+eval",
    "+evalsha",
    "+wait",
    "+cluster|slots",
    "+asking",
    "+role",
];
/// How long one command may take.
const WITHIN: Duration = Duration::from_secs(2);
/// How long to wait before the next try.
const PAUSE: Duration = Duration::from_millis(500);
/// How often users are told again, whatever has happened: somebody may have taken one away by hand.
const AGAIN: Duration = Duration::from_secs(30);

/// What a user may reach. Its password is known by its hash alone, as the server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    password: [u8; 32],
    realms: BTreeSet<Realm>,
    /// The realm of the install, by a name in which gates ask whether the server answers.
    own: Realm,
}

impl User {
    /// One with this password, for these realms; none at all is a user that reaches no session. Its gate has `own` as its realm.
    pub fn new(password: &[u8], realms: BTreeSet<Realm>, own: Realm) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, password).as_ref());
        Self { password: hash, realms, own }
    }

    /// The rules that make it what it is, whatever it was before.
    fn rules(&self) -> Vec<String> {
        let hash = self.password.iter().fold("#".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}"); // to a string: cannot fail
            text
        });
        // All of it at once or nothing: there is no moment in which the user may do more, or cannot come in.
        let mut rules = vec!["reset".to_owned(), "on".to_owned(), hash, "resetchannels".to_owned()];
        rules.extend(self.realms.iter().map(|realm| format!("~ckr:{realm}:*")));
        if !self.realms.contains(&self.own) {
            // Without these keys, which nobody writes, its gate could not prove a connection.
            rules.push(format!("~ckr:{}:probe:*", self.own));
        }
        rules.extend(COMMANDS.iter().map(|&it| it.to_owned()));
        rules
    }
}

/// The users that a server should have, by namespace.
pub type Users = BTreeMap<String, User>;

/// Why users could not be told.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// There is no connection.
    #[error(transparent)]
    Dial(Box<dyn std::error::Error + Send + Sync>),
    /// The server refused, or the connection broke.
    #[error("the server does not take the users: the one that we are needs `+acl`")]
    Refused(#[source] RedisError),
    /// No answer.
    #[error("no answer within {WITHIN:?}")]
    Late,
}

impl From<DialError> for UsersError {
    fn from(error: DialError) -> Self {
        Self::Dial(Box::new(error))
    }
}

/// Keeps the users of the server at `address` as `wanted` says, until it is dropped; `access` is somebody who may make them, by
/// `password` as long as its file has none. `told` hears how many the server has been told of, each time that it
/// was, and why not.
pub async fn keep(
    address: &Address,
    access: &Access,
    password: Option<&Zeroizing<String>>,
    mut wanted: watch::Receiver<Arc<Users>>,
    told: impl Fn(Result<usize, UsersError>),
) -> Infallible {
    loop {
        told(Err(keep_once(address, access, password, &mut wanted, &told).await));
        tokio::time::sleep(PAUSE).await;
    }
}

/// As long as one connection lasts.
async fn keep_once(
    address: &Address,
    access: &Access,
    password: Option<&Zeroizing<String>>,
    wanted: &mut watch::Receiver<Arc<Users>>,
    told: &impl Fn(Result<usize, UsersError>),
) -> UsersError {
    let lost = Arc::new(Notify::new());
    let hears = {
        let lost = Arc::clone(&lost);
        move |push: redis::PushInfo| {
            if push.kind == PushKind::Disconnection {
                lost.notify_one();
            }
        }
    };
    let connection = match access.dial_with(password.cloned(), address, 0, hears).await {
        Ok(dialled) => dialled.connection,
        Err(error) => return error.into(),
    };
    loop {
        let users = Arc::clone(&wanted.borrow_and_update());
        match tell(&connection, &users).await {
            Ok(()) => told(Ok(users.len())),
            Err(error) => return error,
        }
        let changed = async {
            if wanted.changed().await.is_err() {
                // Nobody will want anything else: what is wanted last is still kept.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(AGAIN) => {}
            () = lost.notified() => {}
        }
    }
}

/// Makes the users, and takes away those of ours that are not wanted.
async fn tell(connection: &Connection, users: &Users) -> Result<(), UsersError> {
    for (namespace, user) in users {
        let mut set = cmd("ACL");
        set.arg("SETUSER").arg(format!("{PREFIX}{namespace}")).arg(user.rules());
        ask::<redis::Value>(connection, &set).await?;
    }
    let there: Vec<String> = ask(connection, cmd("ACL").arg("USERS")).await?;
    for name in there {
        if name.strip_prefix(PREFIX).is_some_and(|namespace| !users.contains_key(namespace)) {
            ask::<i64>(connection, cmd("ACL").arg("DELUSER").arg(name)).await?;
        }
    }
    Ok(())
}

async fn ask<T: redis::FromRedisValue>(connection: &Connection, command: &Cmd) -> Result<T, UsersError> {
    let mut connection = (**connection).clone();
    match timeout(WITHIN, command.query_async(&mut connection)).await {
        Ok(answer) => answer.map_err(UsersError::Refused),
        Err(_) => Err(UsersError::Late),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p27_a_user_reaches_the_realms_it_was_made_for_and_nothing_else() {
        let realm = |name: &str| Realm::parse(name).expect("a realm");
        let user = User::new(b"secret", BTreeSet::from([realm("shop"), realm("staff")]), realm("shop"));
        let rules = user.rules();
        assert_eq!(rules[..2], ["reset", "on"]);
        // SHA-256 of `secret`.
        assert_eq!(rules[2], "#2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b");
        let keys: Vec<_> = rules.iter().filter(|rule| rule.starts_with('~')).collect();
        assert_eq!(keys, ["~ckr:shop:*", "~ckr:staff:*"]);
        assert!(!rules.iter().any(|rule| rule.contains('>') || rule == "allkeys" || rule == "allcommands"));
        let nothing = User::new(b"", BTreeSet::new(), realm("shop")).rules();
        assert_eq!(nothing.iter().filter(|rule| rule.starts_with('~')).collect::<Vec<_>>(), ["~ckr:shop:probe:*"]);
    }

    #[test]
    fn the_page_shows_the_same_user() {
        let page = include_str!("../../../docs/store.md");
        let (_, line) = page.split_once("ACL SETUSER cloakroom on >… ").expect("the page names the user");
        let (rules, _) = line.split_once("```").expect("the end of its rules");
        let rules: Vec<&str> = rules.split_whitespace().collect();
        let shop = Realm::parse("shop").expect("a realm");
        let user = User::new(b"", BTreeSet::from([shop.clone()]), shop);
        assert_eq!(rules, user.rules()[3..]);
    }
}
