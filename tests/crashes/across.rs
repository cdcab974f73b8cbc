//! Histories that go on across crashes are strictly serialisable where nothing that was answered is lost.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;

use super::crashes;
use crate::harness::{Rng, Server, until};
use crate::history::append;
use crate::history::load::{self, Run};
use crate::history::record::check_none;

/// Operations between two crashes, about.
const OPERATIONS: usize = 1500;

/// Clients append to lists and read them, in transactions and pipelines; whose server dies connects to the next one.
#[test]
fn histories_that_go_on_across_crashes_are_strictly_serialisable() {
    let crashes = crashes();
    let args = |workers| {
        let kept = ["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-min-size", "256kb"];
        [&kept[..], &["--workers", workers]].concat()
    };
    let first = Server::start(&args("2"));
    let run = Run::across_crashes(&first);
    let plan = load::append::Plan { clients: 8, operations: OPERATIONS * crashes, seed: 5, deaths: 100 };
    let is_over = AtomicBool::new(false);
    let history = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let (mut rng, mut next) = (Rng(9), None::<Server>);
            while !is_over.load(Ordering::Relaxed) && !run.stopped() {
                crate::harness::pause_ms(50 + rng.below(250) as u64);
                next.as_ref().unwrap_or(&first).signal(Signal::KILL);
                if let Some(mut killed) = next.take() {
                    killed.await_exit();
                }
                let server = next.insert(first.again(&args(*rng.pick(&["1", "2", "3"]))));
                // Once in a while it is killed while it loads.
                let mut client = server.client();
                let is_loaded = || client.call(&["PING"]).string() == "PONG";
                assert!(rng.once_in(4) || until(is_loaded), "{}", server.log());
            }
            next
        });
        let history = load::append::run(&run, plan);
        is_over.store(true, Ordering::Relaxed);
        drop(killer.join().expect("servers start"));
        history
    });
    run.check();
    check_none("across crashes", &append::check(&history).anomalies);
}
