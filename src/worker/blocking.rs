//! Clients that wait for keys: blocked, served, let go on.
//!
//! Design: see `exec::blocking`. While a client waits, its connection is blocked, but read from, so that its end is noticed;
//! what it sends meanwhile stays unparsed. A wait ends in one of these ways, and whoever claims it (`observe::WaitState`)
//! brings the reply to the client's worker, which unblocks it:
//!
//! | what | who claims |
//! |---|---|
//! | a key holds what it waits for | the worker whose command did it, still under its leases |
//! | its time is up | its own worker |
//! | time makes of a key what it waits for (`Blocking::retry_ms`) | its own worker, under its leases |
//! | CLIENT UNBLOCK | the worker that runs it |
//! | the connection ends | its own worker; nobody is told |
//!
//! Registrations that a claim leaves behind are removed by who holds their leases, or else are cleanups.
//!
//! For MONITOR, the slow log and statistics a command that waited counts when it is over, as one, and its waiting is no part
//! of its duration.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::{self, Relaxed};

use super::call::{ExecutionContext, TurnConstants, reply_error};
use super::cleanups::Cleanup;
use super::run::next_replies;
use super::{Message, Worker};
use crate::command::{Args, CommandError, Scope, Unblocking, may_run, note_denied};
use crate::exec::blocking::DUE;
use crate::exec::{Gathered, Source, Waiter, blocking};
use crate::io::{Io, Token};
use crate::net::connection::BlockReason;
use crate::observe::{ClientPlace, WaitId, WaitOutcome, flag};
use crate::persist::journal::Order;
use crate::resp::{Output, Reply};
use crate::security;
use crate::store::{Keyspace, Leases, ReadyKey, ShardId};

/// How soon at most a waiting command is run again whose time for that has come, if that was not possible, ms.
const AGAIN_MS: u64 = 1;

/// What CLIENT UNBLOCK tells the client, if asked to.
const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";

/// What clients are told that wait when this server becomes a replica.
const ROLE_CHANGED: &str =
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";

/// A reply on its way to the client that waits for it.
pub struct Served {
    /// Where the client lives.
    place: ClientPlace,
    /// Which of its waits is over.
    wait_id: WaitId,
    output: Output,
}

/// Takes over the keys of these shards that are ready; the shards' leases are held.
pub(super) fn take_ready(
    shards: impl Iterator<Item = ShardId>,
    leases: &mut Leases,
    became_ready: &mut VecDeque<ReadyKey>,
) {
    for shard in shards {
        while let Some(key) = leases.shard(shard).next_ready() {
            became_ready.push_back(key);
        }
    }
}

/// Whether a command that has just run made keys ready for which clients wait; its leases are held.
#[inline]
pub(super) fn made_ready(
    scope: Scope,
    hashes: &[u64],
    keyspace: &Keyspace,
    leases: &Leases,
    became_ready: &VecDeque<ReadyKey>,
) -> bool {
    let is_ready = |shard: ShardId| leases.shard_ref(shard).has_ready();
    match scope {
        Scope::Keys => hashes.iter().any(|hash| is_ready(keyspace.shard_of(*hash))),
        Scope::All => keyspace.shards().any(is_ready),
        Scope::Transaction | Scope::Script => !became_ready.is_empty(),
        Scope::None | Scope::Alone => false,
    }
}

/// What becomes of a wait whose command was to run again.
enum Retry {
    /// It is over.
    Over,
    /// It could not run: it is tried again.
    Soon,
    /// It has run, and waits on.
    AsItSays,
}

impl<I: Io> Worker<I> {
    /// The command has to wait: its client is blocked, and it queues for its keys, whose leases are held.
    #[cold]
    pub(super) fn begin_wait(&mut self, command: &Gathered, start: u64) -> u64 {
        let input = match command.source {
            Source::Input(index) => self.io.input(&self.batch.inputs[index as usize]),
            Source::QueryBuffer => &[],
        };
        let spans = self.batch.spans_of(command);
        let last = spans.last().expect("a command has a name");
        assert!(last.large_index().is_none(), "what ends a command that waits is short");
        let end = last.start as usize + last.len as usize + b"\r\n".len();
        let (row, now) = (self.execution.table.row(command.row), self.clock.ticks());
        let connection = self.connections.at(command.slot);
        if connection.input_ended {
            // Its client has gone, or as in Redis is taken for gone: nobody may be served who will not read what he gets. What
            // it has sent behind does not run any more, so the connection is blocked until the flush closes it.
            connection.session.blocking = None;
            connection.block_reason = BlockReason::Blocked;
            connection.requeued_in_turn = self.turn;
            connection.requeue_from(end);
            return now;
        }
        let (buffer, large, session, _) = connection.parts(command.source, input);
        let args = Args::new(buffer, spans, large).hashed(self.batch.hashes_of(command));
        let wait = session.blocking.take().expect("the handler has said what for");
        let ran_ns = self.clock.ns_between(start, now);
        let waiter = Waiter::new(session, row, &args, wait, ran_ns, &self.shared.keyspace);
        session.replies = next_replies(session.replies, Some(row));
        session.end_caching();
        let waiter = Arc::new(waiter);
        waiter.register(&self.shared.keyspace, &mut self.execution.leases);
        // Whoever serves it in this group needs the leases of all its keys.
        self.execution.leases.plan_no_returns();
        self.serves = true;
        let timer_ms = waiter.next_timer_ms();
        if let Some(after) = waiter.blocking.on_timeout.awaited_ticket() {
            self.awaiting.push(command.slot);
            self.shared.replication.replicas.note_awaiting(self.number);
            // Where writes are held back nothing is added to the stream: replicas say so by themselves too.
            if !self.shared.pause.is_held() {
                self.shared.journal.order(Order::Ask { after });
            }
        }
        connection.wait = Some(waiter);
        connection.set_block_reason(BlockReason::Blocked);
        connection.requeued_in_turn = self.turn;
        connection.requeue_from(end);
        self.io.look_for_end(connection.token);
        self.timers.add(timer_ms, command.slot);
        self.show_timers();
        now
    }

    /// A command has run, or a whole transaction: whoever waits for what it made ready is served, in the same instant.
    pub(super) fn serve(&mut self, command: &Gathered, constants: &TurnConstants) {
        let (keyspace, hashes) = (&constants.shared.keyspace, self.batch.hashes_of(command));
        let ExecutionContext { leases, became_ready, .. } = &mut self.execution;
        if !made_ready(command.scope, hashes, keyspace, leases, became_ready) {
            return;
        }
        match command.scope {
            Scope::Keys => {
                let shards = hashes.iter().map(|hash| keyspace.shard_of(*hash));
                take_ready(shards, leases, became_ready);
            }
            Scope::All => take_ready(keyspace.shards(), leases, became_ready),
            // It has listed them after each of its commands.
            Scope::Transaction | Scope::Script | Scope::None | Scope::Alone => {}
        }
        self.serve_ready(constants);
    }

    /// Keys of these shards went without a command: who is to hear of that is served as soon as the leases can be had.
    pub(super) fn serve_lost(&mut self) {
        if self.lost.is_empty() {
            return;
        }
        let constants = self.constants();
        for shard in std::mem::take(&mut self.lost) {
            if !self.serve_shard(shard, &constants) {
                self.lost.push(shard);
            }
            self.execution.journal.publish(&self.shared.journal);
            let wanted = self.execution.leases.release_all();
            self.inbox.wake_wanting(wanted);
        }
        self.constants = Some(constants);
        self.act();
    }

    /// Serves the ready keys of a shard; false if a lease was refused that this needs.
    fn serve_shard(&mut self, shard: ShardId, constants: &TurnConstants) -> bool {
        let (keyspace, leases) = (&constants.shared.keyspace, &mut self.execution.leases);
        if !leases.try_take(shard) {
            return false;
        }
        let hashes: Vec<u64> = leases.shard_ref(shard).ready_hashes().collect();
        if blocking::WaiterKeys::default().take(hashes.into_iter(), keyspace, leases).is_err() {
            return false;
        }
        take_ready(std::iter::once(shard), leases, &mut self.execution.became_ready);
        self.serve_ready(constants);
        true
    }

    #[cold]
    pub(super) fn serve_ready(&mut self, constants: &TurnConstants) {
        // Serving one may make a key ready for another, which comes after those that are listed.
        while let Some(key) = self.execution.became_ready.pop_front() {
            self.serve_key(key, constants);
        }
    }

    /// Serves those who wait for a key, in the order in which they came, as long as it holds what they want.
    fn serve_key(&mut self, key: ReadyKey, constants: &TurnConstants) {
        let keyspace = &constants.shared.keyspace;
        let shard = keyspace.shard_of(key.hash);
        // What made the key ready may have taken long, and the key may be gone by now.
        self.clock.read();
        self.execution.leases.shard(shard).begin_serving(key);
        let (mut index, count) = (0, self.execution.leases.shard(shard).waiter_count(key));
        for _ in 0..count {
            let Some(registration) = self.execution.leases.shard(shard).waiter_at(key, index) else { break };
            let key_index = registration.key_index;
            let waiter = Waiter::of(registration);
            let is_over = waiter.client_info.wait.is_over(waiter.wait_id);
            if !is_over && !waiter.is_ready(key_index, keyspace, &self.execution.leases, self.clock.now_ms())
            {
                index += 1;
                continue;
            }
            if is_over || !waiter.client_info.wait.claim(waiter.wait_id) {
                blocking::remove_at(key, index, keyspace, &mut self.execution.leases);
                continue;
            }
            let Some(output) = self.run_again(&waiter, constants) else {
                // It found nothing of use, and waits on unless it has gone meanwhile.
                if waiter.client_info.wait.give_back(waiter.wait_id) {
                    index += 1;
                } else {
                    blocking::remove_at(key, index, keyspace, &mut self.execution.leases);
                }
                continue;
            };
            blocking::remove_at(key, index, keyspace, &mut self.execution.leases);
            self.finish_serving(&waiter, Some(key_index), output, keyspace);
        }
        blocking::end_serving(key, keyspace, &mut self.execution.leases);
    }

    /// A waiting command, claimed, has run. It is noted as over in the queues of its keys, but for one where that is done.
    fn finish_serving(&mut self, waiter: &Waiter, done: Option<u32>, output: Output, keyspace: &Keyspace) {
        waiter.client_info.wait.finish(waiter.wait_id);
        for (_, other) in waiter.awaited().filter(|(other, _)| Some(*other) != done) {
            blocking::note_over(other, keyspace, &mut self.execution.leases);
        }
        let touched = crate::store::Waiting::hashes(waiter).iter();
        let touched = touched.map(|hash| keyspace.shard_of(*hash));
        take_ready(touched, &mut self.execution.leases, &mut self.execution.became_ready);
        let served = Served { place: waiter.client_info.place(), wait_id: waiter.wait_id, output };
        if usize::from(served.place.worker) == self.number {
            self.deliver(served);
        } else {
            self.inbox.send(usize::from(served.place.worker), Message::Served(Box::new(served)));
        }
    }

    /// Runs commands again whose clients wait, because it is time for that.
    pub(super) fn serve_due(&mut self) {
        if self.due.is_empty() {
            return;
        }
        let constants = self.constants();
        let is_paused = constants.shared.pause.active(self.clock.now_ms()).is_some();
        for slot in std::mem::take(&mut self.due) {
            let waiter = self.connections.get(slot).and_then(|connection| connection.wait.clone());
            // Its wait may be over by now, and another may have begun, which has a timer of its own.
            let Some(waiter) = waiter.filter(|waiter| waiter.timer_ms() == DUE) else { continue };
            let outcome = if is_paused { Retry::Soon } else { self.serve_in_time(&waiter, &constants) };
            self.execution.journal.publish(&self.shared.journal);
            let wanted = self.execution.leases.release_all();
            self.inbox.wake_wanting(wanted);
            let soon_ms = self.clock.now_ms() + AGAIN_MS;
            match outcome {
                Retry::Over => continue,
                Retry::Soon => {
                    waiter.retry_ms.fetch_max(soon_ms, Ordering::Relaxed);
                }
                // Unless it has said that it waits for no time.
                Retry::AsItSays if waiter.retry_ms.load(Relaxed) > 0 => {
                    waiter.retry_ms.fetch_max(soon_ms, Ordering::Relaxed);
                }
                Retry::AsItSays => {}
            }
            self.timers.add(waiter.next_timer_ms(), slot);
        }
        self.show_timers();
        self.constants = Some(constants);
        self.act();
    }

    /// Replicas have said how far they are: clients that wait for that are looked at.
    pub(super) fn look_at_awaiting(&mut self) {
        for slot in std::mem::take(&mut self.awaiting) {
            let waiter = self.connections.get(slot).and_then(|connection| connection.wait.clone());
            let waiter = waiter.filter(|waiter| waiter.blocking.on_timeout.awaited_ticket().is_some());
            let Some(waiter) = waiter.filter(|_| !self.awaiting.contains(&slot)) else { continue };
            self.awaiting.push(slot);
            if waiter.timer_ms() != DUE {
                self.timers.remove(waiter.timer_ms(), slot);
                waiter.note_due();
                self.due.push(slot);
            }
        }
        if !self.awaiting.is_empty() {
            self.shared.replication.replicas.note_awaiting(self.number);
        }
    }

    /// Runs a waiting command again, if the leases for that are free; what becomes of its wait.
    fn serve_in_time(&mut self, waiter: &Waiter, constants: &TurnConstants) -> Retry {
        let (keyspace, leases) = (&constants.shared.keyspace, &mut self.execution.leases);
        let hashes = crate::store::Waiting::hashes(waiter).iter().copied();
        let has_own = hashes.clone().all(|hash| leases.try_take(keyspace.shard_of(hash)));
        if !has_own || blocking::WaiterKeys::default().take(hashes, keyspace, leases).is_err() {
            return Retry::Soon;
        }
        self.clock.read();
        if !waiter.client_info.wait.claim(waiter.wait_id) {
            return Retry::Soon;
        }
        let Some(output) = self.run_again(waiter, constants) else {
            waiter.client_info.wait.give_back(waiter.wait_id);
            return Retry::AsItSays;
        };
        self.finish_serving(waiter, None, output, keyspace);
        self.serve_ready(constants);
        Retry::Over
    }

    /// Runs a waiting command, claimed, under its keys' leases; nothing if it would have to wait again.
    fn run_again(&mut self, waiter: &Waiter, constants: &TurnConstants) -> Option<Output> {
        let start = self.clock.ticks();
        let row = self.execution.table.row(waiter.row);
        let stats = constants.shared.stats.of(self.number);
        let counts = &stats.commands[waiter.row as usize];
        let (args, mut session, mut output) = (waiter.args(), waiter.session(), Output::new());
        let mut reply = Reply::new(&mut output, waiter.protocol());
        if !self.admit_again(row.command.flags, args.hashes()) {
            counts.rejected.add(1);
            stats.counters.commands_rejected.add(1);
            reply_error(CommandError::OutOfMemory, &mut reply, stats);
            return Some(said(output, waiter));
        }
        // Whoever deleted its user has ended its wait as well.
        session.renew_user(&constants.users);
        session.last_row = waiter.row;
        let mut executor = self.execution.executor(&mut session, constants, &self.clock, start);
        if executor.ctx.session.restricted
            && let Err(denied) = may_run(&executor.ctx.session.user, row, &args)
        {
            counts.rejected.add(1);
            stats.counters.commands_rejected.add(1);
            note_denied(&executor.ctx, row, &args, denied, security::Context::TopLevel);
            let text = denied.text(&executor.ctx.session.user, row, &args, false);
            reply.error_bytes(&[b"NOPERM ", &*text].concat());
            stats.count_error("NOPERM");
            return Some(said(output, waiter));
        }
        match executor.handle(row, &args, &mut reply) {
            Ok(()) => {}
            Err(CommandError::Blocked) => {
                let (blocking, _) = session.blocking.take().expect("the handler has said what for");
                waiter.retry_ms.store(blocking.retry_ms, Ordering::Relaxed);
                return None;
            }
            Err(error) => {
                counts.failed.add(1);
                reply_error(error, &mut reply, stats);
            }
        }
        let ns = waiter.ran_ns + self.clock.ns_between(start, self.clock.ticks());
        self.count_wait(waiter, ns);
        // For the next one who waits, too.
        self.clock.read();
        constants.note(row, &args, &session, ns, self.clock.now_ms());
        Some(said(output, waiter))
    }

    /// A command that waited is over: it counts as one that ran, for so long.
    fn count_wait(&self, waiter: &Waiter, ns: u64) {
        self.stats().count_calls(waiter.row, 1, ns);
    }

    /// Brings a reply to the client of this worker that waits for it.
    pub(super) fn deliver(&mut self, served: Served) {
        let Served { place, wait_id, mut output } = served;
        let token = Token { slot: place.slot, generation: place.generation };
        if self.waits_for(token, wait_id).is_some() {
            let connection = self.connections.at(token.slot);
            connection.output.append(&mut output);
            // What it has changed was published where it was served.
            connection.session.written_ticket = self.shared.journal.drawn();
            self.lift(token.slot);
        }
    }

    /// Tells a client of this worker, whose wait was ended by somebody else, that it was unblocked.
    pub(super) fn tell_unblocked(&mut self, token: Token, wait_id: WaitId, how: Unblocking) {
        let Some(waiter) = self.waits_for(token, wait_id) else { return };
        self.leave_queues(&waiter);
        self.reply_unserved(&waiter, token.slot, how);
        if how == Unblocking::RoleChanged {
            self.finish(token);
        }
    }

    /// Ends the waits whose time is up.
    pub(super) fn end_waits(&mut self) {
        let now_ms = self.clock.now_ms();
        let mut being_served = Vec::new();
        while let Some(slot) = self.timers.next_due(now_ms) {
            let waiter = self.connections.at(slot).wait.clone();
            let waiter = waiter.expect("a wait that is over has no timer");
            if !waiter.gives_up(now_ms) {
                waiter.note_due();
                self.due.push(slot);
                continue;
            }
            match waiter.client_info.wait.end(waiter.wait_id) {
                WaitOutcome::Ended => {
                    self.leave_queues(&waiter);
                    self.reply_unserved(&waiter, slot, Unblocking::Timeout);
                }
                // It may come to nothing: to be looked at in the next turn.
                WaitOutcome::BeingServed => being_served.push((waiter.next_timer_ms(), slot)),
                // Its reply is on the way.
                WaitOutcome::WasOver => {}
            }
        }
        being_served.into_iter().for_each(|(timer_ms, slot)| self.timers.add(timer_ms, slot));
        self.show_timers();
    }

    /// A connection that may be waiting ends.
    pub(super) fn abandon_wait(&mut self, slot: u32) {
        let connection = self.connections.at(slot);
        let Some(waiter) = connection.wait.take() else { return };
        // What lies behind the command does not run any more, so the connection stays blocked.
        connection.session.client_info.set(flag::BLOCKED, false);
        waiter.client_info.wait.abandon(waiter.wait_id);
        self.timers.remove(waiter.timer_ms(), slot);
        self.show_timers();
        self.leave_queues(&waiter);
    }

    /// The waiter of a connection that is still in this wait.
    fn waits_for(&mut self, token: Token, wait_id: WaitId) -> Option<Arc<Waiter>> {
        let waiter = self.connections.find(token)?.wait.as_ref()?;
        (waiter.wait_id == wait_id).then(|| Arc::clone(waiter))
    }

    /// The wait is over; what is left of it in the queues is a cleanup.
    fn leave_queues(&mut self, waiter: &Waiter) {
        self.cleanups.extend(waiter.awaited().map(|(_, key)| Cleanup::WaiterOver(key)));
    }

    /// Answers a command that waited in vain, and lets its client go on.
    fn reply_unserved(&mut self, waiter: &Waiter, slot: u32, how: Unblocking) {
        let connection = self.connections.at(slot);
        let mut reply = Reply::new(&mut connection.output, waiter.protocol());
        let stats = self.shared.stats.of(self.number);
        let mark = reply.mark();
        let error = match how {
            Unblocking::Timeout => None,
            Unblocking::Asked => Some(UNBLOCKED),
            Unblocking::RoleChanged => Some(ROLE_CHANGED),
        };
        match error {
            None => waiter.blocking.on_timeout.reply(&self.shared, &mut reply),
            Some(error) => {
                stats.commands[waiter.row as usize].failed.add(1);
                stats.count_error(error);
                reply.error(error);
            }
        }
        if waiter.is_silent {
            reply.truncate(mark);
        }
        self.count_wait(waiter, waiter.ran_ns);
        self.lift(slot);
    }

    /// Lets a client go on that waited.
    fn lift(&mut self, slot: u32) {
        let connection = self.connections.at(slot);
        let waiter = connection.wait.take().expect("it waited");
        assert!(connection.block_reason == BlockReason::Blocked);
        connection.set_block_reason(BlockReason::None);
        // Waiting was not being idle.
        connection.session.client_info.active_ms.store(self.clock.now_ms(), Relaxed);
        self.timers.remove(waiter.timer_ms(), slot);
        self.show_timers();
        self.make_ready(slot);
        self.make_dirty(slot);
        // Its reply leaves first: it has waited longer than those whose commands have just come.
        if let Some(last) = self.dirty.len().checked_sub(1) {
            self.dirty.swap(0, last);
        }
    }

    fn show_timers(&self) {
        self.stats().waits_timed.set(self.timers.len() as u64);
    }
}

/// What of a reply the client wants.
fn said(mut output: Output, waiter: &Waiter) -> Output {
    if waiter.is_silent {
        output.clear();
    }
    output
}
