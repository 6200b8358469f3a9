//! What is to be written next: a pure function of what is there and of the time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::authority::{Authority, Others};
use super::signer::{Leaf, SKEW};
use super::{CertificatesConfig, Purpose};
use crate::authz::policy::ObjectName;
use crate::authz::session::Timestamp;

/// An object of a name that ours have.
#[derive(Clone, Debug)]
pub(super) enum Held<T> {
    /// Ours.
    Ours(T),
    /// Left alone.
    NotOurs,
}

/// A Secret with a certificate. What cannot be read is made anew.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) leaf: Option<Leaf>,
    /// Whom it says to trust.
    pub(super) bundle: String,
}

/// All that is there. What is not there has no entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) authority: Option<Held<Authority>>,
    pub(super) leaves: BTreeMap<ObjectName, Held<Shown>>,
    /// The ConfigMaps.
    pub(super) bundles: BTreeMap<ObjectName, Held<String>>,
    /// What the API server is told to trust, by each of the webhooks that call our Service.
    pub(super) registered: BTreeMap<Registration, Vec<String>>,
}

/// A registration of webhooks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Registration {
    /// The ValidatingWebhookConfiguration of this name.
    Validating(String),
    /// The MutatingWebhookConfiguration of this name.
    Mutating(String),
}

/// What is to be written.
#[derive(Clone, Debug)]
pub(super) enum Write {
    /// The authority. All else hangs on it.
    Authority(Box<Authority>),
    /// A certificate, and whom to trust.
    Leaf(ObjectName, Leaf, String),
    /// Whom to trust.
    Bundle(ObjectName, String),
    /// Whom the API server is to trust.
    Registration(Registration, String),
}

/// What is to be written at `now`, in this order. Empty when all is as it should be, or cannot be because the authority's
/// Secret is not ours.
///
/// # Errors
/// When the system has no randomness.
pub(super) fn next(
    config: &CertificatesConfig,
    namespace: &str,
    found: &Found,
    now: Timestamp,
) -> anyhow::Result<Vec<Write>> {
    let life = config.life;
    let authority = match &found.authority {
        None => return Ok(vec![Write::Authority(Box::new(Authority::make(life, now)?))]),
        Some(Held::NotOurs) => return Ok(Vec::new()),
        Some(Held::Ours(authority)) => authority,
    };
    let bundle = authority.bundle();
    let leaves = config.leaves(namespace);
    // What is not there is made with all that is known by then: nobody waits for it.
    let shown = || {
        let shown = leaves.iter().filter_map(|(name, _)| found.leaves.get(name));
        shown.filter_map(|it| match it {
            Held::Ours(shown) => Some(shown),
            Held::NotOurs => None,
        })
    };
    let told = shown().map(|it| &it.bundle);
    let told = told.chain(found.bundles.values().filter_map(|it| match it {
        Held::Ours(bundle) => Some(bundle),
        Held::NotOurs => None,
    }));
    let mut told = told.chain(found.registered.values().flatten());
    let others = Others {
        are_told: told.all(|it| *it == bundle),
        are_renewed: shown().all(|it| {
            it.leaf.as_ref().is_some_and(|leaf| leaf.certificate.is_signed_by(&authority.current.certificate))
        }),
    };
    if let Some(turned) = authority.turn(others, life, now)? {
        return Ok(vec![Write::Authority(Box::new(turned))]);
    }
    let mut writes = Vec::new();
    for (name, purpose) in &leaves {
        let shown = match found.leaves.get(name) {
            Some(Held::NotOurs) => continue,
            Some(Held::Ours(shown)) => Some(shown),
            None => None,
        };
        let leaf = shown.and_then(|it| it.leaf.as_ref()).filter(|leaf| !is_due(leaf, purpose, authority, life, now));
        match leaf {
            Some(_) if shown.is_some_and(|it| it.bundle == bundle) => {}
            Some(leaf) => writes.push(Write::Leaf(name.clone(), leaf.clone(), bundle.clone())),
            None => {
                let leaf = authority.current.sign(purpose, life, now)?;
                writes.push(Write::Leaf(name.clone(), leaf, bundle.clone()));
            }
        }
    }
    for name in config.bundles() {
        match found.bundles.get(&name) {
            Some(Held::NotOurs) => {}
            Some(Held::Ours(told)) if *told == bundle => {}
            _ => writes.push(Write::Bundle(name, bundle.clone())),
        }
    }
    for (registration, told) in &found.registered {
        if told.iter().any(|it| *it != bundle) {
            writes.push(Write::Registration(registration.clone(), bundle.clone()));
        }
    }
    Ok(writes)
}

/// Whether there should be another certificate in the place of this one.
fn is_due(leaf: &Leaf, purpose: &Purpose, authority: &Authority, life: Duration, now: Timestamp) -> bool {
    let certificate = &leaf.certificate;
    let is_of_another_time = certificate.begins > now.plus(SKEW) || certificate.ends > now.plus(life).plus(SKEW);
    now >= leaf.renewal()
        || is_of_another_time
        || certificate.purpose.as_ref() != Some(purpose)
        || !certificate.is_signed_by(&authority.current.certificate)
}
