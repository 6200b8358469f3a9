//! One check inside the process, without HTTP/2: its time, and what it allocates (`cargo xtask bench decision`).
//!
//! Allocations are the figure to hold on to: they do not depend on the machine. `tests/allocations.rs` holds them.

mod decision {
    pub(crate) mod scene;
}

use decision::scene::Scene;
use divan::{AllocProfiler, Bencher};

#[global_allocator]
static ALLOCATOR: AllocProfiler<mimalloc::MiMalloc> = AllocProfiler::new(mimalloc::MiMalloc);

fn main() {
    divan::main();
}

/// A session's cookie beside another cookie, cached session, cached JWT.
#[divan::bench(args = [10, 100, 10_000])]
fn hit(bencher: Bencher<'_, '_>, rules: usize) {
    let scene = Scene::set(rules);
    let check = scene.hit();
    bencher.bench_local(|| scene.check(&check));
}

/// No credential: a refusal with its body.
#[divan::bench]
fn refusal(bencher: Bencher<'_, '_>) {
    let scene = Scene::set(100);
    let check = scene.stranger();
    bencher.bench_local(|| scene.check(&check));
}

/// An invented token: its tag is wrong, and nothing is looked up.
#[divan::bench]
fn invented_token(bencher: Bencher<'_, '_>) {
    let scene = Scene::set(100);
    let check = scene.invented();
    bencher.bench_local(|| scene.check(&check));
}
