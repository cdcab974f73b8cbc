//! One run of a plan: who goes next, what time it is, and what must be true in the end.
//!
//! Design: a step lets every client do something and then one worker that is ready take a turn, or a rest. When nobody has
//! anything to do, time passes until somebody has. Workers that hold leases are descheduled by running others inside
//! [`torc::io::Io::yield_point`]: the stack is the list of those that are descheduled, so all of it stays on one thread.
//!
//! Invariant: between steps no worker is within its turn, so no lease is held.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use torc::command::{self, DebugSwitches, Facts, Pause, Shared, Shutdown};
use torc::config::{Config, live::Live};
use torc::io::Waker;
use torc::io::sim::{Faults, Rng, SimNet};
use torc::observe::{Registry, SlowLog, Stats};
use torc::pubsub::PubSub;
use torc::replicate::Replication;
use torc::store::{Keyspace, KeyspaceOptions};
use torc::worker::Clock;

use super::board::{Board, Player, Role};
use super::client::{Client, End, Now};
use super::journaled;
use super::model::Model;
use super::plan::{Fault, Plan};
use super::power::{self, Power};
use super::queue::{self, Queues};
use super::replicated::{self, Followed};
use super::slow_reader::{self, SlowReader};
use super::talkers::Spoken;
use super::with_deadlines::WithDeadlines;
use super::workers::{Workers, all_leases};
use super::workloads::Noted;

/// The port that everybody connects to.
pub const PORT: u16 = 6379;
/// When the virtual time begins, Unix ms.
pub(super) const EPOCH_MS: u64 = 1_700_000_000_000;
/// Steps after which a run will never end.
const STEPS_MAX: u64 = 1_500_000;
/// Turns of others in one yield point.
const YIELD_POINT_TURNS_MAX: u64 = 16;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Of everything that happened.
    pub trace: u64,
    pub commands: u64,
    pub turns: u64,
    /// Connections that broke.
    pub lost: u64,
    /// How often a lease was refused, wanted, reserved.
    pub refused: u64,
    pub wanted: u64,
    pub reserved: u64,
    /// Connections that moved to another worker.
    pub moved: u64,
    /// How often somebody got from a list, and how often waiting was in vain.
    pub served: u64,
    pub timeouts: u64,
    /// What histories were made of.
    pub noted: Noted,
    /// What was published and heard.
    pub spoken: Spoken,
    /// How often the power went, how often that was because a sync had failed, and how many bytes were lost.
    pub cuts: u64,
    pub failed_syncs: u64,
    pub bytes_lost: u64,
    /// Groups of writes whose effects were drawn and not kept.
    pub groups_lost: u64,
    /// Bytes of effects.
    pub journal_bytes: u64,
    /// What happened between servers.
    pub followed: Followed,
}

impl Summary {
    /// Adds another run.
    pub fn add(&mut self, other: &Summary) {
        self.trace ^= other.trace;
        self.commands += other.commands;
        self.turns += other.turns;
        self.lost += other.lost;
        self.refused += other.refused;
        self.wanted += other.wanted;
        self.reserved += other.reserved;
        self.moved += other.moved;
        self.served += other.served;
        self.timeouts += other.timeouts;
        self.noted.add(&other.noted);
        self.spoken.add(&other.spoken);
        self.cuts += other.cuts;
        self.failed_syncs += other.failed_syncs;
        self.bytes_lost += other.bytes_lost;
        self.groups_lost += other.groups_lost;
        self.journal_bytes += other.journal_bytes;
        self.followed.add(&other.followed);
    }
}

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) net: SimNet,
    /// The counter behind all workers' clocks.
    counter: Box<dyn Fn(Duration)>,
    pub(super) shared: Arc<Shared>,
    workers: Workers,
    pub(super) clients: RefCell<Vec<Client>>,
    queues: Rc<RefCell<Queues>>,
    pub(super) rng: RefCell<Rng>,
    pub(super) stamp: Cell<u64>,
    turns: Cell<u64>,
    pub(super) noted: Cell<Noted>,
    pub(super) spoken: Cell<Spoken>,
    failure: RefCell<Option<String>>,
    /// Its journal and its disk, if there is one.
    pub(super) power: OnceCell<Power>,
    /// Connections that there were before the power went.
    pub(super) connections_before: Cell<u32>,
}

/// Runs a plan.
///
/// # Errors
/// What was not as it must be.
pub fn run(plan: &Plan) -> Result<Summary, String> {
    if plan.power {
        return power::run(plan);
    }
    if plan.journaled {
        return journaled::run(plan);
    }
    if plan.replicated {
        return replicated::run(plan);
    }
    let world = World::new(plan);
    let outcome = world.deschedule(|| match () {
        () if plan.histories => world.play_histories(),
        () if plan.ends => world.play_ends(),
        () if plan.talkers => world.play_talkers(),
        () => world.play(),
    });
    outcome?;
    Ok(world.summary())
}

pub(super) fn share(plan: &Plan) -> Arc<Shared> {
    share_with(plan, Config { databases: 4, ..Config::default() })
}

pub(super) fn share_with(plan: &Plan, config: Config) -> Arc<Shared> {
    share_at(plan, config, PORT, plan.seed, EPOCH_MS)
}

/// What the workers of a server of this port share; `names` is what the names of its histories are made of.
pub(super) fn share_at(
    plan: &Plan,
    mut config: Config,
    tcp_port: u16,
    names: u64,
    started_ms: u64,
) -> Arc<Shared> {
    // Nothing is saved by itself: that would be a thread of the system's, in the system's time.
    config.save.0.clear();
    let keyspace = KeyspaceOptions {
        shards: plan.shards,
        databases: config.databases as usize,
        workers: plan.workers,
        hash_seed: plan.seed.into(),
    };
    Arc::new(Shared {
        keyspace: Arc::new(Keyspace::new(keyspace)),
        clients: Registry::new(plan.workers),
        stats: Stats::new(plan.workers, command::table().rows().len()),
        slowlog: SlowLog::default(),
        pause: Pause::default(),
        shutdown: Shutdown::default(),
        active_workers: AtomicUsize::new(plan.workers),
        monitoring: Default::default(),
        pubsub: PubSub::new(plan.workers),
        attack_warned_ms: Default::default(),
        facts: Facts {
            run_id: "0".repeat(40),
            started_ms,
            workers: plan.workers,
            io_backend: "sim",
            tcp_port,
            tls_port: 0,
        },
        background: Arc::default(),
        backups: Arc::default(),
        scripts: torc::script::ScriptCache::default(),
        script_state: torc::script::ScriptState::default(),
        busy: torc::command::BusyScripts::default(),
        last_save: Arc::default(),
        loading: Default::default(),
        journal: Default::default(),
        append_only: Arc::default(),
        replay: Default::default(),
        replication: Arc::new(Replication::new(names)),
        link: Default::default(),
        migrations: torc::command::Migrations::default(),
        debug: DebugSwitches::default(),
        config_file: None,
        users: command::make_users(&config).expect("no users are declared"),
        tls: Default::default(),
        config: Live::new(config),
    })
}

/// The plan's faults, with so many resets.
pub(super) fn faults(plan: &Plan, reset_per_million: u32) -> Faults {
    let wakes_lost = plan.fault == Some(Fault::LostWakes);
    Faults { wakes_lost, reset_per_million, ..plan.faults.clone() }
}

impl World {
    fn new(plan: &Plan) -> Rc<World> {
        World::over(plan, share(plan))
    }

    /// Workers that share this.
    pub(super) fn over(plan: &Plan, shared: Arc<Shared>) -> Rc<World> {
        let net = SimNet::new(plan.seed, faults(plan, 0));
        let (clock, mock) = Clock::simulated(EPOCH_MS);
        let workers = Workers::new(&net, &clock, &plan.io, &shared, PORT, plan.seed);
        Rc::new(World {
            plan: plan.clone(),
            workers,
            net,
            counter: Box::new(move |time| mock.increment(time)),
            shared,
            clients: RefCell::default(),
            queues: Rc::default(),
            rng: RefCell::new(Rng::new(plan.seed)),
            stamp: Cell::new(0),
            turns: Cell::new(0),
            noted: Cell::default(),
            spoken: Cell::default(),
            failure: RefCell::default(),
            power: OnceCell::new(),
            connections_before: Cell::new(0),
        })
    }

    /// Plays, while workers that hold leases are descheduled.
    pub(super) fn deschedule(
        self: &Rc<Self>,
        play: impl FnOnce() -> Result<(), String>,
    ) -> Result<(), String> {
        let weak = Rc::downgrade(self);
        let yield_point: Rc<dyn Fn(usize)> = Rc::new(move |index| {
            weak.upgrade().as_deref().iter().for_each(|world| world.yield_point(index));
        });
        // A command that takes a lease late waits for it, so there nobody may be descheduled while he holds one.
        #[cfg(feature = "injected-fault")]
        torc::store::set_late_yield_point(Some(yield_point));
        #[cfg(not(feature = "injected-fault"))]
        self.net.set_yield_point(Some(yield_point));
        let outcome = play();
        self.net.set_yield_point(None);
        #[cfg(feature = "injected-fault")]
        torc::store::set_late_yield_point(None);
        outcome
    }

    /// What has happened so far.
    pub(super) fn summary(&self) -> Summary {
        let sum =
            |counter: fn(&torc::observe::Counters) -> &torc::observe::Counter| self.shared.stats.sum(counter);
        Summary {
            trace: self.net.trace(),
            commands: self.clients.borrow().iter().map(|client| client.requests).sum(),
            turns: self.turns.get(),
            lost: self.clients.borrow().iter().filter(|client| client.lost).count() as u64,
            refused: sum(|c| &c.leases_refused),
            wanted: sum(|c| &c.leases_wanted),
            reserved: sum(|c| &c.leases_reserved),
            moved: sum(|c| &c.connections_moved),
            served: self.queues.borrow().served,
            timeouts: self.queues.borrow().timeouts,
            noted: self.noted.get(),
            spoken: self.spoken.get(),
            ..Summary::default()
        }
    }

    /// Whether the power is gone: nobody sees or does anything any more.
    pub(super) fn is_off(&self) -> bool {
        self.power.get().is_some_and(Power::is_off)
    }

    /// The journal does what there is to be done; whether there was anything.
    fn step_journal(&self) -> bool {
        self.power.get().is_some_and(Power::step)
    }

    /// As [`Self::step_journal`], now and then.
    fn may_step_journal(&self) {
        if self.power.get().is_some() && self.chance(self.plan.journal_percent) {
            self.step_journal();
        }
    }

    pub(super) fn play(&self) -> Result<(), String> {
        let (torn, forgets) =
            (self.plan.fault == Some(Fault::TornWrite), self.plan.fault == Some(Fault::LostIncrement));
        let board = Rc::new(RefCell::new(Board::new(self.plan.wild, torn, forgets)));
        self.join_player(&board, Role::Setter);
        self.until_clients_are_done()?;
        for number in 0..self.plan.clients {
            self.join(&board, number);
        }
        if self.plan.slow_reader {
            let script = Box::new(SlowReader::new("slow".to_owned()));
            let rng = &mut *self.rng.borrow_mut();
            let slow_reader =
                Client::new(&self.net, &self.plan, "the slow reader".to_owned(), script, End::Close, rng);
            self.clients.borrow_mut().push(slow_reader.deaf(slow_reader::REQUESTS));
        }
        self.net.set_faults(faults(&self.plan, self.plan.faults.reset_per_million));
        let others_are_done = || self.clients.borrow().iter().all(|client| client.done || client.deaf);
        self.until("clients wait for their replies", others_are_done)?;
        self.clients.borrow_mut().iter_mut().for_each(|client| client.deaf = false);
        self.until_clients_are_done()?;
        self.net.set_faults(faults(&self.plan, 0));
        self.join_player(&board, Role::Auditor);
        self.until_clients_are_done()?;
        board.borrow().check()?;
        self.join_auditor_of_queues();
        self.until_clients_are_done()?;
        self.queues.borrow().check()?;
        self.end()
    }

    fn chance(&self, percent: u32) -> bool {
        self.rng.borrow_mut().chance(percent)
    }

    pub(super) fn below(&self, limit: u64) -> u64 {
        self.rng.borrow_mut().below(limit)
    }

    /// A client of the beginning or the end, when the network breaks no connections.
    fn join_player(&self, board: &Rc<RefCell<Board>>, role: Role) {
        let count = role.requests().expect("its requests are counted");
        let script = Box::new(Player::new(board, role));
        let name = format!("client {}", self.clients.borrow().len());
        let client = Client::new(&self.net, &self.plan, name, script, End::Close, &mut self.rng.borrow_mut());
        self.clients.borrow_mut().push(client.with_requests(count));
    }

    fn join_auditor_of_queues(&self) {
        let script = Box::new(queue::Worker::new(&self.queues, true));
        let rng = &mut *self.rng.borrow_mut();
        let client =
            Client::new(&self.net, &self.plan, "auditor of lists".to_owned(), script, End::Close, rng);
        self.clients.borrow_mut().push(client.with_requests(queue::Worker::audit_requests()));
    }

    fn join(&self, board: &Rc<RefCell<Board>>, number: usize) {
        let rng = &mut *self.rng.borrow_mut();
        let plan = &self.plan;
        let wrong_at = (plan.fault == Some(Fault::WrongReply)).then_some(3);
        let player = |role| Box::new(Player::new(board, role));
        let waits = !plan.wild && rng.chance(40);
        let script: Box<dyn super::client::Script> = match rng.below(6) {
            _ if waits => Box::new(queue::Worker::new(&self.queues, false)),
            0 if plan.wild => player(Role::Wrecker),
            0..3 if !plan.wild => Box::new(Model::new(format!("own{number}"), plan.large_values, wrong_at)),
            3 if !plan.wild => Box::new(WithDeadlines::new(format!("expiring{number}"))),
            _ => player(Role::Player),
        };
        let end = match rng.below(8) {
            0 | 1 => End::Close,
            // Who waits and sends no more is gone, for the server.
            2 | 3 if !waits => End::Finish,
            4 => End::CloseEarly,
            5 => End::Reset,
            2 | 3 | 6 => End::Quit,
            _ => End::Malformed,
        };
        let name = format!("client {}", self.clients.borrow().len());
        self.clients.borrow_mut().push(Client::new(&self.net, plan, name, script, end, rng));
    }

    /// Lets virtual time pass, on the network and on the clocks.
    pub(super) fn pass(&self, time: Duration) {
        self.net.advance(time);
        (self.counter)(time);
    }

    /// The workers' wakers.
    pub(super) fn wakers(&self) -> &[Waker] {
        &self.workers.wakers
    }

    /// A turn of the first worker by which no time passes.
    pub(super) fn turn_in_no_time(&self) {
        self.workers.turn_in_no_time();
    }

    /// A turn of a worker that may go.
    pub(super) fn turn(&self, index: usize) {
        self.turns.set(self.turns.get() + 1);
        self.workers.turn(index, || {
            self.pass(Duration::from_micros(self.below(self.plan.turn_max.as_micros() as u64 + 1)));
        });
    }

    /// One of the workers that may go takes a turn or a rest; false if there is none.
    fn step_workers(&self) -> bool {
        let ready = self.workers.ready();
        if ready.is_empty() {
            return false;
        }
        let index = ready[self.below(ready.len() as u64) as usize];
        self.net.note(index as u64);
        if self.chance(self.plan.moves_percent) {
            let active = 1 + self.below(self.workers.count() as u64) as usize;
            self.shared.active_workers.store(active, Relaxed);
        }
        if self.chance(self.plan.rest_percent) {
            let rest = Duration::from_micros(1 + self.below(self.plan.rest_max.as_micros() as u64));
            self.workers.rest(index, self.net.now() + rest);
        } else {
            self.turn(index);
        }
        true
    }

    fn step_clients(&self) -> bool {
        if self.is_off() {
            return false;
        }
        let now = self.net.now();
        let ms = EPOCH_MS + now.as_millis() as u64;
        let mut stamp = || {
            self.stamp.set((self.stamp.get() + 1).max(now.as_nanos() as u64));
            Now { stamp: self.stamp.get(), ms }
        };
        let mut stepped = false;
        for client in self.clients.borrow_mut().iter_mut() {
            match client.step(now, &mut stamp) {
                Ok(did) => stepped |= did,
                Err(error) => {
                    self.failure.borrow_mut().get_or_insert(error);
                }
            }
        }
        stepped
    }

    /// What happens while worker `index` is descheduled in the middle of its turn.
    fn yield_point(&self, index: usize) {
        if !self.chance(self.plan.yield_point_percent) {
            return;
        }
        self.net.note(index as u64);
        for _ in 0..self.below(YIELD_POINT_TURNS_MAX) {
            self.pass(Duration::from_micros(self.below(100)));
            self.step_clients();
            self.may_step_journal();
            self.step_workers();
        }
    }

    pub(super) fn clients_are_done(&self) -> bool {
        self.clients.borrow().iter().all(|client| client.done)
    }

    pub(super) fn until_clients_are_done(&self) -> Result<(), String> {
        self.until("clients wait for their replies", || self.clients_are_done())
    }

    /// Steps until something is true.
    pub(super) fn until(&self, otherwise: &str, is_done: impl Fn() -> bool) -> Result<(), String> {
        for _ in 0..STEPS_MAX {
            let clients_stepped = self.step_clients();
            if let Some(failure) = self.failure.borrow_mut().take() {
                return Err(failure);
            }
            if is_done() {
                return Ok(());
            }
            self.may_step_journal();
            if !self.step_workers() && !clients_stepped && !self.step_journal() && !self.skip_to_next() {
                return Err(format!("everybody sleeps while {otherwise}: {:?}", self.workers.waits()));
            }
        }
        Err(format!("it does not end while {otherwise}"))
    }

    /// Nobody can do anything now: lets time pass until something happens that is not merely a worker's timer. A timer is not
    /// what a client waits for, unless it has said so, so a run in which only timers are left has lost a wake-up.
    fn skip_to_next(&self) -> bool {
        let now = self.net.now();
        let rests = self.workers.rests();
        let clients = self.clients.borrow();
        let awaits_time = clients.iter().any(Client::awaits_time);
        let awaited = self.net.next_deadline().filter(|_| awaits_time);
        let clients = clients.iter().filter_map(|client| client.rests_until(now));
        let Some(next) = rests.chain(clients).chain(awaited).chain(self.net.next_arrival()).min() else {
            return false;
        };
        let timers = self.net.next_deadline().into_iter().filter(|at| *at < next);
        let next = timers.min().unwrap_or(next);
        self.pass(next - now);
        true
    }

    /// Connections that any worker has.
    pub(super) fn attached_count(&self) -> usize {
        self.workers.attached_count()
    }

    /// Whether no worker has a connection, and none is on its way to one: workers sleep, which have all they were sent.
    pub(super) fn is_deserted(&self) -> bool {
        self.attached_count() == 0 && self.shared.clients.count() == 0 && self.net.ready_workers().is_empty()
    }

    /// Everybody is gone: what is left of them?
    pub(super) fn end(&self) -> Result<(), String> {
        self.until("connections of clients that are gone are attached", || self.attached_count() == 0)?;
        self.until("infos of clients that are gone are left", || self.shared.clients.count() == 0)?;
        for index in 0..self.workers.count() {
            let lent = self.workers.lent_buffers(index);
            if lent > 0 {
                return Err(format!("worker {index} has not given back {lent} receive buffers"));
            }
        }
        self.shared.shutdown.request();
        self.workers.wakers.iter().for_each(Waker::wake);
        self.until("workers were told to end", || self.workers.is_done())?;
        self.workers.dismiss();
        let mut leases = all_leases(&self.shared).ok_or("a lease or a reservation is left")?;
        self.shared.keyspace.shards().for_each(|shard| leases.shard(shard).check_invariants());
        Ok(())
    }
}
