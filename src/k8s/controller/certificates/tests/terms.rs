//! When a Secret's certificate should be another, and when it ends: what metrics and alerts go by.

use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;

use super::super::{objects, terms};
use super::*;

/// The Secrets as the controller writes them.
fn secrets(found: &Found) -> BTreeMap<ObjectName, Secret> {
    let fresh = |name: &ObjectName| objects::metadata(name, None);
    let leaves = found.leaves.iter().map(|(name, held)| match held {
        Held::Ours(Shown { leaf: Some(leaf), bundle }) => (name.clone(), objects::of_leaf(leaf, bundle, fresh(name))),
        other => panic!("{other:?}"),
    });
    let name = name(INSTALL, AUTHORITY);
    let authority = objects::of_authority(authority(found), fresh(&name));
    leaves.chain([(name, authority)]).collect()
}

#[test]
fn a_term_is_that_of_the_certificate_and_its_renewal_when_the_plan_makes_another() {
    let found = settled(START);
    let secrets = secrets(&found);
    assert_eq!(secrets.len(), 4);
    for (name, secret) in &secrets {
        let term = terms::of(name, secret, LIFE).unwrap();
        let ends = START.plus(if name.1 == AUTHORITY { life_of(LIFE) } else { LIFE });
        assert_eq!(term.ends, ends, "{name:?}");
        assert!(START < term.renewal && term.renewal < ends, "{name:?}");
        // The plan goes by it.
        let is_written = |now: Timestamp| {
            let mut found = found.clone();
            if name.1 == AUTHORITY {
                // So late that all others have been renewed, and are of its last years.
                for held in found.leaves.values_mut() {
                    *held = Held::NotOurs;
                }
            }
            writes(&config(), &found, now).iter().any(|write| match write {
                Write::Authority(_) => name.1 == AUTHORITY,
                Write::Leaf(leaf, ..) => leaf == name,
                _ => false,
            })
        };
        assert!(is_written(term.renewal), "{name:?}");
        assert!(!is_written(Timestamp::from_millis(term.renewal.as_millis() - 1000)), "{name:?}");
    }
}

#[test]
fn what_is_nobodys_or_cannot_be_read_has_no_term_and_what_cannot_be_written_has_one() {
    let secrets = secrets(&settled(START));
    for (name, secret) in &secrets {
        let theirs = Secret { metadata: ObjectMeta::default(), ..secret.clone() };
        assert_eq!(terms::of(name, &theirs, LIFE), None, "{name:?}");
        let broken = Secret { data: None, ..secret.clone() };
        assert_eq!(terms::of(name, &broken, LIFE), None, "{name:?}");
        // Nothing renews it: its end is the one that must be told.
        let immutable = Secret { immutable: Some(true), ..secret.clone() };
        assert_eq!(terms::of(name, &immutable, LIFE), terms::of(name, secret, LIFE), "{name:?}");
    }
}
