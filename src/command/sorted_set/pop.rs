//! Taking members from an end: ZPOPMIN, ZPOPMAX, ZMPOP.
//!
//! Not here: waiting for members (`blocking`).

use std::ops::Range;

use super::super::{Args, CommandError, Context, Outcome};
use super::{Pairs, event, write};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::{Item, KeyMut};

const NOT_POSITIVE: CommandError = CommandError::Text("ERR value is out of range, must be positive");
const NUMKEYS: CommandError = CommandError::Text("ERR numkeys should be greater than 0");
const COUNT: CommandError = CommandError::Text("ERR count should be greater than 0");

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// The lowest scores.
    Min,
    /// The highest scores.
    Max,
}

/// ZPOPMIN.
pub(super) fn zpopmin(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    pop(ctx, args, reply, From::Min)
}

/// ZPOPMAX.
pub(super) fn zpopmax(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    pop(ctx, args, reply, From::Max)
}

/// Errors in this order: number of arguments, count, type.
fn pop(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>, from: From) -> Outcome {
    let count = match args.len() {
        2 => None,
        3 => {
            let count = parse_i64(args.at(2)).and_then(|count| usize::try_from(count).ok());
            Some(count.ok_or(NOT_POSITIVE)?)
        }
        _ => return Err(CommandError::Syntax),
    };
    let mut place = write(ctx, args, 1)?;
    match count {
        None if place.entry().is_some() => {
            reply.array(2);
            pop_each(&mut place, from, 1, reply, Pairs::flat);
        }
        Some(count) if place.entry().is_some() => {
            let len = place.sorted_set().map_or(0, |sorted_set| sorted_set.len());
            Pairs::WithScores.header(count.min(len), reply);
            pop_each(&mut place, from, count, reply, |member, reply| Pairs::WithScores.reply(member, reply));
        }
        _ => reply.array(0),
    }
    Ok(())
}

/// Takes members from an end of a sorted set that exists, as far as there are, and replies each.
fn pop_each(
    place: &mut KeyMut<'_>,
    from: From,
    count: usize,
    reply: &mut Reply<'_>,
    reply_one: impl Fn((Item<'_>, f64), &mut Reply<'_>),
) {
    let sorted_set = place.sorted_set().expect("the caller has seen the key");
    let len = sorted_set.len();
    let taken = count.min(len);
    let ranks = if from == From::Min { 0..taken } else { len - taken..len };
    sorted_set.members(ranks.clone(), from == From::Max).for_each(|member| reply_one(member, reply));
    if taken > 0 {
        place.sorted_set_remove_range(ranks);
        place.count_as(taken);
        place.event(event(if from == From::Min { "zpopmin" } else { "zpopmax" }));
    }
}

impl Pairs {
    /// A member and its score, one behind the other in either protocol.
    fn flat((member, score): (Item<'_>, f64), reply: &mut Reply<'_>) {
        super::reply_item(member, reply);
        reply.double(score);
    }
}

/// ZMPOP.
pub(super) fn zmpop(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let ManyPop { keys, from, count } = ManyPop::parse(args, 1)?;
    match pop_first(ctx, args, keys, from, Some(count), reply)? {
        Found::SortedSet => {}
        Found::Nothing => reply.null_array(),
    }
    Ok(())
}

/// Whether one of several keys is a sorted set.
pub(super) enum Found {
    SortedSet,
    Nothing,
}

/// Pops from the first of these arguments that is a sorted set, whose key comes first in the reply: one member and its score, or
/// an array of up to `count` pairs. One of another type before it is an error. It is repeated as a pop of that sorted set.
pub(super) fn pop_first(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    keys: Range<usize>,
    from: From,
    count: Option<usize>,
    reply: &mut Reply<'_>,
) -> Result<Found, CommandError> {
    for (number, index) in keys.enumerate() {
        ctx.fetch_ahead(args, number);
        let mut place = write(ctx, args, index)?;
        let Some(len) = place.sorted_set().map(|sorted_set| sorted_set.len()) else { continue };
        match count {
            None => {
                reply.array(3);
                reply.bulk(args.at(index));
                pop_each(&mut place, from, 1, reply, Pairs::flat);
            }
            Some(count) => {
                reply.array(2);
                reply.bulk(args.at(index));
                reply.array(count.min(len));
                pop_each(&mut place, from, count, reply, |member, reply| {
                    reply.array(2);
                    Pairs::flat(member, reply);
                });
            }
        }
        place.repeat_as(|words| {
            words.add(if from == From::Min { "ZPOPMIN" } else { "ZPOPMAX" }).add(args.at(index));
            if let Some(count) = count {
                words.add(count.min(len) as u64);
            }
        });
        return Ok(Found::SortedSet);
    }
    Ok(Found::Nothing)
}

/// What ZMPOP and its blocking counterpart are asked for: `numkeys key [key ...] <MIN | MAX> [COUNT count]`.
pub(super) struct ManyPop {
    /// The arguments that are keys.
    pub keys: Range<usize>,
    /// Where to take from.
    pub from: From,
    /// How many at most.
    pub count: usize,
}

impl ManyPop {
    /// `first` is the argument that says how many keys there are.
    pub(super) fn parse(args: &Args<'_>, first: usize) -> Result<Self, CommandError> {
        let keys = parse_i64(args.at(first)).filter(|keys| *keys > 0).ok_or(NUMKEYS)?;
        let from_index = usize::try_from(keys).ok().and_then(|keys| keys.checked_add(first + 1));
        let from_index = from_index.filter(|index| *index < args.len()).ok_or(CommandError::Syntax)?;
        let from = if args.is(from_index, "MIN") {
            From::Min
        } else if args.is(from_index, "MAX") {
            From::Max
        } else {
            return Err(CommandError::Syntax);
        };
        let mut count = None;
        let mut index = from_index + 1;
        while index < args.len() {
            let given = args.find(index + 1).filter(|_| count.is_none() && args.is(index, "COUNT"));
            let text = given.ok_or(CommandError::Syntax)?;
            count = Some(parse_i64(text).filter(|count| *count > 0).ok_or(COUNT)?);
            index += 2;
        }
        Ok(Self { keys: first + 1..from_index, from, count: count.unwrap_or(1) as usize })
    }
}
