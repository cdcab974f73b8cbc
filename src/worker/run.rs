//! From input to replies: parsing, and the batch group by group. Running the commands of a group: `client_run`.

use std::sync::Arc;

use super::call::TurnConstants;
use super::following::follow_primary;
use super::{Message, Slowest, Worker, put_list_back};
use crate::command::{Effect, Replies, Row, Scope};
use crate::exec::{Formed, Gathered, Ground, Leftover, Refusal};
use crate::io::{Io, Token};
use crate::net::Gathering;
use crate::net::connection::{BlockReason, RECEIVED_MAX};
use crate::observe::ClientPlace;
use crate::resp::{Limits, Reply};
use crate::store::{STRING_BYTES_MAX, ShardId, ShardSet};

/// Bulks from this length on are received straight into the memory that will hold them.
const BULK_DIRECT_BYTES_MIN: u64 = 64 << 10;
/// The longest bulk of a primary's stream: what a query buffer holds, as all of its bytes are passed on.
const UPSTREAM_BULK_BYTES_MAX: u64 = 2 << 30;
/// Times that refused commands are tried again in a turn when no others are left, a few tens of ns apart, before they are put
/// off to the next one: longer than the group of another worker takes.
const TRIES_IN_VAIN_MAX: u32 = 512;
/// With so many arguments gathered, a turn takes no further connection: the batch's places have 32 bits, and one command can have
/// hundreds of millions.
const SPANS_PER_TURN_MAX: usize = 1 << 24;
/// Turns for which a command's leases are refused before its shards are reserved.
const REFUSALS_BEFORE_RESERVING: u32 = 4;

impl<I: Io> Worker<I> {
    /// Parses every connection that has input and gathers their commands.
    pub(super) fn gather(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        // For whom shards are reserved comes before all others.
        if let Some(reserved) = self.reserved_for
            && let Some(place) = ready.iter().position(|slot| *slot == reserved.slot)
        {
            ready.swap(0, place);
        }
        let config = self.config.config();
        let bulk_bytes_max = config.proto_max_bulk_len.min(STRING_BYTES_MAX);
        let mut limits = Limits::default();
        let is_open = self.users.default_user().is_open();
        for slot in ready.iter().copied() {
            let Some(connection) = self.connections.get_mut(slot) else { continue };
            // A slot may be listed twice, for a connection that has left and for one that has come since.
            if connection.is_parsed() || !connection.ready {
                continue;
            }
            if self.batch.spans.len() >= SPANS_PER_TURN_MAX {
                self.ready.push(slot);
                continue;
            }
            connection.ready = false;
            if connection.closing || connection.block_reason != BlockReason::None {
                continue;
            }
            limits.authenticated = connection.session.authenticated || is_open;
            let is_upstream = connection.session.upstream.is_some();
            limits.bulk_direct_min = if is_upstream { u64::MAX } else { BULK_DIRECT_BYTES_MIN };
            limits.bulk_bytes_max = if is_upstream { UPSTREAM_BULK_BYTES_MAX } else { bulk_bytes_max };
            let (batch, keyspace) = (&mut self.batch, &self.shared.keyspace);
            let gathering =
                connection.gather(slot, batch, &mut self.io, &limits, self.execution.table, keyspace);
            self.gathered.push(slot);
            let connection = self.connections.at(slot);
            match gathering {
                Gathering::Drained if connection.received_len() == 0 => {}
                Gathering::Drained | Gathering::More => {
                    connection.ready = true;
                    self.ready.push(slot);
                }
                Gathering::Bulk(buffer, len) => self.io.receive_into(connection.token, buffer, len),
            }
            if connection.input_paused && connection.received_len() < RECEIVED_MAX / 2 {
                connection.input_paused = false;
                self.io.receive(connection.token);
            }
        }
        put_list_back(&mut self.ready, ready);
    }

    /// Runs the batch, group by group. A configuration that has changed since is followed once a group has its leases: whoever
    /// changed it gets its reply only after having had them all.
    pub(super) fn run_batch(&mut self) {
        if self.batch.commands.is_empty() {
            return;
        }
        self.watch_hot_keys();
        let mut constants = self.constants();
        let mut tries_left = TRIES_IN_VAIN_MAX;
        self.pending.begin();
        while !self.pending.is_empty(&self.batch) {
            if self.inbox.is_full() {
                self.defer_all();
                break;
            }
            self.pending_before.copy_from(&self.pending);
            match self.form(tries_left == TRIES_IN_VAIN_MAX) {
                Formed::Done => break,
                // Whoever asked for the end has saved under all leases: what runs after that would be lost.
                Formed::Ready if self.shared.shutdown.requested() && !self.stopping => {
                    std::mem::swap(&mut self.pending, &mut self.pending_before);
                    self.give_back_leases();
                    self.defer_all();
                    break;
                }
                Formed::Ready if self.config.is_stale() => {
                    std::mem::swap(&mut self.pending, &mut self.pending_before);
                    self.give_back_leases();
                    self.config.refresh();
                    self.follow_config();
                    constants = self.constants();
                }
                Formed::Ready => {
                    self.run_formed(&constants);
                    if self.is_busy() {
                        self.defer_rest();
                        break;
                    }
                }
                Formed::Refused => {
                    let wanted = self.group.take_wanted();
                    self.inbox.wake_wanting(wanted);
                    tries_left = tries_left.saturating_sub(self.group.refusals().0);
                    if tries_left == 0 || self.group.is_only_unsaved() {
                        self.defer_refused(&mut constants);
                    } else {
                        std::hint::spin_loop();
                    }
                }
            }
        }
        self.constants = Some(constants);
    }

    /// Forms a group. Where workers may be descheduled while it takes leases they are so in one of the first tries only: not in
    /// each of hundreds, one within the other.
    fn form(&mut self, is_early: bool) -> Formed {
        let (connections, turn) = (&self.connections, self.turn);
        let goes_on = |slot| connections.get(slot).filter(|c| c.requeued_in_turn != turn);
        let io = &self.io;
        let ground = Ground {
            batch: &self.batch,
            leases: &mut self.execution.leases,
            keyspace: &self.shared.keyspace,
            session: |slot| goes_on(slot).map(|connection| &connection.session),
            yield_point: || {
                if is_early {
                    io.yield_point();
                }
            },
        };
        let formed = self.group.form(&mut self.pending, ground);
        let (_, refusals_new) = self.group.refusals();
        if refusals_new > 0 {
            self.stats().counters.leases_refused.add(u64::from(refusals_new));
        }
        formed
    }

    /// Runs the group that was formed, and gives its leases back.
    fn run_formed(&mut self, constants: &TurnConstants) {
        self.clock.read();
        self.group.prefetch(&self.batch, &self.execution.leases);
        if self.shared.pubsub.tracking.is_on() {
            self.group.prefetch_tracked(&self.batch, &self.execution.leases);
        }
        self.io.yield_point();
        let (ns, slowest) = self.run_group(constants);
        if self.is_busy() {
            return self.act();
        }
        let leases_count = self.execution.leases.mark();
        if self.memory.has_unnoted() {
            self.note_group();
        }
        if !self.execution.leases.is_solo() {
            self.stats().counters.leases_taken.add(leases_count as u64);
        }
        self.give_back_leases();
        let warn_us = constants.config.lease_warn_us;
        if warn_us > 0 && ns > warn_us * 1000 && leases_count > 0 && !self.execution.leases.is_solo() {
            self.report_long_lease(leases_count, ns, slowest);
        }
        if !self.execution.effects.is_empty() {
            // What has its place in an inbox is not there yet.
            self.io.yield_point();
            self.act();
        }
    }

    /// Gives back the leases of the group, and wakes who wants one.
    pub(super) fn give_back_leases(&mut self) {
        self.execution.journal.publish(&self.shared.journal);
        let mut wanted = self.execution.leases.release_all();
        // Those of leases that a command behind the group had for a moment, and gave back.
        wanted.add(self.group.take_wanted());
        self.inbox.wake_wanting(wanted);
    }

    /// The commands that are pending have to wait until other workers have read what was sent to them.
    #[cold]
    fn defer_all(&mut self) {
        self.defer_rest();
        self.stats().counters.messages_full.add(1);
    }

    /// The commands that are pending have to wait for a later turn.
    fn defer_rest(&mut self) {
        while let Some(leftover) = self.pending.next_behind() {
            self.defer_unrefused(leftover.next as usize);
        }
        for place in self.pending.rest()..self.batch.commands.len() {
            self.defer_unrefused(place);
        }
    }

    pub(super) fn defer_unrefused(&mut self, place: usize) {
        let command = self.batch.commands[place];
        if let Some(connection) = self.connections.get(command.slot)
            && !(connection.ended || connection.closing || connection.requeued_in_turn == self.turn)
        {
            self.requeue(&command);
            self.make_ready(command.slot);
        }
    }

    /// The commands that were refused wait for a later turn; what is pending besides was not tried.
    #[cold]
    fn defer_refused(&mut self, constants: &mut TurnConstants) {
        while let Some((leftover, refusal)) = self.pending.next_refused() {
            match refusal {
                Refusal::Lease(shard) => match self.busy_refusal(&leftover, shard) {
                    None => self.defer(&leftover, shard),
                    Some(busy) => {
                        self.answer_busy(leftover.next as usize, busy, constants);
                        if leftover.next + 1 < leftover.end {
                            self.defer_unrefused(leftover.next as usize + 1);
                        }
                    }
                },
                Refusal::Unsaved => self.defer_unsaved(&leftover),
            }
        }
    }

    /// A command that has to wait for a snapshot is tried again in a ms. It keeps nobody off its shards meanwhile.
    fn defer_unsaved(&mut self, leftover: &Leftover) {
        let command = self.batch.commands[leftover.next as usize];
        self.walk.note_waiting();
        self.connections.at(command.slot).refusals = 0;
        self.requeue(&command);
        self.make_ready(command.slot);
    }

    /// A command whose leases are not to be had soon waits for a later turn; after a few, its shards are reserved.
    fn defer(&mut self, leftover: &Leftover, shard: ShardId) {
        let command = self.batch.commands[leftover.next as usize];
        self.stats().counters.leases_retried.add(1);
        let needs_exclusive = self.connections.at(command.slot).session.needs_exclusive;
        self.refused.push((shard, !command.shares || needs_exclusive));
        let connection = self.connections.at(command.slot);
        connection.refusals += 1;
        let reserve = connection.refusals >= REFUSALS_BEFORE_RESERVING;
        self.requeue(&command);
        self.make_ready(command.slot);
        let token = self.connections.at(command.slot).token;
        // A command whose shards are reserved may find that it needs more than it knew of.
        let own = self.reserved_for == Some(token);
        if reserve
            && (own || self.reserved_for.is_none())
            && self.reserve(&command, leftover.waiter_keys.as_deref())
        {
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
            let wanted = self.execution.leases.unreserve();
            self.inbox.wake_wanting(wanted);
        }
    }

    /// Keeps other workers' groups off a command's shards, those included that go along with them; one worker may do so at a
    /// time.
    fn reserve(&mut self, command: &Gathered, waiter_keys: Option<&ShardSet>) -> bool {
        let keyspace = &self.shared.keyspace;
        let session = &self.connections.at(command.slot).session;
        let waiter_keys = waiter_keys.into_iter().flat_map(ShardSet::iter);
        match command.scope {
            Scope::All | Scope::Alone => return self.execution.leases.reserve(keyspace.shards()),
            Scope::Transaction if session.needs_all() => {
                return self.execution.leases.reserve(keyspace.shards());
            }
            Scope::Transaction => {
                let own = session.needed().map(|hash| keyspace.shard_of(hash));
                return self.execution.leases.reserve(own.chain(waiter_keys));
            }
            Scope::Script if session.needs_all_for_script() => {
                return self.execution.leases.reserve(keyspace.shards());
            }
            Scope::Keys | Scope::Script | Scope::None => {}
        }
        let met: &[u64] = if command.scope == Scope::Script { session.met_by_script() } else { &[] };
        let hashes = self.batch.hashes_of(command).iter().chain(met);
        self.execution.leases.reserve(hashes.map(|hash| keyspace.shard_of(*hash)).chain(waiter_keys))
    }

    /// Runs no more commands of this one's connection in this turn; they are parsed again.
    pub(super) fn requeue(&mut self, command: &Gathered) {
        let turn = self.turn;
        let connection = self.connections.at(command.slot);
        connection.requeued_in_turn = turn;
        connection.requeue_from(command.start as usize);
        connection.requeue_parsed(self.batch.spans_of(command));
    }

    /// Runs the commands of a group; how long that took, in ns, and the slowest of them.
    pub(super) fn run_group(&mut self, constants: &TurnConstants) -> (u64, Slowest) {
        let group = std::mem::take(&mut self.group);
        let stats = constants.shared.stats.of(self.number);
        stats.counters.groups.add(1);
        self.serves |= constants.shared.keyspace.is_waited();
        let slowest_before = std::mem::take(&mut self.execution.slowest);
        let start = self.clock.ticks();
        let mut ticks = start;
        let (members, mut done) = (group.members(), 0);
        while done < members.len() {
            if group.has_long() && done + 1 == members.len() {
                // Nobody sleeps meanwhile for what has gone back already, nor does anybody's journal wait.
                self.execution.journal.publish(&self.shared.journal);
                let wanted = self.execution.leases.take_wanted();
                self.inbox.wake_wanting(wanted);
            }
            done += self.run_client(&members[done..], done, constants, &mut ticks);
            if self.is_busy() {
                self.defer_behind_busy(&members[done..]);
                break;
            }
            if self.serves {
                let command = self.batch.commands[members[done - 1] as usize];
                self.serve(&command, constants);
            }
            self.return_leases(done - 1);
        }
        self.group = group;
        let slowest = self.execution.slowest;
        if slowest_before.ns > slowest.ns {
            self.execution.slowest = slowest_before;
        }
        (self.clock.ns_between(start, ticks), slowest)
    }

    /// Gives back the leases that nobody needs behind this member of the group. What it may have written is noted before.
    #[inline]
    fn return_leases(&mut self, member: usize) {
        if self.execution.leases.has_returns_behind(member as u32) {
            if self.memory.has_unnoted() {
                self.note_group();
            }
            self.execution.leases.return_behind(member as u32);
        }
    }

    /// Says which command kept other workers off the shards of a group for long, now that they are given back.
    #[cold]
    fn report_long_lease(&self, leases_count: usize, ns: u64, slowest: Slowest) {
        self.stats().counters.leases_long.add(1);
        let Slowest { row, ns: command_ns } = slowest;
        log::warn!(
            "worker {}: {leases_count} leases were held for {} us, {} us of it by the command '{}'",
            self.number,
            ns / 1000,
            command_ns / 1000,
            self.execution.table.row(row).full_name
        );
    }

    /// Does what the group's commands left to be done outside the keyspace.
    pub(super) fn act(&mut self) {
        if self.execution.effects.is_empty() {
            return;
        }
        let mut effects = std::mem::take(&mut self.execution.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Kill(ClientPlace { worker, slot, generation }) if worker as usize == self.number => {
                    self.close(Token { slot, generation });
                }
                Effect::Kill(ClientPlace { worker, slot, generation }) => {
                    self.inbox.send(worker as usize, Message::Kill { slot, generation });
                }
                Effect::Monitor(place, on) => {
                    let token = Token { slot: place.slot, generation: place.generation };
                    self.set_monitor(token, on);
                }
                Effect::Listen { place, kind, name, on } => self.listen(place, kind, &name, on),
                Effect::StopListening(place, all) => self.stop_listening(place.slot, &all),
                Effect::Publish { worker, place, message } => {
                    self.inbox.put(worker.into(), place, Message::Published(message));
                }
                Effect::Track(place, on) => self.set_tracking(place, on),
                Effect::Invalidate { worker, place, what } => {
                    self.inbox.put(worker.into(), place, Message::Invalidate(what));
                }
                Effect::Warn(text) => log::warn!("{text}"),
                Effect::Show { line, shown_to } => self.show(&line, shown_to),
                Effect::Unblock { place, wait_id, how } => {
                    let token = Token { slot: place.slot, generation: place.generation };
                    match place.worker as usize {
                        here if here == self.number => self.tell_unblocked(token, wait_id, how),
                        target => self.inbox.send(target, Message::Unblock { token, wait_id, how }),
                    }
                }
                Effect::Purge => {
                    self.purge_memory();
                    self.inbox.send_all(|| Message::Purge);
                }
                Effect::RightsLost(lost) => {
                    self.end_listeners_without_right(&lost);
                    self.inbox.send_all(|| Message::RightsLost(Arc::clone(&lost)));
                }
                Effect::Followed(place) => self.follow_by(place),
                Effect::Acknowledged(place) => self.replica_acked(place),
                Effect::Follow(epoch, primary) => follow_primary(&self.shared, primary, epoch),
                Effect::Snapshot => self.start_snapshot(),
                Effect::Wake(wanted) => self.inbox.wake_wanting(wanted),
                Effect::Serve(shard) => self.lost.push(shard),
                Effect::Resume | Effect::ConfigChanged | Effect::Shutdown => {
                    self.resume_paused();
                    self.inbox.send_all(|| Message::Look);
                }
            }
        }
        put_list_back(&mut self.execution.effects, effects);
    }

    /// What the turn leaves of each connection's input goes to its query buffer; the receive buffers go back.
    pub(super) fn settle(&mut self) {
        let gathered = std::mem::take(&mut self.gathered);
        for slot in gathered.iter().copied() {
            let connection = self.connections.at(slot);
            if let Some(error) = connection.take_error()
                && !connection.ended
            {
                if connection.session.upstream.is_some() {
                    log::warn!("The primary's stream is no stream of commands: {error}");
                }
                if connection.session.replies == Replies::On {
                    Reply::new(&mut connection.output, connection.session.protocol).protocol_error(error);
                }
                self.shared.stats.of(self.number).count_error("ERR");
                connection.ended = true;
            }
            let (replication, link) = (&self.shared.replication, &self.shared.link);
            if connection.session.upstream.as_ref().is_some_and(|applied| applied.is_current(link)) {
                connection.pass_on(&self.batch, &self.io, |session, source, end| {
                    session.advance_upstream(source, end, replication, link);
                });
            }
            connection.settle(&self.batch, &self.io);
            if connection.block_reason != BlockReason::None && !connection.closing {
                self.pause_input(slot);
            }
            if self.bound_query(slot) {
                continue;
            }
            let connection = self.connections.at(slot);
            self.balance.note_client(&mut connection.seen_in_window);
            if connection.ended || connection.input_ended {
                self.make_dirty(slot);
            } else if self.sends_away() {
                self.detach(slot);
            }
        }
        put_list_back(&mut self.gathered, gathered);
        if self.memory.is_limited() {
            self.tell_client_bytes();
        }
        self.memory.forget_queued();
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
                && connection.block_reason == BlockReason::Paused
            {
                connection.set_block_reason(BlockReason::None);
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
