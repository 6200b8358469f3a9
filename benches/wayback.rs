//! What the way back costs: requests through the real Envoy with the shipped configuration, on a route without ext_proc, on
//! one whose ext_proc changes nothing, and on one where each response changes a session, taken in turns in one run
//! (`cargo xtask bench wayback`).
//!
//! CPU is that of cloakroom and that of Envoy apart, per request; the service and the client live in this process and are not
//! counted. Every figure stands as a ratio to the route without ext_proc in the same round: nothing here is a verdict.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a benchmark reports to a terminal"
)]

mod wayback {
    pub(crate) mod arm;
    pub(crate) mod load;
    pub(crate) mod report;
    pub(crate) mod scene;
    pub(crate) mod service;
}

use std::collections::HashMap;

use e2e::gate::Store;
use wayback::arm::Arm;
use wayback::report::Report;
use wayback::scene::Scene;

/// How many requests a round has, how many rounds are taken in turns, and how many sessions "many" are.
#[derive(Clone, Copy)]
struct Effort {
    requests: usize,
    rounds: usize,
    sessions: usize,
}

fn main() -> anyhow::Result<()> {
    let quick = std::env::var_os("CLOAKROOM_BENCH_QUICK").is_some();
    let effort = if quick {
        Effort { requests: 1_000, rounds: 3, sessions: 200 }
    } else {
        Effort { requests: 4_000, rounds: 9, sessions: 1_000 }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(run(effort))
}

async fn run(effort: Effort) -> anyhow::Result<()> {
    let mut scenes = Vec::new();
    for (name, store) in [("memory store", Store::Memory), ("embedded store", Store::Embedded)] {
        let scene = Scene::set(store, effort.sessions).await?;
        for arm in Arm::ALL {
            scene.prove(arm).await?;
        }
        scenes.push((name, scene, HashMap::<Arm, Vec<_>>::new()));
    }
    // The first round warms everything up and is not counted. Each round begins with another arm, so that none always
    // follows the same one.
    for round in 0..=effort.rounds {
        for (_, scene, samples) in &mut scenes {
            for n in 0..Arm::ALL.len() {
                let arm = Arm::ALL[(round + n) % Arm::ALL.len()];
                let sample = wayback::load::measure(scene, arm, effort.requests).await?;
                if round > 0 {
                    samples.entry(arm).or_default().push(sample);
                }
            }
        }
        eprintln!("round {round} of {}", effort.rounds);
    }
    let mut report = Report::default();
    for (name, scene, samples) in &scenes {
        for arm in Arm::ALL {
            report.push(&format!("{}, {name}", arm.what()), &samples[&arm], &samples[&Arm::Without]);
        }
        report.note(format!("{name}: {}", scene.counted().await?));
    }
    report.print()
}
