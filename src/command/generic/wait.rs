//! WAIT and WAITAOF: until what this client has written has reached replicas, or disks.
//!
//! Design: a client knows the last ticket under which it has changed something; the journal knows where in the stream that is, once
//! it is there. A client that waits has replicas asked how far they are, and is looked at when one has answered.

use super::GENERIC;
use crate::command::blocking::until_after_milliseconds;
use crate::command::{
    Args, Blocking, Categories, Command, CommandError, Context, Flags, OnTimeout, Outcome, Scope,
};
use crate::resp::Reply;
use crate::resp::number::parse_i64;

/// The rows of this file.
pub const ROWS: &[Command] = &[
    Command {
        name: "wait",
        arity: 3,
        since: "3.0.0",
        tips: &["request_policy:all_shards", "response_policy:agg_min"],
        summary: "Waits until replicas have the writes of this connection.",
        syntax: "numreplicas timeout:integer",
        handler: wait,
        ..WAITS
    },
    Command {
        name: "waitaof",
        arity: 4,
        since: "7.2.0",
        tips: &["request_policy:all_shards", "response_policy:agg_min"],
        summary: "Waits until the writes of this connection are on disk, here and on replicas.",
        syntax: "numlocal numreplicas timeout:integer",
        handler: waitaof,
        ..WAITS
    },
];

/// Time between two looks whether the disk has what was written, in ms.
const SYNC_LOOK_MS: u64 = 10;

const WAITS: Command =
    Command { flags: Flags::BLOCKING, scope: Scope::None, categories: Categories::CONNECTION, ..GENERIC };

fn wait(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if ctx.shared.replication.is_replica() {
        return Err(CommandError::Text(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated.",
        ));
    }
    let replicas = parse_i64(args.at(1)).ok_or(CommandError::NotInteger)?;
    let until_ms = until_after_milliseconds(args.at(2), ctx.now_ms)?;
    let ticket = ctx.session.written_ticket;
    let is_met = ctx.shared.applied_count(ticket) as i64 >= replicas;
    unless_met(ctx, is_met, (until_ms, 0), OnTimeout::Applied(ticket), reply)
}

fn waitaof(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let logs = parse_i64(args.at(1)).ok_or(CommandError::NotInteger)?;
    if !(0..=1).contains(&logs) {
        return Err(CommandError::Text("ERR value is out of range, value must between 0 and 1"));
    }
    let replicas = parse_i64(args.at(2)).filter(|count| *count >= 0);
    let replicas = replicas.ok_or(CommandError::Text("ERR value is out of range, must be positive"))?;
    let until_ms = until_after_milliseconds(args.at(3), ctx.now_ms)?;
    if ctx.shared.replication.is_replica() {
        return Err(CommandError::Text(
            "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and are not propagated.",
        ));
    }
    if logs > 0 && !ctx.config.appendonly {
        return Err(CommandError::Text(
            "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
        ));
    }
    let ticket = ctx.session.written_ticket;
    let (own, others) = ctx.shared.synced_counts(ticket);
    let is_met = own as i64 >= logs && others as i64 >= replicas;
    // The disk wakes nobody; replicas do.
    let retry_ms = if (own as i64) < logs { ctx.now_ms + SYNC_LOOK_MS } else { 0 };
    unless_met(ctx, is_met, (until_ms, retry_ms), OnTimeout::Synced(ticket), reply)
}

/// Replies at once if all that is asked for is there, and waits for the rest otherwise: until the first of the times, and looking
/// again at the second, if that is not 0, and when replicas have said how far they are.
fn unless_met(
    ctx: &mut Context<'_>,
    is_met: bool,
    (until_ms, retry_ms): (u64, u64),
    on_timeout: OnTimeout,
    reply: &mut Reply<'_>,
) -> Outcome {
    if is_met || !ctx.may_block() {
        on_timeout.reply(ctx.shared, reply);
        return Ok(());
    }
    ctx.block(Blocking::without_keys(until_ms, retry_ms, on_timeout))
}
