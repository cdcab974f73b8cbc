//! The simulation: the production loop, several workers of it, on one thread, a simulated network and a virtual time.
//!
//! Design: a [`plan`] is drawn from a seed: how many workers, shards and clients, what the network does to them, how workers
//! are descheduled. A [`world`] runs it: it chooses who goes next, and everything random comes from the seed, so a run can
//! be repeated exactly. Clients ([`client`]) carry scripts, each of which knows what its replies must be:
//!
//! | script | what is checked |
//! |---|---|
//! | [`twin`] | keys of its own, every kind of command: each reply to the byte, against a map |
//! | [`fading`] | deadlines: what must live lives, what must be gone is gone |
//! | [`board`] | shared keys: groups written by MSET are linearizable, no increment or renamed key is lost or doubled |
//! | [`queue`] | lists that some push to and others wait for: nothing is lost, doubled or too early |
//! | [`hog`] | a client that does not read holds up nobody else |
//!
//! or, in runs of their own, make the histories that the running server's tests make, for the same checkers ([`histories`]);
//! and at the end: nobody sleeps while a client waits, every connection is detached, every buffer given back, every lease
//! free, and the shards' own invariants hold.
//!
//! `TORC_SEEDS=from..to` runs other seeds than the usual ones. A failure says how to repeat it.
//!
//! Not here: the simulated network itself (`torc::io::sim`).

mod board;
mod client;
mod fading;
mod histories;
mod hog;
mod plan;
mod player;
mod queue;
mod register;
mod twin;
mod workloads;
mod world;

use plan::{Plan, Plant};
use world::{Summary, run};

/// Seeds of the usual run.
const SEEDS: std::ops::Range<u64> = 0..300;
/// Parts that run beside each other.
const PARTS: u64 = 2;
/// Seeds among which a planted bug must be found.
const PLANTED_SEEDS: std::ops::Range<u64> = 0..40;

/// The seeds asked for.
fn seeds(usual: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("TORC_SEEDS") else { return usual };
    let bounds = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    bounds.unwrap_or_else(|| panic!("TORC_SEEDS is {text:?}, not from..to"))
}

/// Says which seed was running if the server's own assertions end it.
struct Story(u64);

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            eprintln!("seed {} failed in {name}", self.0);
            eprintln!("{}", repeat(self.0));
        }
    }
}

fn repeat(seed: u64) -> String {
    let end = seed + 1;
    format!(
        "repeat a drawn plan with: TORC_SEEDS={seed}..{end} cargo test --test torc simulation::seeds; a test's own \
        plan by its name"
    )
}

fn run_part(part: u64) {
    let mut sum = Summary::default();
    for seed in seeds(SEEDS).filter(|seed| seed % PARTS == part) {
        let _story = Story(seed);
        let plan = Plan::draw(seed);
        match run(&plan) {
            Ok(summary) => sum.add(&summary),
            Err(failure) => panic!("{failure}\n{plan:#?}"),
        }
    }
    println!("{sum:?}");
    if seeds(SEEDS) == SEEDS {
        // A simulation in which nothing happens would pass as well.
        assert!(sum.commands > 7_000, "too little was asked: {sum:?}");
        assert!(sum.refused > 100, "leases were hardly ever fought for: {sum:?}");
        assert!(sum.wanted > 20, "workers hardly ever slept for a lease: {sum:?}");
        assert!(sum.reserved > 0, "no command was refused often enough to reserve its shards: {sum:?}");
        assert!(sum.served > 100, "hardly anybody got what he waited for: {sum:?}");
        assert!(sum.timeouts > 100, "hardly anybody waited in vain: {sum:?}");
        assert!(sum.lost > 20, "hardly any connection was lost: {sum:?}");
    }
}

#[test]
fn seeds_even() {
    run_part(0);
}

#[test]
fn seeds_odd() {
    run_part(1);
}

#[test]
fn a_seed_determines_its_run() {
    for seed in 0..20 {
        let _story = Story(seed);
        let plan = Plan::draw(seed);
        let traces = [(); 2].map(|()| run(&plan).map(|summary| summary.trace).expect("passes elsewhere too"));
        assert_eq!(traces[0], traces[1], "{}", repeat(seed));
    }
    let other = |seed| run(&Plan::draw(seed)).expect("passes elsewhere too").trace;
    assert_ne!(other(1), other(2));
}

/// How many runs find a planted bug, and what one of them says.
fn found(plant: Plant, seeds: std::ops::Range<u64>, draw: impl Fn(u64) -> Plan) -> (usize, String) {
    let failures = seeds.filter_map(|seed| {
        let _story = Story(seed);
        run(&Plan { plant: Some(plant), ..draw(seed) }).err()
    });
    let failures: Vec<String> = failures.collect();
    (failures.len(), failures.into_iter().next().unwrap_or_default())
}

#[test]
fn planted_bugs_are_found() {
    for (plant, word) in [
        (Plant::WrongReply, "expected"),
        (Plant::Reordered, "expected"),
        (Plant::TornWrite, "several values"),
        (Plant::LostIncrement, "counter"),
        (Plant::LostWakes, "sleeps"),
    ] {
        let (count, failure) = found(plant, PLANTED_SEEDS, Plan::draw);
        assert!(count > 0, "{plant:?} was not found");
        assert!(failure.contains(word), "{plant:?} was found as: {failure}");
    }
}

/// Two bugs that the first clients of this kind found. A connection whose replies waited kept the receive buffers of what it
/// had sent behind them, so a few dozen clients that did not read stopped their worker for all others. And once that was
/// mended: a command that was put back, behind one with a large value that had run in the same turn, had that value
/// inserted before it, because the value was thought to be its own.
#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    for seed in 0..10 {
        let _story = Story(seed);
        let plan = Plan { hog: true, ..Plan::calm(seed) };
        run(&plan).expect("all is as it must be");
    }
}
