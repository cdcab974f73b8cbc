//! The ends of lists: LPUSH, RPUSH, LPUSHX, RPUSHX, LPOP, RPOP, LMPOP.
//!
//! Not here: moving an element to another list (`transfer`).

use super::super::{Args, CommandError, Context, Outcome, reply_item};
use super::{end_at, limits, pop_name, popped, pushed};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::{End, KeyMut, ListLimits, Type};

const NOT_POSITIVE: CommandError = CommandError::Text("ERR value is out of range, must be positive");
const NUMKEYS: CommandError = CommandError::Text("ERR numkeys should be greater than 0");
const COUNT: CommandError = CommandError::Text("ERR count should be greater than 0");

/// LPUSH.
pub(super) fn lpush(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    push(ctx, args, reply, End::Left, false)
}

/// RPUSH.
pub(super) fn rpush(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    push(ctx, args, reply, End::Right, false)
}

/// LPUSHX.
pub(super) fn lpushx(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    push(ctx, args, reply, End::Left, true)
}

/// RPUSHX.
pub(super) fn rpushx(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    push(ctx, args, reply, End::Right, true)
}

#[inline]
fn push(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    end: End,
    only_existing: bool,
) -> Outcome {
    let limits = limits(ctx);
    let mut place = ctx.write_typed(args, 1, Type::List)?;
    let len = match place.entry() {
        None if only_existing => 0,
        _ => {
            let len = place.list_push(end, args.new_items(2), limits);
            place.event(pushed(end));
            len
        }
    };
    reply.integer(len as i64);
    Ok(())
}

/// LPOP.
pub(super) fn lpop(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    pop(ctx, args, reply, End::Left)
}

/// RPOP.
pub(super) fn rpop(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    pop(ctx, args, reply, End::Right)
}

/// Errors in this order: number of arguments, count, type.
#[inline]
fn pop(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>, end: End) -> Outcome {
    let limits = limits(ctx);
    let count = match args.len() {
        2 => None,
        3 => {
            let count = parse_i64(args.at(2)).and_then(|count| usize::try_from(count).ok());
            Some(count.ok_or(NOT_POSITIVE)?)
        }
        _ => {
            let name = if end == End::Left { "lpop" } else { "rpop" };
            reply.error_fmt(format_args!("ERR wrong number of arguments for '{name}' command"));
            return Err(CommandError::Replied);
        }
    };
    let mut place = ctx.write_typed(args, 1, Type::List)?;
    match (count, place.entry().is_some()) {
        (None, false) => reply.null(),
        (Some(_), false) => reply.null_array(),
        (count, true) => {
            pop_some(&mut place, end, count, limits, reply);
        }
    }
    Ok(())
}

/// Takes elements at an end of a list that exists: one, which is the reply, or up to `count`, replied as an array. Returns how
/// many.
#[inline]
fn pop_some(
    place: &mut KeyMut<'_>,
    end: End,
    count: Option<usize>,
    limits: ListLimits,
    reply: &mut Reply<'_>,
) -> usize {
    let Some(count) = count else {
        place.list_pop(end, limits, |item| reply_item(item, reply));
        place.event(popped(end));
        return 1;
    };
    let list = place.list().expect("the caller has seen the key");
    let len = list.len();
    let taken = count.min(len);
    let (from, start) = if end == End::Left { (0, 0) } else { (len - 1, len - taken) };
    reply.array(taken);
    list.items(end, from, taken).for_each(|item| reply_item(item, reply));
    place.list_remove(start, taken, limits);
    if taken > 0 {
        place.event(popped(end));
    }
    taken
}

/// LMPOP.
pub(super) fn lmpop(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let ManyPop { keys, end, count } = ManyPop::parse(args, 1)?;
    match pop_first(ctx, args, keys, end, Some(count), reply)? {
        Found::List => {}
        Found::Nothing => reply.null_array(),
    }
    Ok(())
}

/// Whether one of several keys is a list.
pub(super) enum Found {
    List,
    Nothing,
}

/// Pops as `pop_some` does from the first of these arguments that is a list, whose key comes first in the reply. One of
/// another type before it is an error. It is repeated as a pop of that list.
pub(super) fn pop_first(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    keys: std::ops::Range<usize>,
    end: End,
    count: Option<usize>,
    reply: &mut Reply<'_>,
) -> Result<Found, CommandError> {
    let limits = limits(ctx);
    for (number, index) in keys.enumerate() {
        ctx.fetch_ahead(args, number);
        let mut place = ctx.write_typed(args, index, Type::List)?;
        if place.entry().is_some() {
            reply.array(2);
            reply.bulk(args.at(index));
            let taken = pop_some(&mut place, end, count, limits, reply);
            place.repeat_as(|words| {
                words.add(pop_name(end)).add(args.at(index));
                if count.is_some() {
                    words.add(taken as u64);
                }
            });
            return Ok(Found::List);
        }
    }
    Ok(Found::Nothing)
}

/// What LMPOP and its blocking counterpart are asked for: `numkeys key [key ...] <LEFT | RIGHT> [COUNT count]`.
pub(super) struct ManyPop {
    /// The arguments that are keys.
    pub keys: std::ops::Range<usize>,
    /// Where to take from.
    pub end: End,
    /// How many at most.
    pub count: usize,
}

impl ManyPop {
    /// `first` is the argument that says how many keys there are.
    pub(super) fn parse(args: &Args<'_>, first: usize) -> Result<Self, CommandError> {
        let keys = parse_i64(args.at(first)).filter(|keys| *keys > 0).ok_or(NUMKEYS)?;
        let end_index = usize::try_from(keys).ok().and_then(|keys| keys.checked_add(first + 1));
        let end_index = end_index.filter(|index| *index < args.len()).ok_or(CommandError::Syntax)?;
        let end = end_at(args, end_index)?;
        let mut count = None;
        let mut index = end_index + 1;
        while index < args.len() {
            let given = args.find(index + 1).filter(|_| count.is_none() && args.is(index, "COUNT"));
            let text = given.ok_or(CommandError::Syntax)?;
            count = Some(parse_i64(text).filter(|count| *count > 0).ok_or(COUNT)?);
            index += 2;
        }
        Ok(Self { keys: first + 1..end_index, end, count: count.unwrap_or(1) as usize })
    }
}
