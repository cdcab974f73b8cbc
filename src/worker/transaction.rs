//! Transactions: what is queued, what ends one, and EXEC.
//!
//! Design: no command before EXEC on its connection is of its group, so all of them have run and its session knows what it needs:
//! the leases of the queued commands' keys and of the watched ones are held when it gets here. It runs the queued commands
//! one after another as if they had come by themselves, and nobody else runs between them.
//!
//! Not here: how commands get into the group (`exec::group`), the queue itself (`command::transactions`).

use super::blocking::take_ready;
use super::busy::TransactionRest;
use super::call::{Executor, reply_error};
use super::refuse::{end_http, is_http, refuse};
use crate::command::{
    Args, Bracket, CommandError, Context, Flags, KEYS_FETCHED_MAX, Queue, Replies, Role, Row, Scope, Session,
    Table, may_run, note_denied,
};
use crate::observe::WorkerStats;
use crate::resp::Reply;
use crate::security;
use crate::store::Entry;

/// Emptied queues that a worker keeps, and the memory each may have.
const QUEUES_MAX: usize = 64;
const QUEUE_BYTES_KEPT: usize = 16 << 10;

const ABORTED: CommandError =
    CommandError::Text("EXECABORT Transaction discarded because of previous errors.");

impl Session {
    /// The flags of the commands that EXEC would run.
    pub(super) fn queued_flags(&self) -> Flags {
        self.multi.as_ref().map_or(Flags::NONE, |queue| queue.flags)
    }

    /// The hashes of their keys.
    pub(super) fn queued_hashes(&self) -> &[u64] {
        self.multi.as_ref().map_or(&[], |queue| queue.hashes())
    }

    /// Which shards they need.
    pub(super) fn scope(&self) -> Scope {
        if self.needs_all() { Scope::All } else { Scope::Keys }
    }
}

/// Queues a command that was admitted between MULTI and EXEC, and returns by how many bytes the queue has grown.
#[inline]
pub(super) fn enqueue(
    row: &Row,
    args: &Args<'_>,
    session: &mut Session,
    reply: &mut Reply<'_>,
    stats: &WorkerStats,
) -> usize {
    let queue = session.multi.as_mut().expect("the caller looked");
    let before_bytes = queue.bytes_allocated();
    if row.command.flags.has(Flags::NO_MULTI) {
        queue.failed = true;
        stats.commands[row.id as usize].rejected.add(1);
        reply_error(CommandError::Text("ERR Command not allowed inside a transaction"), reply, stats);
        return 0;
    }
    // A transaction that will not run needs no commands.
    let touched = session.watch.as_ref().is_some_and(|watch| watch.flag.is_touched());
    if !queue.failed
        && !touched
        && let Err(error) = queue.push(row, args)
    {
        queue.failed = true;
        reply_error(error, reply, stats);
        return 0;
    }
    session.client_info.note_queue(queue.len() as u32, queue.bytes_allocated());
    reply.queued();
    queue.bytes_allocated() - before_bytes
}

/// Replies to a command that may not run now. Inside a transaction it keeps the transaction from running; if it is EXEC
/// itself, it ends it.
#[cold]
pub(super) fn reject(
    error: CommandError,
    role: Role,
    session: &mut Session,
    reply: &mut Reply<'_>,
    stats: &WorkerStats,
) {
    // What was not finished will not be.
    session.scan = None;
    if role == Role::Exec {
        return abort(error.text().as_bytes(), session, reply, stats);
    }
    if let Some(queue) = &mut session.multi {
        queue.failed = true;
    }
    reply_error(error, reply, stats);
}

/// As `reject`, for want of a right: why, without `NOPERM`.
#[cold]
pub(super) fn reject_denied(
    why: &[u8],
    role: Role,
    session: &mut Session,
    reply: &mut Reply<'_>,
    stats: &WorkerStats,
) {
    session.scan = None;
    let text = [b"NOPERM ", why].concat();
    if role == Role::Exec {
        return abort(&text, session, reply, stats);
    }
    if let Some(queue) = &mut session.multi {
        queue.failed = true;
    }
    reply.error_bytes(&text);
    stats.count_error("NOPERM");
}

/// Replies to what is no command, as `refuse` does, with the same consequences for a transaction as `reject`.
#[cold]
pub(super) fn refuse_in(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>, table: &Table) {
    if is_http(args.at(0)) {
        return end_http(ctx);
    }
    let (session, stats) = (&mut *ctx.session, ctx.stats);
    if let Some(exec) = table.find(args.at(0)).filter(|row| row.role == Role::Exec) {
        session.last_row = exec.id;
        stats.commands[exec.id as usize].rejected.add(1);
        stats.counters.commands_rejected.add(1);
        return abort(b"ERR wrong number of arguments for 'exec' command", session, reply, stats);
    }
    if let Some(queue) = &mut session.multi {
        queue.failed = true;
    }
    session.last_row = refuse(args, reply, table, stats);
}

/// EXEC may not run, and the transaction ends, if there is one.
pub(super) fn abort(why: &[u8], session: &mut Session, reply: &mut Reply<'_>, stats: &WorkerStats) {
    session.discard();
    let why = why.strip_prefix(b"ERR ").unwrap_or(why);
    reply.error_bytes(&[b"EXECABORT Transaction discarded because of: ", why].concat());
    stats.count_error("EXECABORT");
}

impl Executor<'_> {
    /// EXEC, with all leases held that it needs; false if a script of it was suspended.
    pub(super) fn execute_transaction(&mut self, exec: &Row, args: &Args<'_>, reply: &mut Reply<'_>) -> bool {
        let (start, mark) = (self.ticks, reply.mark());
        let outcome = self.run_queue(reply);
        if let Some(suspended) = self.suspended.as_mut() {
            suspended.output = reply.output().split_off(mark);
            return false;
        }
        if let Err(error) = outcome {
            self.ctx.stats.commands[exec.id as usize].failed.add(1);
            reply_error(error, reply, self.ctx.stats);
        }
        // Its commands are what may be slow, not EXEC itself.
        self.count(exec, args, start, 1);
        self.show(exec, args, reply);
        true
    }

    fn run_queue(&mut self, reply: &mut Reply<'_>) -> Result<(), CommandError> {
        if self.ctx.session.multi.is_none() {
            return Err(CommandError::Text("ERR EXEC without MULTI"));
        }
        let touched = self.end_watch();
        let queue = self.ctx.session.multi.take().expect("just seen");
        let failed = queue.failed;
        if !failed && !touched {
            let db = self.ctx.session.db;
            self.ctx.leases.fetch(queue.hashes().iter().take(KEYS_FETCHED_MAX).map(|hash| (db, *hash)));
            if self.ctx.session.replies == Replies::SkipNext {
                self.ctx.session.replies = Replies::SkipThis;
            }
            if !self.ctx.session.is_silent() {
                reply.array(queue.len());
            }
            if let Some(next) = self.run_rest(&queue, 0, reply) {
                self.ctx.session.end_transaction();
                if let Some(suspended) = self.suspended.as_mut() {
                    suspended.transaction = Some(TransactionRest { queue, next });
                }
                return Ok(());
            }
        }
        self.end_queue(*queue, !failed && !touched);
        match (failed, touched) {
            (true, _) => Err(ABORTED),
            (false, true) => {
                reply.null_array();
                Ok(())
            }
            (false, false) => Ok(()),
        }
    }

    /// Runs the commands of a queue from one on; the next one, if a script was suspended.
    pub(super) fn run_rest(&mut self, queue: &Queue, from: usize, reply: &mut Reply<'_>) -> Option<usize> {
        self.ctx.session.denies_blocking = true;
        let mut commands = queue.commands().enumerate().skip(from).peekable();
        while let Some((index, (id, args))) = commands.next() {
            let row = self.table.row(id);
            let like_it = commands.peek().is_some_and(|(_, (next, _))| *next == id);
            let mark = self.ctx.session.is_silent().then(|| reply.mark());
            let is_denied = self.ctx.session.restricted && self.denies(row, &args, reply);
            if !is_denied && !self.call(row, &args, reply, like_it) {
                assert!(self.suspended.is_some(), "no command waits in a transaction");
                return Some(index + 1);
            }
            if let Some(mark) = mark
                && self.ctx.session.is_silent()
            {
                reply.truncate(mark);
            }
            self.list_ready(row, args.hashes());
        }
        None
    }

    /// The commands of a queue have run, or do not.
    pub(super) fn end_queue(&mut self, mut queue: Queue, have_run: bool) {
        if have_run {
            self.ctx.session.denies_blocking = false;
            if self.ctx.changes.is_listened() {
                self.ctx.end_unit(Bracket::Several);
            }
            self.ctx.session.end_caching();
        }
        self.ctx.session.end_transaction();
        if self.ctx.queues.len() < QUEUES_MAX {
            queue.clear(QUEUE_BYTES_KEPT);
            self.ctx.queues.push(queue);
        }
    }

    /// Whether the client's user may not run a command that was queued, which is its reply then.
    #[inline(never)]
    fn denies(&mut self, row: &Row, args: &Args<'_>, reply: &mut Reply<'_>) -> bool {
        let Err(denied) = may_run(&self.ctx.session.user, row, args) else { return false };
        self.time_joined(row.id, args);
        note_denied(&self.ctx, row, args, denied, security::Context::Multi);
        reply_error(CommandError::Text(denied.text_in_exec()), reply, self.ctx.stats);
        true
    }

    /// Lists the keys that a queued command has made ready, in this order, if anybody waits for any.
    pub(super) fn list_ready(&mut self, row: &Row, hashes: &[u64]) {
        let keyspace = &self.ctx.shared.keyspace;
        if !keyspace.is_waited() {
            return;
        }
        match row.command.scope {
            Scope::All => take_ready(keyspace.shards(), self.ctx.leases, self.became_ready),
            _ => {
                let shards = hashes.iter().map(|hash| keyspace.shard_of(*hash));
                take_ready(shards, self.ctx.leases, self.became_ready);
            }
        }
    }

    /// Ends the client's watch; whether a watched key has changed, or its time has come.
    fn end_watch(&mut self) -> bool {
        let Some(watch) = self.ctx.session.take_watch() else { return false };
        let (keyspace, mut expired) = (&self.ctx.shared.keyspace, false);
        for watched in watch.keys() {
            let shard = self.ctx.leases.shard(keyspace.shard_of(watched.hash));
            let is_gone = |entry: Entry<'_>| !watched.was_expired && entry.is_expired(self.ctx.now_ms);
            // Its time may have come while nobody looked, or while a pause kept it in its place.
            expired |= shard.peek(watched.db, watched.hash, &watched.key).is_some_and(is_gone);
            shard.unwatch(watched.hash, &watch.flag);
        }
        expired || watch.flag.is_touched()
    }
}
