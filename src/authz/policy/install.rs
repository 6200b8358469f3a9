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
    /// The realms there are, and who may do what in them. The default one counts as known; where it has no entry,
    /// everyone may do everything.
    pub realms: BTreeMap<Realm, RealmRights>,
    /// Where tokens travel.
    pub carriers: Carriers,
    /// The headers that are ours.
    pub own_headers: OwnHeaders,
    /// Who may say `hosts`.
    pub hosts: HostsFrom,
    /// The Gateways that this gate serves; `None` is every one there is an object of.
    pub gateways: Option<BTreeSet<ObjectName>>,
    /// The pod whose sidecar this gate is; `None` for a shared gate, which no `selector` selects.
    pub pod: Option<OwnPod>,
    /// What the proxy's word about a request's route is worth.
    pub route_identity: RouteIdentity,
}

impl Install {
    /// The one with the fewest limits, which is that of a folder with nothing said about it: everyone may do everything, and the
    /// session JWT travels in `x-session-jwt`.
    pub fn open(default_realm: Realm, carriers: Carriers) -> Self {
        Self {
            default_realm,
            realms: BTreeMap::new(),
            carriers,
            own_headers: OwnHeaders::new("x-session-jwt"),
            hosts: HostsFrom::Everyone,
            gateways: None,
            pod: None,
            route_identity: RouteIdentity::default(),
        }
    }
}

/// The pod that a sidecar stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnPod {
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// What it is worth when the proxy says which route a request takes: Envoy Gateway's route metadata, or the context extension
/// `cloakroom.route`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteIdentity {
    /// It picks among the routes that we find for the request, and never adds one (P30).
    #[default]
    Verified,
    /// It is believed: the route is looked up by its name.
    Trusted,
}

/// What the install allows in one realm (`realms.NAME`), by the namespace of the policy that wants it (P27). Unless told,
/// everyone may do everything: a folder has one owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RealmRights {
    /// Whose policies may be about the realm at all, and so require its sessions (`use`).
    pub uses: Namespaces,
    /// Whose rules may let services make sessions in it (`create`).
    pub create: Namespaces,
    /// Whose rules may let services change and end its sessions (`write`).
    pub write: Namespaces,
}

/// Some namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespaces {
    /// Every one.
    #[default]
    Everyone,
    /// These.
    Only(BTreeSet<String>),
}

impl Namespaces {
    /// Whether `namespace` is among them.
    pub fn contains(&self, namespace: &str) -> bool {
        match self {
            Self::Everyone => true,
            Self::Only(these) => these.contains(namespace),
        }
    }
}

/// One of the [`RealmRights`].
#[derive(Clone, Copy, Debug)]
pub(super) enum RealmRight {
    Use,
    Create,
    Write,
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
            return self.allows(RealmRight::Use, &self.default_realm, namespace).map(|()| self.default_realm.clone());
        };
        match Realm::parse(name).filter(|realm| self.realms.contains_key(realm) || *realm == self.default_realm) {
            Some(realm) => self.allows(RealmRight::Use, &realm, namespace).map(|()| realm),
            None => {
                let known: BTreeSet<&str> =
                    self.realms.keys().chain([&self.default_realm]).map(Realm::as_str).collect();
                let known: Vec<&str> = known.into_iter().collect();
                Err(format!("no realm `{name}`: the install knows {}", crate::api::read::listed(&known)))
            }
        }
    }

    /// Whether policies of `namespace` have this right in `realm`; else the words that say where it is given.
    pub(super) fn allows(&self, right: RealmRight, realm: &Realm, namespace: &str) -> Result<(), String> {
        let Some(rights) = self.realms.get(realm) else { return Ok(()) };
        let (allowed, deed, key) = match right {
            RealmRight::Use => (&rights.uses, "use", "use"),
            RealmRight::Create => (&rights.create, "create sessions in", "create"),
            RealmRight::Write => (&rights.write, "change or end sessions of", "write"),
        };
        if allowed.contains(namespace) {
            return Ok(());
        }
        Err(format!(
            "namespace `{namespace}` may not {deed} the realm `{realm}`: add it to `realms.{realm}.{key}` in the configuration"
        ))
    }

    pub(super) fn serves(&self, gateway: &ObjectName) -> bool {
        self.gateways.as_ref().is_none_or(|served| served.contains(gateway))
    }
}
