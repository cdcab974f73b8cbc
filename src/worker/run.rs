//! From input to replies: parsing, and the batch chunk by chunk. Running the commands of a chunk: `stretch`.

use super::call::Facts;
use super::{Mail, Slowest, Worker, put_list_back};
use crate::command::{Effect, Replies, Row, Scope};
use crate::exec::{Formed, Gathered};
use crate::io::{Io, Token};
use crate::net::Gathering;
use crate::net::connection::{Hold, INBOX_MAX};
use crate::observe::ClientPlace;
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
            // A slot may be listed twice, for a connection that has left and for one that has come since.
            if !std::mem::take(&mut connection.ready) {
                continue;
            }
            if connection.closing || connection.hold != Hold::None {
                continue;
            }
            limits.authenticated = connection.session.authenticated;
            let (batch, keyspace) = (&mut self.batch, &self.shared.keyspace);
            let gathering = connection.gather(slot, batch, &mut self.io, &limits, self.kit.table, keyspace);
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
            let goes_on = |slot| connections.get(slot).filter(|c| c.held_in_turn != turn);
            let session = |slot| goes_on(slot).map(|connection| &connection.session);
            let keyspace = &self.shared.keyspace;
            let (leases, io) = (&mut self.kit.leases, &self.io);
            // Not in each of hundreds of tries, one within the other where workers are descheduled in it.
            let interlude = || {
                if refusals == 0 {
                    io.interlude();
                }
            };
            match self.chunk.form(&self.batch, &mut next, leases, keyspace, session, interlude) {
                Formed::Done => break,
                Formed::Ready => {
                    refusals = 0;
                    self.chunk.prefetch(&self.batch, &self.kit.leases);
                    self.io.interlude();
                    let (ns, slowest) = self.run_chunk(facts);
                    let leases_count = self.kit.leases.mark();
                    if self.memory.has_unnoted() {
                        self.note_chunk();
                    }
                    if !self.kit.leases.is_solo() {
                        self.stats().counters.leases_taken.add(leases_count as u64);
                    }
                    let mut wanted = self.kit.leases.release_all();
                    // Those of leases that a command behind the chunk had for a moment, and gave back.
                    wanted.add(self.chunk.take_wanted());
                    self.post.wake_wanting(wanted);
                    let warn_us = facts.config.lease_warn_us;
                    if warn_us > 0 && ns > warn_us * 1000 && leases_count > 0 && !self.kit.leases.is_solo() {
                        self.report_long_lease(leases_count, ns, slowest);
                    }
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
        // A command whose shards are reserved may find that it needs more than it knew of.
        let own = self.reserved_for == Some(token);
        if reserve && (own || self.reserved_for.is_none()) && self.reserve(&command) {
            self.reserved_for = Some(token);
            self.stats().counters.leases_reserved.add(u64::from(!own));
        }
    }

    /// Ends the reservation once its command has run or its client is gone.
    fn end_reservation(&mut self) {
        if let Some(token) = self.reserved_for
            && self.connections.find(token).is_none_or(|c| c.refusals == 0 || c.closing)
        {
            self.reserved_for = None;
            let wanted = self.kit.leases.unreserve();
            self.post.wake_wanting(wanted);
        }
    }

    /// Keeps other workers' chunks off a command's shards; one worker may do so at a time.
    fn reserve(&mut self, command: &Gathered) -> bool {
        let keyspace = &self.shared.keyspace;
        let session = &self.connections.at(command.slot).session;
        match command.scope {
            Scope::All => return self.kit.leases.reserve(keyspace.shards()),
            Scope::Transaction if session.needs_all() => return self.kit.leases.reserve(keyspace.shards()),
            Scope::Transaction => {
                let own = session.needed().map(|hash| keyspace.shard_of(hash));
                return self.kit.leases.reserve(own.chain(self.chunk.along()));
            }
            Scope::Keys | Scope::None => {}
        }
        let hashes = self.batch.hashes_of(command).iter();
        let along = self.chunk.along();
        self.kit.leases.reserve(hashes.map(|hash| keyspace.shard_of(*hash)).chain(along))
    }

    /// Runs no more commands of this one's connection in this turn; they are parsed again.
    pub(super) fn hold(&mut self, command: &Gathered) {
        let turn = self.turn;
        let connection = self.connections.at(command.slot);
        connection.held_in_turn = turn;
        connection.put_back(command.start as usize);
    }

    /// Runs the commands of a chunk; how long that took, in ns, and the slowest of them.
    fn run_chunk(&mut self, facts: &Facts) -> (u64, Slowest) {
        let chunk = std::mem::take(&mut self.chunk);
        let stats = facts.shared.stats.of(self.number);
        stats.counters.chunks.add(1);
        self.serves |= facts.shared.keyspace.is_waited();
        let slowest_before = std::mem::take(&mut self.kit.slowest);
        let start = self.clock.ticks();
        let mut ticks = start;
        let mut left = chunk.members();
        while !left.is_empty() {
            let (ran, behind) = left.split_at(self.run_stretch(left, facts, &mut ticks));
            if let Some(last) = ran.last()
                && self.serves
            {
                let command = self.batch.commands[*last as usize];
                self.serve(&command, facts);
            }
            left = behind;
        }
        self.chunk = chunk;
        let slowest = self.kit.slowest;
        if slowest_before.ns > slowest.ns {
            self.kit.slowest = slowest_before;
        }
        (self.clock.ns_between(start, ticks), slowest)
    }

    /// Says which command kept other workers off the shards of a chunk for long, now that they are given back.
    #[cold]
    fn report_long_lease(&self, leases_count: usize, ns: u64, slowest: Slowest) {
        self.stats().counters.leases_long.add(1);
        let Slowest { row, ns: command_ns } = slowest;
        log::warn!(
            "worker {}: {leases_count} leases were held for {} us, {} us of it by the command '{}'",
            self.number,
            ns / 1000,
            command_ns / 1000,
            self.kit.table.row(row).full_name
        );
    }

    /// Does what the chunk's commands left to be done outside the keyspace.
    pub(super) fn act(&mut self) {
        if self.kit.effects.is_empty() {
            return;
        }
        let mut effects = std::mem::take(&mut self.kit.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Kill(ClientPlace { worker, slot, generation }) if worker as usize == self.number => {
                    self.close(Token { slot, generation });
                }
                Effect::Kill(ClientPlace { worker, slot, generation }) => {
                    self.post.send(worker as usize, Mail::Kill { slot, generation });
                }
                Effect::Monitor(place, on) => {
                    let token = Token { slot: place.slot, generation: place.generation };
                    self.set_monitor(token, on);
                }
                Effect::Show { line, shown_to } => self.show(&line, shown_to),
                Effect::Unblock { place, ticket, error } => {
                    let token = Token { slot: place.slot, generation: place.generation };
                    match place.worker as usize {
                        here if here == self.number => self.tell_unblocked(token, ticket, error),
                        target => self.post.send(target, Mail::Unblock { token, ticket, error }),
                    }
                }
                Effect::Wake(wanted) => self.post.wake_wanting(wanted),
                Effect::Resume | Effect::ConfigChanged | Effect::Shutdown => {
                    self.resume_paused();
                    self.post.send_all(|| Mail::Look);
                }
            }
        }
        put_list_back(&mut self.kit.effects, effects);
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
            if self.bound_query(slot) {
                continue;
            }
            let connection = self.connections.at(slot);
            self.balance.note_client(&mut connection.seen_in_window);
            if connection.ended || connection.input_ended {
                self.make_dirty(slot);
            } else if self.sends_away() {
                self.depart(slot);
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
                connection.set_hold(Hold::None);
                self.make_ready(slot);
            }
        }
    }
}

/// CLIENT REPLY SKIP concerns the command after itself.
pub(super) fn next_replies(now: Replies, row: Option<&Row>) -> Replies {
    match now {
        Replies::SkipNext if row.is_some_and(|row| row.full_name == "client|reply") => Replies::SkipThis,
        Replies::SkipThis | Replies::SkipNext => Replies::On,
        other => other,
    }
}
