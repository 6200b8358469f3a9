//! The policies that stand one below the other.

use std::sync::Arc;

use super::PolicyName;
use super::bind::Bound;
use crate::api::auth_policy::Inheritance;

/// The policies at a target, above it and behind it.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// The `Required` ones, the outermost first.
    pub(super) required: Vec<Arc<Bound>>,
    /// The most specific one, unless it is among them.
    pub(super) specific: Option<Arc<Bound>>,
    /// Those on Services that requests may be sent to among others: each is checked in addition.
    pub(super) each: Vec<Arc<Bound>>,
    /// Whether requests may also be sent to something that none of `each` is for.
    pub(super) leaves_some: bool,
}

impl Chain {
    /// The chain of these policies, the outermost first: each `Required` one, and of the others the most specific, if
    /// nothing is more specific still.
    pub(super) fn of(levels: &[Arc<Bound>]) -> Self {
        let is_required = |bound: &&Arc<Bound>| bound.form.inheritance == Inheritance::Required;
        Self {
            required: levels.iter().filter(is_required).cloned().collect(),
            specific: levels.last().filter(|bound| !is_required(bound)).cloned(),
            ..Self::default()
        }
    }

    /// The same with the policies on Services, of which requests may be sent to any.
    pub(super) fn and_each(self, each: Vec<Arc<Bound>>, every_backend_has_one: bool) -> Self {
        Self { each, leaves_some: !every_backend_has_one, ..self }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.required.is_empty() && self.specific.is_none() && self.each.is_empty()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Bound>> {
        self.each.iter().chain(&self.required).chain(&self.specific)
    }

    pub(super) fn has(&self, name: &PolicyName) -> bool {
        self.all().any(|bound| bound.form.name == *name)
    }

    /// Chains with equal keys judge alike.
    pub(super) fn key(&self) -> (usize, bool, Vec<*const Bound>) {
        (self.each.len(), self.leaves_some, self.all().map(Arc::as_ptr).collect())
    }

    /// Whether both judge every request alike.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.each.len() == other.each.len()
            && self.leaves_some == other.leaves_some
            && self.required.len() == other.required.len()
            && self.specific.is_some() == other.specific.is_some()
            && self.all().zip(other.all()).all(|(one, two)| Arc::ptr_eq(one, two))
    }
}
