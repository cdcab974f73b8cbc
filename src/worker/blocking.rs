//! Clients that wait for keys: put on hold, served, let go on.
//!
//! Design: see `exec::blocking`. While a client waits, its connection is on hold, but read from, so that its end is noticed;
//! what it sends meanwhile stays in its inbox. A wait ends in one of these ways, and whoever claims it (`observe::Claim`)
//! brings the reply to the client's worker, which lifts the hold:
//!
//! | what | who claims |
//! |---|---|
//! | a key holds what it waits for | the worker whose command did it, still under its leases |
//! | its time is up | its own worker |
//! | time makes of a key what it waits for (`Blocking::retry_ms`) | its own worker, under its leases |
//! | CLIENT UNBLOCK | the worker that runs it |
//! | the connection ends | its own worker; nobody is told |
//!
//! Registrations that a claim leaves behind are removed by who holds their leases, or else are chores.
//!
//! For MONITOR, the slow log and statistics a command that waited counts when it is over, as one, and its waiting is no part
//! of its duration.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::{self, Relaxed};

use super::call::{Facts, Kit, reply_error};
use super::chores::Chore;
use super::run::next_replies;
use super::{Mail, Worker};
use crate::command::{Args, CommandError, Scope};
use crate::exec::blocking::DUE;
use crate::exec::{Gathered, Source, Waiter, blocking};
use crate::io::{Io, Token};
use crate::net::connection::Hold;
use crate::observe::{ClientPlace, Ending, Ticket, flag};
use crate::resp::{Output, Reply};
use crate::store::{Keyspace, Leases, ReadyKey, ShardId};

/// How soon at most a waiting command is run again whose time for that has come, if that was not possible, ms.
const AGAIN_MS: u64 = 1;

/// What CLIENT UNBLOCK tells the client, if asked to.
const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";

/// A reply on its way to the client that waits for it.
pub struct Served {
    /// Where the client lives.
    place: ClientPlace,
    /// Which of its waits is over.
    ticket: Ticket,
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
        Scope::Transaction => !became_ready.is_empty(),
        Scope::None | Scope::Alone => false,
    }
}

impl<I: Io> Worker<I> {
    /// The command has to wait: its client is put on hold, and it queues for its keys, whose leases are held.
    #[cold]
    pub(super) fn begin_wait(&mut self, command: &Gathered, start: u64) -> u64 {
        let input = match command.source {
            Source::Input(index) => self.io.input(&self.batch.inputs[index as usize]),
            Source::Spill => &[],
        };
        let spans = self.batch.spans_of(command);
        let last = spans.last().expect("a command has a name");
        assert!(last.large_index().is_none(), "what ends a command that waits is short");
        let end = last.start as usize + last.len as usize + b"\r\n".len();
        let (row, now) = (self.kit.table.row(command.row), self.clock.ticks());
        let connection = self.connections.at(command.slot);
        if connection.input_ended {
            // Its client has gone, or as in Redis is taken for gone: nobody may be served who will not read what he gets. What
            // it has sent behind does not run any more, so the connection is on hold until the flush closes it.
            connection.session.blocking = None;
            connection.hold = Hold::Blocked;
            connection.held_in_turn = self.turn;
            connection.put_back(end);
            return now;
        }
        let (buffer, large, session, _) = connection.parts(command.source, input);
        let args = Args::new(buffer, spans, large).hashed(self.batch.hashes_of(command));
        let wait = session.blocking.take().expect("the handler has said what for");
        let ran_ns = self.clock.ns_between(start, now);
        let waiter = Waiter::new(session, row, &args, wait, ran_ns, &self.shared.keyspace);
        session.replies = next_replies(session.replies, Some(row));
        let waiter = Arc::new(waiter);
        waiter.register(&self.shared.keyspace, &mut self.kit.leases);
        // Whoever serves it in this chunk needs the leases of all its keys.
        self.kit.leases.plan_no_returns();
        self.serves = true;
        let timer_ms = waiter.next_timer_ms();
        connection.wait = Some(waiter);
        connection.set_hold(Hold::Blocked);
        connection.held_in_turn = self.turn;
        connection.put_back(end);
        self.io.look_for_end(connection.token);
        self.timers.add(timer_ms, command.slot);
        self.show_timers();
        now
    }

    /// A command has run, or a whole transaction: whoever waits for what it made ready is served, in the same instant.
    pub(super) fn serve(&mut self, command: &Gathered, facts: &Facts) {
        let (keyspace, hashes) = (&facts.shared.keyspace, self.batch.hashes_of(command));
        let Kit { leases, became_ready, .. } = &mut self.kit;
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
            Scope::Transaction | Scope::None | Scope::Alone => {}
        }
        self.serve_ready(facts);
    }

    /// Keys of these shards went without a command: who is to hear of that is served as soon as the leases can be had.
    pub(super) fn serve_lost(&mut self) {
        if self.lost.is_empty() {
            return;
        }
        let facts = self.facts();
        for shard in std::mem::take(&mut self.lost) {
            if !self.serve_shard(shard, &facts) {
                self.lost.push(shard);
            }
            let wanted = self.kit.leases.release_all();
            self.post.wake_wanting(wanted);
        }
        self.facts = Some(facts);
        self.act();
    }

    /// Serves the ready keys of a shard; false if a lease was refused that this needs.
    fn serve_shard(&mut self, shard: ShardId, facts: &Facts) -> bool {
        let (keyspace, leases) = (&facts.shared.keyspace, &mut self.kit.leases);
        if !leases.try_take(shard) {
            return false;
        }
        let hashes: Vec<u64> = leases.shard_ref(shard).ready_hashes().collect();
        if blocking::Along::default().take(hashes.into_iter(), keyspace, leases).is_err() {
            return false;
        }
        take_ready(std::iter::once(shard), leases, &mut self.kit.became_ready);
        self.serve_ready(facts);
        true
    }

    #[cold]
    fn serve_ready(&mut self, facts: &Facts) {
        // Serving one may make a key ready for another, which comes after those that are listed.
        while let Some(key) = self.kit.became_ready.pop_front() {
            self.serve_key(key, facts);
        }
    }

    /// Serves those who wait for a key, in the order in which they came, as long as it holds what they want.
    fn serve_key(&mut self, key: ReadyKey, facts: &Facts) {
        let keyspace = &facts.shared.keyspace;
        let shard = keyspace.shard_of(key.hash);
        // What made the key ready may have taken long, and the key may be gone by now.
        self.clock.read();
        self.kit.leases.shard(shard).begin_serving(key);
        let (mut index, count) = (0, self.kit.leases.shard(shard).waiter_count(key));
        for _ in 0..count {
            let Some(registration) = self.kit.leases.shard(shard).waiter_at(key, index) else { break };
            let key_index = registration.key_index;
            let waiter = Waiter::of(registration);
            let is_over = waiter.card.wait.is_over(waiter.ticket);
            if !is_over && !waiter.is_ready(key_index, keyspace, &self.kit.leases, self.clock.now_ms()) {
                index += 1;
                continue;
            }
            if is_over || !waiter.card.wait.claim(waiter.ticket) {
                blocking::remove_at(key, index, keyspace, &mut self.kit.leases);
                continue;
            }
            let Some(output) = self.run_again(&waiter, facts) else {
                // It found nothing of use, and waits on unless it has gone meanwhile.
                if waiter.card.wait.give_back(waiter.ticket) {
                    index += 1;
                } else {
                    blocking::remove_at(key, index, keyspace, &mut self.kit.leases);
                }
                continue;
            };
            blocking::remove_at(key, index, keyspace, &mut self.kit.leases);
            self.finish_serving(&waiter, Some(key_index), output, keyspace);
        }
        blocking::end_serving(key, keyspace, &mut self.kit.leases);
    }

    /// A waiting command, claimed, has run. It is noted as over in the queues of its keys, but for one where that is done.
    fn finish_serving(&mut self, waiter: &Waiter, done: Option<u32>, output: Output, keyspace: &Keyspace) {
        waiter.card.wait.finish(waiter.ticket);
        for (_, other) in waiter.awaited().filter(|(other, _)| Some(*other) != done) {
            blocking::note_over(other, keyspace, &mut self.kit.leases);
        }
        let touched = crate::store::Waiting::hashes(waiter).iter();
        let touched = touched.map(|hash| keyspace.shard_of(*hash));
        take_ready(touched, &mut self.kit.leases, &mut self.kit.became_ready);
        let served = Served { place: waiter.card.place(), ticket: waiter.ticket, output };
        if usize::from(served.place.worker) == self.number {
            self.deliver(served);
        } else {
            self.post.send(usize::from(served.place.worker), Mail::Served(Box::new(served)));
        }
    }

    /// Runs commands again whose clients wait, because it is time for that.
    pub(super) fn serve_due(&mut self) {
        if self.due.is_empty() {
            return;
        }
        let facts = self.facts();
        let is_paused = facts.shared.pause.active(self.clock.now_ms()).is_some();
        for slot in std::mem::take(&mut self.due) {
            let waiter = self.connections.get(slot).and_then(|connection| connection.wait.clone());
            // Its wait may be over by now, and another may have begun, which has a timer of its own.
            let Some(waiter) = waiter.filter(|waiter| waiter.timer_ms() == DUE) else { continue };
            let is_served = !is_paused && self.serve_in_time(&waiter, &facts);
            let wanted = self.kit.leases.release_all();
            self.post.wake_wanting(wanted);
            if !is_served {
                let soon_ms = self.clock.now_ms() + AGAIN_MS;
                waiter.retry_ms.fetch_max(soon_ms, Ordering::Relaxed);
                self.timers.add(waiter.next_timer_ms(), slot);
            }
        }
        self.show_timers();
        self.facts = Some(facts);
        self.act();
    }

    /// Runs a waiting command again, if the leases for that are free; whether its wait is over.
    fn serve_in_time(&mut self, waiter: &Waiter, facts: &Facts) -> bool {
        let (keyspace, leases) = (&facts.shared.keyspace, &mut self.kit.leases);
        let hashes = crate::store::Waiting::hashes(waiter).iter().copied();
        let has_own = hashes.clone().all(|hash| leases.try_take(keyspace.shard_of(hash)));
        if !has_own || blocking::Along::default().take(hashes, keyspace, leases).is_err() {
            return false;
        }
        self.clock.read();
        if !waiter.card.wait.claim(waiter.ticket) {
            return false;
        }
        let Some(output) = self.run_again(waiter, facts) else {
            waiter.card.wait.give_back(waiter.ticket);
            return false;
        };
        self.finish_serving(waiter, None, output, keyspace);
        self.serve_ready(facts);
        true
    }

    /// Runs a waiting command, claimed, under its keys' leases; nothing if it would have to wait again.
    fn run_again(&mut self, waiter: &Waiter, facts: &Facts) -> Option<Output> {
        let start = self.clock.ticks();
        let row = self.kit.table.row(waiter.row);
        let stats = facts.shared.stats.of(self.number);
        let counts = &stats.commands[waiter.row as usize];
        let (args, mut session, mut output) = (waiter.args(), waiter.session(), Output::new());
        let mut reply = Reply::new(&mut output, waiter.protocol());
        if !self.admit_again(row.command.flags, args.hashes()) {
            counts.rejected.add(1);
            stats.counters.commands_rejected.add(1);
            reply_error(CommandError::OutOfMemory, &mut reply, stats);
            return Some(said(output, waiter));
        }
        match self.kit.caller(&mut session, facts, &self.clock, start).handle(row, &args, &mut reply) {
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
        facts.note(row, &args, &session, ns, self.clock.now_ms());
        Some(said(output, waiter))
    }

    /// A command that waited is over: it counts as one that ran, for so long.
    fn count_wait(&self, waiter: &Waiter, ns: u64) {
        self.stats().count_calls(waiter.row, 1, ns);
    }

    /// Brings a reply to the client of this worker that waits for it.
    pub(super) fn deliver(&mut self, served: Served) {
        let Served { place, ticket, mut output } = served;
        let token = Token { slot: place.slot, generation: place.generation };
        if self.waits_for(token, ticket).is_some() {
            self.connections.at(token.slot).output.append(&mut output);
            self.lift(token.slot);
        }
    }

    /// Tells a client of this worker, whose wait was ended by somebody else, that it was unblocked.
    pub(super) fn tell_unblocked(&mut self, token: Token, ticket: Ticket, error: bool) {
        let Some(waiter) = self.waits_for(token, ticket) else { return };
        self.leave_queues(&waiter);
        self.reply_unserved(&waiter, token.slot, error);
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
            match waiter.card.wait.end(waiter.ticket) {
                Ending::Ended => {
                    self.leave_queues(&waiter);
                    self.reply_unserved(&waiter, slot, false);
                }
                // It may come to nothing: to be looked at in the next turn.
                Ending::BeingServed => being_served.push((waiter.next_timer_ms(), slot)),
                // Its reply is on the way.
                Ending::WasOver => {}
            }
        }
        being_served.into_iter().for_each(|(timer_ms, slot)| self.timers.add(timer_ms, slot));
        self.show_timers();
    }

    /// A connection that may be waiting ends.
    pub(super) fn abandon_wait(&mut self, slot: u32) {
        let connection = self.connections.at(slot);
        let Some(waiter) = connection.wait.take() else { return };
        // What lies behind the command does not run any more, so the connection stays on hold.
        connection.session.card.set(flag::BLOCKED, false);
        waiter.card.wait.abandon(waiter.ticket);
        self.timers.remove(waiter.timer_ms(), slot);
        self.show_timers();
        self.leave_queues(&waiter);
    }

    /// The waiter of a connection that is still in this wait.
    fn waits_for(&mut self, token: Token, ticket: Ticket) -> Option<Arc<Waiter>> {
        let waiter = self.connections.find(token)?.wait.as_ref()?;
        (waiter.ticket == ticket).then(|| Arc::clone(waiter))
    }

    /// The wait is over; what is left of it in the queues is a chore.
    fn leave_queues(&mut self, waiter: &Waiter) {
        self.chores.extend(waiter.awaited().map(|(_, key)| Chore::WaiterOver(key)));
    }

    /// Answers a command that waited in vain, and lets its client go on.
    fn reply_unserved(&mut self, waiter: &Waiter, slot: u32, error: bool) {
        let connection = self.connections.at(slot);
        let mut reply = Reply::new(&mut connection.output, waiter.protocol());
        let stats = self.shared.stats.of(self.number);
        let mark = reply.mark();
        if error {
            stats.commands[waiter.row as usize].failed.add(1);
            stats.count_error(UNBLOCKED);
            reply.error(UNBLOCKED);
        } else {
            waiter.blocking.on_timeout.reply(&mut reply);
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
        assert!(connection.hold == Hold::Blocked);
        connection.set_hold(Hold::None);
        // Waiting was not being idle.
        connection.session.card.active_ms.store(self.clock.now_ms(), Relaxed);
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
