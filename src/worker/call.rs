//! One command, run under the leases it needs: the handler with its context, then what is counted and noted of it.
//!
//! Design: what commands are run with belongs to the worker's `Kit`, apart from its connections, so that a connection's session
//! and output can be borrowed beside it. A `Caller` has it all at hand for one client; it is made once for all commands of a
//! stretch. Commands by themselves and commands of a transaction come through the same `call`.
//!
//! Reading the processor's counter takes a tenth of a GET's time, and keeps the processor from working on two commands at once.
//! So consecutive quick commands of one row are timed together and each is said to have taken an equal part; if together they
//! took so long that one of them is notable, the last is noted. With a slow log that asks for less than a millisecond, each is
//! timed by itself.
//!
//! Not here: whether a command may run (`stretch`), transactions (`transaction`).

use std::collections::VecDeque;
use std::sync::Arc;

use super::clock::Clock;
use super::{Slowest, Worker};
use crate::command::{
    Args, CommandError, Context, Effect, Flags, Outcome, Queue, Rng, Row, Session, Shared, Table, table,
};
use crate::config::Config;
use crate::io::Io;
use crate::observe::{Event, WorkerStats};
use crate::resp::Reply;
use crate::store::{AccessClock, Leases, ReadyKey};

/// From this duration on, a command's being notable does not depend on what quick commands take.
const JOINED_NS_MIN: u64 = 1_000_000;

/// What a worker runs commands with, and where they leave what is to be done afterwards.
pub(super) struct Kit {
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
}

impl Kit {
    /// For a worker with these leases.
    pub(super) fn new(leases: Leases, rng: Rng, now_ms: u64) -> Kit {
        Kit {
            table: table(),
            leases,
            rng,
            effects: Vec::new(),
            queues: Vec::new(),
            became_ready: VecDeque::new(),
            slowest: Slowest::default(),
            access_clock: AccessClock::new(now_ms, false),
        }
    }

    /// Runs commands of the client whose session this is; `ticks` is the last reading of the processor's counter.
    #[inline]
    pub(super) fn caller<'a>(
        &'a mut self,
        session: &'a mut Session,
        facts: &'a Facts,
        clock: &'a Clock,
        ticks: u64,
    ) -> Caller<'a> {
        let worker = self.leases.worker();
        Caller {
            facts,
            clock,
            table: self.table,
            became_ready: &mut self.became_ready,
            slowest: &mut self.slowest,
            ticks,
            joined_count: 0,
            ctx: Context {
                session,
                shared: &facts.shared,
                config: &facts.config,
                stats: facts.shared.stats.of(worker),
                worker,
                now_ms: facts.now_ms,
                now_us: facts.now_us,
                access_clock: self.access_clock,
                rng: &mut self.rng,
                effects: &mut self.effects,
                queues: &mut self.queues,
                leases: &mut self.leases,
                key_places: (0, 0),
            },
        }
    }
}

/// Runs a client's commands.
pub(super) struct Caller<'a> {
    pub(super) ctx: Context<'a>,
    pub(super) facts: &'a Facts,
    pub(super) clock: &'a Clock,
    pub(super) table: &'static Table,
    pub(super) became_ready: &'a mut VecDeque<ReadyKey>,
    slowest: &'a mut Slowest,
    /// Reading of the processor's counter when the last command was over that was timed.
    pub(super) ticks: u64,
    /// Commands of one row that have run since, and are to be timed with the next one, of the same row.
    joined_count: u64,
}

impl Caller<'_> {
    /// Runs a command's handler.
    #[inline(always)]
    pub(super) fn handle(&mut self, row: &Row, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
        self.ctx.key_places = row.key_places;
        (row.command.handler)(&mut self.ctx, args, reply)
    }

    /// Runs one command, whose leases are held; false if it has to wait. If another `like_it` follows at once, the two may be
    /// timed together.
    #[inline(always)]
    pub(super) fn call(&mut self, row: &Row, args: &Args<'_>, reply: &mut Reply<'_>, like_it: bool) -> bool {
        match self.handle(row, args, reply) {
            Ok(()) => {}
            Err(CommandError::Blocked) => {
                self.show(row, args, reply);
                return false;
            }
            Err(error) => {
                self.ctx.stats.commands[row.id as usize].failed.add(1);
                reply_error(error, reply, self.ctx.stats);
            }
        }
        self.show(row, args, reply);
        if like_it && args.len() <= row.quick_args_max && self.facts.joins {
            self.joined_count += 1;
        } else {
            self.time(row, args, 1);
        }
        true
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
    fn time(&mut self, row: &Row, args: &Args<'_>, count: u64) {
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
        if ns >= self.facts.notable_ns {
            self.facts.note(row, args, self.ctx.session, ns);
        }
        ns
    }
}

impl<I: Io> Worker<I> {
    /// What is the same for all commands of this turn.
    pub(super) fn facts(&mut self) -> Box<Facts> {
        let (now_ms, now_us) = (self.clock.now_ms(), self.clock.unix_us());
        if let Some(mut facts) = self.facts.take()
            && Arc::ptr_eq(&facts.config, self.config.config_arc())
        {
            (facts.now_ms, facts.now_us) = (now_ms, now_us);
            return facts;
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
        Box::new(Facts {
            shared: Arc::clone(&self.shared),
            config,
            now_ms,
            now_us,
            slow_ns,
            event_ns,
            notable_ns: slow_ns.min(event_ns),
            joins: slow_ns.min(event_ns) >= JOINED_NS_MIN,
        })
    }
}

/// What is the same for all commands of a turn. Kept from turn to turn, as counting references to what all workers share
/// would have them pass a cache line around.
pub(super) struct Facts {
    pub(super) shared: Arc<Shared>,
    pub(super) config: Arc<Config>,
    pub(super) now_ms: u64,
    pub(super) now_us: u64,
    /// From this duration on a command goes to the slow log.
    slow_ns: u64,
    /// From this duration on it is an event of the latency monitor.
    event_ns: u64,
    /// The smaller of the two.
    pub(super) notable_ns: u64,
    /// Whether quick commands may be timed together.
    joins: bool,
}

impl Facts {
    #[cold]
    pub(super) fn note(&self, row: &Row, args: &Args<'_>, session: &Session, ns: u64) {
        let flags = row.command.flags;
        if ns >= self.slow_ns && !flags.has(Flags::SKIP_SLOWLOG) {
            let words = row.command.shown(args);
            let name = session.card.name.load();
            let name = name.as_deref().map_or(&[][..], Vec::as_slice);
            let (time_s, len_max) = (self.now_ms / 1000, self.config.slowlog_max_len as usize);
            let address = &session.card.address;
            self.shared.slowlog.push(time_s, ns / 1000, words.into_iter(), address, name, len_max);
        }
        if ns >= self.event_ns {
            let event = if flags.has(Flags::FAST) { Event::FastCommand } else { Event::Command };
            self.shared.stats.latency.add(event, self.now_ms, ns / 1_000_000);
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
