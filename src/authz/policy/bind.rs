//! Policies at their targets. Equal ones are one, also from one compilation to the next: so what did not change need not be
//! made again, and listeners can be seen to agree.

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::MintSpec;
use super::form::{Access, Form};

/// A policy at one of its targets.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) form: Arc<Form>,
    pub(super) place: Place,
    /// By rule: what to mint where it lets a session pass.
    pub(super) mints: Box<[Option<Arc<MintSpec>>]>,
}

/// Where a policy stands, and what that makes of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) target: Target,
    /// The namespace whose keys sign.
    pub(super) namespace: Arc<str>,
    /// `aud` where the rule names none.
    pub(super) audience: Arc<str>,
    pub(super) voice: Voice,
}

/// What a policy is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// Its hosts, all as one: they share their audience.
    Hosts,
    /// The own pod.
    Pod,
    /// An object.
    Object(Arc<str>),
}

/// Whether a policy may say what the service that answers can do to sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Voice {
    /// It stands for that service.
    Speaks,
    /// Another service may answer, or words may be put into the mouth of its own: it is checked, and grants nothing.
    Silent,
}

/// A shared value that is equal to itself alone. It holds the value, so that no address comes back.
#[derive(Debug)]
pub(super) struct Same<T>(pub(super) Arc<T>);

impl<T> Clone for Same<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> PartialEq for Same<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Eq for Same<T> {}

impl<T> Hash for Same<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// All policies at their targets.
#[derive(Debug, Default)]
pub(super) struct Bounds(HashMap<(Same<Form>, Place), Arc<Bound>>);

/// Puts policies and targets together; equal results are shared.
pub(super) struct Binder<'a> {
    before: Option<&'a Bounds>,
    bounds: Bounds,
    specs: HashSet<Arc<MintSpec>>,
}

impl<'a> Binder<'a> {
    /// A binder that makes nothing that there was `before`.
    pub(super) fn after(before: Option<&'a Bounds>) -> Self {
        Self { before, bounds: Bounds::default(), specs: HashSet::new() }
    }

    /// `form` in its place.
    pub(super) fn bind(&mut self, form: &Arc<Form>, place: Place) -> Arc<Bound> {
        let key = (Same(form.clone()), place);
        if let Some(bound) = self.bounds.0.get(&key) {
            return bound.clone();
        }
        let bound = match self.before.and_then(|before| before.0.get(&key)) {
            Some(bound) => bound.clone(),
            None => self.make(form, &key.1),
        };
        self.bounds.0.insert(key, bound.clone());
        bound
    }

    /// Notes one that stays as it is.
    pub(super) fn keep(&mut self, bound: &Arc<Bound>) {
        self.bounds.0.insert((Same(bound.form.clone()), bound.place.clone()), bound.clone());
    }

    pub(super) fn finish(self) -> Bounds {
        self.bounds
    }

    fn make(&mut self, form: &Arc<Form>, place: &Place) -> Arc<Bound> {
        let mints = form.rules.iter().map(|rule| match &rule.access {
            Access::Authenticate(auth) => {
                let audience = auth.audience.clone().unwrap_or_else(|| place.audience.clone());
                let spec = MintSpec { namespace: place.namespace.clone(), audience, claims: auth.claims.clone() };
                Some(self.intern(spec))
            }
            Access::Public | Access::Deny(_) => None,
        });
        let mints = mints.collect();
        Arc::new(Bound { form: form.clone(), place: place.clone(), mints })
    }

    fn intern(&mut self, spec: MintSpec) -> Arc<MintSpec> {
        if let Some(known) = self.specs.get(&spec) {
            return known.clone();
        }
        let spec = Arc::new(spec);
        self.specs.insert(spec.clone());
        spec
    }
}
