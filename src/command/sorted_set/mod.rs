//! The family `sorted_set`: rows here, handlers beside by what they do.
//!
//! | file | what |
//! |---|---|
//! | `add` | ZADD, ZINCRBY |
//! | `look` | about single members: ZSCORE, ZRANK and their relatives, ZCARD |
//! | `bounds` | how the ends of ranges are written |
//! | `range` | ranges that are replied or stored: ZRANGE and its older forms, ZRANGESTORE |
//! | `remove` | ZREM, and ranges that are counted or removed |
//! | `pop` | ZPOPMIN, ZPOPMAX, ZMPOP |
//! | `blocking` | those that wait for something to pop: BZPOPMIN and its relatives |
//! | `algebra` | several sorted sets: ZUNION, ZINTER, ZDIFF and their relatives |
//! | `random` | ZRANDMEMBER |
//! | `scan` | ZSCAN |
//!
//! Costs: members are replied straight from where they lie.

mod add;
mod algebra;
mod blocking;
mod bounds;
mod look;
mod pop;
mod random;
mod range;
mod remove;
mod rows;
mod scan;

use super::{Args, CommandError, Context, reply_item};
use crate::resp::{Protocol, Reply};
use crate::store::{Class, Event, Item, KeyMut, PackLimits, Type};

pub(super) use add::{AddOptions, add_members};
pub(super) use range::store;
pub use rows::ROWS;

/// What happened to a sorted set.
const fn event(name: &'static str) -> Event {
    Event::new(Class::SortedSet, name)
}

/// Up to which size sorted sets are packed.
#[inline]
fn limits(ctx: &Context<'_>) -> PackLimits {
    ctx.limits().sorted_set
}

/// The place of key argument `index`, which holds a sorted set or nothing.
#[inline]
fn write<'k>(ctx: &'k mut Context<'_>, args: &Args<'k>, index: usize) -> Result<KeyMut<'k>, CommandError> {
    ctx.write_typed(args, index, Type::SortedSet)
}

/// How members are replied together with their scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pairs {
    /// Members alone.
    Members,
    /// Each with its score: an array of two in RESP3, one behind the other in RESP2.
    WithScores,
}

impl Pairs {
    fn of(with_scores: bool) -> Pairs {
        if with_scores { Pairs::WithScores } else { Pairs::Members }
    }

    /// How many elements the array of so many members has.
    #[inline]
    fn elements(self, count: usize, reply: &Reply<'_>) -> usize {
        if self == Pairs::WithScores && reply.protocol() == Protocol::Resp2 { 2 * count } else { count }
    }

    /// The header of so many members.
    #[inline]
    fn header(self, count: usize, reply: &mut Reply<'_>) {
        reply.array(self.elements(count, reply));
    }

    /// One member.
    #[inline]
    fn reply(self, (member, score): (Item<'_>, f64), reply: &mut Reply<'_>) {
        if self == Pairs::WithScores && reply.protocol() == Protocol::Resp3 {
            reply.array(2);
        }
        reply_item(member, reply);
        if self == Pairs::WithScores {
            reply.double(score);
        }
    }
}

/// An integer argument.
fn integer(args: &Args<'_>, index: usize) -> Result<i64, CommandError> {
    crate::resp::number::parse_i64(args.at(index)).ok_or(CommandError::NotInteger)
}

/// The ranks that two indexes mean, negative ones counting from the end.
fn ranks(len: usize, start: i64, stop: i64) -> std::ops::Range<usize> {
    let len = len as i64;
    let from_end = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    let (start, stop) = (from_end(start).max(0), from_end(stop).min(len - 1));
    if start > stop { 0..0 } else { start as usize..stop as usize + 1 }
}
