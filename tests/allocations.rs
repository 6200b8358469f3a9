//! What a check allocates: it must not grow unnoticed (`docs/performance.md`). A count does not depend on the machine.

#![expect(unsafe_code, reason = "an allocator that counts is an `unsafe impl`")]

#[path = "../benches/decision/scene.rs"]
mod scene;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use scene::Scene;

/// The system's allocator, and a count of what this thread asked of it.
struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

impl Counting {
    fn count() {
        CALLS.set(CALLS.get() + 1);
    }
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
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
