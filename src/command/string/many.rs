//! Several keys at once: MGET, MSET, MSETNX, MSETEX. All their shards are held, so that plain loops are atomic.

use super::super::{Args, CommandError, Context, Outcome};
use super::options::{Condition, Expiry, Grammar, Options, Unit};
use super::value::{SET, reply_string};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::{Deadline, Event, Type};

const MSET_ARITY: CommandError = CommandError::Text("ERR wrong number of arguments for 'mset' command");
const MSETNX_ARITY: CommandError = CommandError::Text("ERR wrong number of arguments for 'msetnx' command");

const MSETEX_NUMKEYS: CommandError = CommandError::Text("ERR invalid numkeys value");
const MSETEX_PAIRS: CommandError = CommandError::Text("ERR wrong number of key-value pairs");
const INVALID_EXPIRE_MSETEX: &str = "ERR invalid expire time in 'msetex' command";

/// MGET. A key of another type counts as absent.
pub(super) fn mget(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.array(args.len() - 1);
    for index in 1..args.len() {
        ctx.fetch_ahead(args, index - 1);
        match ctx.read(args, index) {
            Some(entry) if entry.ty() == Type::String => reply_string(entry, reply),
            _ => reply.null(),
        }
    }
    Ok(())
}

/// MSET. Of values for the same key the last one stays.
pub(super) fn mset(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.len().is_multiple_of(2) {
        return Err(MSET_ARITY);
    }
    set_pairs(ctx, args, 1..args.len(), Deadline::None);
    reply.ok();
    Ok(())
}

/// MSETNX.
pub(super) fn msetnx(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.len().is_multiple_of(2) {
        return Err(MSETNX_ARITY);
    }
    let absent = (1..args.len()).step_by(2).enumerate().all(|(place, index)| {
        ctx.fetch_ahead(args, place);
        ctx.write(args, index).entry().is_none()
    });
    if absent {
        set_pairs(ctx, args, 1..args.len(), Deadline::None);
    }
    reply.integer(i64::from(absent));
    Ok(())
}

/// MSETEX. Errors in this order: number of keys, number of pairs, grammar, expire time.
pub(super) fn msetex(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    const COUNT_MAX: i64 = i32::MAX as i64;
    let count =
        parse_i64(args.at(1)).filter(|count| (1..=COUNT_MAX).contains(count)).ok_or(MSETEX_NUMKEYS)?;
    let pairs = 2..2 + 2 * count as usize;
    if pairs.end > args.len() {
        return Err(MSETEX_PAIRS);
    }
    let options = Options::parse(args, Grammar::Msetex(pairs.end))?;
    let deadline = match options.expiry {
        Expiry::Unsaid => Deadline::None,
        Expiry::Keep => Deadline::Keep,
        Expiry::Time(unit, text) => Deadline::At(unit.deadline(text, ctx.now_ms, INVALID_EXPIRE_MSETEX)?),
        Expiry::Persist => unreachable!("PERSIST is not in the grammar of MSETEX"),
    };
    let wanted = match options.condition {
        Condition::Always => true,
        condition => pairs.clone().step_by(2).enumerate().all(|(place, index)| {
            ctx.fetch_ahead(args, place);
            ctx.write(args, index).entry().is_some() == (condition == Condition::Present)
        }),
    };
    if wanted {
        set_pairs(ctx, args, pairs.clone(), deadline);
        if let Deadline::At(deadline_ms) = deadline {
            repeat_until(ctx, args, pairs.end, deadline_ms);
        }
    }
    reply.integer(i64::from(wanted));
    Ok(())
}

/// With a deadline, which the command may have given as from now on, it is repeated with that moment.
fn repeat_until(ctx: &mut Context<'_>, args: &Args<'_>, options_at: usize, deadline_ms: u64) {
    ctx.repeat_as(|words| {
        words.add_all(args.from(0).take(options_at));
        let mut options = args.from(options_at);
        while let Some(option) = options.next() {
            if Unit::read(option).is_none() {
                words.add(option);
            } else {
                options.next();
            }
        }
        words.add("PXAT").add(deadline_ms);
    });
}

/// Sets the strings of these arguments, each behind its key.
fn set_pairs(ctx: &mut Context<'_>, args: &Args<'_>, pairs: std::ops::Range<usize>, deadline: Deadline) {
    for (place, index) in pairs.step_by(2).enumerate() {
        ctx.fetch_ahead(args, place);
        let mut key = ctx.write(args, index);
        key.set_string(args.new_string(index + 1), deadline);
        key.event(SET);
        if matches!(deadline, Deadline::At(_)) {
            key.event(Event::EXPIRE);
        }
    }
}
