//! What should be, over time: each decision by itself, and years of them with a controller that dies in the middle.

mod terms;
mod years;

use std::collections::BTreeMap;
use std::time::Duration;

use super::authority::{Authority, life_of, overlap};
use super::plan::{Found, Held, Registration, Shown, Write, next};
use super::signer::Signer;
use super::*;
use crate::authz::session::Timestamp;

const INSTALL: &str = "cloakroom-system";
const LIFE: Duration = Duration::from_secs(90 * 86_400);
const DAY: Duration = Duration::from_secs(86_400);
const START: Timestamp = Timestamp::from_millis(1_900_000_000_000);

fn config() -> CertificatesConfig {
    CertificatesConfig {
        webhook: Some(WebhookCertificate {
            service: "cloakroom-controller".to_owned(),
            validating: Some("cloakroom-policies".to_owned()),
            mutating: None,
        }),
        gate: Some("cloakroom-gate".to_owned()),
        proxies: ["infra".to_owned()].into(),
        life: LIFE,
    }
}

fn name(namespace: &str, name: &str) -> ObjectName {
    (namespace.to_owned(), name.to_owned())
}

fn registration() -> Registration {
    Registration::Validating("cloakroom-policies".to_owned())
}

/// What is there, which starts with a registration that trusts nobody.
fn nothing() -> Found {
    Found { registered: [(registration(), vec![String::new(), String::new()])].into(), ..Found::default() }
}

fn apply(found: &mut Found, write: Write) {
    match write {
        Write::Authority(authority) => found.authority = Some(Held::Ours(*authority)),
        Write::Leaf(name, leaf, bundle) => {
            found.leaves.insert(name, Held::Ours(Shown { leaf: Some(leaf), bundle }));
        }
        Write::Bundle(name, bundle) => {
            found.bundles.insert(name, Held::Ours(bundle));
        }
        Write::Registration(registration, bundle) => {
            let told = found.registered.get_mut(&registration).unwrap();
            told.iter_mut().for_each(|it| it.clone_from(&bundle));
        }
    }
}

fn writes(config: &CertificatesConfig, found: &Found, now: Timestamp) -> Vec<Write> {
    next(config, INSTALL, found, now).unwrap()
}

/// All that is written, until nothing is.
fn settle(found: &mut Found, now: Timestamp) -> usize {
    for round in 0..8 {
        let writes = writes(&config(), found, now);
        if writes.is_empty() {
            return round;
        }
        writes.into_iter().for_each(|write| apply(found, write));
    }
    panic!("it does not come to rest");
}

fn settled(now: Timestamp) -> Found {
    let mut found = nothing();
    settle(&mut found, now);
    found
}

fn authority(found: &Found) -> &Authority {
    match &found.authority {
        Some(Held::Ours(authority)) => authority,
        other => panic!("{other:?}"),
    }
}

/// A certificate of the authority that is there, which is otherwise as it should be.
fn signed(found: &Found, purpose: &Purpose) -> Held<Shown> {
    let leaf = authority(found).current.sign(purpose, LIFE, START).unwrap();
    Held::Ours(Shown { leaf: Some(leaf), bundle: authority(found).bundle() })
}

/// What a write is about, in words.
fn about(write: &Write) -> String {
    match write {
        Write::Authority(authority) => {
            let state = match (&authority.next, &authority.previous, authority.since) {
                (None, None, None) => "alone",
                (Some(_), None, None) => "announced",
                (Some(_), None, Some(_)) => "told",
                (None, Some(_), None) => "in use",
                (None, Some(_), Some(_)) => "replaced",
                other => panic!("{other:?}"),
            };
            format!("authority {state}")
        }
        Write::Leaf(name, ..) => format!("{}/{}", name.0, name.1),
        Write::Bundle(name, _) => format!("bundle {}", name.0),
        Write::Registration(registration, _) => format!("{registration:?}"),
    }
}

fn abouts(found: &Found, now: Timestamp) -> Vec<String> {
    writes(&config(), found, now).iter().map(about).collect()
}

const ALL: [&str; 5] = [
    "cloakroom-system/cloakroom-webhook-tls",
    "cloakroom-system/cloakroom-gate-tls",
    "infra/cloakroom-proxy-tls",
    "bundle infra",
    "Validating(\"cloakroom-policies\")",
];

#[test]
fn from_nothing_the_authority_comes_first_and_then_all_else() {
    let mut found = nothing();
    let writes = writes(&config(), &found, START);
    assert_eq!(writes.iter().map(about).collect::<Vec<_>>(), ["authority alone"]);
    writes.into_iter().for_each(|write| apply(&mut found, write));
    assert_eq!(abouts(&found, START), ALL);
    assert_eq!(settle(&mut found, START), 1);
    let made = &authority(&found).current.certificate;
    assert!(made.is_authority && made.purpose.is_none() && made.ends == START.plus(life_of(LIFE)));
    for (secret, purpose) in config().leaves(INSTALL) {
        let Some(Held::Ours(shown)) = found.leaves.get(&secret) else { panic!("{secret:?}") };
        let leaf = &shown.leaf.as_ref().unwrap().certificate;
        assert!(leaf.is_signed_by(made) && !made.is_signed_by(leaf), "{secret:?}");
        assert_eq!((leaf.purpose.as_ref(), leaf.ends), (Some(&purpose), START.plus(LIFE)), "{secret:?}");
        assert!(!leaf.is_authority);
    }
    let names = ["cloakroom-gate.cloakroom-system.svc", "cloakroom-gate.cloakroom-system.svc.cluster.local"];
    assert_eq!(config().leaves(INSTALL)[1].1, Purpose::Server(names.map(str::to_owned).into()));
    let proxies = "infra.proxies.cloakroom.internal".to_owned();
    assert_eq!(config().leaves(INSTALL)[2].1, Purpose::Client([proxies].into()));
}

#[test]
fn each_state_has_its_writes() {
    let two_thirds = START.plus(LIFE / 3 * 2);
    type Change = fn(&mut Found);
    let rows: [(&str, Change, Timestamp, &[&str]); 14] = [
        ("nothing is to be done", |_| {}, START.plus(DAY), &[]),
        ("a moment before two thirds", |_| {}, START.plus(LIFE / 3 * 2 - Duration::from_secs(600)), &[]),
        ("two thirds of a life", |_| {}, two_thirds, &ALL[..3]),
        ("one is gone", |it| drop(it.leaves.remove(&name("infra", "cloakroom-proxy-tls"))), START, &ALL[2..3]),
        (
            "one cannot be read",
            |it| {
                let broken = Shown { leaf: None, bundle: authority(it).bundle() };
                it.leaves.insert(name(INSTALL, "cloakroom-gate-tls"), Held::Ours(broken));
            },
            START,
            &ALL[1..2],
        ),
        (
            "one is somebody's",
            |it| drop(it.leaves.insert(name(INSTALL, "cloakroom-gate-tls"), Held::NotOurs)),
            two_thirds,
            &["cloakroom-system/cloakroom-webhook-tls", "infra/cloakroom-proxy-tls"],
        ),
        (
            "one is for another",
            |it| {
                let client = it.leaves[&name("infra", "cloakroom-proxy-tls")].clone();
                it.leaves.insert(name(INSTALL, "cloakroom-gate-tls"), client);
            },
            START,
            &ALL[1..2],
        ),
        (
            "one of the proxies' is of the form that named nobody",
            |it| {
                let unnamed = signed(it, &Purpose::Client(BTreeSet::new()));
                it.leaves.insert(name("infra", PROXY), unnamed);
            },
            START,
            &ALL[2..3],
        ),
        (
            "one of the proxies' is another namespace's",
            |it| {
                let others = signed(it, &Purpose::Client([name_of_proxies("edge")].into()));
                it.leaves.insert(name("infra", PROXY), others);
            },
            START,
            &ALL[2..3],
        ),
        (
            "a registration was emptied, as by an upgrade",
            |it| *it.registered.get_mut(&registration()).unwrap() = vec![String::new()],
            START,
            &ALL[4..],
        ),
        (
            "a bundle was changed",
            |it| drop(it.bundles.insert(name("infra", AUTHORITY), Held::Ours(String::new()))),
            START,
            &ALL[3..4],
        ),
        ("the authority is somebody's", |it| it.authority = Some(Held::NotOurs), two_thirds, &[]),
        ("the authority is gone", |it| it.authority = None, START, &["authority alone"]),
        ("the authority is at its end", |_| {}, START.plus(life_of(LIFE)), &["authority alone"]),
    ];
    for (what, change, now, want) in rows {
        let mut found = settled(START);
        change(&mut found);
        assert_eq!(abouts(&found, now), want, "{what}");
    }
}

#[test]
fn p30_a_lost_authority_is_replaced_and_nothing_it_signed_stays() {
    let mut found = settled(START);
    let lost = authority(&found).current.certificate.clone();
    found.authority = None;
    settle(&mut found, START.plus(DAY));
    let shown = found.leaves.values().map(|it| match it {
        Held::Ours(shown) => shown,
        Held::NotOurs => unreachable!(),
    });
    for shown in shown {
        assert!(!shown.leaf.as_ref().unwrap().certificate.is_signed_by(&lost));
        assert!(!shown.bundle.contains(lost.pem.trim()));
    }
}

#[test]
fn an_authority_is_trusted_before_it_signs_and_forgotten_when_nothing_of_it_is_left() {
    let begins = START.plus(life_of(LIFE) - 2 * LIFE);
    let mut found = nothing();
    // Certificates are renewed on their way there.
    let mut now = START;
    while now < Timestamp::from_millis(begins.as_millis() - 1000) {
        settle(&mut found, now);
        assert!(authority(&found).next.is_none());
        now = now.plus(DAY).min(Timestamp::from_millis(begins.as_millis() - 1000));
    }
    settle(&mut found, now);
    let old = authority(&found).current.certificate.clone();
    assert_eq!(abouts(&found, begins), ["authority announced"]);
    writes(&config(), &found, begins).into_iter().for_each(|write| apply(&mut found, write));
    // The time counts from when everybody has been told, however late that is.
    let told = begins.plus(3 * overlap(LIFE));
    let due = abouts(&found, told);
    assert!(ALL.iter().all(|it| due.contains(&(*it).to_owned())), "{due:?}");
    let all = writes(&config(), &found, told);
    let last = all.len() - 1;
    for (at, write) in all.into_iter().enumerate() {
        if let Write::Leaf(_, leaf, _) = &write {
            assert!(leaf.certificate.is_signed_by(&old), "the next one does not sign yet");
        }
        apply(&mut found, write);
        assert_eq!(abouts(&found, told) == ["authority told"], at == last);
    }
    settle(&mut found, told);
    assert_eq!(authority(&found).since, Some(told));
    let signs = told.plus(overlap(LIFE));
    assert!(abouts(&found, Timestamp::from_millis(signs.as_millis() - 1000)).is_empty());
    assert_eq!(abouts(&found, signs), ["authority in use"]);
    writes(&config(), &found, signs).into_iter().for_each(|write| apply(&mut found, write));
    assert_eq!(abouts(&found, signs), ALL, "all are made anew, and trust both");
    settle(&mut found, signs);
    assert!(authority(&found).bundle().contains(old.pem.trim()) && authority(&found).since == Some(signs));
    let forgotten = signs.plus(overlap(LIFE));
    assert!(abouts(&found, Timestamp::from_millis(forgotten.as_millis() - 1000)).is_empty());
    assert_eq!(abouts(&found, forgotten), ["authority alone"]);
    settle(&mut found, forgotten);
    assert!(!authority(&found).bundle().contains(old.pem.trim()));
    assert!(abouts(&found, forgotten.plus(DAY)).is_empty());
}

#[test]
fn what_cannot_be_written_to_holds_no_rotation_up() {
    let begins = START.plus(life_of(LIFE) - 2 * LIFE);
    let mut found = settled(begins);
    // As after a loss of its Secret's label, or in a namespace that is not there.
    let signer = Signer::make(life_of(LIFE), START).unwrap();
    found.authority = Some(Held::Ours(Authority { current: signer, next: None, previous: None, since: None }));
    found.leaves.insert(name(INSTALL, "cloakroom-gate-tls"), Held::NotOurs);
    found.bundles.insert(name("infra", AUTHORITY), Held::NotOurs);
    found.leaves.remove(&name("infra", "cloakroom-proxy-tls"));
    found.registered = BTreeMap::new();
    let mut now = begins;
    let mut seen = Vec::new();
    for _ in 0..40 {
        for write in writes(&config(), &found, now) {
            if let Write::Authority(_) = write {
                seen.push(about(&write));
            }
            if !matches!(&write, Write::Leaf(name, ..) if name.0 == "infra") {
                apply(&mut found, write);
            }
        }
        now = now.plus(DAY);
    }
    assert_eq!(
        seen,
        ["authority announced", "authority told", "authority in use", "authority replaced", "authority alone"]
    );
}
