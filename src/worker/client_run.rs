//! A client run: consecutive commands of a group that one connection sent and that lie in one buffer.
//!
//! Design: what is the same for all of them (session, output, input, what commands are run with) is got once; before each
//! command only that is looked at which the one before may have changed. A command that makes a key ready for which a client
//! waits ends the client run, so that the client is served before the next.
//!
//! Not here: forming groups (`exec::group`), whether a command may run (`admission`), what running one means (`call`).

use super::admission::Admission;
use super::blocking::made_ready;
use super::call::{Executor, TurnConstants};
use super::following::acknowledge;
use super::memory::{EvictionContext, Memory};
use super::transaction::{enqueue, refuse_in, reject};
use super::{Worker, run};
use crate::command::{Args, Effect, Flags, Outcome, Replies, Role, Row, Scope, is_about_oneself};
use crate::exec::{Gathered, REFUSED, Source};
use crate::io::Io;
use crate::net::connection::{BlockReason, OUTPUT_BYTES_HIGH};
use crate::resp::{Mark, Output, Reply, Span};

/// What became of a command.
enum MemberOutcome {
    /// It has run, or was queued or refused.
    Done,
    /// It and all behind it have to wait for something, but for no key.
    Blocked(BlockReason),
    /// It waits for keys.
    Wait,
    /// It runs a script, which was suspended.
    Busy,
}

pub(super) struct ClientRun<'a> {
    pub(super) executor: Executor<'a>,
    pub(super) memory: &'a mut Memory,
}

impl<I: Io> Worker<I> {
    /// Runs the first client run of `members`, before which `done` others of the group have run, and whose leases are
    /// held: how many commands it was. Leases go back behind all of them but the last. `ticks` is a reading of the processor's
    /// counter, which is moved on.
    #[inline]
    pub(super) fn run_client(
        &mut self,
        members: &[u32],
        done: usize,
        constants: &TurnConstants,
        ticks: &mut u64,
    ) -> usize {
        let first = &self.batch.commands[members[0] as usize];
        let connection = self.connections.at(first.slot);
        // Whoever has killed it may have been told so, while it is this worker that will close it. A primary that is followed no more
        // has nothing to say.
        let upstream = &connection.session.upstream;
        let is_former = upstream.as_ref().is_some_and(|applied| !applied.is_current(&self.shared.link));
        let is_upstream = upstream.is_some();
        let is_over =
            connection.ended || connection.closing || connection.session.client_info.is_killed() || is_former;
        if is_over && is_upstream {
            // What does not run does not count as applied.
            connection.requeue_from(first.start as usize);
        }
        if is_over || connection.requeued_in_turn == self.turn {
            return 1;
        }
        // Its user is gone: it became that user when those who had it were ended already. Who has asked for that itself is told.
        let is_told = connection.session.withheld_reply.is_some();
        if !is_told && !connection.session.renew_user(&constants.users) {
            let place = connection.session.client_info.kill();
            self.execution.effects.extend(place.map(Effect::Kill));
            return 1;
        }
        // Its leases are held the way it needs them.
        connection.session.needs_exclusive = false;
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(first.slot);
        }
        if !connection.output.has_buffer()
            && let Some(spare) = self.spares.pop()
        {
            connection.output.lend(spare);
        }
        let input = match first.source {
            Source::Input(index) => self.io.input(&self.batch.inputs[index as usize]),
            Source::QueryBuffer => &[],
        };
        let unsent_before = connection.session.replica.is_some().then(|| connection.output.len());
        let (buffer, large, session, output) = connection.parts(first.source, input);
        let (batch, first_slot) = (&self.batch, first.slot);
        let of_client_run =
            |command: &&Gathered| command.slot == first.slot && command.source == first.source;
        let at = |place: usize| {
            members.get(place).map(|member| &batch.commands[*member as usize]).filter(of_client_run)
        };
        let args_of =
            |command: &Gathered| Args::of(buffer, batch.spans_of(command), large, batch.hashes_of(command));
        let mut executor = self.execution.executor(session, constants, &self.clock, *ticks);
        if is_upstream {
            executor.ctx.now_ms = 0;
        }
        let mut client_run = ClientRun { executor, memory: &mut self.memory };
        let (mut count, mut next, mut stop) = (0, Some(first), None);
        let (mut gates, table) = (client_run.gates(), client_run.executor.table);
        let mut has_shared = client_run.executor.ctx.leases.has_shared();
        let mut row = table.get(first.row);
        while let Some(command) = next {
            count += 1;
            next = at(count);
            let args = args_of(command);
            let like_it = next.is_some_and(|next| next.row == command.row);
            let mut reply = Reply::new(output, client_run.executor.ctx.session.protocol);
            let is_full = reply.output().len() >= OUTPUT_BYTES_HIGH;
            let (mut ends, mut is_plain) = (false, true);
            let step = match row {
                // One that was gathered behind a MULTI has no leases.
                Some(row) if !(row.gates.has(gates) | is_full | command.queued) => {
                    if has_shared && command.shares {
                        client_run.run_shared(row, &args, &mut reply, like_it)
                    } else {
                        client_run.run_plain(row, &args, &mut reply, like_it)
                    }
                }
                _ => {
                    is_plain = false;
                    let step = client_run.step(command, &args, &mut reply, like_it);
                    ends = client_run.executor.ctx.session.close_after_reply;
                    gates = client_run.gates();
                    has_shared = client_run.executor.ctx.leases.has_shared();
                    step
                }
            };
            if !matches!(step, MemberOutcome::Done) {
                (stop, ends) = (Some((*command, step)), true);
            }
            ends |= self.serves && client_run.made_ready(command, &args);
            if ends || !like_it {
                client_run.executor.time_joined(command.row, &args);
                if is_plain {
                    client_run.executor.ctx.session.last_row = command.row;
                }
                row = next.and_then(|next| table.get(next.row));
            }
            if ends {
                break;
            }
            // Where a stream is applied, leases go back once it is noted how far.
            if next.is_some() && !is_upstream {
                client_run.return_leases(done + count - 1);
            }
        }
        if is_upstream {
            let last = at(count - 1).expect("it has just run");
            let end = if stop.is_some() { last.start as usize } else { end_of(batch.spans_of(last)) };
            client_run.note_applied(buffer, end, output);
        }
        *ticks = client_run.executor.ticks;
        let has_blocked = matches!(stop, Some((_, MemberOutcome::Blocked(_))));
        connection.session.commands_run += count as u64 - u64::from(has_blocked);
        // A reply that is withheld is its last.
        connection.ended |=
            connection.session.close_after_reply && connection.session.withheld_reply.is_none();
        // Its leases were not refused. If it is held back for something else, nothing stays reserved for it meanwhile.
        connection.refusals = 0;
        if unsent_before.is_some_and(|bytes| connection.output.len() > bytes) {
            self.refuse_replica(first_slot);
            return count;
        }
        match stop {
            None => {}
            Some((command, MemberOutcome::Wait)) => *ticks = self.begin_wait(&command, *ticks),
            Some((command, MemberOutcome::Blocked(why))) => self.block(&command, why),
            Some((command, MemberOutcome::Busy)) => self.begin_busy(&command),
            Some((_, MemberOutcome::Done)) => unreachable!("that stops nothing"),
        }
        count
    }

    /// A replica has asked for a reply, which would stand in the middle of its stream.
    #[cold]
    fn refuse_replica(&mut self, slot: u32) {
        let connection = self.connections.at(slot);
        let (token, address) = (connection.token, &connection.session.client_info.address);
        log::warn!("Replica {address} has sent a command that is answered: disconnecting it");
        self.close(token);
    }

    /// Puts a command and all behind it on its connection off until the reason is gone.
    #[cold]
    fn block(&mut self, command: &Gathered, why: BlockReason) {
        self.connections.at(command.slot).set_block_reason(why);
        self.requeue(command);
        match why {
            BlockReason::Paused => self.paused.push(command.slot),
            // It needs leases after all: it was gathered as queued, but MULTI was refused, or it has run and passes once more,
            // or goes on where it stopped.
            BlockReason::None => self.make_ready(command.slot),
            _ => {}
        }
    }
}

impl ClientRun<'_> {
    /// Gives back the leases that nobody needs behind this member of the group. What it may have written is noted before.
    #[inline]
    fn return_leases(&mut self, member: usize) {
        let member = member as u32;
        if self.executor.ctx.leases.has_returns_behind(member) {
            if self.memory.has_unnoted() {
                let (memory, eviction) = self.eviction_context();
                memory.note_written(&eviction);
            }
            self.executor.ctx.leases.return_behind(member);
        }
    }

    fn eviction_context(&mut self) -> (&mut Memory, EvictionContext<'_>) {
        let (ctx, clock) = (&mut self.executor.ctx, self.executor.clock);
        let eviction = EvictionContext {
            leases: ctx.leases,
            shared: ctx.shared,
            stats: ctx.stats,
            clock,
            rng: ctx.rng,
            effects: ctx.effects,
            changes: ctx.changes,
            journal: ctx.journal,
        };
        (self.memory, eviction)
    }

    fn made_ready(&self, command: &Gathered, args: &Args<'_>) -> bool {
        let Executor { ctx, became_ready, .. } = &self.executor;
        made_ready(command.scope, args.hashes(), &ctx.shared.keyspace, ctx.leases, became_ready)
    }

    /// Runs a command that passes the gates.
    #[inline(always)]
    fn run_plain(
        &mut self,
        row: &Row,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
        like_it: bool,
    ) -> MemberOutcome {
        let outcome = self.executor.run_handler(row, args, reply);
        if outcome.is_ok() && !self.executor.ctx.changes.is_listened() {
            self.executor.note_done(row, args, like_it);
            return MemberOutcome::Done;
        }
        self.finish_plain(outcome, row, args, reply, like_it)
    }

    /// Its changes are listened to, or it has failed, waits, or is not at its end.
    #[inline(never)]
    fn finish_plain(
        &mut self,
        outcome: Outcome,
        row: &Row,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
        like_it: bool,
    ) -> MemberOutcome {
        let outcome = self.executor.end_listened(outcome, row, args);
        let has_run = self.executor.finish(outcome, row, args, reply, like_it);
        self.outcome(has_run)
    }

    /// What becomes of a command that has run to its end, or has not.
    #[inline(always)]
    fn outcome(&self, has_run: bool) -> MemberOutcome {
        if has_run {
            MemberOutcome::Done
        } else if self.executor.ctx.session.blocking.is_some() {
            MemberOutcome::Wait
        } else if self.executor.suspended.is_some() {
            MemberOutcome::Busy
        } else {
            MemberOutcome::Blocked(BlockReason::None)
        }
    }

    fn step(
        &mut self,
        command: &Gathered,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
        like_it: bool,
    ) -> MemberOutcome {
        if self.executor.ctx.session.upstream.is_some() {
            return self.step_of_primary(command, args, reply, like_it);
        }
        if reply.output().len() >= OUTPUT_BYTES_HIGH {
            return MemberOutcome::Blocked(BlockReason::Output);
        }
        // What a client wants no reply to is taken back afterwards.
        let mark = (self.executor.ctx.session.replies != Replies::On).then(|| reply.mark());
        let step = self.run(command, args, reply, like_it);
        if let (Some(mark), MemberOutcome::Done) = (mark, &step) {
            self.silence(command, reply, mark);
        }
        step
    }

    /// Takes back the reply to a command, unless it has switched replies on. What tells of a subscription is a message and stays;
    /// that it was queued or refused is a reply.
    #[cold]
    fn silence(&mut self, command: &Gathered, reply: &mut Reply<'_>, mark: Mark) {
        let session = &mut *self.executor.ctx.session;
        if session.replies != Replies::On {
            let row = (command.row != REFUSED).then(|| self.executor.table.row(command.row));
            let said = reply.output().take_since(mark);
            if row.is_some_and(|row| is_about_oneself(&row.full_name)) && is_message(&said) {
                reply.output().push_bytes(&said);
            }
            session.replies = run::next_replies(session.replies, row);
        }
    }

    #[inline(always)]
    fn run(
        &mut self,
        command: &Gathered,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
        like_it: bool,
    ) -> MemberOutcome {
        let Executor { ctx, table, .. } = &mut self.executor;
        // What it has sent, whatever becomes of it: CLIENT LIST shows it of clients in a transaction or a pause too.
        ctx.session.last_row = command.row;
        if command.row == REFUSED {
            refuse_in(ctx, args, reply, table);
            return MemberOutcome::Done;
        }
        let row = table.row(command.row);
        match self.admit(row, command, args) {
            Admission::Yes => {}
            Admission::Error(error) => {
                let ctx = &mut self.executor.ctx;
                ctx.stats.commands[command.row as usize].rejected.add(1);
                ctx.stats.counters.commands_rejected.add(1);
                reject(error, row.role, ctx.session, reply, ctx.stats);
                return MemberOutcome::Done;
            }
            Admission::Denied(denied) => {
                self.deny(row, args, denied, reply);
                return MemberOutcome::Done;
            }
            Admission::OnlyListens => {
                self.refuse_listener(row, reply);
                return MemberOutcome::Done;
            }
            // One that has run already and only waits for its reply may be what began the pause.
            Admission::Paused if self.executor.ctx.session.withheld_reply.is_some() => {}
            Admission::Paused => return MemberOutcome::Blocked(BlockReason::Paused),
        }
        self.run_admitted(row, command, args, reply, like_it)
    }

    #[inline(always)]
    fn run_admitted(
        &mut self,
        row: &Row,
        command: &Gathered,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
        like_it: bool,
    ) -> MemberOutcome {
        let ctx = &mut self.executor.ctx;
        if ctx.session.multi.is_some() && row.role == Role::Queued {
            assert!(command.queued, "what stands behind a MULTI is gathered as such");
            let added_bytes = enqueue(row, args, ctx.session, reply, ctx.stats);
            if self.memory.is_limited() {
                self.memory.note_queued(added_bytes);
            }
            return MemberOutcome::Done;
        }
        if command.queued {
            return MemberOutcome::Blocked(BlockReason::None);
        }
        if matches!(command.scope, Scope::Transaction | Scope::Alone) {
            return self.run_apart(row, args, reply);
        }
        if self.executor.ctx.leases.has_shared() && command.shares {
            return self.run_shared(row, args, reply, like_it);
        }
        let has_run = self.executor.call(row, args, reply, like_it);
        self.outcome(has_run)
    }

    /// A command of a primary's stream. Nothing forbids it, and nobody is told what it replies; an error is for the log.
    #[inline(never)]
    fn step_of_primary(
        &mut self,
        command: &Gathered,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
        like_it: bool,
    ) -> MemberOutcome {
        if self.executor.constants.obstacles.must_wait {
            return MemberOutcome::Blocked(BlockReason::Paused);
        }
        if args.is(0, "REPLCONF") {
            let asks = args.len() > 1 && args.is(1, "GETACK");
            if let Some(applied) = &mut self.executor.ctx.session.upstream {
                applied.is_asked |= asks;
            }
            return MemberOutcome::Done;
        }
        let (mark, errors) = (reply.mark(), reply.output().error_count());
        let row = (command.row != REFUSED).then(|| self.executor.table.row(command.row));
        let session = &mut *self.executor.ctx.session;
        if row.is_some_and(|row| row.role == Role::Begin)
            && session.multi.is_none()
            && let Some(applied) = &mut session.upstream
        {
            applied.note_begin(command.start as usize);
        }
        let step = match row.filter(|row| may_be_replicated(row)) {
            Some(row) => {
                self.executor.ctx.session.last_row = command.row;
                self.note_memory_of_primary(row, command, args);
                self.run_admitted(row, command, args, reply, like_it)
            }
            None => {
                reply.error("ERR no command that is replicated");
                MemberOutcome::Done
            }
        };
        if reply.output().error_count() != errors {
            let said = reply.output().take_since(mark);
            self.executor.ctx.shared.link.note_failure(args.at(0), &said);
        } else {
            reply.truncate(mark);
        }
        match step {
            // What an old primary sends literally does not wait here.
            MemberOutcome::Wait => {
                self.executor.ctx.session.blocking = None;
                MemberOutcome::Done
            }
            step => step,
        }
    }

    /// What a primary's command writes counts for the limit, though it is never refused.
    fn note_memory_of_primary(&mut self, row: &Row, command: &Gathered, args: &Args<'_>) {
        if !row.command.flags.has(self.memory.watched()) {
            return;
        }
        let session = &self.executor.ctx.session;
        let hashes = session.queued_hashes().to_vec();
        let (scope, hashes) = match row.role {
            Role::Exec => (session.scope(), &hashes[..]),
            _ => (command.scope, args.hashes()),
        };
        let (memory, mut eviction) = self.eviction_context();
        let is_admitted = memory.admit(Flags::WRITE, scope, hashes, &mut eviction);
        assert!(is_admitted, "nothing was asked for");
    }

    /// All commands of a primary have run up to `end` of this source, and their leases are held.
    fn note_applied(&mut self, source: &[u8], end: usize, output: &mut Output) {
        let shared = self.executor.ctx.shared;
        let session = &mut *self.executor.ctx.session;
        session.advance_upstream(source, end, &shared.replication, &shared.link);
        let is_asked = session.upstream.as_mut().is_some_and(|applied| std::mem::take(&mut applied.is_asked));
        if is_asked {
            acknowledge(output, shared);
        }
    }

    /// A command whose shards others may be reading. If it has found that it must change something, nothing is left of it, and it
    /// runs again in a later group, which has the shards to itself.
    #[inline(never)]
    fn run_shared(
        &mut self,
        row: &Row,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
        like_it: bool,
    ) -> MemberOutcome {
        let counters = &self.executor.ctx.stats.counters;
        let (mark, hits, misses) =
            (reply.mark(), counters.keyspace_hits.read(), counters.keyspace_misses.read());
        let (start, tracks_keys) = (self.executor.ticks, self.executor.constants.tracks_keys);
        let outcome = self.executor.handle(row, args, reply);
        if !self.executor.ctx.session.needs_exclusive {
            let has_run = self.executor.finish(outcome, row, args, reply, like_it && !tracks_keys);
            assert!(has_run, "what only reads waits for no key");
            if tracks_keys {
                self.executor.track(row, args, start, reply.output().bytes_since(mark));
            }
            return MemberOutcome::Done;
        }
        reply.truncate(mark);
        let counters = &self.executor.ctx.stats.counters;
        counters.keyspace_hits.set(hits);
        counters.keyspace_misses.set(misses);
        MemberOutcome::Blocked(BlockReason::None)
    }

    /// EXEC, or a command that has its group to itself. One that changes how others' commands run is requeued once it has run,
    /// and its reply is kept; when it comes here again, all leases are held.
    #[inline(never)]
    fn run_apart(&mut self, row: &Row, args: &Args<'_>, reply: &mut Reply<'_>) -> MemberOutcome {
        if let Some(withheld) = self.executor.ctx.session.withheld_reply.take() {
            reply.output().push_bytes(&withheld);
            return MemberOutcome::Done;
        }
        if row.role == Role::Exec {
            let has_run = self.executor.execute_transaction(row, args, reply);
            return if has_run { MemberOutcome::Done } else { MemberOutcome::Busy };
        }
        let (mark, errors) = (reply.mark(), reply.output().error_count());
        let has_run = self.executor.call(row, args, reply, false);
        if !has_run {
            assert!(self.executor.ctx.session.blocking.is_some(), "it is run again for nothing else");
            return MemberOutcome::Wait;
        }
        // What failed has changed nothing, and a single worker has no others.
        if !row.command.changes_others
            || self.executor.ctx.leases.is_solo()
            || reply.output().error_count() != errors
        {
            return MemberOutcome::Done;
        }
        self.executor.ctx.session.withheld_reply = Some(reply.output().take_since(mark));
        MemberOutcome::Blocked(BlockReason::None)
    }
}

/// Whether it is a message rather than a status or an error.
fn is_message(said: &[u8]) -> bool {
    matches!(said.first(), Some(b'*' | b'>'))
}

/// Where a command ends whose arguments are all in their source.
fn end_of(spans: &[Span]) -> usize {
    let last = spans.last().expect("a command has a name");
    debug_assert!(last.large_index().is_none(), "a primary's bulks are not received elsewhere");
    last.start as usize + last.len as usize + b"\r\n".len()
}

/// Whether a primary may send this: what changes data, and what belongs to the stream itself.
fn may_be_replicated(row: &Row) -> bool {
    const CHANGES: Flags = Flags::WRITE.with(Flags::MAY_REPLICATE);
    row.command.flags.has(CHANGES)
        || matches!(row.role, Role::Begin | Role::Exec)
        || matches!(&*row.full_name, "select" | "ping")
}
