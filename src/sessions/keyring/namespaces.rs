//! Whose keys are whose: one ring that signs for every namespace, or a ring for each.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::KeyRingConfig;
use super::algorithm::SigningAlgorithm;
use super::folder::{self, KeyRingError, RING_FILE};
use super::timeline::Timeline;
use crate::api::meta::is_label;

/// The keys of a process.
#[derive(Debug)]
pub(super) enum Keys {
    /// One ring for every namespace.
    Shared(Arc<Timeline>),
    /// A ring for each. Another namespace has none.
    Each(BTreeMap<Box<str>, Arc<Timeline>>),
}

/// The keys of a folder, and what is wrong with those of single namespaces.
pub(super) struct Loaded {
    pub(super) keys: Keys,
    pub(super) faults: Vec<KeyRingError>,
}

impl Keys {
    /// The ring that signs for `namespace`.
    pub(super) fn of(&self, namespace: &str) -> Option<&Arc<Timeline>> {
        match self {
            Self::Shared(ring) => Some(ring),
            Self::Each(rings) => rings.get(namespace),
        }
    }

    /// Every ring.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Timeline>> {
        let (shared, each) = match self {
            Self::Shared(ring) => (Some(ring), None),
            Self::Each(rings) => (None, Some(rings.values())),
        };
        shared.into_iter().chain(each.into_iter().flatten())
    }

    /// Whether both are the same keys of the same namespaces at the same times.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Shared(one), Self::Shared(two)) => one.is(two),
            (Self::Each(one), Self::Each(two)) => {
                one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.0 == two.0 && one.1.is(two.1))
            }
            _ => false,
        }
    }
}

/// Reads the folder: the ring in it, or one in each folder that is called after a namespace. A ring that cannot be used is
/// replaced by that of `last`, if there is one, and keeps no other namespace's from being read (P27).
pub(super) fn load(config: &KeyRingConfig, last: Option<&Keys>) -> Result<Loaded, KeyRingError> {
    let dir = &config.dir;
    let names = if dir.join(RING_FILE).symlink_metadata().is_ok() { Vec::new() } else { namespaces(dir) };
    if names.is_empty() {
        let ring = for_algorithm(folder::load(dir)?, dir, config.algorithm)?;
        return Ok(Loaded { keys: Keys::Shared(Arc::new(ring)), faults: Vec::new() });
    }
    let mut rings = BTreeMap::new();
    let mut faults = Vec::new();
    for name in names {
        let dir = dir.join(&name);
        let last = match last {
            Some(Keys::Each(rings)) => rings.get(name.as_str()).cloned(),
            Some(Keys::Shared(_)) | None => None,
        };
        let ring = folder::load(&dir).and_then(|ring| for_algorithm(ring, &dir, config.algorithm));
        let ring = ring.map(Arc::new).map_err(|fault| faults.push(fault)).ok().or(last);
        rings.extend(ring.map(|ring| (name.into_boxed_str(), ring)));
    }
    match faults.pop() {
        // Nothing to go on with: this is no key ring.
        Some(fault) if rings.is_empty() => Err(fault),
        fault => {
            faults.extend(fault);
            Ok(Loaded { keys: Keys::Each(rings), faults })
        }
    }
}

/// The folders in `dir` that are called after namespaces. A mounted Secret's own (`..data` and the like) are not.
fn namespaces(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter(|entry| entry.path().is_dir()).filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| is_label(name)).collect()
}

fn for_algorithm(ring: Timeline, dir: &Path, wanted: SigningAlgorithm) -> Result<Timeline, KeyRingError> {
    if ring.keys().iter().any(|(key, _)| key.algorithm() == wanted) {
        return Ok(ring);
    }
    Err(KeyRingError::Config(format!(
        "jwt.algorithm is {wanted}, and no key in {} is for it; run `cloakroom keys rotate --algorithm {wanted}`, or set \
         jwt.algorithm to what the keys are",
        dir.display()
    )))
}
