//! The check that cannot fail would be a defect: these tests run against a server with a planted bug.
//!
//! `tests/run history` builds Torc with the feature `planted-bug`, in which a command takes the lease of its first key alone, and
//! those of further keys when it gets to them (`store/keyspace.rs`, `take_late`). The checkers must see it.

#![cfg(feature = "planted-bug")]

use super::run_all;
use crate::harness::Server;

/// Runs until the bug shows; each takes seconds.
const ATTEMPTS_MAX: u64 = 5;
const OPERATIONS: usize = 20_000;

fn is_found(workers: &str) {
    for seed in 1..=ATTEMPTS_MAX {
        let server = Server::start(&["--workers", workers]);
        let anomalies = run_all(&server, OPERATIONS, seed);
        if let Some(first) = anomalies.first() {
            println!("{workers} workers, run {seed}: {} anomalies, the first: {first}", anomalies.len());
            return;
        }
    }
    panic!("{ATTEMPTS_MAX} runs with {workers} workers have not shown the planted bug");
}

#[test]
fn the_planted_bug_is_found_with_two_workers() {
    is_found("2");
}

#[test]
fn the_planted_bug_is_found_with_eight_workers() {
    is_found("8");
}
