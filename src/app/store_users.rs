//! Has the session store know the users of enrolled namespaces, while this controller leads.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::authz::policy::RealmRights;
use crate::authz::session::Realm;
use crate::config::UsersSettings;
use crate::k8s::controller::metrics::ControllerMetrics;
use crate::k8s::controller::{Lead, Passwords};
use crate::store::redis::users::{User, Users, UsersError, keep};

/// Who tells it.
pub(super) struct StoreTeller {
    pub(super) settings: UsersSettings,
    /// The install's own realm, and what it allows in each.
    pub(super) realm: Realm,
    pub(super) realms: BTreeMap<Realm, RealmRights>,
    pub(super) metrics: ControllerMetrics,
}

impl StoreTeller {
    /// Tells what `leads` says, whenever it says something.
    pub(super) async fn run(self, mut leads: watch::Receiver<Option<Lead>>) -> Infallible {
        let outcome = Mutex::new(None);
        loop {
            let lead = leads.borrow_and_update().clone();
            if let Some(lead) = lead {
                self.tell(lead, &mut leads, &outcome).await;
            } else if leads.changed().await.is_err() {
                // The controller is about to end.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Until we lead no more: a follower must not undo what the leader says.
    async fn tell(&self, mut lead: Lead, leads: &mut watch::Receiver<Option<Lead>>, outcome: &Mutex<Option<String>>) {
        let (wanted, wants) = watch::channel(Arc::new(self.users(&lead.passwords)));
        let hear = |told| self.hear(outcome, told);
        let own = lead.passwords.own.clone();
        let UsersSettings { address, access } = &self.settings;
        let mut keeping = std::pin::pin!(keep(address, access, own.as_ref(), wants, hear));
        loop {
            let until = lead.until;
            // A process that was held up finds its tasks woken before its timers.
            let keeping = poll_fn(|context| match Instant::now() < until {
                true => keeping.as_mut().poll(context),
                false => Poll::Pending,
            });
            tokio::select! {
                biased;
                () = sleep_until(until) => return,
                changed = leads.changed() => {
                    let (Ok(()), Some(new)) = (changed, leads.borrow_and_update().clone()) else { return };
                    if new.passwords.own != own {
                        // Begun again, as somebody else.
                        return;
                    }
                    if new.passwords != lead.passwords {
                        wanted.send_replace(Arc::new(self.users(&new.passwords)));
                    }
                    lead = new;
                }
                never = keeping => match never {},
            }
        }
    }

    /// The users of these namespaces, each with the realms that it may use.
    fn users(&self, passwords: &Passwords) -> Users {
        let user = |namespace: &str, password: &[u8]| {
            let may_use = self.realms.iter().filter(|(_, rights)| rights.uses.contains(namespace));
            let realms: BTreeSet<Realm> = may_use.map(|(realm, _)| realm.clone()).collect();
            User::new(password, realms, self.realm.clone())
        };
        passwords
            .namespaces
            .iter()
            .map(|(namespace, password)| (namespace.clone(), user(namespace, password)))
            .collect()
    }

    /// A lasting fault is one line, not one each time; so is its end.
    fn hear(&self, last: &Mutex<Option<String>>, told: Result<usize, UsersError>) {
        self.metrics.users(told.is_ok());
        let address = &self.settings.address;
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        match told {
            Ok(users) => {
                if last.as_deref() != Some("") {
                    tracing::info!(store = %address, users, "the store knows the users of the namespaces");
                }
                *last = Some(String::new());
            }
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::new(error));
                if last.as_ref() != Some(&error) {
                    tracing::warn!(
                        store = %address,
                        %error,
                        "the store could not be told of the users of the namespaces; tried again"
                    );
                }
                *last = Some(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;
    use zeroize::Zeroizing;

    use super::*;
    use crate::authz::policy::Namespaces;
    use crate::k8s::metrics::ClusterMetrics;
    use crate::store::redis::{Access, Address};

    #[test]
    fn p27_a_user_has_the_realms_that_its_namespace_may_use() {
        let realm = |name: &str| Realm::parse(name).unwrap();
        let only =
            |name: &str| RealmRights { uses: Namespaces::Only([name.to_owned()].into()), ..RealmRights::default() };
        let metrics = ControllerMetrics::register(&Registry::new(), ClusterMetrics::new().unwrap()).unwrap();
        let teller = StoreTeller {
            settings: UsersSettings { address: Address::parse("store:6379").unwrap(), access: Access::default() },
            realm: realm("default"),
            realms: [
                (realm("all"), RealmRights::default()),
                (realm("default"), only("shop")),
                (realm("money"), only("bank")),
            ]
            .into(),
            metrics,
        };
        let password = |name: &str| (name.to_owned(), Zeroizing::new(name.as_bytes().to_vec()));
        let namespaces = [password("shop"), password("bank"), password("other")].into();
        let users = teller.users(&Passwords { own: None, namespaces });
        for (namespace, realms) in
            [("shop", vec!["all", "default"]), ("bank", vec!["all", "money"]), ("other", vec!["all"])]
        {
            let realms = realms.into_iter().map(realm).collect();
            assert_eq!(users[namespace], User::new(namespace.as_bytes(), realms, realm("default")), "{namespace}");
        }
    }
}
