//! What ten thousand policies cost (`cargo xtask bench policies`): to compile them, to compile them again when one has changed, the
//! memory of the index, and a check against one among ten.
//!
//! 1,000 namespaces with a host, ten routes and ten policies each, all on one Gateway with an HTTP and an HTTPS listener. Everything
//! runs in this process; times are those of one thread.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a benchmark reports to a terminal"
)]
#![expect(unsafe_code, reason = "an allocator that counts is an `unsafe impl`")]

#[path = "decision/scene.rs"]
#[allow(dead_code, reason = "it has rules and requests for others, too")]
mod scene;
mod policies {
    pub(crate) mod counting;
    pub(crate) mod world;
}

use std::time::{Duration, Instant};

use cloakroom::authz::attributes::{RawRequest, RequestAttributes};
use cloakroom::authz::plan;
use cloakroom::authz::policy::PolicyIndex;
use e2e::measure::{Cost, Row, Table, Usage};

use policies::counting::Counting;
use policies::world::World;
use scene::Scene;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Effort {
    namespaces: usize,
    compiles: usize,
    changes: usize,
    checks: usize,
    rounds: usize,
}

fn main() -> anyhow::Result<()> {
    let quick = std::env::var_os("CLOAKROOM_BENCH_QUICK").is_some();
    let effort = if quick {
        Effort { namespaces: 1_000, compiles: 2, changes: 5, checks: 10_000, rounds: 3 }
    } else {
        Effort { namespaces: 1_000, compiles: 7, changes: 100, checks: 50_000, rounds: 15 }
    };
    let mut table = Table::default();
    let index = compiling(&effort, &mut table)?;
    checking(&effort, index, &mut table)?;
    table.print("policies")
}

/// How long a kind of compilation took, and how much CPU it used: on a busy machine the two differ.
#[derive(Default)]
struct Took {
    wall: Vec<Duration>,
    cpu: f64,
}

impl Took {
    /// Compiles, and lets `previous` go after.
    fn compile(&mut self, world: &World, previous: Option<PolicyIndex>) -> anyhow::Result<PolicyIndex> {
        let usage = Usage::of(std::process::id());
        let (before, began) = (usage.read()?, Instant::now());
        let (index, problems) = PolicyIndex::compile(&world.objects, &world.install, previous.as_ref());
        self.wall.push(began.elapsed());
        self.cpu += before.until(&usage.read()?, 1).cpu;
        assert!(problems.is_empty(), "{problems:?}");
        Ok(index)
    }

    fn rows(self, what: &str, table: &mut Table) {
        let cpu = self.cpu / self.wall.len() as f64 / 1e6;
        table.push(Row::times(what, self.wall));
        table.push(Row::number("  its CPU, on average", cpu, "ms"));
    }
}

fn compiled(world: &World) -> anyhow::Result<PolicyIndex> {
    Took::default().compile(world, None)
}

fn compiling(effort: &Effort, table: &mut Table) -> anyhow::Result<PolicyIndex> {
    let before = Counting::held();
    let mut world = World::of(effort.namespaces)?;
    let count = world.objects.policies.len();
    table.push(Row::number("policies, each on a route of its own", count as f64, "policies"));
    table.push(Row::number("rules in them", (count * World::RULES) as f64, "rules"));
    let held = |before: usize| (Counting::held() - before) as u64;
    table.push(Row::bytes("memory of a policy and its route as objects", held(before), count as u64));

    let before = Counting::held();
    let mut index = compiled(&world)?;
    table.push(Row::bytes("memory of the index for each policy, route included", held(before), count as u64));
    let [mut nothing, mut policy, mut route, mut replaced, mut relisted] = std::array::from_fn(|_| Took::default());
    for _ in 0..effort.compiles {
        nothing.compile(&world, None)?;
    }
    for n in 0..effort.changes {
        world.change_policy(n)?;
        index = policy.compile(&world, Some(index))?;
        world.change_route(n)?;
        index = route.compile(&world, Some(index))?;
        world.add_and_remove(n)?;
        index = replaced.compile(&world, Some(index))?;
    }
    for _ in 0..effort.compiles {
        world.relist();
        index = relisted.compile(&world, Some(index))?;
    }
    nothing.rows("compile all from nothing", table);
    policy.rows("compile again, one policy changed", table);
    route.rows("compile again, one route changed", table);
    replaced.rows("compile again, a policy and its route replaced", table);
    relisted.rows("compile again after a relist: equal objects, all new", table);
    Ok(index)
}

/// CPU of `checks` calls, each with its number.
fn cost(checks: usize, mut check: impl FnMut(usize)) -> anyhow::Result<Cost> {
    let usage = Usage::of(std::process::id());
    let before = usage.read()?;
    (0..checks).for_each(&mut check);
    // The kernel has counted by the time that somebody else ran.
    std::thread::yield_now();
    Ok(before.until(&usage.read()?, checks))
}

fn checking(effort: &Effort, many: PolicyIndex, table: &mut Table) -> anyhow::Result<()> {
    let few = compiled(&World::of(1)?)?;
    let hosts: Vec<String> = (0..effort.namespaces).map(World::host).collect();
    let decide = |index: &PolicyIndex, host: &str, area: usize| {
        let path = format!("/area-{area}/orders/7");
        let headers = vec![(&b"accept"[..], &b"application/json"[..]), (b"cookie", b"theme=dark")];
        let raw =
            RawRequest { method: b"GET", host: host.as_bytes(), path: path.as_bytes(), headers, ..Default::default() };
        let request = RequestAttributes::read(raw).expect("an ordinary request");
        std::hint::black_box(plan(index, &request));
    };
    let apart = compiled(&World::under(effort.namespaces, true)?)?;
    let (mut of_many, mut of_few, mut spread, mut of_gateways) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..=effort.rounds {
        let one = [
            cost(effort.checks, |n| decide(&many, &hosts[0], n % 10))?,
            cost(effort.checks, |n| decide(&few, &hosts[0], n % 10))?,
            cost(effort.checks, |n| decide(&many, &hosts[n * 7 % hosts.len()], n % 10))?,
            cost(effort.checks, |n| decide(&apart, &hosts[0], n % 10))?,
        ];
        // The first round warms up and is not counted.
        if round > 0 {
            of_many.push(one[0]);
            of_few.push(one[1]);
            spread.push(one[2]);
            of_gateways.push(one[3]);
        }
    }
    table.push(Row::ratio("policy part of a check, 10,000 policies against 10", &of_many, &of_few));
    table.push(Row::ratio("the same, all hosts in turns against one", &spread, &of_few));
    table.push(Row::ratio("the same, each namespace under a Gateway of its own", &of_gateways, &of_few));
    drop(apart);

    let few = compiled(&World::of(1)?)?;
    let few = Scene::with(|_, _| few);
    let many = Scene::with(|_, _| many);
    let (few_hit, many_hit) = (few.hit(), many.hit());
    let (mut of_many, mut of_few) = (Vec::new(), Vec::new());
    for round in 0..=effort.rounds {
        let one = cost(effort.checks, |_| drop(many.check(&many_hit)))?;
        let two = cost(effort.checks, |_| drop(few.check(&few_hit)))?;
        if round > 0 {
            of_many.push(one);
            of_few.push(two);
        }
    }
    table.push(Row::ratio("whole check in the process, 10,000 policies against 10", &of_many, &of_few));
    Ok(())
}
