//! OBJECT: how a value is kept.

use super::GENERIC;
use crate::command::row::{KeyAccess, KeySpec, key_at};
use crate::command::{Args, Command, CommandError, Context, Flags, Outcome, Scope, help};
use crate::resp::Reply;
use crate::store::eviction::{decayed, idle_seconds, minutes};

const KEYS: &[KeySpec] = &[key_at(2, KeyAccess::Look)];

const LOOK: Command = Command {
    arity: 3,
    flags: Flags::READONLY,
    keys: KEYS,
    since: "2.2.3",
    syntax: "key",
    shares: true,
    tips: &["nondeterministic_output"],
    ..GENERIC
};

/// The rows of this file.
pub const ROWS: &[Command] = &[Command {
    name: "object",
    arity: -2,
    scope: Scope::None,
    since: "2.2.3",
    complexity: "that of the subcommand",
    summary: "How a key is kept.",
    subcommands: &[
        Command {
            name: "encoding",
            summary: "Names the representation of a value.",
            shares: true,
            handler: encoding,
            ..LOOK
        },
        Command {
            name: "freq",
            since: "4.0.0",
            summary: "How often a key is used, on a logarithmic scale.",
            shares: true,
            handler: freq,
            ..LOOK
        },
        Command {
            name: "help",
            arity: 2,
            flags: Flags::LOADING.with(Flags::STALE),
            scope: Scope::None,
            since: "6.2.0",
            summary: "Lists the subcommands.",
            handler: help::show,
            ..GENERIC
        },
        Command {
            name: "idletime",
            summary: "Seconds since a key was last used.",
            shares: true,
            handler: idletime,
            ..LOOK
        },
        Command { name: "refcount", summary: "Counts who refers to a value.", handler: refcount, ..LOOK },
    ],
    ..GENERIC
}];

fn encoding(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    match ctx.look_quietly(args, 2) {
        None => reply.null(),
        Some(entry) => reply.bulk(entry.encoding().name().as_bytes()),
    }
    Ok(())
}

fn idletime(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let clock = ctx.access_clock;
    match ctx.look_quietly(args, 2) {
        None => reply.null(),
        Some(_) if clock.counts_frequency() => {
            return Err(CommandError::Text(
                "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
                 between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        Some(entry) => reply.integer(idle_seconds(clock.seconds(), entry.clock()).into()),
    }
    Ok(())
}

fn freq(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (clock, now_ms, decay_minutes) = (ctx.access_clock, ctx.now_ms, ctx.config.lfu_decay_time);
    match ctx.look_quietly(args, 2) {
        None => reply.null(),
        Some(_) if !clock.counts_frequency() => {
            return Err(CommandError::Text(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
                 switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        Some(entry) => reply.integer(decayed(entry.clock(), minutes(now_ms), decay_minutes).into()),
    }
    Ok(())
}

/// One: entries share nothing.
fn refcount(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    match ctx.look_quietly(args, 2) {
        None => reply.null(),
        Some(_) => reply.integer(1),
    }
    Ok(())
}
