//! OBJECT: how a value is kept.

use super::GENERIC;
use crate::command::row::{KeyAccess, KeySpec, key_at};
use crate::command::{Args, Command, CommandError, Context, Flags, Outcome, Scope, help};
use crate::config::MaxmemoryPolicy;
use crate::resp::Reply;
use crate::store::eviction::{decayed, idle_seconds, minutes};
use crate::store::{Encoding, Str};

/// Integers below this are one shared object in Redis, of which OBJECT REFCOUNT tells.
const SHARED_INTEGERS: i64 = 10_000;
/// What it tells of them.
const SHARED_REFCOUNT: i64 = i32::MAX as i64;

const KEYS: &[KeySpec] = &[key_at(2, KeyAccess::Look)];

const LOOK: Command = Command {
    arity: 3,
    flags: Flags::READONLY,
    keys: KEYS,
    since: "2.2.3",
    syntax: "key",
    tips: &["nondeterministic_output"],
    ..GENERIC
};

/// The rows of this file.
pub const ROWS: &[Command] = &[Command {
    name: "object",
    arity: -2,
    scope: Scope::None,
    since: "2.2.3",
    complexity: "Depends on subcommand.",
    summary: "A container for object introspection commands.",
    subcommands: &[
        Command {
            name: "encoding",
            summary: "Returns the internal encoding of a Redis object.",
            handler: encoding,
            ..LOOK
        },
        Command {
            name: "freq",
            since: "4.0.0",
            summary: "Returns the logarithmic access frequency counter of a Redis object.",
            handler: freq,
            ..LOOK
        },
        Command {
            name: "help",
            arity: 2,
            flags: Flags::LOADING.with(Flags::STALE),
            scope: Scope::None,
            since: "6.2.0",
            summary: "Returns helpful text about the different subcommands.",
            handler: show_help,
            ..GENERIC
        },
        Command {
            name: "idletime",
            summary: "Returns the time since the last access to a Redis object.",
            handler: idletime,
            ..LOOK
        },
        Command {
            name: "refcount",
            summary: "Returns the reference count of a value of a key.",
            handler: refcount,
            ..LOOK
        },
    ],
    ..GENERIC
}];

const HELP: &[&str] = &[
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
];

fn show_help(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    help::show(args, reply, HELP);
    Ok(())
}

fn encoding(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    match ctx.look(args, 2) {
        None => reply.null(),
        Some(entry) => reply.bulk(entry.encoding().name().as_bytes()),
    }
    Ok(())
}

fn idletime(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let clock = ctx.access_clock;
    match ctx.look(args, 2) {
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
    match ctx.look(args, 2) {
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

/// One: entries share nothing. Small integers are told of as in Redis, where they are one object each, unless eviction
/// needs to know each one's age.
fn refcount(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let shares = ctx.config.maxmemory == 0 || !keeps_clock(ctx.config.maxmemory_policy);
    match ctx.look(args, 2) {
        None => reply.null(),
        Some(entry) => {
            let shared = shares
                && entry.encoding() == Encoding::Int
                && matches!(entry.string(), Str::Int(0..SHARED_INTEGERS));
            reply.integer(if shared { SHARED_REFCOUNT } else { 1 });
        }
    }
    Ok(())
}

/// Whether eviction under this policy looks at the entries' clocks.
fn keeps_clock(policy: MaxmemoryPolicy) -> bool {
    use MaxmemoryPolicy::{AllkeysLfu, AllkeysLru, VolatileLfu, VolatileLru};
    matches!(policy, AllkeysLru | AllkeysLfu | VolatileLru | VolatileLfu)
}
