//! WAIT and WAITAOF: until what was written has reached replicas, or the disk. There are no replicas, so whoever asks for some
//! waits until its time is up.

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
    let replicas = parse_i64(args.at(1)).ok_or(CommandError::NotInteger)?;
    let until_ms = until_after_milliseconds(args.at(2), ctx.now_ms)?;
    unless_met(ctx, replicas <= 0, (until_ms, 0), OnTimeout::Zero, reply)
}

fn waitaof(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let logs = parse_i64(args.at(1)).ok_or(CommandError::NotInteger)?;
    if !(0..=1).contains(&logs) {
        return Err(CommandError::Text("ERR value is out of range, value must between 0 and 1"));
    }
    let replicas = parse_i64(args.at(2)).filter(|count| *count >= 0);
    let replicas = replicas.ok_or(CommandError::Text("ERR value is out of range, must be positive"))?;
    let until_ms = until_after_milliseconds(args.at(3), ctx.now_ms)?;
    let journal = &ctx.shared.journal;
    if logs > 0 && !ctx.config.appendonly {
        return Err(CommandError::Text(
            "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
        ));
    }
    // All that was written by anybody: it is never said of more than is so, and under constant writes it may be said late.
    let is_synced = journal.is_on() && journal.kept() >= journal.drawn();
    let on_timeout = OnTimeout::Synced(is_synced.into(), 0);
    let retry_ms = if logs > 0 { ctx.now_ms + SYNC_LOOK_MS } else { 0 };
    unless_met(ctx, replicas == 0 && (logs == 0 || is_synced), (until_ms, retry_ms), on_timeout, reply)
}

/// Replies at once if all that is asked for is there, and waits for the rest otherwise: until the first of the times, and looking
/// again at the second, if that is not 0.
fn unless_met(
    ctx: &mut Context<'_>,
    is_met: bool,
    (until_ms, retry_ms): (u64, u64),
    on_timeout: OnTimeout,
    reply: &mut Reply<'_>,
) -> Outcome {
    if is_met || !ctx.may_block() {
        on_timeout.reply(reply);
        return Ok(());
    }
    ctx.block(Blocking { awaited_count: 0, wants: None, heeds_loss: false, until_ms, retry_ms, on_timeout })
}
