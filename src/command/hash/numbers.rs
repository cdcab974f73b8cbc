//! HINCRBY and HINCRBYFLOAT.

use super::super::{Args, CommandError, Context, Outcome};
use super::{Lapsing, event, lapse, limits};
use crate::resp::number::parse_i64;
use crate::resp::{LongDouble, Reply};
use crate::store::{Deadline, Event, Item, Type};

const HINCRBY: Event = event("hincrby");
const HINCRBYFLOAT: Event = event("hincrbyfloat");

const NOT_INTEGER: CommandError = CommandError::Text("ERR hash value is not an integer");
const NOT_FLOAT: CommandError = CommandError::Text("ERR hash value is not a float");
const OVERFLOW: CommandError = CommandError::Text("ERR increment or decrement would overflow");
const NOT_A_NUMBER: CommandError = CommandError::Text("ERR value is NaN or Infinity");
const NOT_FINITE: CommandError = CommandError::Text("ERR increment would produce NaN or Infinity");

/// HINCRBY.
pub(super) fn hincrby(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let increment = parse_i64(args.at(3)).ok_or(CommandError::NotInteger)?;
    let (limits, mut lapsing) = (limits(ctx), Lapsing::of(ctx, args));
    let mut place = ctx.write_typed(args, 1, Type::Hash)?;
    let name = args.at(2);
    lapse(&mut lapsing, &mut place, name);
    let before = match place.hash().and_then(|hash| hash.get(lapsing.hasher, name)) {
        None => 0,
        Some(field) => match field.value {
            Item::Int(number) => number,
            Item::Bytes(bytes) => parse_i64(bytes).ok_or(NOT_INTEGER)?,
            Item::Blob(_) => return Err(NOT_INTEGER),
        },
    };
    let after = before.checked_add(increment).ok_or(OVERFLOW)?;
    let mut digits = itoa::Buffer::new();
    place.hash_set(name, digits.format(after).as_bytes(), Deadline::Keep, limits);
    place.count_as(1);
    place.event(HINCRBY);
    reply.integer(after);
    Ok(())
}

/// HINCRBYFLOAT. What is repeated is the result, since not every server computes the same.
pub(super) fn hincrbyfloat(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let increment = LongDouble::parse(args.at(3)).ok_or(CommandError::NotFloat)?;
    if !increment.is_finite() {
        return Err(NOT_A_NUMBER);
    }
    let (limits, mut lapsing) = (limits(ctx), Lapsing::of(ctx, args));
    let mut place = ctx.write_typed(args, 1, Type::Hash)?;
    let name = args.at(2);
    lapse(&mut lapsing, &mut place, name);
    let before = match place.hash().and_then(|hash| hash.get(lapsing.hasher, name)) {
        None => LongDouble::ZERO,
        Some(field) => match field.value {
            Item::Int(number) => LongDouble::from_i64(number),
            Item::Bytes(bytes) => LongDouble::parse(bytes).ok_or(NOT_FLOAT)?,
            Item::Blob(_) => return Err(NOT_FLOAT),
        },
    };
    let after = before + increment;
    if !after.is_finite() {
        return Err(NOT_FINITE);
    }
    let mut text = Vec::new();
    after.write_to(&mut text);
    place.hash_set(name, &text, Deadline::Keep, limits);
    place.count_as(1);
    place.event(HINCRBYFLOAT);
    place.repeat_as(|words| {
        words.add("HSETEX").add(args.at(1)).add("KEEPTTL").add("FIELDS").add(1_u64).add(name).add(&text[..]);
    });
    reply.bulk(&text);
    Ok(())
}
