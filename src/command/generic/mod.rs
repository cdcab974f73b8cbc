//! The family `generic`: commands about keys, whatever they hold.
//!
//! Here: the existence of keys (DEL, EXISTS, TOUCH, TYPE, UNLINK).
//! `expire` has deadlines, `relocate` what carries a value from key to key, `dump` what carries it from server to server,
//! `migrate` what moves keys there, `scan` what walks all keys, `sort` SORT, `object` what shows how a value is kept, `wait` what
//! waits for replicas.
//!
//! Not here: commands about whole databases (`keyspace`), expiry itself (`store`).

pub(super) mod dump;
pub(super) mod expire;
pub(super) mod migrate;
pub(super) mod object;
pub(super) mod relocate;
pub(super) mod scan;
pub(super) mod sort;
pub(super) mod wait;

use super::row::{BASE, KeyAccess, key_at, keys_from};
use super::{Args, Command, Context, Flags, Outcome, Scope};
use crate::resp::Reply;
use crate::store::Event;

/// What the rows of the family default to.
const GENERIC: Command = Command { scope: Scope::Keys, ..BASE };

/// The rows of this file.
pub const ROWS: &[Command] = &[
    Command {
        name: "del",
        arity: -2,
        flags: Flags::WRITE,
        keys: &[keys_from(1, -1, 1, KeyAccess::Delete)],
        complexity: "O(K), K keys; large values are freed later",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        summary: "Deletes keys.",
        syntax: "key...",
        handler: del,
        ..GENERIC
    },
    Command {
        name: "exists",
        arity: -2,
        flags: Flags::READONLY.with(Flags::FAST),
        keys: &[keys_from(1, -1, 1, KeyAccess::Look)],
        complexity: "O(K), K keys",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        summary: "Counts the given keys that exist.",
        syntax: "key...",
        shares: true,
        handler: exists,
        ..GENERIC
    },
    Command {
        name: "touch",
        arity: -2,
        flags: Flags::READONLY.with(Flags::FAST),
        keys: &[keys_from(1, -1, 1, KeyAccess::Look)],
        since: "3.2.1",
        complexity: "O(K), K keys",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        summary: "Marks keys as used just now.",
        syntax: "key...",
        shares: true,
        handler: touch,
        ..GENERIC
    },
    Command {
        name: "type",
        arity: 2,
        flags: Flags::READONLY.with(Flags::FAST),
        keys: &[key_at(1, KeyAccess::Look)],
        summary: "Names the type of a key.",
        syntax: "key",
        shares: true,
        handler: value_type,
        ..GENERIC
    },
    Command {
        name: "unlink",
        arity: -2,
        flags: Flags::WRITE.with(Flags::FAST),
        keys: &[keys_from(1, -1, 1, KeyAccess::Delete)],
        since: "4.0.0",
        complexity: "O(K), K keys; large values are freed later",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        summary: "Deletes keys, and frees large values later.",
        syntax: "key...",
        handler: del,
        ..GENERIC
    },
];

fn del(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut removed = 0;
    for index in 1..args.len() {
        let mut place = ctx.write(args, index);
        if place.remove() {
            place.event(Event::DEL);
            removed += 1;
        }
    }
    reply.integer(removed);
    Ok(())
}

fn exists(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let found = (1..args.len()).filter(|index| ctx.look(args, *index).is_some()).count();
    reply.integer(found as i64);
    Ok(())
}

/// Touches even for a client that asked not to: that is what it is for.
fn touch(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let no_touch = std::mem::replace(&mut ctx.session.no_touch, false);
    let found = (1..args.len()).filter(|index| ctx.read(args, *index).is_some()).count();
    ctx.session.no_touch = no_touch;
    reply.integer(found as i64);
    Ok(())
}

fn value_type(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.simple(ctx.look(args, 1).map_or("none", |entry| entry.ty().name()));
    Ok(())
}
