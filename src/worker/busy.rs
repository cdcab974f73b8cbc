//! A script that runs for longer than `busy-reply-threshold`: suspended in the middle, with all that is needed to go on.
//!
//! Design: while a worker has such a script it keeps its leases and takes bounded turns, which read what its clients
//! send, answer that the server is busy (or run what may run then: SCRIPT KILL, SHUTDOWN NOSAVE, MULTI), and let the
//! script go on for a few ms. Nothing else happens: no command, no cron. The client of the script is blocked; its
//! command, which is requeued, finds the reply when the script has ended (`Session::withheld_reply`). Other workers
//! serve what is not the script's; who waits for a lease of it hears that the server is busy, too.
//!
//! In a transaction the rest of it goes along.
//!
//! Not here: who is told of busy scripts, and kills them (`command::BusyScripts`), running scripts (`script`).

use std::time::{Duration, Instant};

use super::Worker;
use super::call::{Executor, TurnConstants};
use super::script::{Ran, ScriptRun};
use crate::command::{Args, CommandError, Flags, Queue, RunningFunction, Scope, ScriptRetry, Session};
use crate::exec::{Gathered, Leftover, REFUSED, Source};
use crate::io::{Io, Token};
use crate::net::connection::BlockReason;
use crate::resp::{Output, Reply};
use crate::script::{CodeKind, Compiled};
use crate::store::ShardId;

/// How long a busy script goes on between two turns.
pub(super) const SLICE: Duration = Duration::from_millis(2);

/// A script that is suspended.
pub(super) struct SuspendedScript {
    pub(super) compiled: Compiled,
    pub(super) run: ScriptRun,
    /// Whose it is, and what stands in for its session meanwhile.
    caller: Option<Caller>,
    /// The rest of the transaction that it is in.
    pub(super) transaction: Option<TransactionRest>,
    /// It was refused a lease, and has to run again.
    is_refused: bool,
    /// What is to be replied, so far.
    pub(super) output: Output,
}

struct Caller {
    token: Token,
    session: Session,
    /// The command that runs the script, alone.
    command: Queue,
}

/// What of a transaction has yet to run.
pub(super) struct TransactionRest {
    pub(super) queue: Box<Queue>,
    pub(super) next: usize,
}

impl TransactionRest {
    /// The command that runs the script.
    fn current(&self) -> Option<(u16, Args<'_>)> {
        self.queue.commands().nth(self.next - 1)
    }
}

impl SuspendedScript {
    pub(super) fn new(compiled: Compiled, run: ScriptRun) -> Self {
        Self { compiled, run, caller: None, transaction: None, output: Output::new(), is_refused: false }
    }
}

impl<I: Io> Worker<I> {
    /// Whether a script is suspended.
    #[inline]
    pub(super) fn is_busy(&self) -> bool {
        self.execution.suspended.is_some()
    }

    /// The script that this command runs was suspended: its client waits until it has ended.
    #[cold]
    pub(super) fn begin_busy(&mut self, command: &Gathered) {
        let Some(mut suspended) = self.execution.suspended.take() else { return };
        let input = match command.source {
            Source::Input(index) => self.io.input(&self.batch.inputs[index as usize]),
            Source::QueryBuffer => &[],
        };
        let connection = self.connections.at(command.slot);
        let token = connection.token;
        let (buffer, large, session, _) = connection.parts(command.source, input);
        let args =
            Args::new(buffer, self.batch.spans_of(command), large).hashed(self.batch.hashes_of(command));
        let run = &mut suspended.run;
        let mut stand_in =
            Session::stand_in(std::sync::Arc::clone(&session.client_info), session.db, session.protocol);
        stand_in.denies_blocking = true;
        stand_in.tracking.clone_from(&session.tracking);
        session.denies_blocking = false;
        if session.db != run.db {
            session.select(run.db);
        }
        let mut copy = Queue::default();
        let row = self.execution.table.row(command.row);
        // A command that was gathered fits.
        let copied = copy.push(row, &args);
        debug_assert!(copied.is_ok());
        run.is_busy = true;
        let (name, ran_ms) = (suspended.compiled.code.name(), run.ran_ms(&self.clock));
        let function = match suspended.compiled.code.kind() {
            CodeKind::Script => None,
            CodeKind::Function => {
                let begun = Instant::now().checked_sub(Duration::from_millis(ran_ms));
                let queued = suspended.transaction.as_ref().and_then(TransactionRest::current);
                let args = queued.map_or(args, |(_, args)| args);
                let words = args.from(0).map(<[u8]>::to_vec).collect();
                Some(RunningFunction { name: name.clone(), words, begun: begun.unwrap_or_else(Instant::now) })
            }
        };
        let kind = if function.is_some() { "FUNCTION" } else { "SCRIPT" };
        self.shared.busy.begin(self.number, run.has_written, function);
        log::warn!(
            "Slow script detected: still in execution after {ran_ms} milliseconds. You can try killing the script using the {kind} KILL command. Script name is: {name}."
        );
        suspended.caller = Some(Caller { token, session: stand_in, command: copy });
        self.execution.suspended = Some(suspended);
        self.connections.at(command.slot).set_block_reason(BlockReason::Busy);
        self.requeue(command);
    }

    /// What stands behind the suspended script in its group or in the batch waits for a later turn.
    #[cold]
    pub(super) fn defer_behind_busy(&mut self, members: &[u32]) {
        for member in members {
            self.defer_unrefused(*member as usize);
        }
    }

    /// Answers what has been gathered while a script is suspended.
    pub(super) fn answer_busy_batch(&mut self) {
        if self.batch.commands.is_empty() {
            return;
        }
        let mut constants = self.constants();
        let refusal = self.shared.busy.refusal(self.number);
        for place in 0..self.batch.commands.len() {
            if let Some(refusal) = refusal {
                self.answer_busy(place, refusal, &mut constants);
            }
        }
        self.constants = Some(constants);
        self.act();
    }

    /// A command that would have to wait for a busy script is answered now: with an error, unless it may run.
    pub(super) fn answer_busy(&mut self, place: usize, refusal: CommandError, constants: &mut TurnConstants) {
        let command = self.batch.commands[place];
        constants.busy = Some(refusal);
        constants.busy_allows = if self.may_run_busy(&command) { Flags::ALLOW_BUSY } else { Flags::NONE };
        self.group.only(place as u32);
        self.run_group(constants);
        constants.busy = None;
    }

    /// Whether a command that is allowed while a script is busy can run: what it needs is free.
    fn may_run_busy(&mut self, command: &Gathered) -> bool {
        if command.row == REFUSED || command.queued {
            return true;
        }
        let row = self.execution.table.row(command.row);
        if !row.command.flags.has(Flags::ALLOW_BUSY) {
            return false;
        }
        match command.scope {
            Scope::None | Scope::Alone => true,
            // SHUTDOWN: with NOSAVE it looks at nothing.
            Scope::All => {
                let Some(connection) = self.connections.get_mut(command.slot) else { return false };
                let input = match command.source {
                    Source::Input(index) => self.io.input(&self.batch.inputs[index as usize]),
                    Source::QueryBuffer => &[],
                };
                let (buffer, large, _, _) = connection.parts(command.source, input);
                let args = Args::new(buffer, self.batch.spans_of(command), large);
                (1..args.len()).any(|index| args.is(index, "NOSAVE"))
            }
            _ => {
                let keyspace = &self.shared.keyspace;
                let leases = &mut self.execution.leases;
                self.batch.hashes_of(command).iter().all(|hash| leases.try_take(keyspace.shard_of(*hash)))
            }
        }
    }

    /// Whether what was refused a lease has to wait for a busy script: what its client hears.
    pub(super) fn busy_refusal(&self, leftover: &Leftover, shard: ShardId) -> Option<CommandError> {
        if !self.shared.busy.is_any() {
            return None;
        }
        let command = self.batch.commands[leftover.next as usize];
        // One that has run, and waits only for its reply, is not refused any more.
        let session = &self.connections.get(command.slot)?.session;
        if session.withheld_reply.is_some() {
            return None;
        }
        let holder = self.execution.leases.holder(shard)?;
        self.shared.busy.refusal(holder)
    }

    /// Lets the suspended script go on for a while.
    pub(super) fn go_on_busy(&mut self) {
        let Some(mut suspended) = self.execution.suspended.take() else { return };
        if self.stopping {
            // The process ends, by SHUTDOWN NOSAVE: nobody waits for the script.
            self.shared.busy.end(self.number);
            return self.give_back_leases();
        }
        self.clock.read();
        let constants = self.constants();
        let ticks = self.clock.ticks();
        let mut caller = suspended.caller.take().expect("it has one since it was suspended");
        let mut executor = self.execution.executor(&mut caller.session, &constants, &self.clock, ticks);
        let has_ended = executor.go_on(&mut suspended, &caller.command);
        self.constants = Some(constants);
        if has_ended {
            self.end_busy(&suspended, &caller);
        } else {
            suspended.caller = Some(caller);
            self.execution.suspended = Some(suspended);
            self.act();
        }
    }

    /// The script has ended: its client goes on, and everybody else.
    fn end_busy(&mut self, suspended: &SuspendedScript, caller: &Caller) {
        self.shared.busy.end(self.number);
        if let Some(connection) = self.connections.find(caller.token).filter(|connection| !connection.closing)
        {
            if suspended.is_refused {
                connection.session.script_retry = Some(ScriptRetry::All);
            } else {
                connection.session.withheld_reply = Some(suspended.output.to_vec());
            }
            connection.set_block_reason(BlockReason::None);
            self.make_ready(caller.token.slot);
        }
        let constants = self.constants();
        self.serve_ready(&constants);
        self.constants = Some(constants);
        if self.memory.has_unnoted() {
            self.note_group();
        }
        self.give_back_leases();
        self.act();
    }
}

impl Executor<'_> {
    /// A suspended script goes on: whether it has ended, and the transaction that it is in.
    fn go_on(&mut self, suspended: &mut SuspendedScript, command: &Queue) -> bool {
        let (row, exec_args) = command.commands().next().expect("it was copied");
        let exec = self.table.row(row);
        let protocol = self.ctx.session.protocol;
        suspended.run.begin_slice(self.clock, SLICE.as_nanos() as u64);
        let mut reply = Reply::new(&mut suspended.output, protocol);
        match self.resume_script(&suspended.compiled, &mut suspended.run, &mut reply) {
            Ran::Suspended => return false,
            Ran::Done => {}
            Ran::Failed => {
                let of_queue = suspended.transaction.as_ref().and_then(TransactionRest::current);
                let row = of_queue.map_or(exec.id, |(row, _)| row);
                self.ctx.stats.commands[row as usize].failed.add(1);
            }
            Ran::Refused { .. } => {
                suspended.is_refused = true;
                return true;
            }
        }
        let ns = suspended.run.ran_ns(self.clock);
        let Some(mut rest) = suspended.transaction.take() else {
            self.count_suspended(exec, &exec_args, ns);
            return true;
        };
        if let Some((row, args)) = rest.current() {
            let row = self.table.row(row);
            self.count_suspended(row, &args, ns);
            self.list_ready(row, args.hashes());
        }
        self.ctx.session.denies_blocking = true;
        if let Some(next) = self.run_rest(&rest.queue, rest.next, &mut reply) {
            let again = self.suspended.take().expect("it was suspended just now");
            (suspended.compiled, suspended.run) = (again.compiled, again.run);
            suspended.run.is_busy = true;
            rest.next = next;
            suspended.transaction = Some(rest);
            return false;
        }
        self.end_queue(*rest.queue, true);
        self.count_suspended(exec, &exec_args, ns);
        true
    }
}
