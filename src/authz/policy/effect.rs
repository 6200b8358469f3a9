//! Which policies judge anything, and which have others in their place: what conditions say of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::chain::Chain;
use super::{PolicyIndex, PolicyName};

/// What has become of the policies of an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Those that judge some request: a good one that is not here is overridden everywhere, or hangs on nothing that is served.
    pub judging: BTreeSet<PolicyName>,
    /// By policy: the more specific ones that stand in for it somewhere.
    pub overridden: BTreeMap<PolicyName, BTreeSet<PolicyName>>,
}

impl PolicyIndex {
    /// What has become of each policy. Not for every request: it looks at all of them.
    pub fn effects(&self) -> Effects {
        let mut effects = Effects::default();
        self.hosts.values().chain(self.pod.values()).for_each(|chain| effects.add(chain));
        self.named.entries().for_each(|entry| effects.add(&entry.chain));
        effects
    }
}

impl Effects {
    fn add(&mut self, chain: &Arc<Chain>) {
        self.judging.extend(chain.all().map(|bound| bound.form.name.clone()));
        let Some(by) = chain.last() else { return };
        for name in &chain.replaced {
            self.overridden.entry(name.clone()).or_default().insert(by.form.name.clone());
        }
    }
}
