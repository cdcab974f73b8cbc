//! The commands that wait until there is something to pop: BZPOPMIN, BZPOPMAX, BZMPOP.
//!
//! Design: each does what its counterpart does that does not wait, and waits where that one would reply that there is nothing.
//! When a key has become a sorted set it is run again as it stands (`command::blocking`).

use super::super::blocking::until_after_seconds;
use super::super::{Args, Context, Outcome};
use super::pop::{Found, From, ManyPop, pop_first};
use crate::resp::Reply;
use crate::store::Type;

pub(super) fn bzpopmin(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    pop(ctx, args, reply, From::Min)
}

pub(super) fn bzpopmax(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    pop(ctx, args, reply, From::Max)
}

fn pop(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>, from: From) -> Outcome {
    let timeout = args.len() - 1;
    let until_ms = until_after_seconds(args.at(timeout), ctx.now_ms)?;
    match pop_first(ctx, args, 1..timeout, from, None, reply)? {
        Found::SortedSet => Ok(()),
        Found::Nothing => ctx.block_for(Type::SortedSet, timeout - 1, until_ms, reply),
    }
}

pub(super) fn bzmpop(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let ManyPop { keys, from, count } = ManyPop::parse(args, 2)?;
    let until_ms = until_after_seconds(args.at(1), ctx.now_ms)?;
    let key_count = keys.len();
    match pop_first(ctx, args, keys, from, Some(count), reply)? {
        Found::SortedSet => Ok(()),
        Found::Nothing => ctx.block_for(Type::SortedSet, key_count, until_ms, reply),
    }
}
