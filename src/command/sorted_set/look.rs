//! Single members: ZSCORE, ZMSCORE, ZRANK, ZREVRANK; and how many there are: ZCARD, ZCOUNT, ZLEXCOUNT.

use super::super::{Args, CommandError, Context, Outcome};
use super::bounds::{lex_range, score_range};
use crate::resp::Reply;
use crate::store::SortedSet;

/// ZCARD.
pub(super) fn zcard(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let len = ctx.read_as::<SortedSet<'_>>(args, 1)?.map_or(0, |sorted_set| sorted_set.len());
    reply.integer(len as i64);
    Ok(())
}

/// ZCOUNT.
pub(super) fn zcount(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let range = score_range(args.at(2), args.at(3))?;
    let sorted_set = ctx.read_as::<SortedSet<'_>>(args, 1)?;
    reply.integer(sorted_set.map_or(0, |sorted_set| sorted_set.ranks_by_score(&range).len()) as i64);
    Ok(())
}

/// ZLEXCOUNT.
pub(super) fn zlexcount(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let range = lex_range(args.at(2), args.at(3))?;
    let sorted_set = ctx.read_as::<SortedSet<'_>>(args, 1)?;
    reply.integer(sorted_set.map_or(0, |sorted_set| sorted_set.ranks_by_lex(&range, false).len()) as i64);
    Ok(())
}

/// ZSCORE.
pub(super) fn zscore(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let sorted_set = ctx.read_as::<SortedSet<'_>>(args, 1)?;
    reply_score(sorted_set.and_then(|sorted_set| sorted_set.score(args.at(2))), reply);
    Ok(())
}

/// ZMSCORE.
pub(super) fn zmscore(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let sorted_set = ctx.read_as::<SortedSet<'_>>(args, 1)?;
    reply.array(args.len() - 2);
    for member in args.from(2) {
        reply_score(sorted_set.and_then(|sorted_set| sorted_set.score(member)), reply);
    }
    Ok(())
}

fn reply_score(score: Option<f64>, reply: &mut Reply<'_>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

/// ZRANK.
pub(super) fn zrank(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    rank(ctx, args, reply, false)
}

/// ZREVRANK.
pub(super) fn zrevrank(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    rank(ctx, args, reply, true)
}

fn rank(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>, is_reverse: bool) -> Outcome {
    if args.len() > 4 {
        let name = if is_reverse { "zrevrank" } else { "zrank" };
        reply.error_fmt(format_args!("ERR wrong number of arguments for '{name}' command"));
        return Err(CommandError::Replied);
    }
    let with_score = args.len() == 4;
    if with_score && !args.is(3, "WITHSCORE") {
        return Err(CommandError::Syntax);
    }
    let sorted_set = ctx.read_as::<SortedSet<'_>>(args, 1)?;
    let found = sorted_set.and_then(|sorted_set| {
        let (rank, score) = sorted_set.rank(args.at(2))?;
        Some((if is_reverse { sorted_set.len() - 1 - rank } else { rank }, score))
    });
    match found {
        None if with_score => reply.null_array(),
        None => reply.null(),
        Some((rank, score)) => {
            if with_score {
                reply.array(2);
            }
            reply.integer(rank as i64);
            if with_score {
                reply.double(score);
            }
        }
    }
    Ok(())
}
