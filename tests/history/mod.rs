//! Shows that every command and transaction is atomic and isolated, in the order of real time: strict serialisability.
//!
//! Many clients with overlapping keys work against a server (`load`) while each operation's beginning, end and reply is recorded
//! (`record`). Then what was recorded is judged by checkers that know nothing of how it was made: list appends by a search for
//! cycles (`append`, `graph`), integer keys by a search for an order (`register`, `model`), queues by what a queue's history
//! cannot show (`queue`). Redis itself must pass all of it, and a build that takes the lease of only the first key of each command
//! must not (`injected`).
//!
//! `TORC_HISTORY=N` makes runs of N operations for each number of workers instead of some 20,000.

pub mod append;
mod bank;
mod graph;
mod injected;
pub mod load;
pub mod model;
pub mod queue;
pub mod record;
pub mod register;

use std::time::Instant;

use crate::harness::Server;
use load::Run;
use record::{Anomaly, check_none};

/// Operations of a run, unless `TORC_HISTORY` says otherwise.
const OPERATIONS: usize = 20_000;

fn operations() -> usize {
    let given = std::env::var("TORC_HISTORY").ok();
    given.map_or(OPERATIONS, |text| text.parse().expect("TORC_HISTORY is a number of operations"))
}

/// Whether queues are among the workloads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Queues {
    With,
    /// For a server on which waiting does not work.
    #[cfg_attr(not(feature = "injected-fault"), expect(dead_code, reason = "only such a server needs it"))]
    Without,
}

/// All workloads at once, in shares of the operations; what the checkers find.
fn run_all(server: &Server, operations: usize, seed: u64, with: Queues) -> Vec<Anomaly> {
    let run = Run::new(server);
    let began = Instant::now();
    let lists = load::append::Plan { clients: 10, operations: operations * 6 / 10, seed, deaths: 100 };
    let registers = load::register::Plan { teams: 2, operations: operations * 3 / 10, seed, deaths: true };
    let queues = load::queue::Plan { pushers: 3, poppers: 4, elements: operations / 20, seed, deaths: 50 };
    let (lists, registers, queues) = std::thread::scope(|scope| {
        let lists = scope.spawn(|| load::append::run(&run, lists));
        let registers = scope.spawn(|| load::register::run(&run, registers));
        let queues = match with {
            Queues::With => load::queue::run(&run, queues),
            Queues::Without => Vec::new(),
        };
        let join = "clients do not panic";
        (lists.join().expect(join), registers.join().expect(join), queues)
    });
    run.check();
    let ran = began.elapsed();
    let report = append::check(&lists);
    let mut anomalies = report.anomalies;
    anomalies.extend(registers.iter().filter_map(|round| register::check(round).err()));
    anomalies.extend(queue::check(&queues));
    println!(
        "{} operations in {ran:.1?}: {} list transactions, {} register rounds, {} queue operations; {} edges; checked in {:.1?}",
        run.operations.load(std::sync::atomic::Ordering::Relaxed),
        lists.len(),
        registers.len(),
        queues.len(),
        report.edges,
        began.elapsed() - ran,
    );
    anomalies
}

mod runs {
    use super::*;

    fn passes(workers: &str) {
        let server = Server::start(&["--workers", workers]);
        check_none(&format!("{workers} workers"), &run_all(&server, operations(), 1, Queues::With));
    }

    #[test]
    fn two_workers_are_strictly_serialisable() {
        passes("2");
    }

    #[test]
    fn three_workers_are_strictly_serialisable() {
        passes("3");
    }

    #[test]
    fn eight_workers_are_strictly_serialisable() {
        passes("8");
    }

    /// As few workers as are needed are active: under such a load more are tried again and again, and clients move.
    #[test]
    fn clients_that_move_are_strictly_serialisable() {
        let server = Server::start(&["--workers", "3", "--active-workers-min", "1"]);
        check_none("moving", &run_all(&server, operations(), 1, Queues::With));
        let moved = server.workers_sum("connections_moved");
        println!("{moved} times a client moved");
        assert!(moved > 0);
    }

    /// What the checkers and workloads are held against.
    #[test]
    fn redis_is_strictly_serialisable() {
        check_none("Redis", &run_all(&Server::redis(&[]), operations(), 1, Queues::With));
    }
}
