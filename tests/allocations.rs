//! What a check allocates: it must not grow unnoticed (`docs/performance.md`). And what a review takes: no more than its text said.
//! A count does not depend on the machine.

#![expect(unsafe_code, reason = "an allocator that counts is an `unsafe impl`")]

#[path = "../benches/decision/scene.rs"]
mod scene;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use cloakroom::injector::{GateAddress, Injection, Resources, inject};
use cloakroom::k8s::admission;
use scene::Scene;
use serde_json::Value;

/// The system's allocator, and a count of what this thread asked of it.
struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    /// Bytes that are held now, and the most there were.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

impl Counting {
    fn count(more: usize) {
        CALLS.set(CALLS.get() + 1);
        HELD.set(HELD.get().saturating_add_unsigned(more));
        MOST.set(MOST.get().max(HELD.get()));
    }

    fn free(less: usize) {
        HELD.set(HELD.get().saturating_sub_unsigned(less));
    }
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may be there for a moment.
        Self::count(size);
        Self::free(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        Self::free(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations and growths of one check, when everything is warm.
fn counted(scene: &Scene, check: &bytes::Bytes) -> usize {
    for _ in 0..8 {
        scene.check(check);
    }
    let before = CALLS.get();
    let answer = scene.check(check);
    let calls = CALLS.get() - before;
    assert!(answer.len() > 5, "there is an answer");
    calls
}

#[test]
fn a_check_allocates_as_much_as_is_written_down() {
    let scene = Scene::set(100);
    let counts = [scene.hit(), scene.stranger(), scene.invented()].map(|check| counted(&scene, &check));
    // A cached session, a refusal with its body, an invented token.
    assert_eq!(counts, [6, 10, 16], "write the new numbers down in docs/performance.md too, if they are meant");
}

/// The most bytes that were held at once while this was done, over what was held before.
fn most<T>(work: impl FnOnce() -> T) -> usize {
    let before = HELD.get();
    MOST.set(before);
    drop(work());
    usize::try_from(MOST.get() - before).expect("more is held, not less")
}

fn pod(containers: usize, variables: usize, variable: &str) -> String {
    let env = vec![variable; variables].join(",");
    let container = format!(r#"{{"name":"c","image":"i","env":[{env}]}}"#);
    let containers = vec![container; containers].join(",");
    format!(r#"{{"metadata":{{"name":"p","labels":{{"a":"b"}}}},"spec":{{"containers":[{containers}]}}}}"#)
}

#[test]
fn p32_a_review_takes_no_more_memory_than_its_text_says() {
    for (what, json) in [
        ("what a tenant may send", pod(1, 235_000, r#"{"name":"a"}"#)),
        ("objects with nothing in them", format!("[{}]", vec![r#"{"":0}"#; 100_000].join(","))),
        ("nested ones", format!("[{}]", vec![r#"{"":{"":{"":{"":[[[[0]]]]}}}}"#; 20_000].join(","))),
        ("lists", format!("[{}]", vec!["[0]"; 100_000].join(","))),
        ("numbers", format!("[{}]", vec!["0"; 200_000].join(","))),
        ("short strings", format!("[{}]", vec![r#""a""#; 100_000].join(","))),
        ("one object", format!("{{{}}}", (0..60_000).map(|it| format!(r#""{it}":0"#)).collect::<Vec<_>>().join(","))),
        ("escapes", format!(r#"["{}"]"#, r"\u0000".repeat(60_000))),
        ("one string", format!(r#"["{}"]"#, "x".repeat(4_000_000))),
        ("an ordinary one", pod(50, 10, r#"{"name":"VARIABLE_1","value":"a value"}"#)),
    ] {
        let told = admission::weight(json.as_bytes());
        let taken = most(|| serde_json::from_str::<Value>(&json).expect("JSON"));
        assert!(taken + json.len() <= told, "{what}: {taken} bytes and {} of text, not {told}", json.len());
        // It would be no bound if it were far off.
        assert!(
            told <= 4 * (taken + json.len()),
            "{what}: {told} is far more than {taken} bytes and {} of text",
            json.len()
        );
    }
}

#[test]
fn p32_a_pod_is_not_there_twice_for_its_patch() {
    let settings = Injection {
        image: "cloakroom:1".to_owned(),
        pull_policy: "IfNotPresent".to_owned(),
        listen: GateAddress::Loopback,
        proxy_containers: vec!["envoy".to_owned()],
        resources: Resources { requests: BTreeMap::new(), limits: BTreeMap::new() },
        spared: BTreeSet::new(),
    };
    let pod: Value = serde_json::from_str(&pod(50, 500, r#"{"name":"VARIABLE_1","value":"a value"}"#)).expect("JSON");
    let taken = most(|| inject(&pod, "shop", &settings).expect("it can have a gate"));
    assert!(taken < 64 * 1024, "{taken}");
}
