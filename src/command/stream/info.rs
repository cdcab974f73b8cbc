//! XINFO: what is known of streams, their groups and consumers.

use super::super::row::{KeyAccess, KeySpec, key_at};
use super::super::{Args, Command, CommandError, Context, Flags, Outcome, Scope, help};
use super::ids::{reply_entry, reply_id};
use super::range::reply_entries;
use super::{STREAM, UNPREDICTABLE, no_such_group, now_ms};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::Stream;
use crate::store::stream::{Consumer, Group, History, Idempotency, IidLimits, StreamId};

const KEY: &[KeySpec] = &[key_at(2, KeyAccess::Read)];
/// Entries, and pending ones of each group and consumer, that FULL shows if it is not told how many.
const FULL_COUNT_DEFAULT: usize = 10;

const LOOK: Command = Command { flags: Flags::READONLY, keys: KEY, ..STREAM };

/// The rows of this file.
pub const ROWS: &[Command] = &[Command {
    name: "xinfo",
    arity: -2,
    scope: Scope::None,
    complexity: "that of the subcommand",
    summary: "Tells about streams and their consumer groups.",
    subcommands: &[
        Command {
            name: "consumers",
            arity: 4,
            complexity: "O(N), N consumers",
            summary: "Lists the consumers of a group.",
            syntax: "key group",
            tips: UNPREDICTABLE,
            shares: true,
            handler: consumers,
            ..LOOK
        },
        Command {
            name: "groups",
            arity: 3,
            complexity: "O(N), N groups",
            summary: "Lists the groups of a stream.",
            syntax: "key",
            shares: true,
            handler: groups,
            ..LOOK
        },
        Command {
            name: "help",
            arity: 2,
            flags: Flags::LOADING.with(Flags::STALE),
            scope: Scope::None,
            summary: "Lists the subcommands.",
            handler: help::show,
            ..STREAM
        },
        Command {
            name: "stream",
            arity: -3,
            complexity: "O(N), N producers known, and with FULL the entries, groups and consumers shown",
            summary: "Tells about a stream.",
            syntax: "key full-block:[FULL [COUNT count]]",
            shares: true,
            handler: stream,
            ..LOOK
        },
    ],
    ..STREAM
}];

/// XINFO STREAM. Errors in this order: no such key, type, options.
fn stream(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (now_ms, limits) = (now_ms(ctx).cast_unsigned(), ctx.limits().iids);
    let stream = ctx.read_as::<&Stream>(args, 2)?.ok_or(CommandError::NoSuchKey)?;
    let producers = producers(stream, limits, now_ms);
    let mut count = FULL_COUNT_DEFAULT;
    match args.len() {
        3 => {
            reply_short(stream, &producers, reply);
            return Ok(());
        }
        4 | 6 if args.is(3, "FULL") && (args.len() == 4 || args.is(4, "COUNT")) => {}
        _ => return help::subcommand_syntax(args, reply),
    }
    if let Some(text) = args.find(5) {
        let given = parse_i64(text).ok_or(CommandError::NotInteger)?;
        count = usize::try_from(given).unwrap_or(FULL_COUNT_DEFAULT);
    }
    let count = if count == 0 { usize::MAX } else { count };
    reply.map(15);
    reply_facts(stream, &producers, reply);
    reply.bulk(b"entries");
    reply_entries(stream.entries(StreamId::MIN, StreamId::MAX).take(count), reply);
    reply.bulk(b"groups");
    reply.array(stream.groups().len());
    stream.groups().for_each(|group| reply_group(stream, group, count, reply));
    Ok(())
}

/// Six pairs: what is kept of producers, and how much that is.
fn producers(stream: &Stream, limits_new: IidLimits, now_ms: u64) -> [(&'static str, u64); 6] {
    let known = stream.idempotency();
    let IidLimits { duration_s, count_max } = known.map_or(limits_new, Idempotency::limits);
    let (pids, iids) = known.map_or((0, 0), |known| known.tracked(now_ms));
    [
        ("idmp-duration", duration_s.into()),
        ("idmp-maxsize", count_max.into()),
        ("pids-tracked", pids as u64),
        ("iids-tracked", iids as u64),
        ("iids-added", known.map_or(0, |known| known.added)),
        ("iids-duplicates", known.map_or(0, |known| known.duplicates)),
    ]
}

fn reply_short(stream: &Stream, producers: &[(&str, u64)], reply: &mut Reply<'_>) {
    reply.map(16);
    reply_facts(stream, producers, reply);
    reply_named(reply, "groups", stream.groups().len() as i64);
    let first = stream.entries(StreamId::MIN, StreamId::MAX).next();
    let last = stream.entries_backward(StreamId::MIN, StreamId::MAX).next();
    for (name, entry) in [("first-entry", first), ("last-entry", last)] {
        reply.bulk(name.as_bytes());
        match entry {
            Some(entry) => reply_entry(&entry, reply),
            None => reply.null(),
        }
    }
}

/// Thirteen pairs that every form has.
fn reply_facts(stream: &Stream, producers: &[(&str, u64)], reply: &mut Reply<'_>) {
    let History { length, first, last, max_deleted, added } = *stream.history();
    reply_named(reply, "length", length as i64);
    reply_named(reply, "radix-tree-keys", stream.node_count() as i64);
    reply_named(reply, "radix-tree-nodes", stream.radix_node_count() as i64);
    reply_named_id(reply, "last-generated-id", last);
    reply_named_id(reply, "max-deleted-entry-id", max_deleted);
    reply_named(reply, "entries-added", added.cast_signed());
    reply_named_id(reply, "recorded-first-entry-id", first);
    producers.iter().for_each(|(name, number)| reply_named(reply, name, number.cast_signed()));
}

fn reply_group(stream: &Stream, group: &Group, count: usize, reply: &mut Reply<'_>) {
    reply.map(7);
    reply.bulk(b"name");
    reply.bulk(&group.name);
    reply_named_id(reply, "last-delivered-id", group.last);
    reply_progress(stream, group, reply);
    let pending = group.pending();
    reply_named(reply, "pel-count", pending.len() as i64);
    reply.bulk(b"pending");
    reply.array(pending.len().min(count));
    for entry in pending.iter().take(count) {
        reply.array(4);
        reply_id(entry.id, reply);
        reply.bulk(entry.consumer().map_or(&[], |consumer| &group.consumer(consumer).name));
        reply.integer(entry.delivered_ms);
        reply.integer(entry.deliveries.cast_signed());
    }
    reply.bulk(b"consumers");
    reply.array(group.consumers().len());
    group.consumers().for_each(|(_, consumer)| reply_consumer(group, consumer, count, reply));
}

fn reply_consumer(group: &Group, consumer: &Consumer, count: usize, reply: &mut Reply<'_>) {
    let ids = consumer.pending();
    reply.map(5);
    reply.bulk(b"name");
    reply.bulk(&consumer.name);
    reply_named(reply, "seen-time", consumer.seen_ms);
    reply_named(reply, "active-time", consumer.active_ms.unwrap_or(-1));
    reply_named(reply, "pel-count", ids.len() as i64);
    reply.bulk(b"pending");
    reply.array(ids.len().min(count));
    for id in ids.iter().take(count) {
        let entry = group.pending().find(*id).expect("what a consumer has is pending in its group");
        reply.array(3);
        reply_id(*id, reply);
        reply.integer(entry.delivered_ms);
        reply.integer(entry.deliveries.cast_signed());
    }
}

/// XINFO GROUPS.
fn groups(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let stream = ctx.read_as::<&Stream>(args, 2)?.ok_or(CommandError::NoSuchKey)?;
    reply.array(stream.groups().len());
    for group in stream.groups() {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(&group.name);
        reply_named(reply, "consumers", group.consumers().len() as i64);
        reply_named(reply, "pending", group.pending().len() as i64);
        reply_named_id(reply, "last-delivered-id", group.last);
        reply_progress(stream, group, reply);
    }
    Ok(())
}

/// XINFO CONSUMERS.
fn consumers(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let now_ms = now_ms(ctx);
    let stream = ctx.read_as::<&Stream>(args, 2)?.ok_or(CommandError::NoSuchKey)?;
    let Some(place) = stream.find_group(args.at(3)) else {
        return Err(no_such_group(args, 2, 3, reply));
    };
    let group = stream.group_at(place);
    reply.array(group.consumers().len());
    for (_, consumer) in group.consumers() {
        let since = |ms: i64| now_ms.wrapping_sub(ms).max(0);
        reply.map(4);
        reply.bulk(b"name");
        reply.bulk(&consumer.name);
        reply_named(reply, "pending", consumer.pending().len() as i64);
        reply_named(reply, "idle", since(consumer.seen_ms));
        reply_named(reply, "inactive", consumer.active_ms.map_or(-1, since));
    }
    Ok(())
}

/// Two pairs: how many entries a group has read, and how many it has yet to read, as far as these are known.
fn reply_progress(stream: &Stream, group: &Group, reply: &mut Reply<'_>) {
    let lag = stream.history().lag(group.last, group.read_count);
    for (name, number) in [("entries-read", group.read_count.map(u64::cast_signed)), ("lag", lag)] {
        reply.bulk(name.as_bytes());
        match number {
            Some(number) => reply.integer(number),
            None => reply.null(),
        }
    }
}

fn reply_named(reply: &mut Reply<'_>, name: &str, number: i64) {
    reply.bulk(name.as_bytes());
    reply.integer(number);
}

fn reply_named_id(reply: &mut Reply<'_>, name: &str, id: StreamId) {
    reply.bulk(name.as_bytes());
    reply_id(id, reply);
}
