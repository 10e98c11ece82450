//! The pure core of two operators and of every agent, driven by one seeded scheduler over a fake API server and fake
//! kernels: crashes at every step, views that are stale, events that are repeated and dropped, answers that are lost,
//! reboots, drift, machines that are declared off and come back. What must hold is checked after every step; then the
//! faults end, and the world must come to rest exactly where the objects say.
//!
//! `SEED=7 cargo test -p e2e --test simulation` replays one run and prints all of it.
//! `LVS_SIMULATION_SEEDS=10000` says how many there are, `LVS_SIMULATION_FIRST` where they begin.

mod administrators;
mod agent;
mod api;
mod machines;
mod model;
mod operators;
mod passes;
mod people;
mod quiet;
mod random;
mod scheduler;
mod words;
mod world;

use random::Random;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use world::{Violation, World};

/// As many as a plain `cargo test` has time for.
const SEEDS: u64 = 500;
/// What is shown of a run that failed.
const SHOWN: usize = 60;

#[expect(clippy::disallowed_methods, reason = "a test has no command line of its own")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// One run from its seed. Short ones and long ones: what is rare needs time, what is simple needs many.
fn run(world: &mut World) -> Result<(), Violation> {
    let steps = 40 + world.random.below(360);
    for _ in 0..steps {
        scheduler::step(world)?;
    }
    quiet::down(world)
}

fn verdict(seed: u64) -> Result<(), Violation> {
    let mut world = World::new(Random::new(seed), false);
    let outcome = catch_unwind(AssertUnwindSafe(|| run(&mut world)));
    outcome.unwrap_or_else(|_| Err("a panic".to_owned()))
}

/// The same run again, with every step written down.
fn trace(seed: u64) -> (Result<(), Violation>, Vec<String>) {
    let mut world = World::new(Random::new(seed), true);
    let outcome = catch_unwind(AssertUnwindSafe(|| run(&mut world)));
    let mut lines = world.trace.take().unwrap_or_default();
    lines.push("---- Placements at the end".to_owned());
    lines.extend(
        world
            .api
            .placements
            .objects
            .values()
            .map(|placement| words::placement(placement)),
    );
    (outcome.unwrap_or_else(|_| Err("a panic".to_owned())), lines)
}

/// Looks at seeds until there are no more, or one has failed; on every core.
fn first_failure(first: u64, count: u64) -> Option<(u64, Violation)> {
    let next = AtomicU64::new(first);
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= first + count {
            return None;
        }
        if let Err(violation) = verdict(seed) {
            next.store(first + count, Ordering::Relaxed);
            return Some((seed, violation));
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let found = workers.into_iter().filter_map(|worker| worker.join().ok().flatten());
        found.min_by_key(|(seed, _)| *seed)
    })
}

#[test]
fn always_converges_and_never_does_harm() {
    if let Some(seed) = setting("SEED") {
        let (outcome, lines) = trace(seed);
        println!("{}", lines.join("\n"));
        assert_eq!(outcome, Ok(()), "seed {seed}");
        return;
    }
    let (first, count) = (
        setting("LVS_SIMULATION_FIRST").unwrap_or(1),
        setting("LVS_SIMULATION_SEEDS").unwrap_or(SEEDS),
    );
    if let Some((seed, violation)) = first_failure(first, count) {
        let (_, lines) = trace(seed);
        let shown = lines.len().saturating_sub(SHOWN);
        println!("{}", lines.get(shown..).unwrap_or_default().join("\n"));
        panic!("seed {seed}: {violation}; SEED={seed} replays it whole");
    }
    // Past libtest, which keeps to itself what a test that passes prints.
    let _: std::io::Result<()> = writeln!(std::io::stderr(), "simulation: {count} seeds, from {first}");
}
