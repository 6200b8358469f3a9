//! The policies in force: compiled, published whole and told of, wherever they were gathered (P29).

mod metrics;

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::Registry;

use self::metrics::StatusBridge;
use crate::authz::policy::{Install, PolicyIndex, PolicyObjects, PolicyProblem};

/// What is in force, and what is wrong with what was written.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Grows with each index that is published.
    pub generation: u64,
    /// Policies in force.
    pub policies: usize,
    /// Their rules.
    pub rules: usize,
    /// Problems of objects, and notes; the other objects are in force.
    pub problems: Vec<PolicyProblem>,
    /// Why the source of the policies does not read now; the set before it is in force.
    pub errors: Vec<String>,
}

/// Compiles sets of objects and puts them in force. Clones share what is in force.
#[derive(Clone, Debug)]
pub struct Publisher {
    install: Arc<Install>,
    index: Arc<ArcSwap<PolicyIndex>>,
    status: Arc<ArcSwap<Status>>,
}

impl Publisher {
    /// With nothing in force yet: every request is refused with 503.
    pub fn new(install: Install) -> Self {
        Self {
            index: Arc::new(ArcSwap::from_pointee(PolicyIndex::not_ready(&install))),
            status: Arc::default(),
            install: Arc::new(install),
        }
    }

    /// The index in force; readers load it for each request.
    pub fn index(&self) -> Arc<ArcSwap<PolicyIndex>> {
        self.index.clone()
    }

    /// What is wrong with what was written.
    pub fn status(&self) -> Arc<ArcSwap<Status>> {
        self.status.clone()
    }

    /// Registers what the status says as metrics.
    ///
    /// # Errors
    /// When the registry has them already.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(StatusBridge::new(self.status())?))
    }

    /// Compiles `objects` and puts them in force, whole. What is wrong with any of them, and `notes` besides, becomes the
    /// status, and what is new of it a line.
    pub fn publish(&self, objects: &PolicyObjects, notes: Vec<PolicyProblem>) {
        self.publish_after(None, objects, notes);
    }

    /// [`Publisher::publish`], where each policy had the form in `good` before: the last good forms of an earlier process.
    pub fn publish_after(&self, good: Option<&PolicyObjects>, objects: &PolicyObjects, notes: Vec<PolicyProblem>) {
        let good = good.map(|good| PolicyIndex::compile(good, &self.install, None).0);
        let in_force = self.index.load();
        let previous = good.as_ref().unwrap_or(&in_force);
        let (index, mut problems) = PolicyIndex::compile(objects, &self.install, Some(previous));
        problems.extend(notes);
        let before = self.status.load();
        let (policies, rules) = (index.policies(), index.rules());
        let generation = before.generation + 1;
        self.index.store(Arc::new(index));
        tracing::info!(generation, policies, rules, problems = problems.len(), "policies published");
        report(&problems, &before.problems);
        self.status.store(Arc::new(Status { generation, policies, rules, problems, errors: Vec::new() }));
    }

    /// Notes why the source does not read now, or that it does again. What is in force stays.
    pub fn note_errors(&self, errors: Vec<String>) {
        let before = self.status.load();
        if before.errors != errors {
            self.status.store(Arc::new(Status { errors, ..Status::clone(&before) }));
        }
    }
}

/// One line for each problem that is new.
fn report(problems: &[PolicyProblem], before: &[PolicyProblem]) {
    // By hash: a tenant may have thousands of each (P28).
    let before: HashSet<&PolicyProblem> = before.iter().collect();
    for problem in problems.iter().filter(|problem| !before.contains(problem)) {
        if problem.kind.is_error() {
            tracing::warn!(%problem, reason = problem.kind.label(), "policy problem");
        } else {
            tracing::info!(%problem, reason = problem.kind.label(), "policy note");
        }
    }
}
