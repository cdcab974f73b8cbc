//! One command, run under the leases it needs: the handler with its context, then what is counted and noted of it.
//!
//! Design: what commands are run with belongs to the worker's `ExecutionContext`, apart from its connections, so that a
//! connection's session and output can be borrowed beside it. An `Executor` has it all at hand for one client; it is made once
//! for all commands of a client run. Commands by themselves and commands of a transaction come through the same `call`.
//!
//! Reading the processor's counter takes a tenth of a GET's time, and keeps the processor from working on two commands at once.
//! So consecutive quick commands of one row are timed together and each is said to have taken an equal part; if together they
//! took so long that one of them is notable, the last is noted. With a slow log that asks for less than a millisecond, each is
//! timed by itself.
//!
//! Not here: whether a command may run (`client_run`), transactions (`transaction`).

use std::collections::VecDeque;
use std::sync::Arc;

use super::busy::SuspendedScript;
use super::clock::Clock;
use super::{Slowest, Worker};
use crate::command::{
    Args, CommandError, Context, Effect, Flags, Outcome, Queue, Rng, Row, Scripting, Session, Shared, Table,
    Undo, listen, table,
};
use crate::config::Config;
use crate::exec::{GROUP_COMMANDS_MAX, REFUSED};
use crate::io::Io;
use crate::observe::{Event, WorkerStats};
use crate::persist::journal::Writer;
use crate::replicate::LinkState;
use crate::resp::Reply;
use crate::security::UserTable;
use crate::store::{AccessClock, Changes, Leases, ReadyKey};

/// From this duration on, a command's being notable does not depend on what quick commands take.
const JOINED_NS_MIN: u64 = 1_000_000;
/// Commands that take no longer, in ns, are judged by the time that was read before them: those of a whole group together take
/// less than the ms in which deadlines are given, and reading the time takes a thousandth of it.
const CLOCK_KEPT_NS_MAX: u64 = 25_000;

const _: () = assert!(CLOCK_KEPT_NS_MAX * (GROUP_COMMANDS_MAX as u64) < 1_000_000);

/// What a worker runs commands with, and where they leave what is to be done afterwards.
pub(super) struct ExecutionContext {
    pub(super) table: &'static Table,
    pub(super) leases: Leases,
    pub(super) rng: Rng,
    /// What to do once leases are given back.
    pub(super) effects: Vec<Effect>,
    /// Emptied queues of transactions.
    pub(super) queues: Vec<Queue>,
    /// Keys that became ready and were not served yet, in this order.
    pub(super) became_ready: VecDeque<ReadyKey>,
    pub(super) slowest: Slowest,
    pub(super) access_clock: AccessClock,
    /// A script that has run for so long that others have their turn.
    pub(super) suspended: Option<Box<SuspendedScript>>,
    /// What scripts are run with.
    pub(super) scripting: Scripting,
    /// What the current unit has changed.
    pub(super) changes: Changes,
    /// What the current script may have to take back.
    pub(super) undo: Undo,
    /// The effects of the current group.
    pub(super) journal: Writer,
}

impl ExecutionContext {
    /// For a worker with these leases.
    pub(super) fn new(leases: Leases, rng: Rng, now_ms: u64) -> ExecutionContext {
        ExecutionContext {
            table: table(),
            leases,
            rng,
            effects: Vec::new(),
            queues: Vec::new(),
            became_ready: VecDeque::new(),
            slowest: Slowest::default(),
            access_clock: AccessClock::new(now_ms, false),
            suspended: None,
            scripting: Scripting::default(),
            changes: Changes::default(),
            undo: Undo::default(),
            journal: Writer::default(),
        }
    }

    /// Runs commands of the client whose session this is; `ticks` is the last reading of the processor's counter.
    #[inline]
    pub(super) fn executor<'a>(
        &'a mut self,
        session: &'a mut Session,
        constants: &'a TurnConstants,
        clock: &'a Clock,
        ticks: u64,
    ) -> Executor<'a> {
        let worker = self.leases.worker();
        listen(&mut self.changes, &constants.shared, constants.config.notify_keyspace_events);
        Executor {
            constants,
            clock,
            table: self.table,
            became_ready: &mut self.became_ready,
            slowest: &mut self.slowest,
            ticks,
            joined_count: 0,
            suspended: &mut self.suspended,
            ctx: Context {
                session,
                shared: &constants.shared,
                config: &constants.config,
                stats: constants.shared.stats.of(worker),
                worker,
                now_ms: clock.now_ms(),
                now_us: clock.unix_us(),
                access_clock: self.access_clock,
                rng: &mut self.rng,
                effects: &mut self.effects,
                queues: &mut self.queues,
                leases: &mut self.leases,
                scripting: &mut self.scripting,
                changes: &mut self.changes,
                undo: &mut self.undo,
                journal: &mut self.journal,
                key_places: (0, 0),
            },
        }
    }
}

/// Runs a client's commands.
pub(super) struct Executor<'a> {
    pub(super) ctx: Context<'a>,
    pub(super) constants: &'a TurnConstants,
    pub(super) clock: &'a Clock,
    pub(super) table: &'static Table,
    pub(super) became_ready: &'a mut VecDeque<ReadyKey>,
    slowest: &'a mut Slowest,
    /// The script that was suspended, if the command before has run one.
    pub(super) suspended: &'a mut Option<Box<SuspendedScript>>,
    /// Reading of the processor's counter when the last command was over that was timed.
    pub(super) ticks: u64,
    /// Commands of one row that have run since, and are to be timed with the next one, of the same row.
    joined_count: u64,
}

impl Executor<'_> {
    /// Runs a command's handler.
    #[inline(always)]
    pub(super) fn run_handler(&mut self, row: &Row, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
        self.ctx.key_places = row.key_places;
        (row.command.handler)(&mut self.ctx, args, reply)
    }

    /// Runs a command's handler, and hands over what it has changed to whoever listens.
    #[inline(always)]
    pub(super) fn handle(&mut self, row: &Row, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
        let outcome = self.run_handler(row, args, reply);
        self.end_listened(outcome, row, args)
    }

    /// The handler has run: what it has changed goes to whoever listens.
    #[inline(always)]
    pub(super) fn end_listened(&mut self, outcome: Outcome, row: &Row, args: &Args<'_>) -> Outcome {
        if self.ctx.changes.is_listened() && !matches!(outcome, Err(CommandError::Script(_))) {
            if self.ctx.session.tracking.is_some() && self.ctx.needs_exclusive_to_track(row, args) {
                self.ctx.session.needs_exclusive = true;
            }
            if self.ctx.session.needs_exclusive && self.ctx.leases.has_shared() {
                self.ctx.changes.clear();
            } else {
                self.ctx.end_command(row, args);
            }
        }
        outcome
    }

    /// Runs one command, whose leases are held; false if it has to wait, or is not finished. If another `like_it` follows at
    /// once, the two may be timed together.
    #[inline(always)]
    pub(super) fn call(&mut self, row: &Row, args: &Args<'_>, reply: &mut Reply<'_>, like_it: bool) -> bool {
        if self.constants.tracks_keys {
            return self.call_tracked(row, args, reply);
        }
        let outcome = self.handle(row, args, reply);
        self.finish(outcome, row, args, reply, like_it)
    }

    /// The handler has run: what is counted and noted of it; as `call`.
    #[inline(always)]
    pub(super) fn finish(
        &mut self,
        outcome: Outcome,
        row: &Row,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
        like_it: bool,
    ) -> bool {
        match outcome {
            Ok(()) => {}
            Err(CommandError::Blocked) => {
                self.show(row, args, reply);
                return false;
            }
            Err(CommandError::Script(call)) => return self.finish_script(call, row, args, reply),
            Err(CommandError::Unfinished) => {
                let start = self.ticks;
                self.ticks = self.clock.ticks();
                let ns = self.clock.ns_between(start, self.ticks);
                self.ctx.stats.commands[row.id as usize].total_ns.add(ns);
                return false;
            }
            Err(CommandError::Reload) => match self.reload_append_only() {
                Ok(()) => reply.ok(),
                Err(error) => self.fail(error, row, reply),
            },
            Err(error) => self.fail(error, row, reply),
        }
        self.show(row, args, reply);
        self.note_done(row, args, like_it);
        true
    }

    /// The command has run: it is timed, or will be with another `like_it` that follows at once.
    #[inline(always)]
    pub(super) fn note_done(&mut self, row: &Row, args: &Args<'_>, like_it: bool) {
        if like_it && args.len() <= row.quick_args_max && self.constants.joins {
            self.joined_count += 1;
        } else {
            self.time(row, args, 1);
        }
    }

    #[cold]
    fn fail(&self, error: CommandError, row: &Row, reply: &mut Reply<'_>) {
        self.ctx.stats.commands[row.id as usize].failed.add(1);
        reply_error(error, reply, self.ctx.stats);
    }

    /// No command like the last one follows: if any were to be timed with this one, of the same row, and it has not run after
    /// all, that is done now.
    #[inline(always)]
    pub(super) fn time_joined(&mut self, row: u16, args: &Args<'_>) {
        if self.joined_count > 0 {
            self.time_joined_only(row, args);
        }
    }

    #[cold]
    fn time_joined_only(&mut self, row: u16, args: &Args<'_>) {
        self.time(self.table.row(row), args, 0);
    }

    /// Times, counts and notes a command, or none, and those that are timed with it.
    #[inline(always)]
    pub(super) fn time(&mut self, row: &Row, args: &Args<'_>, count: u64) {
        let start = self.ticks;
        let count = count + std::mem::take(&mut self.joined_count);
        let ns = self.count(row, args, start, count);
        if ns > self.slowest.ns {
            *self.slowest = Slowest { row: row.id, ns };
        }
    }

    /// Counts and notes commands of one row that began at `start` and have run: ns since.
    #[inline(always)]
    pub(super) fn count(&mut self, row: &Row, args: &Args<'_>, start: u64, count: u64) -> u64 {
        self.ticks = self.clock.ticks();
        let ns = self.clock.ns_between(start, self.ticks);
        self.ctx.stats.count_calls(row.id, count, ns);
        if ns >= self.constants.looked_at_ns {
            self.look_at(row, args, ns);
        }
        ns
    }

    /// A command has run for so long, ns, in several pieces.
    pub(super) fn count_suspended(&mut self, row: &Row, args: &Args<'_>, ns: u64) {
        self.ctx.stats.count_calls(row.id, 1, ns);
        self.look_at(row, args, ns);
        self.ticks = self.clock.ticks();
    }

    /// A command took long: the time is read again for what comes next, but all commands of a transaction are of one instant.
    #[cold]
    fn look_at(&mut self, row: &Row, args: &Args<'_>, ns: u64) {
        if !self.ctx.session.denies_blocking {
            self.clock.read();
            self.ctx.now_us = self.clock.unix_us();
            // What comes from a primary is judged by no time.
            if self.ctx.session.upstream.is_none() {
                self.ctx.now_ms = self.clock.now_ms();
            }
        }
        self.constants.note(row, args, self.ctx.session, ns, self.clock.now_ms());
    }
}

impl<I: Io> Worker<I> {
    /// What is the same for all commands of this turn.
    pub(super) fn constants(&mut self) -> Box<TurnConstants> {
        let obstacles = self.obstacles();
        let tracks_keys = self.shared.stats.hotkeys.is_on(self.clock.now_ms());
        if let Some(mut constants) = self.constants.take()
            && Arc::ptr_eq(&constants.config, self.config.config_arc())
            && Arc::ptr_eq(&constants.users, &self.users)
        {
            constants.tracks_keys = tracks_keys;
            let lacks_replicas = self.lacks_replicas();
            if constants.obstacles != obstacles || constants.lacks_replicas != lacks_replicas {
                constants.lacks_replicas = lacks_replicas;
                constants.note_obstacles(obstacles);
            }
            return constants;
        }
        let config = Arc::clone(self.config.config_arc());
        let slow_ns = match config.slowlog_log_slower_than {
            us if us < 0 => u64::MAX,
            us => (us as u64).saturating_mul(1000),
        };
        let event_ns = match config.latency_monitor_threshold {
            0 => u64::MAX,
            ms => ms.saturating_mul(1_000_000),
        };
        let mut constants = Box::new(TurnConstants {
            loading: self.loads,
            shared: Arc::clone(&self.shared),
            users: Arc::clone(&self.users),
            slow_ns,
            event_ns,
            looked_at_ns: slow_ns.min(event_ns).min(CLOCK_KEPT_NS_MAX),
            joins: slow_ns.min(event_ns) >= JOINED_NS_MIN,
            tracks_keys,
            lacks_replicas: self.lacks_replicas(),
            obstacles,
            busy: None,
            busy_allows: Flags::NONE,
            needed: Flags::NONE,
            refused: Flags::NONE,
            refused_row: REFUSED,
            config,
        });
        constants.note_obstacles(obstacles);
        constants
    }

    /// Whether there are fewer replicas than writes need.
    fn lacks_replicas(&self) -> bool {
        let (config, replication) = (self.config.config(), &self.shared.replication);
        config.min_replicas_to_write > 0
            && config.min_replicas_max_lag > 0
            && replication.replicas.good() < config.min_replicas_to_write
            && !replication.is_replica()
    }

    /// Why nothing may change at present.
    fn obstacles(&self) -> Obstacles {
        let (config, journal) = (self.config.config(), &self.shared.journal);
        let replication = &self.shared.replication;
        let is_replica = replication.is_replica();
        Obstacles {
            is_replica,
            only_reads: is_replica && config.replica_read_only,
            is_cut_off: is_replica
                && !config.replica_serve_stale_data
                && replication.link() != LinkState::Connected,
            cannot_save: self.shared.last_save.has_failed()
                && config.stop_writes_on_bgsave_error
                && !config.save.0.is_empty(),
            cannot_append: journal.failure(),
            must_wait: journal.is_full(),
        }
    }
}

/// Why commands that write may not run at present.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Obstacles {
    /// The last save has failed, and whoever configured it wants to notice.
    pub(super) cannot_save: bool,
    /// The append-only file cannot be written: the error's number.
    pub(super) cannot_append: Option<i32>,
    /// The disk is behind: they wait.
    pub(super) must_wait: bool,
    /// This server follows a primary.
    pub(super) is_replica: bool,
    /// It changes data for its primary only.
    pub(super) only_reads: bool,
    /// It has lost its primary, and is not to answer with what may be old.
    pub(super) is_cut_off: bool,
}

/// What is the same for all commands of a turn. Kept from turn to turn, as counting references to what all workers share
/// would have them pass a cache line around.
pub(super) struct TurnConstants {
    pub(super) shared: Arc<Shared>,
    pub(super) config: Arc<Config>,
    pub(super) users: Arc<UserTable>,
    /// From this duration on a command goes to the slow log.
    slow_ns: u64,
    /// From this duration on it is an event of the latency monitor.
    event_ns: u64,
    /// From this duration on there is something to be done about it: the smallest of the two and [`CLOCK_KEPT_NS_MAX`].
    looked_at_ns: u64,
    /// Whether quick commands may be timed together.
    joins: bool,
    /// Whether each command is measured, for the keys that take most.
    pub(super) tracks_keys: bool,
    /// Whether there are fewer replicas than writes need.
    pub(super) lacks_replicas: bool,
    /// Why writes are refused, or wait.
    pub(super) obstacles: Obstacles,
    /// Whether a file is being loaded.
    pub(super) loading: bool,
    /// A script is busy that commands would have to wait for: what they hear, but for those with such a flag.
    pub(super) busy: Option<CommandError>,
    pub(super) busy_allows: Flags,
    /// What a command needs to run at present: not every one does while a file is loaded, or with data that may be old.
    pub(super) needed: Flags,
    /// Commands that are refused because of the others, and which is although it writes nothing.
    pub(super) refused: Flags,
    pub(super) refused_row: u16,
}

impl TurnConstants {
    #[cold]
    fn note_obstacles(&mut self, obstacles: Obstacles) {
        self.obstacles = obstacles;
        let refuses = obstacles.cannot_save || obstacles.cannot_append.is_some();
        let lacks_replicas = self.lacks_replicas && !obstacles.is_replica;
        let concerns = refuses || obstacles.must_wait || lacks_replicas || obstacles.only_reads;
        let needs = |is_so, flag| if is_so { flag } else { Flags::NONE };
        self.needed = needs(self.loading, Flags::LOADING).with(needs(obstacles.is_cut_off, Flags::STALE));
        self.refused = if concerns { Flags::WRITE } else { Flags::NONE };
        // In Redis PING shows monitoring tools what is wrong.
        let ping = table().find(b"ping").filter(|_| refuses);
        self.refused_row = ping.map_or(REFUSED, |ping| ping.id);
    }

    /// Notes a command that was slow, which has just ended.
    pub(super) fn note(&self, row: &Row, args: &Args<'_>, session: &Session, ns: u64, now_ms: u64) {
        let flags = row.command.flags;
        if ns >= self.slow_ns && !flags.has(Flags::SKIP_SLOWLOG) {
            let words = row.command.shown(args);
            let name = session.client_info.name.load();
            let name = name.as_deref().map_or(&[][..], Vec::as_slice);
            let (time_s, len_max) = (now_ms / 1000, self.config.slowlog_max_len as usize);
            let address = &session.client_info.address;
            self.shared.slowlog.push(time_s, ns / 1000, words.into_iter(), address, name, len_max);
        }
        if ns >= self.event_ns {
            let event = if flags.has(Flags::FAST) { Event::FastCommand } else { Event::Command };
            self.shared.stats.latency.add(event, now_ms, ns / 1_000_000);
        }
    }
}

/// Writes a failed command's error, unless it has replied itself, and counts it.
#[cold]
pub(super) fn reply_error(error: CommandError, reply: &mut Reply<'_>, stats: &WorkerStats) {
    if error == CommandError::Replied {
        stats.count_error(&String::from_utf8_lossy(reply.output().error_word().as_bytes()));
    } else {
        stats.count_error(error.text());
        reply.error(error.text());
    }
}
