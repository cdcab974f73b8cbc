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
use crate::store::{Class, Deadline, Deletion, Entry, Event, KeyMut, Str, Type};

const INVALID_EXPIRE_SET: &str = "ERR invalid expire time in 'set' command";
const INVALID_EXPIRE_SETEX: &str = "ERR invalid expire time in 'setex' command";
const INVALID_EXPIRE_PSETEX: &str = "ERR invalid expire time in 'psetex' command";
const INVALID_EXPIRE_GETEX: &str = "ERR invalid expire time in 'getex' command";

/// The event of everything that sets a string as a whole.
pub(super) const SET: Event = Event::new(Class::String, "set");

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
    let mut place = ctx.write(args, 1);
    place.set_string(args.new_string(2), Deadline::None);
    place.event(SET);
    reply.ok();
    Ok(())
}

/// Errors in this order: grammar, expire time, type (with GET or a comparison only), digest.
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
    let wanted = match (options.condition, place.entry()) {
        (Condition::Always, _) => true,
        (Condition::Absent, entry) => entry.is_none(),
        (Condition::Present, entry) => entry.is_some(),
        (Condition::Compared(comparison), None) => comparison.holds_for_none(),
        (Condition::Compared(_), Some(entry)) if entry.ty() != Type::String => {
            return Err(CommandError::WrongType);
        }
        (Condition::Compared(comparison), Some(entry)) => comparison.holds(entry.string())?,
    };
    if options.get {
        count_read(stats, &mut place);
        reply_value(place.entry(), reply)?;
    }
    if wanted {
        set_and_tell(&mut place, args, 2, deadline);
        if options.get && !matches!(deadline, Deadline::At(_)) {
            place.repeat_as(|words| {
                words.add_all(args.from(0).filter(|word| !word.eq_ignore_ascii_case(b"GET")));
            });
        }
    }
    match (options.get, wanted) {
        (true, _) => {}
        (false, true) => reply.ok(),
        (false, false) => reply.null(),
    }
    Ok(())
}

/// Sets the string in argument `value`. With a deadline, which the command may have given as from now on, it is repeated with
/// that moment.
fn set_and_tell(place: &mut KeyMut<'_>, args: &Args<'_>, value: usize, deadline: Deadline) {
    place.set_string(args.new_string(value), deadline);
    place.event(SET);
    if let Deadline::At(deadline_ms) = deadline {
        place.event(Event::EXPIRE);
        place.repeat_as(|words| {
            words.add("SET").add(args.at(1)).add(args.at(value)).add("PXAT").add(deadline_ms);
        });
    }
}

/// SETNX.
pub(super) fn setnx(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut place = ctx.write(args, 1);
    let absent = place.entry().is_none();
    if absent {
        place.set_string(args.new_string(2), Deadline::None);
        place.event(SET);
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
    set_and_tell(&mut ctx.write(args, 1), args, 3, Deadline::At(deadline_ms));
    reply.ok();
    Ok(())
}

/// GETSET.
pub(super) fn getset(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let stats = ctx.stats;
    let mut place = ctx.write(args, 1);
    count_read(stats, &mut place);
    reply_value(place.entry(), reply)?;
    place.set_string(args.new_string(2), Deadline::None);
    place.event(SET);
    place.repeat_as(|words| {
        words.add("SET").add(args.at(1)).add(args.at(2));
    });
    Ok(())
}

/// GETDEL.
pub(super) fn getdel(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let stats = ctx.stats;
    let mut place = ctx.write(args, 1);
    count_read(stats, &mut place);
    reply_value(place.entry(), reply)?;
    if place.remove() {
        place.event(Event::DEL);
        place.repeat_as(|words| {
            words.add("DEL").add(args.at(1));
        });
    }
    Ok(())
}

/// GETEX. Errors in this order: grammar, then for keys that exist type and expire time. A moment that has passed deletes.
pub(super) fn getex(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = Options::parse(args, Grammar::Getex)?;
    let (stats, now_ms) = (ctx.stats, ctx.now_ms);
    let deletion = Deletion::by(ctx.config.lazyfree_lazy_expire);
    let mut place = ctx.write(args, 1);
    count_read(stats, &mut place);
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
    let has_deadline = entry.deadline().is_some();
    reply_value(Some(entry), reply)?;
    match (options.expiry, deadline_ms) {
        (_, Some(deadline_ms)) if deadline_ms <= now_ms => {
            place.remove();
            place.event(Event::DEL);
            place.repeat_as(|words| {
                words.add(deletion.name()).add(args.at(1));
            });
        }
        (_, Some(deadline_ms)) => {
            place.set_deadline(Some(deadline_ms));
            place.event(Event::EXPIRE);
            place.repeat_as(|words| {
                words.add("PEXPIREAT").add(args.at(1)).add(deadline_ms);
            });
        }
        (Expiry::Persist, None) if has_deadline => {
            place.set_deadline(None);
            place.event(Event::PERSIST);
            place.repeat_as(|words| {
                words.add("PERSIST").add(args.at(1));
            });
        }
        _ => {}
    }
    Ok(())
}

/// Replies the string that an entry holds, or null for none. Nothing is written if it is of another type.
#[inline(always)]
fn reply_value(entry: Option<Entry<'_>>, reply: &mut Reply<'_>) -> Outcome {
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
pub(super) fn reply_string(entry: Entry<'_>, reply: &mut Reply<'_>) {
    match entry.string_inline() {
        Some(bytes) => reply.bulk(bytes),
        None => reply_other_string(entry, reply),
    }
}

fn reply_other_string(entry: Entry<'_>, reply: &mut Reply<'_>) {
    match (entry.string(), entry.blob()) {
        (Str::Int(number), _) => reply.bulk_integer(number),
        (_, Some(blob)) => reply.blob(blob),
        (Str::Bytes(bytes), None) => reply.bulk(bytes),
    }
}

/// Counts a read that went through `Context::write`.
fn count_read(stats: &WorkerStats, place: &mut KeyMut<'_>) {
    if place.entry().is_some() {
        stats.counters.keyspace_hits.add(1);
    } else {
        stats.counters.keyspace_misses.add(1);
        place.missed();
    }
}
