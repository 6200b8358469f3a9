//! What the install says about policies, and no policy can change.

use std::collections::{BTreeMap, BTreeSet};

use crate::authz::attributes::own_headers::OwnHeaders;
use crate::authz::credential::Carriers;
use crate::authz::session::Realm;

/// A namespaced object's namespace and name.
pub type ObjectName = (String, String);

/// What the install says about policies.
#[derive(Clone, Debug)]
pub struct Install {
    /// The realm of policies that name none.
    pub default_realm: Realm,
    /// The realms there are, and who may require their sessions. The default one counts as known.
    pub realms: BTreeMap<Realm, RealmUse>,
    /// Where tokens travel.
    pub carriers: Carriers,
    /// The headers that are ours.
    pub own_headers: OwnHeaders,
    /// Who may say `hosts`.
    pub hosts: HostsFrom,
    /// The Gateways that this gate serves; `None` is every one there is an object of.
    pub gateways: Option<BTreeSet<ObjectName>>,
}

/// Which namespaces' policies may require a realm's sessions (`realms.NAME.use`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RealmUse {
    /// Every one.
    Everyone,
    /// These.
    Namespaces(BTreeSet<String>),
}

/// Which namespaces' policies may say `spec.hosts`, and so claim hosts that no Gateway gave them (P27).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostsFrom {
    /// Every one: a folder has one owner.
    Everyone,
    /// The install's own.
    Namespace(String),
}

impl Install {
    /// The realm `name`, if it is known and `namespace` may use it; else the words that say what would be right.
    pub(super) fn realm(&self, name: Option<&str>, namespace: &str) -> Result<Realm, String> {
        let Some(name) = name else {
            return self.usable(self.default_realm.clone(), namespace);
        };
        match Realm::parse(name).filter(|realm| self.realms.contains_key(realm) || *realm == self.default_realm) {
            Some(realm) => self.usable(realm, namespace),
            None => {
                let known: BTreeSet<&str> =
                    self.realms.keys().chain([&self.default_realm]).map(Realm::as_str).collect();
                let known: Vec<&str> = known.into_iter().collect();
                Err(format!("no realm `{name}`: the install knows {}", crate::api::read::listed(&known)))
            }
        }
    }

    fn usable(&self, realm: Realm, namespace: &str) -> Result<Realm, String> {
        match self.realms.get(&realm) {
            Some(RealmUse::Namespaces(allowed)) if !allowed.contains(namespace) => Err(format!(
                "namespace `{namespace}` may not use the realm `{realm}`: add it to `realms.{realm}.use` in the configuration"
            )),
            _ => Ok(realm),
        }
    }

    pub(super) fn serves(&self, gateway: &ObjectName) -> bool {
        self.gateways.as_ref().is_none_or(|served| served.contains(gateway))
    }
}
