//! What is under way between workers while one of them does nothing for long: it counts, and it is bounded.
//!
//! Two production workers on the simulated network, of which only the first takes turns until the test says otherwise.

use std::sync::Arc;
use std::time::Duration;

use torc::command::Shared;
use torc::io::sim::{Faults, SimClient, SimIo, SimNet};
use torc::io::{Io as _, Options, Wait, Waker};
use torc::worker::{Clock, Worker, WorkerSetup, inboxes};

use super::plan::Plan;
use super::world::{EPOCH_MS, PORT, share};
use crate::harness::command;

struct Pair {
    net: SimNet,
    shared: Arc<Shared>,
    workers: Vec<Worker<SimIo>>,
}

impl Pair {
    /// Two workers, the second of which has taken a few turns, to listen.
    fn new(seed: u64) -> Pair {
        let plan = Plan { workers: 2, shards: 16, ..Plan::calm(seed) };
        let net = SimNet::new(seed, Faults::default());
        let (clock, _) = Clock::simulated(EPOCH_MS);
        let shared = share(&plan);
        let ios: Vec<SimIo> = (0..2).map(|_| SimIo::new(&net, &Options::default())).collect();
        let wakers: Vec<Waker> = ios.iter().map(SimIo::waker).collect();
        let setups = inboxes(&wakers, &shared.pubsub).into_iter().zip(ios).enumerate();
        let workers = setups.map(|(number, (inbox, io))| {
            let setup =
                WorkerSetup { number, shared: Arc::clone(&shared), inbox, clock: clock.clone(), seed };
            let mut worker = Worker::new(io, setup);
            worker.io_mut().accept(0, net.listen(PORT)).expect("the simulation accepts");
            worker
        });
        Pair { workers: workers.collect(), net, shared }
    }

    fn turns(&mut self, worker: usize, count: usize) {
        for _ in 0..count {
            self.net.advance(Duration::from_millis(1));
            self.workers[worker].turn(Wait::Poll).expect("simulated turns do not fail");
        }
    }

    /// Two clients, one on each worker.
    fn one_on_each(&mut self) -> (SimClient, SimClient) {
        let (first, second) = (self.net.connect(PORT), self.net.connect(PORT));
        (0..20).for_each(|_| (0..2).for_each(|worker| self.turns(worker, 1)));
        let lives = |worker: usize| self.shared.stats.of(worker).connections.read();
        assert_eq!((lives(0), lives(1)), (1, 1));
        first.send(&command(&["PING"]));
        second.send(&command(&["PING"]));
        self.turns(0, 20);
        let (here, there) = if first.read().is_empty() { (second, first) } else { (first, second) };
        self.turns(1, 20);
        assert_eq!(there.read(), b"+PONG\r\n");
        here.read();
        (here, there)
    }
}

/// A connection that one worker had accepted for another counted only once that one had taken it, so while it was busy more
/// than `maxclients` came to be under way.
#[test]
fn accepted_connections_count_before_their_worker_takes_them() {
    let mut pair = Pair::new(1);
    let mut config = (*pair.shared.config.load()).clone();
    config.maxclients = 5;
    pair.shared.config.update(|_| Ok::<_, ()>(config)).expect("it does not fail");
    let clients: Vec<SimClient> = (0..8).map(|_| pair.net.connect(PORT)).collect();
    pair.turns(0, 50);
    assert!(pair.shared.stats.of(0).connections.read() < 5, "some are for the other one");
    assert_eq!(pair.shared.clients.count(), 5);
    let refused = clients.iter().filter(|client| client.read().starts_with(b"-ERR max number")).count();
    assert_eq!(refused, 3);
    pair.turns(1, 50);
    let lives = |worker: usize| pair.shared.stats.of(worker).connections.read();
    assert_eq!((lives(0) + lives(1), pair.shared.clients.count()), (5, 5));
    clients.iter().for_each(SimClient::close);
    (0..50).for_each(|_| (0..2).for_each(|worker| pair.turns(worker, 1)));
    assert_eq!(pair.shared.clients.count(), 0);
}

/// Lines of the feed piled up without end for a worker that was busy: its share of every turn of the others.
#[test]
fn commands_wait_while_too_much_of_the_feed_is_under_way() {
    const COMMANDS: usize = 1500;
    let mut pair = Pair::new(2);
    let (asks, monitors) = pair.one_on_each();
    monitors.send(&command(&["MONITOR"]));
    (0..50).for_each(|_| (0..2).for_each(|worker| pair.turns(worker, 1)));
    assert_eq!(monitors.read(), b"+OK\r\n");
    let text = "x".repeat(10_000);
    let mut answered = 0;
    let mut sent = 0;
    // Only the first worker runs: its client gets what may be under way, and no more.
    let mut ask = |pair: &mut Pair, answered: &mut usize| {
        if sent < COMMANDS && sent < *answered + 50 {
            asks.send(&command(&["ECHO", &text]).repeat(10));
            sent += 10;
        }
        pair.turns(0, 1);
        *answered += asks.read().iter().filter(|byte| **byte == b'$').count();
    };
    (0..1000).for_each(|_| ask(&mut pair, &mut answered));
    assert!((500..1000).contains(&answered), "{answered} were answered, 8 MiB is some 840 lines");
    let stats = pair.shared.stats.of(0);
    assert!(stats.counters.messages_full.read() > 0);
    assert!(stats.messages_waiting.read() < 1024);
    // Once the other one reads, all goes on, and nothing is lost.
    let mut shown = 0;
    for _ in 0..40_000 {
        ask(&mut pair, &mut answered);
        pair.turns(1, 1);
        shown += monitors.read().iter().filter(|byte| **byte == b'+').count();
        if shown == COMMANDS {
            break;
        }
    }
    assert_eq!((answered, shown), (COMMANDS, COMMANDS));
}
