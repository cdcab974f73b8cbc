//! WAIT and WAITAOF: until what was written has reached replicas, or logs. There are none of either, so whoever asks for some
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

const WAITS: Command =
    Command { flags: Flags::BLOCKING, scope: Scope::None, categories: Categories::CONNECTION, ..GENERIC };

fn wait(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let replicas = parse_i64(args.at(1)).ok_or(CommandError::NotInteger)?;
    let until_ms = until_after_milliseconds(args.at(2), ctx.now_ms)?;
    unless_met(ctx, replicas <= 0, until_ms, OnTimeout::Zero, reply)
}

fn waitaof(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let logs = parse_i64(args.at(1)).ok_or(CommandError::NotInteger)?;
    if !(0..=1).contains(&logs) {
        return Err(CommandError::Text("ERR value is out of range, value must between 0 and 1"));
    }
    let replicas = parse_i64(args.at(2)).filter(|count| *count >= 0);
    let replicas = replicas.ok_or(CommandError::Text("ERR value is out of range, must be positive"))?;
    let until_ms = until_after_milliseconds(args.at(3), ctx.now_ms)?;
    if logs > 0 {
        return Err(CommandError::Text(
            "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
        ));
    }
    unless_met(ctx, replicas == 0, until_ms, OnTimeout::Synced(0, 0), reply)
}

/// Replies at once if all that is asked for is there, and waits for the rest otherwise, which does not come.
fn unless_met(
    ctx: &mut Context<'_>,
    is_met: bool,
    until_ms: u64,
    on_timeout: OnTimeout,
    reply: &mut Reply<'_>,
) -> Outcome {
    if is_met || !ctx.may_block() {
        on_timeout.reply(reply);
        return Ok(());
    }
    ctx.block(Blocking {
        awaited_count: 0,
        wants: None,
        heeds_loss: false,
        until_ms,
        retry_ms: 0,
        on_timeout,
    })
}
