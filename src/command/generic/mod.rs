//! The family `generic`: commands about keys, whatever they hold.
//!
//! Here: the existence of keys (DEL, EXISTS, TOUCH, TYPE, UNLINK).
//! `expire` has deadlines, `relocate` what carries a value from key to key, `dump` what carries it from server to server,
//! `scan` what walks all keys, `sort` SORT, `object` what shows how a value is kept, `wait` what waits for replicas.
//!
//! Not here: commands about whole databases (`keyspace`), expiry itself (`store`).

pub(super) mod dump;
pub(super) mod expire;
pub(super) mod object;
pub(super) mod relocate;
pub(super) mod scan;
pub(super) mod sort;
pub(super) mod wait;

use super::row::{BASE, KeyAccess, key_at, keys_from};
use super::{Args, Command, Context, Flags, Outcome, Scope};
use crate::resp::Reply;

/// What the rows of the family default to.
const GENERIC: Command = Command { scope: Scope::Keys, ..BASE };

/// The rows of this file.
pub const ROWS: &[Command] = &[
    Command {
        name: "del",
        arity: -2,
        flags: Flags::WRITE,
        keys: &[keys_from(1, -1, 1, KeyAccess::Delete)],
        complexity: "O(N) where N is the number of keys that will be removed. When a key to remove holds a value other \
                     than a string, the individual complexity for this key is O(M) where M is the number of elements in \
                     the list, set, sorted set or hash. Removing a single key that holds a string value is O(1).",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        summary: "Deletes one or more keys.",
        syntax: "key [key ...]",
        handler: del,
        ..GENERIC
    },
    Command {
        name: "exists",
        arity: -2,
        flags: Flags::READONLY.with(Flags::FAST),
        keys: &[keys_from(1, -1, 1, KeyAccess::Look)],
        complexity: "O(N) where N is the number of keys to check.",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        summary: "Determines whether one or more keys exist.",
        syntax: "key [key ...]",
        handler: exists,
        ..GENERIC
    },
    Command {
        name: "touch",
        arity: -2,
        flags: Flags::READONLY.with(Flags::FAST),
        keys: &[keys_from(1, -1, 1, KeyAccess::Look)],
        since: "3.2.1",
        complexity: "O(N) where N is the number of keys that will be touched.",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        summary: "Returns the number of existing keys out of those specified after updating the time they were last \
                  accessed.",
        syntax: "key [key ...]",
        handler: touch,
        ..GENERIC
    },
    Command {
        name: "type",
        arity: 2,
        flags: Flags::READONLY.with(Flags::FAST),
        keys: &[key_at(1, KeyAccess::Look)],
        summary: "Determines the type of value stored at a key.",
        syntax: "key",
        handler: value_type,
        ..GENERIC
    },
    Command {
        name: "unlink",
        arity: -2,
        flags: Flags::WRITE.with(Flags::FAST),
        keys: &[keys_from(1, -1, 1, KeyAccess::Delete)],
        since: "4.0.0",
        complexity: "O(1) for each key removed regardless of its size. Then the command does O(N) work in a different \
                     thread in order to reclaim memory, where N is the number of allocations the deleted objects where \
                     composed of.",
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        summary: "Asynchronously deletes one or more keys.",
        syntax: "key [key ...]",
        handler: del,
        ..GENERIC
    },
];

fn del(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let removed = (1..args.len()).filter(|index| ctx.write(args, *index).remove()).count();
    reply.integer(removed as i64);
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
