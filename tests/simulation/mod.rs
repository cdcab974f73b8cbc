//! The simulation: the production loop, several workers of it, on one thread, a simulated network and a virtual time.
//!
//! Design: a [`plan`] is drawn from a seed: how many workers, shards and clients, what the network does to them, how workers
//! are descheduled. A [`world`] runs it: it chooses who goes next, and everything random comes from the seed, so a run can
//! be repeated exactly. Clients ([`client`]) carry scripts, each of which knows what its replies must be:
//!
//! | script | what is checked |
//! |---|---|
//! | [`model`] | keys of its own, every kind of command: each reply to the byte, against a map |
//! | [`with_deadlines`] | deadlines: what must live lives, what must be gone is gone |
//! | [`board`] | shared keys: groups written by MSET are linearizable, no increment or renamed key is lost or doubled |
//! | [`queue`] | lists that some push to and others wait for: nothing is lost, doubled or too early |
//! | [`slow_reader`] | a client that does not read holds up nobody else |
//!
//! or, in runs of their own, make the histories that the running server's tests make, for the same checkers ([`histories`]),
//! or publish and listen ([`talkers`]), or end at every point that the running server's tests end at ([`ends`]), or have their
//! histories go on behind power cuts ([`power`]), or share a journal that is loaded at the end ([`journaled`]), or write to
//! servers that replicate each other ([`replicated`]);
//! and at the end: nobody sleeps while a client waits, every connection is detached, every buffer given back, every lease
//! free, and the shards' own invariants hold.
//!
//! `TORC_SEEDS=from..to` runs other seeds than the usual ones. A failure says how to repeat it.
//!
//! Not here: the simulated network itself (`torc::io::sim`).

mod board;
mod client;
mod crowded;
mod ends;
mod fleet;
mod histories;
mod journaled;
mod ledger;
mod model;
mod operator;
mod plan;
mod player;
mod power;
mod queue;
mod register;
mod replicated;
mod series;
mod server;
mod slow_reader;
mod talkers;
mod with_deadlines;
mod workers;
mod workloads;
mod world;
mod writer;

use plan::{Fault, Plan};
use series::Series;
use world::{Summary, run};

/// Every kind of script at once.
const DRAWN: Series =
    Series { tests: "simulation::seeds", usual: 0..300, draw: Plan::draw, check_happened: check_drawn };
/// Seeds among which an injected fault must be found.
const INJECTED_SEEDS: std::ops::Range<u64> = 0..40;

fn check_drawn(sum: &Summary) {
    assert!(sum.commands > 7_000, "too little was asked: {sum:?}");
    assert!(sum.refused > 100, "leases were hardly ever fought for: {sum:?}");
    assert!(sum.wanted > 20, "workers hardly ever slept for a lease: {sum:?}");
    assert!(sum.reserved > 0, "no command was refused often enough to reserve its shards: {sum:?}");
    assert!(sum.moved > 200, "connections hardly ever moved: {sum:?}");
    assert!(sum.served > 100, "hardly anybody got what he waited for: {sum:?}");
    assert!(sum.timeouts > 100, "hardly anybody waited in vain: {sum:?}");
    assert!(sum.lost > 20, "hardly any connection was lost: {sum:?}");
}

#[test]
fn seeds_even() {
    DRAWN.run_part(0);
}

#[test]
fn seeds_odd() {
    DRAWN.run_part(1);
}

#[test]
fn a_seed_determines_its_run() {
    DRAWN.check_determined(0..20);
    let other = |seed| run(&Plan::draw(seed)).expect("passes elsewhere too").trace;
    assert_ne!(other(1), other(2));
}

#[test]
fn injected_faults_are_found() {
    for (fault, words) in [
        (Fault::WrongReply, &["expected"][..]),
        (Fault::Reordered, &["expected", "was answered"]),
        (Fault::TornWrite, &["several values"]),
        (Fault::LostIncrement, &["counter"]),
        (Fault::LostWakes, &["sleeps"]),
    ] {
        let failure = DRAWN.failures(INJECTED_SEEDS, Some(fault)).next();
        let failure = failure.unwrap_or_else(|| panic!("{fault:?} was not found"));
        assert!(words.iter().any(|word| failure.contains(word)), "{fault:?} was found as: {failure}");
    }
}

/// Two bugs that the first clients of this kind found. A connection whose replies waited kept the receive buffers of what it
/// had sent behind them, so a few dozen clients that did not read stopped their worker for all others. And once that was
/// mended: a command that was put back, behind one with a large value that had run in the same turn, had that value
/// inserted before it, because the value was thought to be its own.
#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    for seed in 0..10 {
        let _story = DRAWN.story(seed);
        let plan = Plan { slow_reader: true, ..Plan::calm(seed) };
        run(&plan).expect("all is as it must be");
    }
}
