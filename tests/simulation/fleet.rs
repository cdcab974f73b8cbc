//! Several servers in one simulated world: who goes next, and what must be true meanwhile and in the end.
//!
//! Design: as in [`super::world`], a step is a worker's turn or a rest, with others inside of it where workers that hold leases are
//! descheduled; the journals, the threads beside the workers, the writers and the operator take their turns between.
//!
//! Invariant: between steps no worker is within its turn.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::rc::Rc;
use std::time::Duration;

use torc::config::Config;
use torc::io::sim::{Rng, SimNet, SimThreads};
use torc::threads::Simulation;
use torc::worker::Clock;

use super::ledger::Ledger;
use super::operator::Operator;
use super::plan::Plan;
use super::replicated::{Followed, tamper};
use super::server::{Host, Server};
use super::world::{EPOCH_MS, PORT, Summary, faults};
use super::writer::{Term, Writer};
use crate::harness::TempDir;

/// Steps after which a run will never end.
const STEPS_MAX: u64 = 3_000_000;
/// Turns of others in one yield point.
const YIELD_POINT_TURNS_MAX: u64 = 8;
/// Within this time all servers agree once nothing befalls them any more.
const SETTLE: Duration = Duration::from_secs(60);
/// How often what a server holds is looked at where it has got further.
const LOOK_PERCENT: u32 = 50;

/// What a server is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Primary,
    ReplicaOf(usize),
}

/// A place for a server.
pub struct Node {
    dir: TempDir,
    pub port: u16,
    /// Its directives.
    words: Vec<String>,
    /// What it has acknowledged is on its disk.
    pub is_safe: bool,
    server: RefCell<Option<Rc<Server>>>,
    lives: Cell<u64>,
    pub role: Cell<Role>,
    /// It was told to end.
    pub is_ending: Cell<bool>,
    /// What it had is lost, or may be, until it follows again.
    pub is_lost: Cell<bool>,
    starts_at: Cell<Duration>,
}

pub struct Fleet {
    plan: Plan,
    pub(super) host: Host,
    /// The counter behind all clocks.
    counter: Box<dyn Fn(Duration)>,
    pub(super) nodes: Vec<Node>,
    /// Who is the primary, and which one in a row.
    pub(super) primary: Cell<usize>,
    pub(super) term: Cell<u64>,
    writers: RefCell<Vec<Writer>>,
    pub(super) ledger: RefCell<Ledger>,
    pub(super) operator: RefCell<Operator>,
    rng: RefCell<Rng>,
    turns: Cell<u64>,
    followed: Cell<Followed>,
    failure: RefCell<Option<String>>,
}

impl Fleet {
    pub fn new(plan: &Plan, count: usize) -> Rc<Fleet> {
        let net = SimNet::new(plan.seed, faults(plan, 0));
        let (clock, mock) = Clock::simulated(EPOCH_MS);
        let simulation = Simulation::new(EPOCH_MS);
        let threads = SimThreads::new(&net, &simulation);
        let mut rng = Rng::new(plan.seed);
        let nodes = (0..count).map(|number| Node::new(number, &mut rng)).collect();
        Rc::new(Fleet {
            plan: plan.clone(),
            host: Host { net, clock, simulation, threads },
            counter: Box::new(move |time| mock.increment(time)),
            nodes,
            primary: Cell::new(0),
            term: Cell::new(0),
            writers: RefCell::default(),
            ledger: RefCell::default(),
            operator: RefCell::default(),
            rng: RefCell::new(rng),
            turns: Cell::new(0),
            followed: Cell::default(),
            failure: RefCell::default(),
        })
    }

    /// Plays, while workers that hold leases are descheduled.
    pub fn run(self: &Rc<Self>) -> Result<Summary, String> {
        let entered = self.host.simulation.enter();
        let weak = Rc::downgrade(self);
        entered.let_others(Rc::new(move || {
            weak.upgrade().iter().for_each(|fleet| _ = fleet.may_step_journals(100));
        }));
        self.host.net.set_tamper(self.plan.fault.and_then(tamper));
        let weak = Rc::downgrade(self);
        self.host.net.set_yield_point(Some(Rc::new(move |_| {
            weak.upgrade().iter().for_each(|fleet| fleet.yield_point());
        })));
        let outcome = self.play();
        self.host.net.set_yield_point(None);
        (0..self.nodes.len()).for_each(|number| _ = self.kill(number));
        outcome.map(|()| self.summary())
    }

    fn summary(&self) -> Summary {
        let followed = Followed { compared: self.ledger.borrow().compared, ..self.followed.get() };
        Summary {
            trace: self.host.net.trace(),
            commands: self.writers.borrow().iter().map(|writer| writer.requests).sum(),
            turns: self.turns.get(),
            followed,
            ..Summary::default()
        }
    }

    fn play(&self) -> Result<(), String> {
        for number in 0..self.nodes.len() {
            self.start(number)?;
        }
        let rest_max = Duration::from_millis(1 + self.below(400));
        for number in 0..self.plan.clients {
            let (seed, requests) = (self.rng.borrow_mut().next_u64(), 20 + self.plan.commands_per_client / 2);
            self.writers.borrow_mut().push(Writer::new(number, seed, requests, rest_max));
        }
        self.host.net.set_faults(faults(&self.plan, self.plan.faults.reset_per_million / 10));
        self.until("writers write", false, || self.writers.borrow().iter().all(Writer::is_done))?;
        self.host.net.set_faults(faults(&self.plan, 0));
        let begin = self.host.net.now();
        self.until("servers come to agree", true, || {
            self.do_agree() || self.host.net.now() > begin + SETTLE
        })?;
        self.check_agreement()
    }

    /// Whether all follow one primary, and have got as far.
    fn do_agree(&self) -> bool {
        let primary = self.primary.get();
        let Some(leader) = self.server(primary).filter(|server| server.is_whole()) else { return false };
        let is_leading =
            !leader.shared.replication.is_replica() && leader.shared.replication.stream.is_open();
        let position = leader.position();
        let agrees = |number: usize| {
            self.server(number).is_some_and(|server| {
                let replication = &server.shared.replication;
                let is_linked =
                    number == primary || replication.link() == torc::replicate::LinkState::Connected;
                is_linked && server.is_whole() && server.position() == position
            })
        };
        is_leading && (0..self.nodes.len()).all(agrees)
    }

    fn check_agreement(&self) -> Result<(), String> {
        if !self.do_agree() {
            let state = |number: usize| {
                let Some(server) = self.server(number) else { return "is down".to_owned() };
                let replication = &server.shared.replication;
                format!("{:?}, {:?}, whole {}", server.position(), replication.link(), server.is_whole())
            };
            let states: Vec<String> = (0..self.nodes.len()).map(state).collect();
            return Err(format!("servers do not come to agree: {states:#?}"));
        }
        let primary = self.server(self.primary.get()).ok_or("the primary is there")?;
        while primary.step_journal() {}
        self.ledger.borrow_mut().note(&primary)?;
        let compared = self.ledger.borrow().compared;
        for number in (0..self.nodes.len()).filter(|number| *number != self.primary.get()) {
            let replica = self.server(number).ok_or("the replica is there")?;
            // What was said last may be on its way.
            if replica.position() == primary.position() {
                self.ledger.borrow_mut().compare(number, &replica)?;
            }
        }
        self.count(|followed| followed.agreed += 1);
        assert!(self.ledger.borrow().compared >= compared);
        Ok(())
    }

    /// Begins a server's life.
    fn start(&self, number: usize) -> Result<(), String> {
        let node = &self.nodes[number];
        let life = node.lives.get();
        node.lives.set(life + 1);
        let config = node.config(|other| self.nodes[other].port);
        let server = Server::start(&self.host, &self.plan, &config, (number, life), node.port)?;
        *node.server.borrow_mut() = Some(Rc::new(server));
        Ok(())
    }

    /// Ends it in the middle of whatever it does; whether it was there.
    pub(super) fn kill(&self, number: usize) -> bool {
        let node = &self.nodes[number];
        let Some(server) = node.server.borrow_mut().take() else { return false };
        let Host { net, threads, .. } = &self.host;
        let stats = &server.shared.stats;
        self.count(|followed| {
            followed.synced += stats.sum(|counters| &counters.sync_full);
            followed.continued += stats.sum(|counters| &counters.sync_partial_ok);
        });
        net.stop_listening(node.port);
        // Its peers are told, or not, as if its machine had gone with it.
        let is_silent = self.chance(40);
        threads.kill(number, |_| is_silent);
        server.workers.indices().for_each(|index| net.retire(index, |_| is_silent));
        server.workers.dismiss();
        node.is_ending.set(false);
        node.starts_at.set(net.now() + Duration::from_millis(1 + self.below(2500)));
        self.count(|followed| followed.kills += 1);
        true
    }

    /// Those that have ended, or been killed, begin again.
    pub(super) fn restart_when_due(&self) -> Result<(), String> {
        for (number, node) in self.nodes.iter().enumerate() {
            match self.server(number) {
                Some(server) if server.workers.is_done() => _ = self.kill(number),
                None if node.starts_at.get() <= self.host.net.now() => self.start(number)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A server, if it is there.
    pub(super) fn server(&self, number: usize) -> Option<Rc<Server>> {
        self.nodes[number].server.borrow().clone()
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Followed)) {
        let mut followed = self.followed.get();
        change(&mut followed);
        self.followed.set(followed);
    }

    pub(super) fn chance(&self, percent: u32) -> bool {
        self.rng.borrow_mut().chance(percent)
    }

    pub(super) fn below(&self, limit: u64) -> u64 {
        self.rng.borrow_mut().below(limit)
    }

    fn pass(&self, time: Duration) {
        self.host.net.advance(time);
        (self.counter)(time);
        self.host.simulation.set_elapsed(self.host.net.now());
    }

    /// Steps until something is true. Nothing befalls the servers any more when it `is_over`.
    fn until(&self, otherwise: &str, is_over: bool, is_done: impl Fn() -> bool) -> Result<(), String> {
        for _ in 0..STEPS_MAX {
            let mut has_stepped = self.step_writers();
            self.operate(is_over)?;
            has_stepped |= self.may_step_journals(self.plan.journal_percent);
            has_stepped |= self.step_threads();
            has_stepped |= self.step_workers();
            if let Some(failure) = self.failure.borrow_mut().take() {
                return Err(failure);
            }
            self.look()?;
            if is_done() {
                return Ok(());
            }
            if !has_stepped && !self.may_step_journals(100) {
                self.skip_to_next();
            }
        }
        Err(format!("it does not end while {otherwise}"))
    }

    fn step_writers(&self) -> bool {
        let term = Term { port: self.nodes[self.primary.get()].port, number: self.term.get() };
        let Ok(mut writers) = self.writers.try_borrow_mut() else { return false };
        let mut has_stepped = false;
        for writer in writers.iter_mut() {
            let stepped = writer.step(&self.host.net, term, &mut |key, count| {
                self.ledger.borrow_mut().promise(key, count);
                self.count(|followed| followed.promises += 1);
            });
            has_stepped |= self.unless_failed(stepped);
        }
        has_stepped
    }

    fn unless_failed(&self, outcome: Result<bool, String>) -> bool {
        outcome.unwrap_or_else(|failure| {
            self.failure.borrow_mut().get_or_insert(failure);
            false
        })
    }

    fn may_step_journals(&self, percent: u32) -> bool {
        let mut has_stepped = false;
        for number in 0..self.nodes.len() {
            if let Some(server) = self.server(number).filter(|_| self.chance(percent)) {
                has_stepped |= server.step_journal();
            }
        }
        has_stepped
    }

    fn step_threads(&self) -> bool {
        self.unless_failed(self.host.threads.step())
    }

    /// One of the workers that may go takes a turn or a rest; false if there is none.
    fn step_workers(&self) -> bool {
        let mut ready = Vec::new();
        for number in 0..self.nodes.len() {
            if let Some(server) = self.server(number) {
                ready.extend(server.workers.ready().into_iter().map(|worker| (number, worker)));
            }
        }
        if ready.is_empty() {
            return false;
        }
        let (number, worker) = ready[self.below(ready.len() as u64) as usize];
        let Some(server) = self.server(number) else { return false };
        self.host.net.note((number * 16 + worker) as u64);
        if self.chance(self.plan.rest_percent) {
            let rest = Duration::from_micros(1 + self.below(self.plan.rest_max.as_micros() as u64));
            server.workers.rest(worker, self.host.net.now() + rest);
            return true;
        }
        self.turns.set(self.turns.get() + 1);
        let before = self.host.simulation.set_owner(number);
        server.workers.turn(worker, || {
            self.pass(Duration::from_micros(self.below(self.plan.turn_max.as_micros() as u64 + 1)));
        });
        self.host.simulation.set_owner(before);
        true
    }

    /// What happens while a worker is descheduled in the middle of its turn.
    fn yield_point(&self) {
        if !self.chance(self.plan.yield_point_percent) {
            return;
        }
        for _ in 0..self.below(YIELD_POINT_TURNS_MAX) {
            self.pass(Duration::from_micros(self.below(100)));
            self.step_writers();
            self.may_step_journals(self.plan.journal_percent);
            self.step_threads();
            self.step_workers();
        }
    }

    /// Looks at what servers hold that have got further.
    fn look(&self) -> Result<(), String> {
        for number in 0..self.nodes.len() {
            let Some(server) = self.server(number).filter(|server| server.is_whole()) else { continue };
            let replication = &server.shared.replication;
            let state = (replication.offset(), server.shared.journal.drawn());
            if server.looked.get() == state || !self.chance(LOOK_PERCENT) {
                continue;
            }
            if replication.is_replica() {
                self.ledger.borrow_mut().compare(number, &server)?;
            } else if replication.stream.is_open() {
                while server.step_journal() {}
                self.ledger.borrow_mut().note(&server)?;
            }
            server.looked.set((replication.offset(), server.shared.journal.drawn()));
        }
        Ok(())
    }

    /// Nobody can do anything now: lets time pass until somebody can.
    fn skip_to_next(&self) {
        let now = self.host.net.now();
        let rests: Vec<Duration> = (0..self.nodes.len())
            .filter_map(|number| self.server(number))
            .flat_map(|server| server.workers.rests().collect::<Vec<_>>())
            .collect();
        let starts = self.nodes.iter().map(|node| node.starts_at.get());
        let writers = self.writers.borrow();
        let times = rests
            .into_iter()
            .chain(starts)
            .chain(writers.iter().filter_map(Writer::rests_until))
            .chain([self.operator_rests_until()])
            .chain(self.host.net.next_deadline())
            .chain(self.host.threads.next_deadline());
        let next = times.filter(|at| *at > now).min();
        self.pass(next.map_or(Duration::from_millis(1), |next| next - now));
    }
}

impl Node {
    fn new(number: usize, rng: &mut Rng) -> Node {
        let is_safe = rng.chance(30);
        let backlog = ["16kb", "16kb", "200kb", "1mb"][rng.below(4) as usize];
        let load = ["disabled", "on-empty-db", "swapdb"][rng.below(3) as usize];
        let by_socket = if rng.chance(70) { "yes" } else { "no" };
        let delay = ["0", "1"][rng.below(2) as usize];
        let channel = if rng.chance(60) { "yes" } else { "no" };
        let mut words: Vec<String> = [
            ["--databases", "4"],
            ["--save", ""],
            ["--repl-timeout", "3"],
            ["--repl-ping-replica-period", "1"],
            ["--shutdown-timeout", "1"],
            ["--auto-aof-rewrite-percentage", "0"],
            ["--repl-backlog-size", backlog],
            ["--repl-diskless-load", load],
            ["--repl-diskless-sync", by_socket],
            ["--repl-rdb-channel", channel],
            ["--repl-diskless-sync-delay", delay],
        ]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
        if is_safe {
            words.extend(["--appendonly", "yes", "--appendfsync", "always"].map(str::to_owned));
        }
        Node {
            dir: TempDir::in_memory(),
            port: PORT + number as u16,
            words,
            is_safe,
            server: RefCell::default(),
            lives: Cell::new(0),
            role: Cell::new(if number == 0 { Role::Primary } else { Role::ReplicaOf(0) }),
            is_ending: Cell::new(false),
            is_lost: Cell::new(number == 0),
            starts_at: Cell::new(Duration::ZERO),
        }
    }

    /// What it is started with.
    fn config(&self, port: impl Fn(usize) -> u16) -> Config {
        let dir = self.dir.path().to_string_lossy().into_owned();
        let mut words = [&self.words[..], &["--dir".to_owned(), dir]].concat();
        if let Role::ReplicaOf(other) = self.role.get() {
            words.extend(["--replicaof".to_owned(), "127.0.0.1".to_owned(), port(other).to_string()]);
        }
        let startup = Config::from_args(words.iter().map(OsString::from), &mut std::io::empty());
        startup.unwrap_or_else(|fatal| panic!("{fatal}")).config
    }
}
