//! Removing members: ZREM, ZREMRANGEBYRANK, ZREMRANGEBYSCORE, ZREMRANGEBYLEX.

use std::ops::Range;

use super::super::{Args, Context, Outcome};
use super::bounds::{lex_range, score_range};
use super::{event, integer, ranks, write};
use crate::resp::Reply;
use crate::store::SortedSet;

/// ZREM.
pub(super) fn zrem(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut place = write(ctx, args, 1)?;
    let mut removed = 0;
    for member in args.from(2) {
        removed += usize::from(place.sorted_set_remove(member));
        if place.entry().is_none() {
            break;
        }
    }
    if removed > 0 {
        place.count_as(removed);
        place.event(event("zrem"));
    }
    reply.integer(removed as i64);
    Ok(())
}

/// ZREMRANGEBYRANK.
pub(super) fn zremrangebyrank(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (start, stop) = (integer(args, 2)?, integer(args, 3)?);
    remove(ctx, args, reply, "zremrangebyrank", |sorted_set| ranks(sorted_set.len(), start, stop))
}

/// ZREMRANGEBYSCORE.
pub(super) fn zremrangebyscore(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let range = score_range(args.at(2), args.at(3))?;
    remove(ctx, args, reply, "zremrangebyscore", |sorted_set| sorted_set.ranks_by_score(&range))
}

/// ZREMRANGEBYLEX.
pub(super) fn zremrangebylex(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let range = lex_range(args.at(2), args.at(3))?;
    remove(ctx, args, reply, "zremrangebylex", |sorted_set| sorted_set.ranks_by_lex(&range, false))
}

fn remove(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    name: &'static str,
    ranks: impl FnOnce(&SortedSet<'_>) -> Range<usize>,
) -> Outcome {
    let mut place = write(ctx, args, 1)?;
    let ranks = place.sorted_set().map_or(0..0, |sorted_set| ranks(&sorted_set));
    let removed = ranks.len();
    if removed > 0 {
        place.sorted_set_remove_range(ranks);
        place.count_as(removed);
        place.event(event(name));
    }
    reply.integer(removed as i64);
    Ok(())
}
