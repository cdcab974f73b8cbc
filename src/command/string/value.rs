//! Whole values: GET, SET and their variants, STRLEN.
//!
//! Design: GET and SET with nothing but key and value are the hottest commands there are, and go straight to the entry.
//! Values that lie outside their entry are replied from where they lie, which keeps the old value alive when it is replaced.
//!
//! Costs: one lookup per command, also where a value is read and then changed.

use super::super::{Args, CommandError, Context, Outcome};
use super::options::{Condition, Expiry, Grammar, Options, Unit};
use crate::observe::WorkerStats;
use crate::resp::Reply;
use crate::store::{Deadline, Entry, Str, Type};

const INVALID_EXPIRE_SET: &str = "ERR invalid expire time in 'set' command";
const INVALID_EXPIRE_SETEX: &str = "ERR invalid expire time in 'setex' command";
const INVALID_EXPIRE_PSETEX: &str = "ERR invalid expire time in 'psetex' command";
const INVALID_EXPIRE_GETEX: &str = "ERR invalid expire time in 'getex' command";

/// GET.
pub(super) fn get(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply_value(ctx.read(args, 1), reply)
}

/// STRLEN.
pub(super) fn strlen(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let value = ctx.read_string(args, 1)?;
    reply.integer(value.map_or(0, |value| value.len() as i64));
    Ok(())
}

/// SET.
pub(super) fn set(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.len() != 3 {
        return set_with_options(ctx, args, reply);
    }
    ctx.write(args, 1).set_string(args.new_string(2), Deadline::None);
    reply.ok();
    Ok(())
}

/// Errors in this order: grammar, expire time, type (with GET only).
fn set_with_options(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = Options::parse(args, Grammar::Set)?;
    let deadline = match options.expiry {
        Expiry::Unsaid => Deadline::None,
        Expiry::Keep => Deadline::Keep,
        Expiry::Time(unit, text) => Deadline::At(unit.deadline(text, ctx.now_ms, INVALID_EXPIRE_SET)?),
        Expiry::Persist => unreachable!("PERSIST is not in the grammar of SET"),
    };
    let stats = ctx.stats;
    let mut place = ctx.write(args, 1);
    let found = place.entry().is_some();
    if options.get {
        count_read(stats, found);
        reply_value(place.entry(), reply)?;
    }
    let wanted = match options.condition {
        Condition::Always => true,
        Condition::Absent => !found,
        Condition::Present => found,
    };
    if wanted {
        place.set_string(args.new_string(2), deadline);
    }
    match (options.get, wanted) {
        (true, _) => {}
        (false, true) => reply.ok(),
        (false, false) => reply.null(),
    }
    Ok(())
}

/// SETNX.
pub(super) fn setnx(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut place = ctx.write(args, 1);
    let absent = place.entry().is_none();
    if absent {
        place.set_string(args.new_string(2), Deadline::None);
    }
    reply.integer(i64::from(absent));
    Ok(())
}

/// SETEX.
pub(super) fn setex(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    set_until(ctx, args, reply, Unit::Seconds, INVALID_EXPIRE_SETEX)
}

/// PSETEX.
pub(super) fn psetex(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    set_until(ctx, args, reply, Unit::Milliseconds, INVALID_EXPIRE_PSETEX)
}

fn set_until(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    unit: Unit,
    invalid: &'static str,
) -> Outcome {
    let deadline_ms = unit.deadline(args.at(2), ctx.now_ms, invalid)?;
    ctx.write(args, 1).set_string(args.new_string(3), Deadline::At(deadline_ms));
    reply.ok();
    Ok(())
}

/// GETSET.
pub(super) fn getset(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let stats = ctx.stats;
    let mut place = ctx.write(args, 1);
    count_read(stats, place.entry().is_some());
    reply_value(place.entry(), reply)?;
    place.set_string(args.new_string(2), Deadline::None);
    Ok(())
}

/// GETDEL.
pub(super) fn getdel(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let stats = ctx.stats;
    let mut place = ctx.write(args, 1);
    count_read(stats, place.entry().is_some());
    reply_value(place.entry(), reply)?;
    place.remove();
    Ok(())
}

/// GETEX. Errors in this order: grammar, then for keys that exist type and expire time. A moment that has passed deletes.
pub(super) fn getex(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = Options::parse(args, Grammar::Getex)?;
    let (stats, now_ms) = (ctx.stats, ctx.now_ms);
    let mut place = ctx.write(args, 1);
    count_read(stats, place.entry().is_some());
    let Some(entry) = place.entry() else {
        reply.null();
        return Ok(());
    };
    if entry.ty() != Type::String {
        return Err(CommandError::WrongType);
    }
    let deadline_ms = match options.expiry {
        Expiry::Time(unit, text) => Some(unit.deadline(text, now_ms, INVALID_EXPIRE_GETEX)?),
        _ => None,
    };
    reply_value(Some(entry), reply)?;
    match (options.expiry, deadline_ms) {
        (_, Some(deadline_ms)) if deadline_ms <= now_ms => {
            place.remove();
        }
        (_, Some(deadline_ms)) => place.set_deadline(Some(deadline_ms)),
        (Expiry::Persist, None) => place.set_deadline(None),
        _ => {}
    }
    Ok(())
}

/// Replies the string that an entry holds, or null for none. Nothing is written if it is of another type.
#[inline(always)]
fn reply_value(entry: Option<&Entry>, reply: &mut Reply<'_>) -> Outcome {
    let Some(entry) = entry else {
        reply.null();
        return Ok(());
    };
    if entry.ty() != Type::String {
        return Err(CommandError::WrongType);
    }
    reply_string(entry, reply);
    Ok(())
}

/// Replies the string of an entry that holds one; large ones from where they lie.
#[inline(always)]
pub(in crate::command) fn reply_string(entry: &Entry, reply: &mut Reply<'_>) {
    match entry.string_inline() {
        Some(bytes) => reply.bulk(bytes),
        None => reply_other_string(entry, reply),
    }
}

fn reply_other_string(entry: &Entry, reply: &mut Reply<'_>) {
    match (entry.string(), entry.blob()) {
        (Str::Int(number), _) => reply.bulk_integer(number),
        (_, Some(blob)) => reply.blob(blob),
        (Str::Bytes(bytes), None) => reply.bulk(bytes),
    }
}

/// Counts a read that went through `Context::write`.
fn count_read(stats: &WorkerStats, found: bool) {
    if found {
        stats.counters.keyspace_hits.add(1);
    } else {
        stats.counters.keyspace_misses.add(1);
    }
}
