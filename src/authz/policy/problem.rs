//! What is wrong with an object, in words for the person who wrote it.

use std::fmt;

use super::{Origin, PolicyName};

/// Something wrong with an object, and what is done about it meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyProblem {
    /// Where the object was written.
    pub origin: Origin,
    /// Which object: `AuthPolicy shop/shop`.
    pub object: String,
    /// The field, as `spec.rules[2].matches[0].path.value`; empty for the whole object.
    pub path: String,
    /// What kind of problem it is; the reason in the object's conditions.
    pub kind: ProblemKind,
    /// What is wrong, and what would be right.
    pub words: String,
}

/// What is done about a bad policy meanwhile, at the end of its problems' words.
pub(super) const LAST_GOOD_STAYS: &str = " (the last good form of this policy stays in force)";
/// The same for one of which nobody can tell what it is for.
pub(super) const IS_NOWHERE: &str = " (what it is for cannot be told, so nothing is refused for it)";
/// The same for one that never had a good form.
pub(super) const IS_CLOSED: &str = " (until it is right, everything it targets is refused)";

/// See [`PolicyProblem::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProblemKind {
    /// The object is not one that could be in force.
    Invalid,
    /// An older policy has the target.
    Conflicted,
    /// The target is not there.
    TargetNotFound,
    /// The target is in a namespace that did not consent.
    RefNotPermitted,
    /// The identity provider that a rule names is not in the policy's namespace, or never had a good form.
    ProviderNotFound,
    /// The Secret that a provider names is not in its namespace, or lacks the value.
    SecretNotFound,
    /// Everything works, and something probably does not do what was meant.
    Advice,
}

impl ProblemKind {
    /// The reason's name, as in conditions (GEP-713).
    pub const fn label(self) -> &'static str {
        match self {
            Self::Invalid => "Invalid",
            Self::Conflicted => "Conflicted",
            Self::TargetNotFound => "TargetNotFound",
            Self::RefNotPermitted => "RefNotPermitted",
            Self::ProviderNotFound => "ProviderNotFound",
            Self::SecretNotFound => "SecretNotFound",
            Self::Advice => "Advice",
        }
    }

    /// Whether it is about what the object names, and not about the object.
    pub const fn is_about_a_reference(self) -> bool {
        matches!(self, Self::TargetNotFound | Self::RefNotPermitted | Self::ProviderNotFound | Self::SecretNotFound)
    }

    /// Whether something that was written is not in force.
    pub const fn is_error(self) -> bool {
        !matches!(self, Self::Advice)
    }
}

impl PolicyProblem {
    /// What is wrong and what would be right, without what is done about it meanwhile.
    pub fn cause(&self) -> &str {
        let effects = [LAST_GOOD_STAYS, IS_NOWHERE, IS_CLOSED];
        effects.into_iter().find_map(|effect| self.words.strip_suffix(effect)).unwrap_or(&self.words)
    }

    /// Which of `spec.targetRefs` it is about, if it is about one of them.
    pub fn target(&self) -> Option<usize> {
        let (index, _) = self.path.strip_prefix("spec.targetRefs[")?.split_once(']')?;
        index.parse().ok()
    }

    pub(super) fn of_policy(
        origin: &Origin,
        policy: &PolicyName,
        path: impl Into<String>,
        kind: ProblemKind,
        words: impl Into<String>,
    ) -> Self {
        Self {
            origin: origin.clone(),
            object: format!("AuthPolicy {policy}"),
            path: path.into(),
            kind,
            words: words.into(),
        }
    }
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.origin, self.object)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.words)
    }
}

/// Problems of one object's fields, gathered so that a person sees all of them at once.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<(String, String)>);

impl Findings {
    pub(super) fn add(&mut self, path: impl Into<String>, words: impl Into<String>) {
        // A generated policy can be wrong in thousands of places; the first few will do.
        if self.0.len() < 20 {
            self.0.push((path.into(), words.into()));
        }
    }

    /// Notes the error, if it is one.
    pub(super) fn catch<T>(&mut self, path: impl Into<String>, result: Result<T, impl fmt::Display>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(words) => {
                self.add(path, words.to_string());
                None
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = (String, String)> {
        self.0.into_iter()
    }
}
