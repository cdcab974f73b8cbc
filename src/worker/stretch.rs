//! A stretch: consecutive commands of a chunk that one connection sent and that lie in one buffer.
//!
//! Design: what is the same for all of them (session, output, input, what commands are run with) is got once; before each
//! command only that is looked at which the one before may have changed. A command that makes a key ready for which a client
//! waits ends its stretch, so that the client is served before the next.
//!
//! Not here: forming chunks (`exec::chunk`), what running a command means (`call`).

use super::blocking::made_ready;
use super::call::{Caller, Facts};
use super::memory::{Means, Memory};
use super::transaction::{enqueue, refuse_in, reject};
use super::{Worker, run};
use crate::command::{Args, CommandError, Flags, PauseMode, Replies, Role, Row, Session, Shared};
use crate::exec::{Gathered, REFUSED, Source};
use crate::io::Io;
use crate::net::connection::{Hold, OUTPUT_BYTES_HIGH};
use crate::resp::{Mark, Reply};

/// What became of a command.
enum Step {
    /// It has run, or was queued or refused.
    Done,
    /// It and all behind it have to wait for something, but for no key.
    Hold(Hold),
    /// It waits for keys.
    Wait,
}

/// Whether a command may run now.
enum Admission {
    Yes,
    Error(CommandError),
    Paused,
}

struct Stretch<'a> {
    caller: Caller<'a>,
    memory: &'a mut Memory,
}

impl<I: Io> Worker<I> {
    /// Runs the stretch at the beginning of `members`, whose leases are held: how many commands it was. `ticks` is a reading of
    /// the processor's counter, which is moved on.
    #[inline]
    pub(super) fn run_stretch(&mut self, members: &[u32], facts: &Facts, ticks: &mut u64) -> usize {
        let first = &self.batch.commands[members[0] as usize];
        let connection = self.connections.at(first.slot);
        if connection.held_in_turn == self.turn || connection.ended || connection.closing {
            return 1;
        }
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
            Source::Spill => &[],
        };
        let (buffer, large, session, output) = connection.parts(first.source, input);
        let batch = &self.batch;
        let of_stretch = |command: &&Gathered| command.slot == first.slot && command.source == first.source;
        let at = |place: usize| {
            members.get(place).map(|member| &batch.commands[*member as usize]).filter(of_stretch)
        };
        let args_of = |command: &Gathered| {
            Args::new(buffer, batch.spans_of(command), large).hashed(batch.hashes_of(command))
        };
        let caller = self.kit.caller(session, facts, &self.clock, *ticks);
        let mut stretch = Stretch { caller, memory: &mut self.memory };
        let (mut count, mut next, mut stop) = (0, Some(first), None);
        while let Some(command) = next {
            count += 1;
            next = at(count);
            let args = args_of(command);
            let mut reply = Reply::new(output, stretch.caller.ctx.session.protocol);
            let like_it = next.is_some_and(|next| next.row == command.row);
            let step = stretch.step(command, &args, &mut reply, like_it);
            if !matches!(step, Step::Done) {
                stop = Some((*command, step));
            }
            let ends = stop.is_some()
                || stretch.caller.ctx.session.close_after_reply
                || self.serves && stretch.made_ready(command, &args);
            if ends || !like_it {
                stretch.caller.time_joined(command.row, &args);
            }
            if ends {
                break;
            }
        }
        *ticks = stretch.caller.ticks;
        connection.ended |= connection.session.close_after_reply;
        // Its leases were not refused. If it is held back for something else, nothing stays reserved for it meanwhile.
        connection.refusals = 0;
        match stop {
            None => {}
            Some((command, Step::Wait)) => *ticks = self.begin_wait(&command, *ticks),
            Some((command, Step::Hold(why))) => self.hold_back(&command, why),
            Some((_, Step::Done)) => unreachable!("that stops nothing"),
        }
        count
    }

    /// Puts a command and all behind it on its connection off until the reason is gone.
    #[cold]
    fn hold_back(&mut self, command: &Gathered, why: Hold) {
        self.connections.at(command.slot).set_hold(why);
        self.hold(command);
        match why {
            Hold::Paused => self.paused.push(command.slot),
            // It was gathered as queued, but MULTI was refused: it needs leases after all.
            Hold::None => self.make_ready(command.slot),
            _ => {}
        }
    }
}

impl Stretch<'_> {
    fn made_ready(&self, command: &Gathered, args: &Args<'_>) -> bool {
        let Caller { ctx, became_ready, .. } = &self.caller;
        made_ready(command.scope, args.hashes(), &ctx.shared.keyspace, ctx.leases, became_ready)
    }

    #[inline(always)]
    fn step(&mut self, command: &Gathered, args: &Args<'_>, reply: &mut Reply<'_>, like_it: bool) -> Step {
        if reply.output().len() >= OUTPUT_BYTES_HIGH {
            return Step::Hold(Hold::Output);
        }
        // What a client wants no reply to is taken back afterwards.
        let mark = (self.caller.ctx.session.replies != Replies::On).then(|| reply.mark());
        let step = self.run(command, args, reply, like_it);
        if let (Some(mark), Step::Done) = (mark, &step) {
            self.silence(command, reply, mark);
        }
        step
    }

    /// Takes back the reply to a command, unless it has switched replies on.
    #[cold]
    fn silence(&mut self, command: &Gathered, reply: &mut Reply<'_>, mark: Mark) {
        let session = &mut *self.caller.ctx.session;
        if session.replies != Replies::On {
            let row = (command.row != REFUSED).then(|| self.caller.table.row(command.row));
            reply.truncate(mark);
            session.replies = run::next_replies(session.replies, row);
        }
    }

    #[inline(always)]
    fn run(&mut self, command: &Gathered, args: &Args<'_>, reply: &mut Reply<'_>, like_it: bool) -> Step {
        let Caller { ctx, table, .. } = &mut self.caller;
        // What it has sent, whatever becomes of it: CLIENT LIST shows it of clients in a transaction or a pause too.
        ctx.session.last_row = command.row;
        if command.row == REFUSED {
            refuse_in(ctx, args, reply, table);
            return Step::Done;
        }
        let row = table.row(command.row);
        match self.admit(row, command, args) {
            Admission::Yes => {}
            Admission::Error(error) => {
                let ctx = &mut self.caller.ctx;
                ctx.stats.commands[command.row as usize].rejected.add(1);
                ctx.stats.counters.commands_rejected.add(1);
                reject(error, row.role, ctx.session, reply, ctx.stats);
                return Step::Done;
            }
            Admission::Paused => return Step::Hold(Hold::Paused),
        }
        let ctx = &mut self.caller.ctx;
        if ctx.session.multi.is_some() && row.role == Role::Queued {
            assert!(command.queued, "what stands behind a MULTI is gathered as such");
            enqueue(row, args, ctx.session, reply, ctx.stats);
            return Step::Done;
        }
        if command.queued {
            return Step::Hold(Hold::None);
        }
        if row.role == Role::Exec {
            self.caller.execute_transaction(row, args, reply);
            return Step::Done;
        }
        if self.caller.call(row, args, reply, like_it) { Step::Done } else { Step::Wait }
    }

    #[inline]
    fn admit(&mut self, row: &Row, command: &Gathered, args: &Args<'_>) -> Admission {
        let (ctx, clock) = (&mut self.caller.ctx, self.caller.clock);
        let flags = match row.role {
            Role::Exec => row.command.flags.with(ctx.session.queued_flags()),
            // Queues take memory, whatever is in them.
            _ if command.queued => row.command.flags.with(Flags::DENYOOM),
            _ => row.command.flags,
        };
        let admission = admit(flags, ctx.session, ctx.shared, ctx.now_ms);
        if !flags.has(self.memory.watched()) || !matches!(admission, Admission::Yes) {
            return admission;
        }
        let (scope, hashes) = match row.role {
            Role::Exec => (ctx.session.scope(), ctx.session.queued_hashes()),
            _ => (command.scope, args.hashes()),
        };
        let mut means = Means {
            leases: ctx.leases,
            shared: ctx.shared,
            stats: ctx.stats,
            clock,
            rng: ctx.rng,
            effects: ctx.effects,
        };
        match self.memory.admit(flags, scope, hashes, &mut means) {
            true => Admission::Yes,
            false => Admission::Error(CommandError::OutOfMemory),
        }
    }
}

/// Why a client that has yet to authenticate, or that receives the MONITOR feed, may not run a command.
#[cold]
fn restriction(flags: Flags, session: &Session) -> Option<CommandError> {
    const TOUCHES_KEYS: Flags = Flags::WRITE.with(Flags::READONLY).with(Flags::MAY_REPLICATE);
    if !session.authenticated && !flags.has(Flags::NO_AUTH) {
        return Some(CommandError::NoAuth);
    }
    // To Redis a monitor is a kind of replica.
    let refused = session.monitor && flags.has(TOUCHES_KEYS);
    refused.then_some(CommandError::Text("ERR Replica can't interact with the keyspace"))
}

#[inline]
fn admit(flags: Flags, session: &Session, shared: &Shared, now_ms: u64) -> Admission {
    // One look for both, as hardly any client is either.
    if (!session.authenticated | session.monitor)
        && let Some(error) = restriction(flags, session)
    {
        return Admission::Error(error);
    }
    match shared.pause.active(now_ms) {
        None => Admission::Yes,
        // All means all: a client that is to end the pause must have been faster than whoever began it.
        Some(PauseMode::All) => Admission::Paused,
        Some(PauseMode::Write) if flags.has(Flags::WRITE.with(Flags::MAY_REPLICATE)) => Admission::Paused,
        Some(_) => Admission::Yes,
    }
}
