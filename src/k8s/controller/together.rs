//! The keys of every namespace in one Secret, for shared gates, which sign for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;

use super::collection::Collection;
use super::ours::{self, Fault};
use super::watching::Seen;
use crate::authz::policy::ObjectName;
use crate::sessions::keyring::bundle::KeyBundle;
use crate::sessions::keyring::namespaces::{INDEX, flat};

/// The name of the Secret, in the install's namespace.
const SECRET: &str = "cloakroom-gate-keys";
/// The most bytes of names and keys in it. An API server takes 1 MiB (`MaxSecretSize`): about 1,800 namespaces with ES256.
const MAX_BYTES: usize = 1_000_000;

/// How long after a write the next one is, at least: however often one namespace's keys change, the API server and the gates
/// see no more of it (P27).
const EVERY: Duration = Duration::from_secs(5);

/// The Secret as it is, and what is wrong with it.
#[derive(Debug)]
pub(super) struct Together {
    pub(super) name: ObjectName,
    secret: Collection<Secret>,
    /// Whether it may differ from what it should be.
    pub(super) is_stale: bool,
    written: Option<Instant>,
    fault: Option<Fault>,
    /// What was complained of last.
    told: Option<Fault>,
}

impl Together {
    pub(super) fn new(namespace: &str) -> Self {
        let name = (namespace.to_owned(), SECRET.to_owned());
        Self { name, secret: Collection::default(), is_stale: true, written: None, fault: None, told: None }
    }

    pub(super) fn take(&mut self, seen: Seen<Secret>) -> bool {
        self.secret.take(seen, |it| it)
    }

    pub(super) fn is_whole(&self) -> bool {
        self.secret.is_whole()
    }

    /// What has just been written.
    pub(super) fn put(&mut self, secret: &Secret) {
        self.secret.put(secret, |it| it);
        self.written = Some(Instant::now());
    }

    /// How long it has to wait for its next write, if it is to have one and has to wait.
    pub(super) fn waits(&self) -> Option<Duration> {
        let rest = EVERY.saturating_sub(self.written?.elapsed());
        (self.is_stale && !rest.is_zero()).then_some(rest)
    }

    /// The Secret as it should be with these keys; `None` when it is right as it is, an error when it is not ours.
    pub(super) fn next(&mut self, bundles: &BTreeMap<&str, &KeyBundle>) -> Result<Option<Secret>, ()> {
        let present = self.secret.get(&self.name);
        if present
            .is_some_and(|it| !ours::is_ours(&it.metadata) || it.type_.as_deref().is_some_and(|it| it != "Opaque"))
        {
            self.fault = Some(Fault::foreign("the keys of all namespaces", "shared gates get none"));
            return Err(());
        }
        let before = present.and_then(|it| it.data.as_ref()).map(namespaces_of).unwrap_or_default();
        let (data, left_out) = data_of(bundles, &before);
        self.fault = (!left_out.is_empty()).then(|| Fault {
            reason: "KeysTooLarge",
            words: format!(
                "the keys of all namespaces are more than the {MAX_BYTES} bytes that fit into a Secret: shared gates have no key for \
                 {} ({} in all), and answer 503 there; use ES256 or EdDSA (jwt.algorithm), fewer namespaces, or the sidecar shape",
                left_out.iter().take(5).copied().collect::<Vec<_>>().join(", "),
                left_out.len(),
            ),
        });
        if present.is_some_and(|it| it.data.as_ref() == Some(&data)) {
            return Ok(None);
        }
        let fresh = || ObjectMeta { name: Some(self.name.1.clone()), ..ObjectMeta::default() };
        let metadata = present.map_or_else(fresh, |it| it.metadata.clone());
        Ok(Some(Secret {
            metadata: ours::marked(metadata),
            data: Some(data),
            type_: Some("Opaque".to_owned()),
            immutable: None,
            string_data: None,
        }))
    }

    /// What is wrong, once: with the Secret of this uid.
    pub(super) fn complaint(&mut self) -> Option<(Option<String>, Fault)> {
        if self.fault == self.told {
            return None;
        }
        self.told.clone_from(&self.fault);
        let uid = self.secret.get(&self.name).and_then(|it| it.metadata.uid.clone());
        self.fault.clone().map(|fault| (uid, fault))
    }
}

/// The namespaces that have keys in it.
fn namespaces_of(data: &BTreeMap<String, ByteString>) -> BTreeSet<String> {
    data.keys().filter_map(|name| name.split_once('_')).map(|(namespace, _)| namespace.to_owned()).collect()
}

/// The files of a namespace, and what they take with their names and its line in the index.
struct Packed<'a> {
    namespace: &'a str,
    files: Vec<(String, ByteString)>,
    size: usize,
}

impl<'a> Packed<'a> {
    fn of(namespace: &'a str, bundle: &KeyBundle) -> Self {
        let files = bundle.files().map(|(name, content)| (flat(namespace, &name), ByteString(content.to_vec())));
        let files: Vec<_> = files.collect();
        let size =
            files.iter().map(|(name, content)| name.len() + content.0.len()).sum::<usize>() + namespace.len() + 1;
        Self { namespace, files, size }
    }
}

/// The files of the flat form, and the namespaces for which there is no room. Those that were in before stay, and of them, where
/// they are too many, the smallest: who lets its keys grow puts out itself and nobody else.
fn data_of<'a>(
    bundles: &BTreeMap<&'a str, &KeyBundle>,
    before: &BTreeSet<String>,
) -> (BTreeMap<String, ByteString>, Vec<&'a str>) {
    let (mut data, mut left_out, mut index) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
    let mut size = INDEX.len();
    let mut all: Vec<_> = bundles.iter().map(|(namespace, bundle)| Packed::of(namespace, bundle)).collect();
    all.sort_by_key(|it| (!before.contains(it.namespace), it.size));
    for Packed { namespace, files, size: more } in all {
        if size + more > MAX_BYTES {
            left_out.push(namespace);
            continue;
        }
        size += more;
        index.insert(namespace);
        data.extend(files);
    }
    let index: String = index.into_iter().map(|namespace| format!("{namespace}\n")).collect();
    data.insert(INDEX.to_owned(), ByteString(index.into_bytes()));
    (data, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::session::Timestamp;
    use crate::sessions::keyring::algorithm::SigningAlgorithm;
    use crate::sessions::keyring::bundle::Schedule;

    #[test]
    fn p27_a_namespace_too_many_is_left_out_and_the_others_stay() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let bundle = KeyBundle::generate(SigningAlgorithm::Es256, now).unwrap();
        let names: Vec<String> = (0..3_000).map(|number| format!("ns-{number:04}")).collect();
        let all = |from: usize| names[from..].iter().map(|name| (name.as_str(), &bundle)).collect::<BTreeMap<_, _>>();
        let (data, left_out) = data_of(&all(1), &BTreeSet::new());
        let bytes: usize = data.iter().map(|(name, content)| name.len() + content.0.len()).sum();
        assert!((MAX_BYTES - 1_000..=MAX_BYTES).contains(&bytes), "{bytes}");
        assert_eq!((left_out.last(), namespaces_of(&data).len() + left_out.len()), (Some(&"ns-2999"), 2_999));
        assert!(namespaces_of(&data).len() > 1_500, "{}", left_out.len());
        // One that sorts before all others does not push anybody out.
        let (after, left_out) = data_of(&all(0), &namespaces_of(&data));
        assert_eq!(namespaces_of(&after), namespaces_of(&data));
        assert!(left_out.contains(&"ns-0000"));
        assert_eq!(after, data);
    }

    #[test]
    fn p27_a_namespace_whose_keys_grow_puts_nobody_out_but_itself() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let bundle = KeyBundle::generate(SigningAlgorithm::Es256, now).unwrap();
        let names: Vec<String> = (0..3_000).map(|number| format!("ns-{number:04}")).collect();
        let all = names.iter().map(|name| (name.as_str(), &bundle)).collect::<BTreeMap<_, _>>();
        let (data, _) = data_of(&all, &BTreeSet::new());
        let before = namespaces_of(&data);
        let full = || all.iter().filter(|(name, _)| before.contains(**name)).map(|(name, it)| (*name, *it));
        // The first by name have keys that are larger by half and more.
        let schedule = Schedule { every: Duration::from_secs(7_200), publish_for: Duration::from_secs(3_600) };
        let grown = bundle.kept_up(schedule, SigningAlgorithm::Es256, now.plus(schedule.every)).unwrap().unwrap();
        let greedy = ["ns-0000", "ns-0001", "ns-0002"];
        let bundles = full().map(|(name, it)| (name, if greedy.contains(&name) { &grown } else { it })).collect();
        let (after, left_out) = data_of(&bundles, &before);
        assert!(!left_out.is_empty() && left_out.iter().all(|it| greedy.contains(it)), "{left_out:?}");
        assert!(namespaces_of(&after).len() >= before.len() - greedy.len());
    }

    #[test]
    fn p27_keys_that_change_all_the_time_are_written_now_and_then() {
        let mut together = Together::new("cloakroom-system");
        assert_eq!(together.waits(), None, "the first write");
        together.put(&Secret::default());
        assert!(together.waits().is_some_and(|it| it <= EVERY));
        together.is_stale = false;
        assert_eq!(together.waits(), None, "nothing to write");
        together.is_stale = true;
        together.written = Instant::now().checked_sub(EVERY);
        assert_eq!(together.waits(), None, "after its time");
    }

    #[test]
    fn with_no_namespace_it_says_so() {
        let (data, left_out) = data_of(&BTreeMap::new(), &BTreeSet::new());
        assert_eq!(data, BTreeMap::from([(INDEX.to_owned(), ByteString(Vec::new()))]));
        assert!(left_out.is_empty());
    }
}
