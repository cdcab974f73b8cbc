//! Deadlines of fields: HEXPIRE, HPEXPIRE, HEXPIREAT, HPEXPIREAT, HTTL, HPTTL, HEXPIRETIME, HPEXPIRETIME, HPERSIST.
//!
//! HEXPIRE does not ask whether a field's deadline has come: as in Redis, it lives on with another one.

use super::super::{Args, CommandError, Context, Outcome};
use super::options::{Origin, Touched, Unit, counted_fields_at, deadline_at, fields_at};
use super::{HDEL, HEXPIRE, HPERSIST};
use crate::resp::Reply;
use crate::store::{Hash, Type};

const NOT_POSITIVE: CommandError = CommandError::Text("ERR Parameter `numFields` should be greater than 0");

/// What is replied for a field.
const NO_FIELD: i64 = -2;
const NO_DEADLINE: i64 = -1;
const CONDITION_FAILED: i64 = 0;
const DONE: i64 = 1;
const REMOVED: i64 = 2;

/// HEXPIRE.
pub(super) fn hexpire(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    expire(ctx, args, reply, (Unit::Seconds, Origin::Now), "hexpire")
}

/// HPEXPIRE.
pub(super) fn hpexpire(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    expire(ctx, args, reply, (Unit::Ms, Origin::Now), "hpexpire")
}

/// HEXPIREAT.
pub(super) fn hexpireat(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    expire(ctx, args, reply, (Unit::Seconds, Origin::Epoch), "hexpireat")
}

/// HPEXPIREAT.
pub(super) fn hpexpireat(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    expire(ctx, args, reply, (Unit::Ms, Origin::Epoch), "hpexpireat")
}

/// Under which condition a deadline is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Always,
    NoDeadline,
    Deadline,
    Later,
    Earlier,
}

impl Condition {
    fn at(args: &Args<'_>, index: usize) -> Condition {
        match () {
            () if args.is(index, "NX") => Condition::NoDeadline,
            () if args.is(index, "XX") => Condition::Deadline,
            () if args.is(index, "GT") => Condition::Later,
            () if args.is(index, "LT") => Condition::Earlier,
            () => Condition::Always,
        }
    }

    /// A field without a deadline lives for ever.
    fn holds(self, before: Option<u64>, deadline: u64) -> bool {
        match self {
            Condition::Always => true,
            Condition::NoDeadline => before.is_none(),
            Condition::Deadline => before.is_some(),
            Condition::Later => before.is_some_and(|before| deadline > before),
            Condition::Earlier => before.is_none_or(|before| deadline < before),
        }
    }
}

/// Errors in this order: type, time, FIELDS.
fn expire(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    time: (Unit, Origin),
    name: &str,
) -> Outcome {
    let (hasher, now_ms) = (ctx.hasher(), ctx.now_ms);
    let mut place = ctx.write_typed(args, 1, Type::Hash)?;
    let deadline = deadline_at(now_ms, args, 2, time, name, reply)?;
    let condition = Condition::at(args, 3);
    let fields_index = if condition == Condition::Always { 3 } else { 4 };
    let fields = counted_fields_at(args, fields_index, NOT_POSITIVE)?;
    place.hash_hold_deadlines();
    reply.array(fields.len());
    let (mut touched, mut set, mut removed) = (Touched::default(), Vec::new(), 0);
    for index in fields {
        let field = args.at(index);
        let before = place.hash().and_then(|hash| hash.get(hasher, field)).map(|field| field.deadline);
        reply.integer(match before {
            None => NO_FIELD,
            Some(before) if !condition.holds(before, deadline) => CONDITION_FAILED,
            Some(before) if deadline <= now_ms => {
                touched.add(before);
                place.hash_remove(field);
                removed += 1;
                place.repeat_as(|words| {
                    words.add("HDEL").add(args.at(1)).add(field);
                });
                REMOVED
            }
            Some(before) => {
                touched.add(before);
                touched.add(Some(deadline));
                place.hash_set_deadline(field, Some(deadline));
                set.push(index);
                DONE
            }
        });
    }
    place.hash_note_deadline(touched.0);
    place.count_as(removed + set.len());
    if removed > 0 {
        place.event(HDEL);
    }
    if !set.is_empty() {
        place.event(HEXPIRE);
        place.repeat_as(|words| {
            words.add("HPEXPIREAT").add(args.at(1)).add(deadline);
            if condition != Condition::Always {
                words.add(args.at(3));
            }
            words.add("FIELDS").add(set.len() as u64).add_all(set.iter().map(|index| args.at(*index)));
        });
    }
    Ok(())
}

/// HTTL.
pub(super) fn httl(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    tell(ctx, args, reply, (Unit::Seconds, Origin::Now))
}

/// HPTTL.
pub(super) fn hpttl(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    tell(ctx, args, reply, (Unit::Ms, Origin::Now))
}

/// HEXPIRETIME.
pub(super) fn hexpiretime(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    tell(ctx, args, reply, (Unit::Seconds, Origin::Epoch))
}

/// HPEXPIRETIME.
pub(super) fn hpexpiretime(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    tell(ctx, args, reply, (Unit::Ms, Origin::Epoch))
}

/// Seconds are rounded up.
fn tell(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    (unit, origin): (Unit, Origin),
) -> Outcome {
    let (hasher, now_ms) = (ctx.hasher(), ctx.now_ms);
    let hash = ctx.read_as::<Hash<'_>>(args, 1)?;
    let fields = fields_at(args, 2)?;
    let base_ms = if origin == Origin::Now { now_ms } else { 0 };
    reply.array(fields.len());
    for index in fields {
        let field = hash.as_ref().and_then(|hash| hash.get(hasher, args.at(index)));
        reply.integer(match field.map(|field| field.deadline) {
            None => NO_FIELD,
            Some(None) => NO_DEADLINE,
            Some(Some(deadline)) if deadline <= now_ms => NO_FIELD,
            Some(Some(deadline)) => {
                let ms = deadline - base_ms;
                let number = if unit == Unit::Seconds { ms.div_ceil(1000) } else { ms };
                i64::try_from(number).unwrap_or(i64::MAX)
            }
        });
    }
    Ok(())
}

/// HPERSIST.
pub(super) fn hpersist(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (hasher, now_ms) = (ctx.hasher(), ctx.now_ms);
    let mut place = ctx.write_typed(args, 1, Type::Hash)?;
    let fields = fields_at(args, 2)?;
    reply.array(fields.len());
    let mut changed = 0;
    for index in fields {
        let field = place.hash().and_then(|hash| hash.get(hasher, args.at(index)));
        reply.integer(match field.map(|field| field.deadline) {
            None => NO_FIELD,
            Some(None) => NO_DEADLINE,
            Some(Some(deadline)) if deadline <= now_ms => NO_FIELD,
            Some(Some(_)) => {
                place.hash_set_deadline(args.at(index), None);
                changed += 1;
                DONE
            }
        });
    }
    if changed > 0 {
        place.count_as(1);
        place.event(HPERSIST);
    }
    Ok(())
}
