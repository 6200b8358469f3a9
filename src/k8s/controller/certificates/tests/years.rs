//! Years with a controller that dies in the middle of its writes and is away for weeks, and with readers that are slow: at no
//! moment is there a pair of peers that do not know each other.

use super::*;
use crate::k8s::controller::certificates::signer::Leaf;
use crate::k8s::controller::certificates::x509::Certificate;

/// What has been published, and when.
struct History<T>(Vec<(Timestamp, T)>);

impl<T: Clone + PartialEq> History<T> {
    fn note(&mut self, now: Timestamp, value: &T) {
        if self.0.last().is_none_or(|(_, last)| last != value) {
            self.0.push((now, value.clone()));
        }
    }

    /// All that somebody may have read last at `now` who looks at least once in `delay`.
    fn in_use(&self, now: Timestamp, delay: Duration) -> Vec<&T> {
        let old = self.0.iter().rev().find(|(at, _)| at.plus(delay) <= now);
        let fresh = self.0.iter().filter(|(at, _)| at.plus(delay) > now);
        old.into_iter().chain(fresh).map(|(_, value)| value).collect()
    }
}

fn each(bundle: &str) -> Vec<Certificate> {
    const END: &str = "-----END CERTIFICATE-----";
    let parts = bundle.split_inclusive(END).filter(|part| part.contains(END));
    parts.map(|part| Certificate::read(part).unwrap()).collect()
}

fn knows(bundle: &[Certificate], leaf: &Leaf, now: Timestamp) -> bool {
    let certificate = &leaf.certificate;
    certificate.begins <= now && now < certificate.ends && bundle.iter().any(|it| certificate.is_signed_by(it))
}

#[test]
fn p33_for_years_every_peer_knows_every_other() {
    const STEP: Duration = Duration::from_secs(86_400 * 3 / 4);
    // So long a reader may take; `overlap` is nine days.
    const DELAY: Duration = Duration::from_secs(8 * 86_400);
    let mut found = settled(START);
    let (mut leaves, mut bundles) = (BTreeMap::new(), BTreeMap::new());
    let mut authorities = std::collections::BTreeSet::new();
    let (mut now, mut random) = (START, 7_u64);
    let end = START.plus(3 * life_of(LIFE));
    while now < end {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // A day in ten nobody leads, and elsewhere the leader may die after any write.
        let mut left = if random >> 60 < 2 { 0 } else { (random >> 40) % 9 };
        while left > 0 {
            let all = writes(&config(), &found, now);
            if all.is_empty() {
                break;
            }
            for write in all {
                if left > 0 {
                    apply(&mut found, write);
                    left -= 1;
                }
            }
        }
        authorities.insert(authority(&found).current.certificate.pem.clone());
        for (place, shown) in &found.leaves {
            let Held::Ours(shown) = shown else { unreachable!() };
            leaves.entry(place.clone()).or_insert(History(Vec::new())).note(now, shown.leaf.as_ref().unwrap());
            bundles.entry(format!("{place:?}")).or_insert(History(Vec::new())).note(now, &each(&shown.bundle));
        }
        let registered = found.registered[&registration()][0].clone();
        bundles.entry("API server".to_owned()).or_insert(History(Vec::new())).note(now, &each(&registered));
        for (place, history) in &leaves {
            for leaf in history.in_use(now, DELAY) {
                for (reader, bundles) in &bundles {
                    for bundle in bundles.in_use(now, DELAY) {
                        assert!(knows(bundle, leaf, now), "{reader} does not know {place:?} at {now:?}");
                    }
                }
            }
        }
        now = now.plus(STEP);
    }
    assert!((3..=5).contains(&authorities.len()), "{}", authorities.len());
}
