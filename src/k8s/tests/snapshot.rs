//! Snapshots, whole, cut and foreign.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::super::snapshot::{Scope, SnapshotError, SnapshotFile};
use super::*;

fn file(folder: &Path) -> SnapshotFile {
    let scope = Scope { server: "https://10.0.0.1/".to_owned(), selector: None, sources: sources() };
    SnapshotFile { path: folder.join("policies.snapshot"), scope }
}

/// A house with a good policy, one whose newest form is bad, one that does not read, and routes, good and unreadable.
fn house() -> House {
    let mut house = House::new();
    let policies = ["good", "bad", "unreadable"].map(|name| arrived_policy(name, "one", 1));
    house.known.replace(POLICIES, version(10), policies.into());
    house.known.apply(POLICIES, arrived(Kind::AuthPolicy, policy_on("cart", "cart", 11)));
    house.known.replace(
        ROUTES,
        version(12),
        vec![arrived(Kind::HttpRoute, route("cart", "shop.example", "/cart", 12))],
    );
    house.known.replace(GATEWAYS, version(1), vec![arrived(Kind::Gateway, gateway())]);
    house.publish();
    house.known.apply(POLICIES, arrived_policy("bad", "a rule", 13));
    let mut unreadable = policy("unreadable", "one", 14);
    unreadable["spec"] = json!({ "hosts": 7 });
    house.known.apply(POLICIES, arrived(Kind::AuthPolicy, unreadable));
    let mut bad = route("cart", "shop.example", "/cart", 15);
    bad["spec"]["rules"][0]["matches"][0]["cookies"] = json!([]);
    house.known.apply(ROUTES, arrived(Kind::HttpRoute, bad));
    let mut never = policy("never", "one", 16);
    never["spec"]["rules"] = json!([{ "name": "a rule" }]);
    house.known.apply(POLICIES, arrived(Kind::AuthPolicy, never));
    house.publish();
    house
}

fn judgements(house: &House) -> Vec<String> {
    let hosts = ["good.example", "bad.example", "unreadable.example", "never.example", "other.example"];
    let by_host = hosts.map(|host| house.judged(host));
    by_host.into_iter().chain([house.judged_at("shop.example", "/cart")]).collect()
}

fn restarted(file: &SnapshotFile) -> House {
    let mut house = House::new();
    let snapshot = file.load().unwrap().unwrap();
    let good = house.known.take_up(snapshot.parts);
    let found = house.known.found();
    house.publisher.publish_after(Some(&good), &found.objects, found.notes);
    house
}

#[test]
fn p34_a_restart_goes_on_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path());
    assert!(file.load().unwrap().is_none());
    let before = house();
    let want = ["one", "one", "one", "broken_policy", "no_policy", "cart"];
    assert_eq!(judgements(&before), want, "{:?}", before.problems());
    file.save(before.known.keep(&before.publisher.index().load()).unwrap()).unwrap();
    assert_eq!(fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o600);

    let after = restarted(&file);
    assert_eq!(judgements(&after), want, "{:?}", after.problems());
    assert_eq!(after.problems(), before.problems());
    for part in [POLICIES, ROUTES, GATEWAYS] {
        assert_eq!(after.known.version(part), before.known.version(part), "nothing older is taken after it either");
    }
    assert_eq!(after.known.awaited().count(), Kind::ALL.len(), "none of it has been told by the server");
    // And once more, from what the second one keeps.
    file.save(after.known.keep(&after.publisher.index().load()).unwrap()).unwrap();
    assert_eq!(judgements(&restarted(&file)), want);
}

#[test]
fn p26_a_snapshot_knows_which_object_its_forms_are_of() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path());
    let of = |uid: &str, rule: &str, version: u64| {
        let mut object = policy("a", rule, version);
        object["metadata"]["uid"] = json!(uid);
        arrived(Kind::AuthPolicy, object)
    };
    let mut before = House::new();
    before.known.replace(POLICIES, version(1), vec![of("1", "one", 1)]);
    before.publish();
    before.known.apply(POLICIES, of("1", "a rule", 2));
    before.publish();
    file.save(before.known.keep(&before.publisher.index().load()).unwrap()).unwrap();
    for (uid, want) in [("1", "one"), ("2", "broken_policy")] {
        let mut after = restarted(&file);
        assert_eq!(after.judged("a.example"), "one");
        after.known.replace(POLICIES, version(4), vec![of(uid, "a rule", 4)]);
        assert_eq!(after.publish().judged("a.example"), want, "{uid}");
    }
}

#[test]
fn p34_a_snapshot_that_was_cut_changed_or_is_foreign_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path());
    let house = house();
    file.save(house.known.keep(&house.publisher.index().load()).unwrap()).unwrap();
    let whole = fs::read(&file.path).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&file.path, bytes).unwrap();
        file.load().unwrap_err()
    };
    for length in [0, 1, 40, whole.len() / 2, whole.len() - 1] {
        let error = refused(&whole[..length]);
        assert!(matches!(error, SnapshotError::Format | SnapshotError::Checksum), "{length}: {error}");
    }
    let mut changed = whole.clone();
    let at = whole.len() - 20;
    changed[at] ^= 1;
    assert!(matches!(refused(&changed), SnapshotError::Checksum));
    let other = String::from_utf8(whole.clone()).unwrap().replacen("cloakroom-policies 1", "cloakroom-policies 2", 1);
    assert!(matches!(refused(other.as_bytes()), SnapshotError::Format));

    fs::write(&file.path, &whole).unwrap();
    for scope in [
        Scope { server: "https://10.0.0.2/".to_owned(), ..file.scope.clone() },
        Scope { selector: Some("team=shop".to_owned()), ..file.scope.clone() },
        Scope { sources: sources()[1..].to_vec(), ..file.scope.clone() },
    ] {
        let foreign = SnapshotFile { scope, ..file.clone() };
        assert!(matches!(foreign.load(), Err(SnapshotError::Foreign)));
    }
    assert!(file.load().unwrap().is_some());
    fs::set_permissions(&file.path, fs::Permissions::from_mode(0o622)).unwrap();
    assert!(matches!(file.load(), Err(SnapshotError::Mode(0o622))));
}

#[test]
fn a_snapshot_is_never_written_through_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path());
    let target = folder.path().join("target");
    fs::write(&target, "untouched").unwrap();
    for link in [file.path.with_added_extension("part"), file.path.clone()] {
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(&target, &link).unwrap();
        file.save(Vec::new()).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "untouched");
        assert!(fs::symlink_metadata(&file.path).unwrap().is_file());
    }
}
