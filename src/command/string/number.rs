//! INCR and its relatives, INCRBYFLOAT.
//!
//! Costs: adding to an integer overwrites its entry in place. INCRBYFLOAT allocates its digits.

use super::super::{Args, CommandError, Context, Outcome};
use crate::resp::number::parse_i64;
use crate::resp::{LongDouble, Reply};
use crate::store::{Class, Deadline, Entry, Event, NewString, Str};

const OVERFLOW: CommandError = CommandError::Text("ERR increment or decrement would overflow");
const DECREMENT_OVERFLOW: CommandError = CommandError::Text("ERR decrement would overflow");
const NOT_FINITE: CommandError = CommandError::Text("ERR increment would produce NaN or Infinity");

/// INCR.
pub(super) fn incr(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    add(ctx, args, reply, 1)
}

/// DECR.
pub(super) fn decr(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    add(ctx, args, reply, -1)
}

/// INCRBY.
pub(super) fn incrby(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let increment = parse_i64(args.at(2)).ok_or(CommandError::NotInteger)?;
    add(ctx, args, reply, increment)
}

/// DECRBY.
pub(super) fn decrby(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let decrement = parse_i64(args.at(2)).ok_or(CommandError::NotInteger)?;
    add(ctx, args, reply, decrement.checked_neg().ok_or(DECREMENT_OVERFLOW)?)
}

#[inline]
fn add(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>, increment: i64) -> Outcome {
    let mut place = ctx.write_string(args, 1)?;
    let before = match place.entry().map(Entry::string) {
        None => 0,
        Some(Str::Int(number)) => number,
        Some(Str::Bytes(bytes)) => parse_i64(bytes).ok_or(CommandError::NotInteger)?,
    };
    let after = before.checked_add(increment).ok_or(OVERFLOW)?;
    place.update_string(NewString::Int(after), Deadline::Keep);
    place.event(Event::new(Class::String, "incrby"));
    reply.integer(after);
    Ok(())
}

/// INCRBYFLOAT. The key's value is checked before the increment.
pub(super) fn incrbyfloat(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut place = ctx.write_string(args, 1)?;
    let before = match place.entry().map(Entry::string) {
        None => LongDouble::ZERO,
        Some(Str::Int(number)) => LongDouble::from_i64(number),
        Some(Str::Bytes(bytes)) => LongDouble::parse(bytes).ok_or(CommandError::NotFloat)?,
    };
    let increment = LongDouble::parse(args.at(2)).ok_or(CommandError::NotFloat)?;
    let after = before + increment;
    if !after.is_finite() {
        return Err(NOT_FINITE);
    }
    let mut text = Vec::new();
    after.write_to(&mut text);
    place.update_string(NewString::Text(&text), Deadline::Keep);
    place.event(Event::new(Class::String, "incrbyfloat"));
    // Elsewhere adding might round otherwise.
    place.repeat_as(|words| {
        words.add("SET").add(args.at(1)).add(&text[..]).add("KEEPTTL");
    });
    reply.bulk(&text);
    Ok(())
}
