//! The turn: one pinned thread, one loop. The order of the steps is the design; it reads top to bottom in [`Worker::turn`].
//!
//! | file | what |
//! |---|---|
//! | `mod` | the worker, its turn, when it waits |
//! | `reap` | completions into state: accepted, received, sent, ended |
//! | `run` | parsing, groups |
//! | `client_run` | consecutive commands of one client, run one after the other |
//! | `admission` | whether a command may run: its user, memory, obstacles, a pause |
//! | `call` | one command under its leases: handler, statistics, slow log |
//! | `transaction` | MULTI's queue, EXEC |
//! | `busy` | scripts that run for too long |
//! | `script` | scripts: begun, their commands run, ended |
//! | `refuse` | errors for what is no command |
//! | `blocking` | clients that wait for keys: blocked, served, let go on |
//! | `timers` | when waits end |
//! | `cleanups` | what is to be tidied up in shards |
//! | `memory` | the memory limit and eviction |
//! | `client_bytes` | what clients hold |
//! | `client_eviction` | which of them go if that is too much |
//! | `hotkeys` | which keys take most, while that is measured |
//! | `key_watch` | hot and big keys, while somebody watches |
//! | `loading` | a file at the start |
//! | `recovery` | the append-only file at the start: reading it |
//! | `reloading` | DEBUG LOADAOF |
//! | `rewrite` | the append-only file as the configuration wants it |
//! | `replicas` | replicas: what they are sent |
//! | `syncing` | the snapshot that replicas begin with, pings |
//! | `replay` | commands of an append-only file at the start |
//! | `journal` | replies that wait for the disk |
//! | `ending` | the end that a signal asks for |
//! | `flush` | replies out, connections closed |
//! | `following` | the link to a primary |
//! | `defrag` | entries out of sparse memory |
//! | `reclaim` | free memory back to the system |
//! | `walk` | snapshots: the walk over home shards, and when one is due |
//! | `cron` | expiry, limits that depend on time, statistics; within a time budget |
//! | `monitor` | the MONITOR feed |
//! | `pubsub` | the inbox, published messages to those who listen |
//! | `tls` | clients that encrypt: their handshakes |
//! | `tracking` | clients that keep copies of keys: what they are told |
//! | `processor` | how long the thread had a processor, and waited for one |
//! | `balance` | how many workers serve, which connections move |
//! | `moving` | connections that move to another worker |
//! | `threads` | the threads: start, pin, join |
//! | `message`, `message_ring` | messages between workers |
//! | `clock` | the only reader of time |
//!
//! Invariants:
//! - no step blocks; no lease is held across a system call;
//! - a connection with input to parse is in `ready` unless it is blocked; with output to send, in `dirty`.

mod admission;
mod balance;
mod blocking;
mod busy;
mod call;
mod cleanups;
mod client_bytes;
mod client_eviction;
mod client_run;
pub mod clock;
mod cron;
mod defrag;
mod ending;
mod failover;
mod flush;
mod following;
mod hotkeys;
mod journal;
mod kept;
mod key_watch;
mod loading;
mod memory;
mod message;
mod message_ring;
mod monitor;
mod moving;
mod processor;
mod pubsub;
mod reap;
mod reclaim;
mod recovery;
mod refuse;
mod reloading;
mod replay;
mod replicas;
mod rewrite;
mod run;
mod script;
mod syncing;
mod threads;
mod timers;
mod tls;
mod tracking;
mod transaction;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use crate::command::{Rng, Shared};
use crate::config;
use crate::exec::{Batch, Group, Pending};
use crate::io::{Event, Io, Token, Wait};
use crate::net::Slots;
use crate::observe::{RegistrySlots, WorkerStats};
use crate::pubsub::Listeners;
use crate::security::UserTable;
use crate::store::{AccessClock, Leases, ShardId};

pub use balance::active_at_start;
pub use clock::Clock;
pub use following::follow_primary;
pub use kept::{Kept, follow, take_role};
pub use message::{Inbox, Message, inboxes};
pub use moving::MovingConnection;
pub use recovery::Recovery;
pub use threads::{StartedThreads, WorkerThreads};

/// How long the end of the process waits for clients to take their last replies, in ms.
const LAST_REPLIES_MS: u64 = 500;
/// Buffers of sent replies kept for reuse.
const SPARES_MAX: usize = 256;

/// A pinned thread's whole state.
pub struct Worker<I: Io> {
    number: usize,
    io: I,
    shared: Arc<Shared>,
    config: config::live::Reader,
    /// The users, as of the configuration's version.
    users: Arc<UserTable>,
    execution: call::ExecutionContext,
    clock: Clock,
    inbox: Inbox,
    connections: Slots,
    events: Vec<Event>,
    /// When it last said that it cannot accept.
    accept_warned_ms: u64,
    batch: Batch,
    group: Group,
    /// What of the batch is yet to run, and what was when the group was formed.
    pending: Pending,
    pending_before: Pending,
    /// Connections with input to parse.
    ready: Vec<u32>,
    /// Those that are parsed in this turn.
    gathered: Vec<u32>,
    /// Connections with output to send.
    dirty: Vec<u32>,
    /// Connections whose replies wait for the disk, and for which ticket.
    held: Vec<(Token, u64)>,
    /// Connections that a pause holds back.
    paused: Vec<u32>,
    /// Connections that receive the MONITOR feed.
    monitors: Vec<u32>,
    /// Lines of the feed for monitors of other workers, of this turn.
    shown: Vec<u8>,
    /// Connections that listen to published messages.
    listeners: Listeners,
    /// Connections of replicas.
    replicas: Vec<replicas::Followed>,
    syncing: syncing::Syncing,
    /// Connections whose clients wait for acknowledgements of replicas.
    awaiting: Vec<u32>,
    /// The connection to the primary, if it is here.
    upstream: Option<following::Upstream>,
    /// Connections that are told of changed keys.
    trackers: tracking::Trackers,
    /// Clients that have yet to finish a handshake.
    handshakes: tls::Handshakes,
    /// When waits of its clients end.
    timers: timers::Timers,
    /// What is to be tidied up in shards.
    cleanups: cleanups::Cleanups,
    /// Shards in which keys went without a command that somebody waits for.
    lost: Vec<ShardId>,
    /// Connections whose waiting commands are to run again because it is time for that.
    due: Vec<u32>,
    /// Whether any client has ever waited for a key, as far as this worker knows.
    serves: bool,
    /// Emptied output buffers.
    spares: Vec<Vec<u8>>,
    /// Counts turns; stamps what is true for one turn only.
    turn: u64,
    /// Shards that refused a command in this turn, and whether it needs them exclusively.
    refused: Vec<(ShardId, bool)>,
    /// Whose command's shards are reserved.
    reserved_for: Option<Token>,
    processor: processor::Processor,
    balance: balance::Balance,
    /// The places in the registry that are this worker's to give.
    registry_slots: RegistrySlots,
    cron: cron::Cron,
    walk: walk::Walk,
    memory: memory::Memory,
    reclaim: reclaim::Reclaim,
    defrag: defrag::Defrag,
    client_bytes: client_bytes::ClientBytes,
    client_limit: client_eviction::ClientLimit,
    /// What is the same for all commands of a turn; away while they run.
    constants: Option<Box<call::TurnConstants>>,
    /// What the commands of an append-only file run as, while it is loaded.
    replay_session: Option<Box<crate::command::Session>>,
    /// Whether a file is being loaded, as far as this worker knows.
    loads: bool,
    stopping: bool,
    /// The wait for replicas before an end that a signal has asked for.
    end_wait: Option<ending::EndWait>,
    /// When clients that have not taken their last replies are closed all the same, Unix time in ms.
    stop_ms: u64,
}

/// The command that took longest in this turn.
#[derive(Clone, Copy, Default)]
struct Slowest {
    row: u16,
    ns: u64,
}

/// What a worker needs at its start besides its I/O.
pub struct WorkerSetup {
    /// Its number, from 0.
    pub number: usize,
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Its inbox.
    pub inbox: Inbox,
    /// Its clock.
    pub clock: Clock,
    /// Seed of its random numbers.
    pub seed: u64,
}

impl<I: Io> Worker<I> {
    /// A worker that has no connections yet.
    pub fn new(mut io: I, setup: WorkerSetup) -> Self {
        let WorkerSetup { number, shared, inbox, clock, seed } = setup;
        let solo = inbox.workers() == 1;
        let config = shared.config.reader();
        let users = shared.users.load();
        io.limit_handshakes(config.config().max_new_tls_connections_per_cycle);
        Self {
            number,
            io,
            memory: memory::Memory::new(config.config(), &shared),
            reclaim: reclaim::Reclaim::default(),
            defrag: defrag::Defrag::new(),
            client_bytes: client_bytes::ClientBytes::default(),
            client_limit: client_eviction::ClientLimit::new(config.config()),
            constants: None,
            config,
            users,
            execution: call::ExecutionContext::new(
                Leases::new(&shared.keyspace, number, solo),
                Rng::new(seed),
                clock.now_ms(),
            ),
            cron: cron::Cron::new(number, clock.now_ms()),
            walk: walk::Walk::default(),
            inbox,
            connections: Slots::default(),
            events: Vec::new(),
            accept_warned_ms: 0,
            batch: Batch::default(),
            group: Group::default(),
            pending: Pending::default(),
            pending_before: Pending::default(),
            ready: Vec::new(),
            gathered: Vec::new(),
            dirty: Vec::new(),
            held: Vec::new(),
            paused: Vec::new(),
            replay_session: None,
            monitors: Vec::new(),
            shown: Vec::new(),
            listeners: Listeners::default(),
            replicas: Vec::new(),
            syncing: syncing::Syncing::default(),
            awaiting: Vec::new(),
            upstream: None,
            trackers: tracking::Trackers::default(),
            handshakes: tls::Handshakes::default(),
            timers: timers::Timers::default(),
            cleanups: cleanups::Cleanups::default(),
            lost: Vec::new(),
            due: Vec::new(),
            serves: false,
            spares: Vec::new(),
            turn: 0,
            refused: Vec::new(),
            reserved_for: None,
            processor: processor::Processor::new(clock.is_simulated()),
            balance: balance::Balance::new(clock.now_ms()),
            registry_slots: RegistrySlots::default(),
            loads: shared.loading.is_on(),
            end_wait: None,
            stopping: false,
            stop_ms: 0,
            clock,
            shared,
        }
    }

    /// The backend, to add listeners before the first turn.
    pub fn io_mut(&mut self) -> &mut I {
        &mut self.io
    }

    /// Turns until the process is to end and this worker's clients are gone.
    pub fn run(&mut self) -> std::io::Result<()> {
        while !self.is_done() {
            let wait = self.wait();
            self.turn(wait)?;
        }
        Ok(())
    }

    /// Whether the worker was told to stop and has.
    pub fn is_done(&self) -> bool {
        self.stopping && self.connections.is_empty()
    }

    /// One pass of the loop. The order: what costs a system call comes first and only once; time is read before anything
    /// that depends on it; all input is seen before any command runs, so that a group is as full as can be; cron comes
    /// after the commands and before the replies leave, so that its time is hidden behind the peers' own; messages are
    /// delivered last, because connections that the flush closes leave some, and still before the replies, which the next
    /// turn's system call submits.
    pub fn turn(&mut self, wait: Wait) -> std::io::Result<()> {
        self.io.turn(wait)?; // 1. submit and wait: the only system call
        self.inbox.unpark();
        self.clock.read(); // 2. the clock
        let start = self.clock.ticks();
        self.begin_turn();
        self.reap(); // 3. completions into state
        self.read_messages(); // 4. messages, bounded; then the waits whose time is up, which messages may have ended in time
        self.evict_clients();
        self.release_held();
        self.end_waits();
        self.end_handshakes();
        self.carry_out_order();
        self.load();
        self.replay();
        self.gather(); // 5. parse every connection that has input
        if self.is_busy() {
            // A script is in the middle of its work: nothing else happens but that clients are answered.
            self.answer_busy_batch();
            self.settle();
            self.go_on_busy();
            self.leave_turn(start);
            return Ok(());
        }
        let touches_shards = self.batch.touches_shards();
        self.run_batch(); // 6. the batch, group by group
        self.stats().busy_turns.add(touches_shards.into());
        self.settle();
        if self.is_busy() {
            self.leave_turn(start);
            return Ok(());
        }
        self.run_cleanups(); // 7. cleanups, bounded, and cron, within a time budget
        self.cron();
        self.walk(touches_shards);
        self.serve_lost();
        self.serve_due();
        self.defrag();
        self.leave_turn(start);
        Ok(())
    }

    /// The last steps of a turn: what others and clients are sent.
    fn leave_turn(&mut self, start: u64) {
        self.send_shown();
        if self.inbox.has_sent_itself() {
            // Messages to its own clients leave with this turn's replies rather than with those of another turn.
            self.read_messages();
        }
        self.feed_replicas();
        self.flush(); // 8. one send per connection with output
        self.inbox.deliver(); // 9. messages, and wake-ups for those who sleep
        self.end_turn(start);
    }

    /// How long the next turn may wait: not at all while anything is pending.
    pub fn wait(&mut self) -> Wait {
        let busy = !self.ready.is_empty() || self.has_other_work() || self.is_done();
        let has_refused = !self.refused.is_empty() || self.walk.has_waiting();
        if busy && (!has_refused || !self.only_refusals_left()) {
            return Wait::Poll;
        }
        if !self.inbox.park() {
            return Wait::Poll;
        }
        self.io.yield_point();
        if !self.want_refused() {
            self.inbox.unpark();
            return Wait::Poll;
        }
        self.stats().counters.parks.add(1);
        let now_ms = self.clock.now_ms();
        let cron_ms = self.cron.due_in_ms(now_ms).min(self.defrag.due_in_ms(now_ms));
        let cron_ms = cron_ms.min(self.walk.due_in_ms(now_ms));
        let timers = [self.timers.due_in_ms(now_ms), self.handshakes.due_in_ms(now_ms)];
        let wait_ms = timers.into_iter().flatten().fold(cron_ms, u64::min);
        Wait::For(Duration::from_millis(wait_ms))
    }

    /// Whether all that is ready are commands that were refused their leases.
    fn only_refusals_left(&self) -> bool {
        let turn = self.turn;
        let refused = |slot: &u32| self.connections.get(*slot).is_none_or(|c| c.requeued_in_turn == turn);
        !self.has_other_work() && self.ready.iter().all(refused)
    }

    /// Whether there is anything to do but commands.
    fn has_other_work(&self) -> bool {
        let loads = self.loads
            && (self.shared.loading.has_pieces() || self.number == 0 && self.shared.replay.has_waiting());
        self.inbox.has_waiting()
            || self.cleanups.has_untried()
            || !self.lost.is_empty()
            || self.is_busy()
            || loads
            || self.has_order()
            || self.is_asked_to_end()
    }

    /// Marks the refused leases as wanted, so that their holders wake this worker; `false` if one is free by now.
    fn want_refused(&mut self) -> bool {
        for (shard, exclusively) in self.refused.drain(..) {
            self.shared.stats.of(self.number).counters.leases_wanted.add(1);
            if !self.execution.leases.want(shard, exclusively) {
                return false;
            }
        }
        true
    }

    fn begin_turn(&mut self) {
        self.turn += 1;
        self.stats().alive_ms.set(self.clock.now_ms());
        self.execution.slowest = Slowest::default();
        self.refused.clear();
        self.walk.begin_turn();
        self.execution.leases.want_nothing();
        self.shared.stats.follow_reset(self.number);
        if self.config.refresh() {
            self.follow_config();
        }
        if self.clock.take_went_back() {
            self.cron.hurry();
            self.balance.begin_anew(self.clock.now_ms());
        }
        self.execution.access_clock = AccessClock::new(self.clock.now_ms(), self.memory.counts_frequency());
        self.prepare_end();
        if self.shared.shutdown.requested() && !self.stopping {
            self.stop();
        } else if self.stopping && self.clock.now_ms() >= self.stop_ms {
            self.stop_waiting();
        }
    }

    fn end_turn(&mut self, start: u64) {
        let ns = self.clock.ns_between(start, self.clock.ticks());
        let stats = self.stats();
        stats.turns.record(ns, 1);
        stats.counters.turns.add(1);
        stats.counters.turns_ns.add(ns);
        stats.counters.messages_sent.set(self.inbox.counts.0);
        stats.counters.wakes_sent.set(self.inbox.counts.1);
        stats.messages_waiting.set(self.inbox.waiting_count() as u64);
        self.note_slowest(self.execution.slowest.ns);
        let warn_us = self.config.config().turn_warn_us;
        if warn_us > 0 && ns > warn_us * 1000 {
            self.report_long_turn(ns);
        }
    }

    #[cold]
    fn report_long_turn(&self, ns: u64) {
        self.stats().counters.turns_long.add(1);
        let (worker, turn_us) = (self.number, ns / 1000);
        let slowest = match self.execution.slowest {
            Slowest { ns: 0, .. } => "without running a command".to_owned(),
            Slowest { row, ns } => {
                format!("{} us of it the command '{}'", ns / 1000, self.execution.table.row(row).full_name)
            }
        };
        let waited = self.processor.waited_us_since_mark().map_or(String::new(), |us| {
            format!(" (since the last tick the thread waited {us} us for a processor)")
        });
        log::warn!("worker {worker}: a turn took {turn_us} us, {slowest}{waited}");
    }

    fn stats(&self) -> &WorkerStats {
        self.shared.stats.of(self.number)
    }

    /// Takes up what CONFIG SET and ACL have changed and what does not follow by itself.
    fn follow_config(&mut self) {
        self.users = self.shared.users.load();
        self.loads |= self.shared.loading.is_on();
        let config = self.config.config();
        self.shared.journal.follow(crate::command::journal_settings(config));
        self.client_limit.follow(config);
        self.io.limit_handshakes(config.max_new_tls_connections_per_cycle);
        self.follow_memory();
        self.cron.hurry();
    }

    /// The process is to end: no new clients, and the present ones go once they have their replies.
    fn stop(&mut self) {
        self.stopping = true;
        self.stop_ms = self.clock.now_ms() + LAST_REPLIES_MS;
        self.io.stop_accepting();
        for slot in 0..self.connections.bound() {
            if let Some(connection) = self.connections.get(slot) {
                let token = connection.token;
                self.finish(token);
            }
        }
    }

    /// Closes the clients that would keep the process from ending, because they do not read.
    fn stop_waiting(&mut self) {
        for slot in 0..self.connections.bound() {
            if let Some(connection) = self.connections.get(slot) {
                let token = connection.token;
                self.close(token);
            }
        }
    }

    /// Does what a message asks for.
    fn take_message(&mut self, message: Message) {
        match message {
            Message::Connection(socket) => self.adopt(socket),
            Message::Moving(moving) => self.attach(*moving),
            Message::RegistrySlot(number) => self.registry_slots.give_back(number),
            Message::Kill { slot, generation } => self.close(Token { slot, generation }),
            Message::Monitor(lines) => self.feed_monitors(&lines, None),
            Message::Published(_) => unreachable!("whoever reads the inbox delivers it"),
            Message::Invalidate(what) => self.take_invalidation(what),
            Message::Redirected(place, keys) => self.tell_instead(place, &keys),
            Message::Served(served) => self.deliver(*served),
            Message::Unblock { token, wait_id, how } => self.tell_unblocked(token, wait_id, how),
            Message::RightsLost(lost) => self.end_listeners_without_right(&lost),
            Message::Acknowledged => self.look_at_awaiting(),
            Message::Look => {
                self.resume_paused();
                if self.number == 0 && self.shared.replication.replicas.count() > 0 {
                    self.cron.hurry();
                }
            }
            Message::Purge => self.purge_memory(),
        }
    }
}

/// After a walk over a list that was taken out of the worker: its memory is used again, and what was added meanwhile stays.
fn put_list_back<T>(list: &mut Vec<T>, mut walked: Vec<T>) {
    walked.clear();
    std::mem::swap(list, &mut walked);
    list.append(&mut walked);
}
