//! The check that cannot fail would be a defect: these tests run against a server with an injected fault.
//!
//! `tests/run history` builds Torc with the feature `injected-fault`, in which a command takes the lease of its first key alone,
//! and those of further keys when it gets to them (`store/keyspace.rs`, `take_late`). The checkers must see it.

#![cfg(feature = "injected-fault")]

use super::register::NOT_LINEARIZABLE;
use super::{Queues, run_all};
use crate::harness::Server;

/// Runs until both kinds of checkers have seen the bug; each takes seconds.
const ATTEMPTS_MAX: u64 = 10;
const OPERATIONS: usize = 20_000;

fn is_found(workers: &str) {
    let (mut cycle, mut disorder) = (None, None);
    for seed in 1..=ATTEMPTS_MAX {
        let server = Server::start(&["--workers", workers]);
        let mut anomalies = run_all(&server, OPERATIONS, seed, Queues::Without).into_iter();
        // Names of cycles begin with Adya's letter.
        cycle = cycle.or_else(|| anomalies.clone().find(|anomaly| anomaly.kind.starts_with('G')));
        disorder = disorder.or_else(|| anomalies.find(|anomaly| anomaly.kind == NOT_LINEARIZABLE));
        if let (Some(cycle), Some(disorder)) = (&cycle, &disorder) {
            println!("found in {seed} runs with {workers} workers\n{cycle}{disorder}");
            return;
        }
    }
    panic!(
        "{ATTEMPTS_MAX} runs with {workers} workers have not shown the injected fault: {cycle:?}, {disorder:?}"
    );
}

#[test]
fn injected_fault_is_found_with_two_workers() {
    is_found("2");
}

#[test]
fn injected_fault_is_found_with_eight_workers() {
    is_found("8");
}
