//! Links between servers that end in every way, at random points under load: at the end all have the same data, and a replica whose
//! place its primary still knows has continued there.
//!
//! Design: servers follow each other in a row, through proxies (`proxy`); clients write to the first without a pause. Something
//! happens to a link or to one of its ends (`Fault`), mostly once all links are up again, now and then at once. How many snapshots
//! had to be sent follows from what has happened; the backlog reaches over all of it.
//!
//! `TORC_LINKS=N` has so many things happen to each row instead of a few.

mod chain;
mod proxy;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chain::{Chain, Fault, Kind, write_until};
pub use proxy::Proxy;

use crate::harness::{Rng, pause_ms};

/// What happens to a row, unless `TORC_LINKS` says otherwise; and to one start of the servers at most.
const FAULTS: usize = 12;
const FAULTS_OF_LIFE: usize = 40;

fn faults() -> usize {
    std::env::var("TORC_LINKS").map_or(FAULTS, |text| text.parse().expect("TORC_LINKS is a number"))
}

/// The servers of a row, through so many faults.
fn endure(kinds: &[Kind], workers: &'static str, seed: u64) {
    let (mut left, mut seed) = (faults(), seed * 1000);
    while left > 0 {
        let count = left.min(FAULTS_OF_LIFE);
        endure_life(kinds, workers, seed, count);
        left -= count;
        seed += 1;
    }
}

fn endure_life(kinds: &[Kind], workers: &'static str, seed: u64, count: usize) {
    let mut chain = Chain::start(kinds, workers);
    let mut rng = Rng(seed);
    let (first, stop) = (Arc::clone(&chain.first), AtomicBool::new(false));
    let written: u64 = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|number| {
                let (first, stop) = (&first, &stop);
                scope.spawn(move || write_until(first, seed * 10 + number, stop))
            })
            .collect();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut story = Vec::new();
            for _ in 0..count {
                let (link, fault) = (rng.below(chain.links()), *rng.pick(&Fault::ALL));
                let then_calm = !rng.once_in(4);
                story.push((link, fault, then_calm));
                chain.suffer(link, fault, &mut rng, then_calm);
                pause_ms(rng.below(30) as u64);
            }
            println!("{kinds:?} {workers} {seed}: {story:?}");
        }));
        stop.store(true, Ordering::Relaxed);
        let written = writers.into_iter().map(|writer| writer.join().expect("it writes")).sum();
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
        written
    });
    assert!(written > 0);
    chain.check(seed);
}

#[test]
fn torc_follows_torc() {
    endure(&[Kind::Torc, Kind::Torc], "1", 1);
    endure(&[Kind::Torc, Kind::Torc], "3", 2);
}

#[test]
fn redis_follows_torc() {
    endure(&[Kind::Torc, Kind::Redis], "2", 3);
}

#[test]
fn torc_follows_redis() {
    endure(&[Kind::Redis, Kind::Torc], "2", 4);
}

#[test]
fn valkey_follows_torc() {
    endure(&[Kind::Torc, Kind::Valkey], "2", 5);
}

#[test]
fn torc_follows_valkey() {
    endure(&[Kind::Valkey, Kind::Torc], "2", 6);
}

#[test]
fn torc_follows_torc_that_follows_torc() {
    endure(&[Kind::Torc, Kind::Torc, Kind::Torc], "2", 7);
}

#[test]
fn redis_follows_torc_that_follows_redis() {
    endure(&[Kind::Redis, Kind::Torc, Kind::Redis], "2", 8);
}
