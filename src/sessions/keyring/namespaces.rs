//! Whose keys are whose: one ring that signs for every namespace, or a ring for each.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::KeyRingConfig;
use super::algorithm::SigningAlgorithm;
use super::folder::{self, KeyRingError, RING_FILE};
use super::key::SigningKey;
use super::timeline::Timeline;
use crate::api::meta::is_label;

/// The file that says of a folder that it is one of the flat form, also where no namespace has keys yet: their names, one a line,
/// for people.
pub const INDEX: &str = "namespaces";

/// The bits that an RSA key may have where the keys of many namespaces lie together. Ours have the first.
const RSA_AMONG_OTHERS: [usize; 2] = [2048, 3072];

/// What the file `name` of a namespace's ring is called in the flat form: a Secret has no folders. No namespace has a `_` in its
/// name.
pub fn flat(namespace: &str, name: &str) -> String {
    format!("{namespace}_{name}")
}

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

/// Reads the folder: the ring in it, or one in each folder that is called after a namespace, or files of each namespace in the
/// flat form. A ring that cannot be used is replaced by that of `last`, if there is one, and keeps no other namespace's from being
/// read (P27). Where there is a `last`, keys for another algorithm than the configuration's are no fault: who goes on with old ones
/// signs what nobody verifies any more (P10).
pub(super) fn load(config: &KeyRingConfig, last: Option<&Keys>) -> Result<Loaded, KeyRingError> {
    let dir = &config.dir;
    let wanted = last.is_none().then_some(config.algorithm);
    let is_one_ring = dir.join(RING_FILE).symlink_metadata().is_ok();
    let places = if is_one_ring { BTreeMap::new() } else { places(dir) };
    if places.is_empty() && (is_one_ring || !dir.join(INDEX).is_file()) {
        let ring = for_algorithm(folder::load(dir)?, dir, wanted)?;
        return Ok(Loaded { keys: Keys::Shared(Arc::new(ring)), faults: Vec::new() });
    }
    let mut rings = BTreeMap::new();
    let mut faults = Vec::new();
    for (name, place) in places {
        let last = match last {
            Some(Keys::Each(rings)) => rings.get(name.as_str()).cloned(),
            Some(Keys::Shared(_)) | None => None,
        };
        let read = match place {
            Place::Folder => folder::load(&dir.join(&name)).and_then(|it| for_algorithm(it, &dir.join(&name), wanted)),
            Place::Flat => read_flat(dir, &name, config.algorithm),
            Place::Both => Err(KeyRingError::Config(format!(
                "{}: the namespace {name} has a folder and files in the flat form here; remove one of the two",
                dir.display()
            ))),
        };
        let ring = read.map(Arc::new).map_err(|fault| faults.push(fault)).ok().or(last);
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

/// Where the ring of a namespace lies.
#[derive(Clone, Copy)]
enum Place {
    /// In a folder that is called after it.
    Folder,
    /// Beside those of others.
    Flat,
    /// Nobody knows.
    Both,
}

/// The namespaces that have a ring in `dir`. A mounted Secret's own folders (`..data` and the like) are not called as
/// namespaces can be.
fn places(dir: &Path) -> BTreeMap<String, Place> {
    let mut places = BTreeMap::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let (name, place) = match name.split_once('_') {
            Some((namespace, RING_FILE)) => (namespace.to_owned(), Place::Flat),
            _ if entry.path().is_dir() => (name, Place::Folder),
            _ => continue,
        };
        if is_label(&name) {
            places.entry(name).and_modify(|it| *it = Place::Both).or_insert(place);
        }
    }
    places
}

/// The ring of a namespace among those of others: as the controller puts them there, and no other.
fn read_flat(dir: &Path, namespace: &str, wanted: SigningAlgorithm) -> Result<Timeline, KeyRingError> {
    let ring = folder::read_as(dir, &flat(namespace, ""))?.1;
    among_others(&ring, &dir.join(flat(namespace, RING_FILE)), wanted)?;
    Ok(ring)
}

/// Whether a ring may lie among those of other namespaces: no key is slower than the install chose with `wanted`. Whoever writes the
/// keys of one namespace would else choose how long all others wait for a signature (P28). Others that are as fast may lie
/// there, as they do while keys of another algorithm take over (P10).
///
/// # Errors
/// The key that is not, and the cure.
pub(super) fn among_others(ring: &Timeline, place: &Path, wanted: SigningAlgorithm) -> Result<(), KeyRingError> {
    let problem = |key: &SigningKey| match (key.algorithm(), key.rsa_bits()) {
        (algorithm, _) if algorithm.is_slower_than(wanted) => Some(format!(
            "it is for {algorithm}, and `jwt.algorithm` of the install is {wanted}, which is faster; until the key has left the ring set \
             `jwt.algorithm` to {algorithm} and `controller.keys.algorithm` to {wanted}"
        )),
        (_, Some(bits)) if !RSA_AMONG_OTHERS.contains(&bits) => {
            Some(format!("it has {bits} bits; an RSA key of a namespace has 2048 or 3072"))
        }
        _ => None,
    };
    match ring.keys().iter().find_map(|(key, _)| Some((key, problem(key)?))) {
        None => Ok(()),
        Some((key, problem)) => Err(KeyRingError::Key { path: place.to_owned(), kid: key.id().0.to_string(), problem }),
    }
}

fn for_algorithm(ring: Timeline, dir: &Path, wanted: Option<SigningAlgorithm>) -> Result<Timeline, KeyRingError> {
    let Some(wanted) = wanted.filter(|wanted| ring.keys().iter().all(|(key, _)| key.algorithm() != *wanted)) else {
        return Ok(ring);
    };
    Err(KeyRingError::Config(format!(
        "jwt.algorithm is {wanted}, and no key in {} is for it; run `cloakroom keys rotate --algorithm {wanted}`, or set \
         jwt.algorithm to what the keys are",
        dir.display()
    )))
}
