//! From input to replies: parsing, chunks, and one command.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::memory::Means;
use super::refuse::refuse;
use super::{Mail, Slowest, Worker, put_list_back};
use crate::command::{Args, CommandError, Context, Effect, Flags, PauseMode, Replies, Row, Session, Shared};
use crate::config::Config;
use crate::exec::{Formed, Gathered, REFUSED, Source};
use crate::io::{Io, Token};
use crate::net::Gathering;
use crate::net::connection::{Hold, INBOX_MAX, OUTPUT_BYTES_HIGH};
use crate::observe::{ClientPlace, Event, WorkerStats};
use crate::resp::{Limits, Reply};
use crate::store::ShardId;

/// Bulks from this length on are received straight into the memory that will hold them.
const BULK_DIRECT_BYTES_MIN: u64 = 64 << 10;
/// Times a refused command is tried again at once, a few tens of ns apart, before it is put off to the next turn: longer
/// than the chunk of another worker takes.
const REFUSALS_AT_ONCE_MAX: u32 = 512;
/// Turns for which a command's leases are refused before its shards are reserved.
const REFUSALS_BEFORE_RESERVING: u32 = 4;

impl<I: Io> Worker<I> {
    /// Parses every connection that has input and gathers their commands.
    pub(super) fn gather(&mut self) {
        let ready = std::mem::take(&mut self.ready);
        let config = self.config.config();
        let mut limits = Limits {
            bulk_bytes_max: config.proto_max_bulk_len,
            bulk_direct_min: BULK_DIRECT_BYTES_MIN,
            ..Limits::default()
        };
        for slot in ready.iter().copied() {
            let Some(connection) = self.connections.get_mut(slot) else { continue };
            connection.ready = false;
            if connection.closing || connection.hold != Hold::None {
                continue;
            }
            limits.authenticated = connection.session.authenticated;
            let (batch, keyspace) = (&mut self.batch, &self.shared.keyspace);
            let gathering = connection.gather(slot, batch, &mut self.io, &limits, self.table, keyspace);
            self.gathered.push(slot);
            let connection = self.connections.at(slot);
            match gathering {
                Gathering::Drained if connection.inbox_len() == 0 => {}
                Gathering::Drained | Gathering::More => {
                    connection.ready = true;
                    self.ready.push(slot);
                }
                Gathering::Bulk(buffer, len) => self.io.receive_into(connection.token, buffer, len),
            }
            if connection.input_paused && connection.inbox_len() < INBOX_MAX / 2 {
                connection.input_paused = false;
                self.io.receive(connection.token);
            }
        }
        put_list_back(&mut self.ready, ready);
    }

    /// Runs the batch, chunk by chunk.
    pub(super) fn run_batch(&mut self) {
        if self.batch.commands.is_empty() {
            return;
        }
        let facts = self.facts();
        self.run_chunks(&facts);
        self.facts = Some(facts);
    }

    fn run_chunks(&mut self, facts: &Facts) {
        let (mut next, mut refusals) = (0, 0);
        while next < self.batch.commands.len() {
            let (connections, turn) = (&self.connections, self.turn);
            let skip = |slot| connections.get(slot).is_none_or(|c| c.held_in_turn == turn);
            let keyspace = &self.shared.keyspace;
            match self.chunk.form(&self.batch, &mut next, &mut self.leases, keyspace, skip) {
                Formed::Done => break,
                Formed::Ready => {
                    refusals = 0;
                    self.chunk.prefetch(&self.batch, &mut self.leases, &self.shared.keyspace);
                    self.io.interlude();
                    self.run_chunk(facts);
                    if self.memory.has_unnoted() {
                        self.note_chunk();
                    }
                    if !self.leases.is_solo() {
                        self.stats().counters.leases_taken.add(self.leases.mark() as u64);
                    }
                    let wanted = self.leases.release_all();
                    self.post.wake_wanting(wanted);
                    self.act();
                }
                Formed::Refused(place, shard) => {
                    self.stats().counters.leases_refused.add(u64::from(refusals == 0));
                    let wanted = self.chunk.take_wanted();
                    self.post.wake_wanting(wanted);
                    refusals += 1;
                    if refusals < REFUSALS_AT_ONCE_MAX {
                        std::hint::spin_loop();
                        continue;
                    }
                    refusals = 0;
                    self.put_off(place, shard);
                }
            }
        }
    }

    /// A command whose leases are not to be had soon waits for a later turn; after a few, its shards are reserved.
    #[cold]
    fn put_off(&mut self, place: usize, shard: ShardId) {
        let command = self.batch.commands[place];
        self.stats().counters.leases_retried.add(1);
        self.refused.push(shard);
        let connection = self.connections.at(command.slot);
        connection.refusals += 1;
        let reserve = connection.refusals >= REFUSALS_BEFORE_RESERVING;
        self.hold(&command);
        self.make_ready(command.slot);
        let token = self.connections.at(command.slot).token;
        if reserve && self.reserved_for.is_none() && self.reserve(&command) {
            self.reserved_for = Some(token);
            self.stats().counters.leases_reserved.add(1);
        }
    }

    /// Ends the reservation once its command has run or its client is gone.
    fn end_reservation(&mut self) {
        if let Some(token) = self.reserved_for
            && self.connections.find(token).is_none_or(|c| c.refusals == 0 || c.closing)
        {
            self.reserved_for = None;
            let wanted = self.leases.unreserve();
            self.post.wake_wanting(wanted);
        }
    }

    /// Keeps other workers' chunks off a command's shards; one worker may do so at a time.
    fn reserve(&mut self, command: &Gathered) -> bool {
        let keyspace = &self.shared.keyspace;
        if command.scope == crate::command::Scope::All {
            return self.leases.reserve(keyspace.shards());
        }
        let hashes = self.batch.hashes_of(command).iter();
        self.leases.reserve(hashes.map(|hash| keyspace.shard_of(*hash)))
    }

    /// Runs no more commands of this one's connection in this turn; they are parsed again.
    fn hold(&mut self, command: &Gathered) {
        let turn = self.turn;
        let connection = self.connections.at(command.slot);
        connection.held_in_turn = turn;
        connection.put_back(command.start as usize);
    }

    fn run_chunk(&mut self, facts: &Facts) {
        let chunk = std::mem::take(&mut self.chunk);
        let stats = facts.shared.stats.of(self.number);
        stats.counters.chunks.add(1);
        let mut ticks = self.clock.ticks();
        for member in chunk.members() {
            let command = self.batch.commands[*member as usize];
            ticks = self.execute(&command, facts, stats, ticks);
        }
        self.chunk = chunk;
    }

    /// Runs one command, whose leases are held; `start` and the result are readings of the processor's counter.
    #[inline]
    fn execute(&mut self, command: &Gathered, facts: &Facts, stats: &WorkerStats, start: u64) -> u64 {
        let connection = self.connections.at(command.slot);
        if connection.held_in_turn == self.turn || connection.ended || connection.closing {
            return start;
        }
        if connection.output.len() >= OUTPUT_BYTES_HIGH {
            return self.hold_back(command, Hold::Output, start);
        }
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(command.slot);
        }
        let input = match command.source {
            Source::Input(index) => self.io.input(&self.batch.inputs[index as usize]),
            Source::Spill => &[],
        };
        let (args, session, mut reply) =
            connection.split(command.source, input, self.batch.spans_of(command));
        let mark = reply.mark();
        if command.row == REFUSED {
            refuse(&args, &mut reply, self.table, stats);
            silence(session, &mut reply, mark, None);
            return start;
        }
        let row = self.table.row(command.row);
        let counts = &stats.commands[command.row as usize];
        let mut admission = admit(row, session, &facts.shared, facts.now_ms);
        let flags = row.command.flags;
        if flags.has(self.memory.watched()) && matches!(admission, Admission::Yes) {
            let mut means = Means {
                leases: &mut self.leases,
                shared: &facts.shared,
                stats,
                clock: &self.clock,
                rng: &mut self.rng,
                effects: &mut self.effects,
            };
            let hashes = self.batch.hashes_of(command);
            if !self.memory.admit(flags, command.scope, hashes, &mut means) {
                admission = Admission::Error(CommandError::OutOfMemory);
            }
        }
        match admission {
            Admission::Yes => {}
            Admission::Error(error) => {
                counts.rejected.add(1);
                stats.counters.commands_rejected.add(1);
                reply_error(error, &mut reply, stats);
                silence(session, &mut reply, mark, Some(row));
                return start;
            }
            Admission::Paused => {
                self.paused.push(command.slot);
                return self.hold_back(command, Hold::Paused, start);
            }
        }
        session.last_row = command.row;
        let mut ctx = Context {
            session,
            shared: &facts.shared,
            config: &facts.config,
            stats,
            worker: self.number,
            now_ms: facts.now_ms,
            now_us: facts.now_us,
            access_clock: self.access_clock,
            rng: &mut self.rng,
            effects: &mut self.effects,
            leases: &mut self.leases,
            hashes: self.batch.hashes_of(command),
            first_key: row.key_places.0,
            key_step: row.key_places.1,
        };
        if let Err(error) = (row.command.handler)(&mut ctx, &args, &mut reply) {
            counts.failed.add(1);
            reply_error(error, &mut reply, stats);
        }
        if session.replies != Replies::On {
            silence(session, &mut reply, mark, Some(row));
        }
        let end = self.clock.ticks();
        let ns = self.clock.ns_between(start, end);
        counts.calls.add(1);
        counts.total_ns.add(ns);
        counts.durations.record(ns, 1);
        stats.counters.commands_processed.add(1);
        if ns >= facts.notable_ns {
            facts.note(row, &args, session, ns);
        }
        connection.ended |= session.close_after_reply;
        connection.refusals = 0;
        if ns > self.slowest.ns {
            self.slowest = Slowest { row: command.row, ns };
        }
        if facts.shared.monitors.load(Relaxed) > 0 {
            self.show_monitors(command);
        }
        end
    }

    /// Puts a command and all behind it on its connection off until the reason is gone.
    #[cold]
    fn hold_back(&mut self, command: &Gathered, why: Hold, start: u64) -> u64 {
        self.connections.at(command.slot).hold = why;
        self.hold(command);
        start
    }

    /// What is the same for all commands of this turn.
    fn facts(&mut self) -> Box<Facts> {
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
        })
    }

    /// Does what the chunk's commands left to be done outside the keyspace.
    pub(super) fn act(&mut self) {
        if self.effects.is_empty() {
            return;
        }
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Kill(ClientPlace { worker, slot, generation }) if worker as usize == self.number => {
                    self.kill(Token { slot, generation });
                }
                Effect::Kill(ClientPlace { worker, slot, generation }) => {
                    self.post.send(worker as usize, Mail::Kill { slot, generation });
                }
                Effect::Monitor(place, on) => {
                    let token = Token { slot: place.slot, generation: place.generation };
                    self.set_monitor(token, on);
                }
                Effect::Wake(wanted) => self.post.wake_wanting(wanted),
                Effect::Resume | Effect::ConfigChanged | Effect::Shutdown => {
                    self.resume_paused();
                    self.post.send_all(|| Mail::Look);
                }
            }
        }
        put_list_back(&mut self.effects, effects);
    }

    /// What the turn leaves of each connection's input goes to its spill; the receive buffers go back.
    pub(super) fn settle(&mut self) {
        let gathered = std::mem::take(&mut self.gathered);
        for slot in gathered.iter().copied() {
            let connection = self.connections.at(slot);
            if let Some(error) = connection.take_error()
                && !connection.ended
            {
                if connection.session.replies == Replies::On {
                    Reply::new(&mut connection.output, connection.session.protocol).protocol_error(error);
                }
                self.shared.stats.of(self.number).count_error("ERR");
                connection.ended = true;
            }
            connection.settle(&self.batch, &self.io);
            if connection.hold != Hold::None && !connection.closing {
                self.stall(slot);
            }
            let connection = self.connections.at(slot);
            connection.show(self.clock.now_ms());
            let query_bytes = connection.query_bytes() as u64;
            let over = query_bytes > self.config.config().client_query_buffer_limit;
            self.shared.stats.of(self.number).query_bytes_recent_max.raise(query_bytes);
            let (token, ended) = (connection.token, connection.ended || connection.input_ended);
            if over {
                self.stats().counters.client_query_buffer_limit_disconnections.add(1);
                self.close(token);
            } else if ended {
                self.make_dirty(slot);
            }
        }
        put_list_back(&mut self.gathered, gathered);
        for input in self.batch.inputs.drain(..) {
            self.io.give_back(input);
        }
        self.batch.clear();
        self.end_reservation();
    }

    /// Lets the connections go on that a pause held back.
    pub(super) fn resume_paused(&mut self) {
        for slot in std::mem::take(&mut self.paused) {
            if let Some(connection) = self.connections.get_mut(slot)
                && connection.hold == Hold::Paused
            {
                connection.hold = Hold::None;
                self.make_ready(slot);
            }
        }
    }
}

/// Whether a command may run now.
enum Admission {
    Yes,
    Error(CommandError),
    Paused,
}

#[inline]
fn admit(row: &Row, session: &Session, shared: &Shared, now_ms: u64) -> Admission {
    let flags = row.command.flags;
    if !session.authenticated && !flags.has(Flags::NO_AUTH) {
        return Admission::Error(CommandError::NoAuth);
    }
    match shared.pause.active(now_ms) {
        None => Admission::Yes,
        // All means all: a client that is to end the pause must have been faster than whoever began it.
        Some(PauseMode::All) => Admission::Paused,
        Some(PauseMode::Write) if flags.has(Flags::WRITE.with(Flags::MAY_REPLICATE)) => Admission::Paused,
        Some(_) => Admission::Yes,
    }
}

/// Takes back what was replied since `mark` if the client wants none of it. `row` is that of the command that ran or was not
/// admitted.
#[inline]
fn silence(session: &mut Session, reply: &mut Reply<'_>, mark: crate::resp::Mark, row: Option<&Row>) {
    if session.replies != Replies::On {
        reply.truncate(mark);
        session.replies = next_replies(session.replies, row);
    }
}

/// CLIENT REPLY SKIP concerns the command after itself.
fn next_replies(now: Replies, row: Option<&Row>) -> Replies {
    match now {
        Replies::SkipNext if row.is_some_and(|row| row.full_name == "client|reply") => Replies::SkipThis,
        Replies::SkipThis | Replies::SkipNext => Replies::On,
        other => other,
    }
}

/// What is the same for all commands of a turn. Kept from turn to turn, as counting references to what all workers share
/// would have them pass a cache line around.
pub(super) struct Facts {
    shared: Arc<Shared>,
    config: Arc<Config>,
    now_ms: u64,
    now_us: u64,
    /// From this duration on a command goes to the slow log.
    slow_ns: u64,
    /// From this duration on it is an event of the latency monitor.
    event_ns: u64,
    /// The smaller of the two.
    notable_ns: u64,
}

impl Facts {
    #[cold]
    fn note(&self, row: &Row, args: &Args<'_>, session: &Session, ns: u64) {
        let flags = row.command.flags;
        if ns >= self.slow_ns && !flags.has(Flags::SKIP_SLOWLOG) {
            // What authenticates is nothing for a log.
            let secret = matches!(row.full_name.as_str(), "auth" | "hello");
            let shown = |(index, arg)| if secret && index > 0 { &b"(redacted)"[..] } else { arg };
            let all: Vec<&[u8]> = args.from(0).enumerate().map(shown).collect();
            let name = session.card.name.load();
            let name = name.as_deref().map_or(&[][..], Vec::as_slice);
            let (time_s, len_max) = (self.now_ms / 1000, self.config.slowlog_max_len as usize);
            let address = &session.card.address;
            self.shared.slowlog.push(time_s, ns / 1000, all.into_iter(), address, name, len_max);
        }
        if ns >= self.event_ns {
            let event = if flags.has(Flags::FAST) { Event::FastCommand } else { Event::Command };
            self.shared.stats.latency.add(event, self.now_ms, ns / 1_000_000);
        }
    }
}

/// Writes a failed command's error, unless it has replied itself, and counts it.
#[cold]
fn reply_error(error: CommandError, reply: &mut Reply<'_>, stats: &WorkerStats) {
    if error == CommandError::Replied {
        stats.count_error(&String::from_utf8_lossy(reply.output().error_word().as_bytes()));
    } else {
        stats.count_error(error.text());
        reply.error(error.text());
    }
}
