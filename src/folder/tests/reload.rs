//! Folders that change while they are watched.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::policies::Status;

/// A watched folder.
struct Watched {
    dir: Dir,
    index: Arc<arc_swap::ArcSwap<PolicyIndex>>,
    status: Arc<arc_swap::ArcSwap<Status>>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Watched {
    fn over(dir: Dir) -> Self {
        let folder = PolicyFolder::open(dir.path(), install()).unwrap();
        let (index, status) = (folder.publisher().index(), folder.publisher().status());
        let stop = CancellationToken::new();
        let task = tokio::spawn(folder.watch(stop.clone()));
        Self { dir, index, status, stop, task }
    }

    fn judged(&self, host: &str) -> String {
        judged(&self.index.load(), host)
    }

    /// Waits until `host` is judged by `want`; says how long that took.
    async fn comes_to(&self, host: &str, want: &str) -> Duration {
        self.until(|| self.judged(host) == want, || format!("{host} by {want}, not {}", self.judged(host))).await
    }

    async fn until(&self, is_so: impl Fn() -> bool, what: impl Fn() -> String) -> Duration {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < Duration::from_secs(20), "never {}; {:?}", what(), self.status.load());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        start.elapsed()
    }
}

/// Puts `text` in place of a file at once, as careful editors do.
fn replace(dir: &Dir, file: &str, text: &str) {
    dir.write(".new", text);
    fs::rename(dir.path().join(".new"), dir.path().join(file)).unwrap();
}

#[tokio::test]
async fn p29_changes_take_effect_within_two_seconds() {
    let dir = Dir::new();
    dir.write("a.yaml", &public("a", "one"));
    let watched = Watched::over(dir);
    assert_eq!(watched.judged("a.example"), "one");

    replace(&watched.dir, "a.yaml", &public("a", "two"));
    let took = watched.comes_to("a.example", "two").await;
    assert!(took < Duration::from_secs(2), "{took:?}");

    watched.dir.write("sub/folder/b.yaml", &public("b", "three"));
    watched.comes_to("b.example", "three").await;
    watched.dir.write("sub/folder/b.yaml", &public("b", "four"));
    watched.comes_to("b.example", "four").await;
    assert_eq!(watched.status.load().policies, 2);

    fs::remove_file(watched.dir.path().join("a.yaml")).unwrap();
    watched.comes_to("a.example", "no_policy").await;
    watched.dir.write("sub/folder/b.yaml", "");
    watched.comes_to("b.example", "no_policy").await;
}

#[tokio::test]
async fn p26_a_file_that_does_not_parse_leaves_the_last_good_set() {
    let dir = Dir::new();
    dir.write("a.yaml", &public("a", "one")).write("b.yaml", &public("b", "one"));
    let watched = Watched::over(dir);
    let first = watched.status.load().generation;

    replace(&watched.dir, "a.yaml", "kind: [");
    replace(&watched.dir, "b.yaml", &public("b", "two"));
    let errs = || !watched.status.load().errors.is_empty();
    watched.until(errs, || "an error".to_owned()).await;
    // The whole set stays, the good file's change included: never half.
    assert_eq!((watched.judged("a.example"), watched.judged("b.example")), ("one".to_owned(), "one".to_owned()));
    assert!(watched.status.load().errors[0].contains("/a.yaml:"));
    assert_eq!(watched.status.load().generation, first);

    replace(&watched.dir, "a.yaml", &public("a", "two"));
    watched.comes_to("a.example", "two").await;
    assert_eq!(watched.judged("b.example"), "two");
    assert!(watched.status.load().errors.is_empty());
}

#[tokio::test]
async fn p26_a_policy_that_is_wrong_keeps_its_form_and_the_others_change() {
    let dir = Dir::new();
    dir.write("a.yaml", &public("a", "one")).write("b.yaml", &public("b", "one"));
    let watched = Watched::over(dir);
    let both = format!("{}---\n{}", public("a", "two").replace("Public", "Pubic"), public("b", "two"));
    replace(&watched.dir, "a.yaml", &both);
    fs::remove_file(watched.dir.path().join("b.yaml")).unwrap();
    watched.comes_to("b.example", "two").await;
    assert_eq!(watched.judged("a.example"), "one");
    let status = watched.status.load();
    assert!(status.problems[0].words.contains("the last good form of this policy stays in force"), "{status:?}");
}

#[tokio::test]
async fn p29_a_swapped_volume_is_never_half_read() {
    let dir = Dir::new();
    let root = dir.path();
    for version in ["v1", "v2"] {
        for name in ["one", "two", "three", "four"] {
            dir.write(&format!("..{version}/{name}.yaml"), &public(name, version));
        }
    }
    let point_at = |version: &str| {
        std::os::unix::fs::symlink(format!("..{version}"), root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    };
    point_at("v1");
    for name in ["one", "two", "three", "four"] {
        std::os::unix::fs::symlink(format!("..data/{name}.yaml"), root.join(format!("{name}.yaml"))).unwrap();
    }
    let watched = Watched::over(dir);
    let is_whole = || {
        let index = watched.index.load();
        let rules: Vec<_> =
            ["one", "two", "three", "four"].map(|name| judged(&index, &format!("{name}.example"))).into();
        assert!(rules.iter().all(|rule| *rule == rules[0]), "{rules:?}");
    };
    for round in 0..60 {
        point_at(if round % 2 == 0 { "v2" } else { "v1" });
        // Sometimes in the middle of a look, sometimes after it.
        for _ in 0..round % 7 {
            is_whole();
            tokio::time::sleep(Duration::from_millis(11)).await;
        }
    }
    point_at("v2");
    watched.comes_to("four.example", "v2").await;
    is_whole();
}

#[tokio::test]
async fn a_folder_that_vanishes_leaves_its_policies_and_is_found_again() {
    let dir = Dir::new();
    dir.write("policies/a.yaml", &public("a", "one"));
    let folder = dir.path().join("policies");
    let opened = PolicyFolder::open(folder.clone(), install()).unwrap();
    let (index, status, stop) = (opened.publisher().index(), opened.publisher().status(), CancellationToken::new());
    let task = tokio::spawn(opened.watch(stop.clone()));
    let watched = Watched { dir, index, status, stop, task };

    fs::rename(&folder, watched.dir.path().join("away")).unwrap();
    watched.until(|| !watched.status.load().errors.is_empty(), || "an error".to_owned()).await;
    assert_eq!(watched.judged("a.example"), "one");

    watched.dir.write("policies/a.yaml", &public("a", "two"));
    watched.comes_to("a.example", "two").await;
    assert!(watched.status.load().errors.is_empty());
    watched.dir.write("policies/a.yaml", &public("a", "three"));
    watched.comes_to("a.example", "three").await;
}

#[tokio::test]
async fn the_watch_ends_when_it_is_told_to() {
    let watched = Watched::over(Dir::new());
    watched.stop.cancel();
    tokio::time::timeout(Duration::from_secs(20), watched.task).await.unwrap().unwrap();
}

#[test]
fn p26_what_does_not_parse_stops_the_start() {
    let dir = Dir::new();
    dir.write("a.yaml", &public("a", "one")).write("b.yaml", "kind: [");
    assert!(PolicyFolder::open(dir.path(), install()).is_err());
}

#[test]
fn an_empty_folder_is_a_start_without_policies() {
    let dir = Dir::new();
    let folder = PolicyFolder::open(dir.path(), install()).unwrap();
    assert_eq!(judged(&folder.publisher().index().load(), "a.example"), "no_policy");
}
