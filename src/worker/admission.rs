//! Whether a command may run: its client's user and state, memory, obstacles to writes, a pause.
//!
//! Design: all reasons together make a few flags, the gates, and most commands pass them with one comparison; what has a reason
//! is looked at by `admit`, in Redis's order.
//!
//! Not here: what the limit of memory does (`memory`), what permissions are (`security`).

use std::sync::atomic::Ordering::Relaxed;

use super::call::{Executor, TurnConstants};
use super::client_run::ClientRun;
use super::memory::EvictionContext;
use super::transaction::{abort, reject_denied};
use crate::command::{
    Args, CommandError, Denied, Flags, PauseMode, Replies, Role, Row, Scope, may_run,
    may_run_while_listening, note_denied,
};
use crate::exec::Gathered;
use crate::resp::Reply;
use crate::security;

/// Whether a command may run now.
pub(super) enum Admission {
    Yes,
    Error(CommandError),
    /// Its user lacks the right.
    Denied(Denied),
    /// It is none of those that a client may run which listens.
    OnlyListens,
    Paused,
}

impl ClientRun<'_> {
    /// Flags of which one among the gates of a row says that its command goes through `step`, which looks at everything. Others
    /// go the short way: nothing forbids them, and nobody but its client sees that they run. What this depends on changes by
    /// commands of this client that are not plain, or between groups: whoever pauses clients or watches them is told that they
    /// do once all leases were free.
    pub(super) fn gates(&self) -> Flags {
        let Executor { ctx, constants, .. } = &self.executor;
        let session = &*ctx.session;
        let is_special = session.upstream.is_some() || session.replies != Replies::On || session.restricted;
        let is_barred = constants.needed != Flags::NONE || constants.busy.is_some() || constants.tracks_keys;
        let is_watched = ctx.shared.monitoring.load(Relaxed) != 0;
        let paused = match ctx.shared.pause.active(ctx.now_ms) {
            None => Flags::NONE,
            Some(PauseMode::Write) => Flags::WRITE.with(Flags::MAY_REPLICATE),
            Some(PauseMode::All) => Flags::ANY,
        };
        if is_special || is_barred || is_watched || session.multi.is_some() {
            return Flags::ANY;
        }
        let waiting = if constants.obstacles.must_wait { Flags::WRITE } else { Flags::NONE };
        let refused = constants.refused.with(self.memory.watched());
        Flags::NOT_PLAIN.with(refused).with(waiting).with(paused)
    }

    /// The client's user lacks the right.
    #[cold]
    pub(super) fn deny(&mut self, row: &Row, args: &Args<'_>, denied: Denied, reply: &mut Reply<'_>) {
        let ctx = &mut self.executor.ctx;
        ctx.stats.commands[row.id as usize].rejected.add(1);
        ctx.stats.counters.commands_rejected.add(1);
        let in_multi = ctx.session.multi.is_some();
        let context = if in_multi { security::Context::Multi } else { security::Context::TopLevel };
        note_denied(ctx, row, args, denied, context);
        let text = denied.text(&ctx.session.user, row, args, false);
        reject_denied(&text, row.role, ctx.session, reply, ctx.stats);
    }

    /// Why the client, being who and what it is, may not run this.
    #[inline(never)]
    fn restriction(&mut self, row: &Row, flags: Flags, args: &Args<'_>) -> Option<Admission> {
        let session = &*self.executor.ctx.session;
        let is_anybody = !session.authenticated && !self.executor.constants.users.default_user().is_open();
        if is_anybody && !flags.has(Flags::NO_AUTH) {
            return Some(Admission::Error(CommandError::NoAuth));
        }
        // What may not be queued is refused for that.
        let is_refused = session.multi.is_some() && row.command.flags.has(Flags::NO_MULTI);
        if !is_refused && let Err(denied) = may_run(&session.user, row, args) {
            return Some(Admission::Denied(denied));
        }
        if session.only_listens && !may_run_while_listening(&row.full_name) {
            return Some(Admission::OnlyListens);
        }
        // To Redis a monitor is a kind of replica.
        let touches_keys = Flags::WRITE.with(Flags::READONLY).with(Flags::MAY_REPLICATE);
        ((session.monitor || session.replica.is_some()) && flags.has(touches_keys))
            .then_some(Admission::Error(CommandError::Text("ERR Replica can't interact with the keyspace")))
    }

    /// A client that speaks RESP2 and has subscribed runs no other commands than those that have to do with it.
    #[cold]
    pub(super) fn refuse_listener(&mut self, row: &Row, reply: &mut Reply<'_>) {
        let ctx = &mut self.executor.ctx;
        ctx.stats.commands[row.id as usize].rejected.add(1);
        ctx.stats.counters.commands_rejected.add(1);
        let text = format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
            row.full_name
        );
        if row.role == Role::Exec {
            return abort(text.as_bytes(), ctx.session, reply, ctx.stats);
        }
        reply.error(&text);
        ctx.stats.count_error("ERR");
    }

    #[inline(always)]
    pub(super) fn admit(&mut self, row: &Row, command: &Gathered, args: &Args<'_>) -> Admission {
        let (ctx, clock) = (&mut self.executor.ctx, self.executor.clock);
        let flags = match row.role {
            Role::Exec => row.command.flags.with(ctx.session.queued_flags()),
            _ => row.command.flags,
        };
        let constants = self.executor.constants;
        let is_barred = !flags.has_all(constants.needed) | constants.busy.is_some();
        let is_denied = flags.has(constants.refused) | (row.id == constants.refused_row);
        if ctx.session.restricted
            && let Some(admission) = self.restriction(row, flags, args)
        {
            return admission;
        }
        let ctx = &mut self.executor.ctx;
        let admission = admit(flags, constants, ctx.now_ms, (is_denied, is_barred));
        let is_script = command.scope == Scope::Script && self.memory.is_limited();
        if !(flags.has(self.memory.watched()) || is_script) || !matches!(admission, Admission::Yes) {
            return admission;
        }
        // What a script will do nobody knows: it is asked again when it does.
        let flags = if is_script { Flags::WRITE.with(Flags::DENYOOM) } else { flags };
        let (scope, hashes) = match row.role {
            Role::Exec => (ctx.session.scope(), ctx.session.queued_hashes()),
            _ => (command.scope, args.hashes()),
        };
        let mut eviction = EvictionContext {
            leases: ctx.leases,
            shared: ctx.shared,
            stats: ctx.stats,
            clock,
            rng: ctx.rng,
            effects: ctx.effects,
            changes: ctx.changes,
            journal: ctx.journal,
        };
        match self.memory.admit(flags, scope, hashes, &mut eviction) {
            is_admitted if is_script => {
                self.executor.ctx.scripting.is_oom = !is_admitted;
                Admission::Yes
            }
            true => Admission::Yes,
            false => Admission::Error(CommandError::OutOfMemory),
        }
    }
}

/// What is refused with while data may be old, and clients are not to see that.
pub(super) const CUT_OFF: CommandError =
    CommandError::Text("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.");
/// What writes are refused with after a save has failed.
const CANNOT_SAVE: CommandError = CommandError::Text(
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may modify the data set are disabled, because this instance is configured to report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB error.",
);

/// Why nobody may run a command at present.
#[cold]
fn obstacle(
    flags: Flags,
    constants: &TurnConstants,
    (is_denied, is_barred): (bool, bool),
) -> Option<CommandError> {
    // In Redis's order: a command may be refused for several reasons.
    let obstacles = constants.obstacles;
    let lacks_flags = is_barred && !flags.has_all(constants.needed);
    if is_denied && let Some(refusal) = constants.write_refusal(flags) {
        return Some(refusal);
    }
    if obstacles.is_cut_off && !flags.has(Flags::STALE) {
        return Some(CUT_OFF);
    }
    if lacks_flags {
        return Some(CommandError::Text("LOADING Redis is loading the dataset in memory"));
    }
    constants.busy.filter(|_| !flags.has(constants.busy_allows))
}

impl TurnConstants {
    /// Why a command with these flags may write nothing, if so.
    pub(super) fn write_refusal(&self, flags: Flags) -> Option<CommandError> {
        let (obstacles, writes) = (self.obstacles, flags.has(Flags::WRITE));
        let text = match obstacles.cannot_append {
            _ if obstacles.cannot_save => return Some(CANNOT_SAVE),
            Some(errno) => cannot_append(errno),
            _ if writes && self.lacks_replicas && !obstacles.is_replica => {
                "NOREPLICAS Not enough good replicas to write."
            }
            _ if writes && obstacles.only_reads => "READONLY You can't write against a read only replica.",
            _ => return None,
        };
        Some(CommandError::Text(text))
    }
}

/// What writes are refused with after the append-only file could not be written.
fn cannot_append(errno: i32) -> &'static str {
    match errno {
        libc::ENOSPC => "MISCONF Errors writing to the AOF file: No space left on device",
        libc::EDQUOT => "MISCONF Errors writing to the AOF file: Disk quota exceeded",
        libc::EFBIG => "MISCONF Errors writing to the AOF file: File too large",
        libc::EROFS => "MISCONF Errors writing to the AOF file: Read-only file system",
        libc::EIO => "MISCONF Errors writing to the AOF file: Input/output error",
        _ => "MISCONF Errors writing to the AOF file: the log says why",
    }
}

#[inline]
fn admit(
    flags: Flags,
    constants: &TurnConstants,
    now_ms: u64,
    (is_denied, is_barred): (bool, bool),
) -> Admission {
    if (is_denied | is_barred)
        && let Some(error) = obstacle(flags, constants, (is_denied, is_barred))
    {
        return Admission::Error(error);
    }
    if constants.obstacles.must_wait && flags.has(Flags::WRITE) {
        return Admission::Paused;
    }
    match constants.shared.pause.active(now_ms) {
        None => Admission::Yes,
        // All means all: a client that is to end the pause must have been faster than whoever began it.
        Some(PauseMode::All) => Admission::Paused,
        Some(PauseMode::Write) if flags.has(Flags::WRITE.with(Flags::MAY_REPLICATE)) => Admission::Paused,
        Some(_) => Admission::Yes,
    }
}
