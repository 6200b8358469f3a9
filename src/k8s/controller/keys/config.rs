//! Which keys are kept, as the configuration says it.

use std::collections::BTreeSet;

use crate::sessions::keyring::algorithm::SigningAlgorithm;
use crate::sessions::keyring::bundle::Schedule;

/// Whose keys are kept, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysConfig {
    /// The namespaces that have keys.
    pub enrolled: Enrolled,
    /// When keys are replaced.
    pub schedule: Schedule,
    /// What keys are made for.
    pub algorithm: SigningAlgorithm,
    /// Whether the keys of all are kept in one Secret as well, for a gate that signs for all: its `jwt.algorithm`, than which no key
    /// there may be slower.
    pub together: Option<SigningAlgorithm>,
}

/// Which namespaces have keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enrolled {
    /// Those with the label `cloakroom.dev/enrolled: "true"`.
    ByLabel,
    /// These.
    These(BTreeSet<String>),
}

impl Enrolled {
    /// Where to look for what they have: namespaces, or the empty name for all. Where the namespaces are listed one needs rights
    /// in those alone.
    pub(in crate::k8s::controller) fn scopes(&self, watched: Option<&str>) -> Vec<String> {
        match self {
            Self::These(namespaces) => namespaces.iter().cloned().collect(),
            Self::ByLabel => vec![watched.unwrap_or_default().to_owned()],
        }
    }
}
