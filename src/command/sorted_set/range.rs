//! Ranges that are replied or stored: ZRANGE, ZRANGESTORE, ZREVRANGE, ZRANGEBYSCORE, ZREVRANGEBYSCORE, ZRANGEBYLEX,
//! ZREVRANGEBYLEX.
//!
//! Design: whatever a range goes by becomes ranks, of which LIMIT leaves some; what is left is walked once.

use std::ops::Range;

use super::super::{Args, CommandError, Context, Outcome};
use super::bounds::{lex_range, score_range};
use super::{Pairs, event, integer, limits, ranks};
use crate::resp::Reply;
use crate::store::{Deadline, Event, LexRange, NewSortedSet, NewValue, ScoreRange, SortedSet};

const LIMIT_BY_RANK: CommandError = CommandError::Text(
    "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
);
const WITHSCORES_BY_LEX: CommandError =
    CommandError::Text("ERR syntax error, WITHSCORES not supported in combination with BYLEX");

/// What a range goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// The ends of a range.
enum Ends<'a> {
    Rank(i64, i64),
    Score(ScoreRange),
    Lex(LexRange<'a>),
}

/// What a command fixes, which others leave to options.
#[derive(Clone, Copy)]
struct Form {
    by: Option<By>,
    is_reverse: Option<bool>,
    stores: bool,
}

/// A range that was asked for.
struct Asked<'a> {
    ends: Ends<'a>,
    is_reverse: bool,
    with_scores: bool,
    skipped: i64,
    /// Negative: all.
    count: i64,
}

impl<'a> Asked<'a> {
    /// `first` is the argument of the first end.
    fn parse(args: &Args<'a>, first: usize, form: Form) -> Result<Asked<'a>, CommandError> {
        let Form { mut by, mut is_reverse, stores } = form;
        let (mut with_scores, mut limit) = (false, None);
        let mut index = first + 2;
        while index < args.len() {
            if !stores && args.is(index, "WITHSCORES") {
                with_scores = true;
            } else if args.is(index, "LIMIT") && index + 2 < args.len() {
                limit = Some((integer(args, index + 1)?, integer(args, index + 2)?));
                index += 2;
            } else if is_reverse.is_none() && args.is(index, "REV") {
                is_reverse = Some(true);
            } else if by.is_none() && args.is(index, "BYLEX") {
                by = Some(By::Lex);
            } else if by.is_none() && args.is(index, "BYSCORE") {
                by = Some(By::Score);
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        let (by, is_reverse) = (by.unwrap_or(By::Rank), is_reverse.unwrap_or(false));
        if limit.is_some_and(|(_, count)| count != -1) && by == By::Rank {
            return Err(LIMIT_BY_RANK);
        }
        if with_scores && by == By::Lex {
            return Err(WITHSCORES_BY_LEX);
        }
        let (min, max) = if is_reverse { (first + 1, first) } else { (first, first + 1) };
        let ends = match by {
            By::Rank => Ends::Rank(integer(args, first)?, integer(args, first + 1)?),
            By::Score => Ends::Score(score_range(args.at(min), args.at(max))?),
            By::Lex => Ends::Lex(lex_range(args.at(min), args.at(max))?),
        };
        let (skipped, count) = limit.unwrap_or((0, -1));
        Ok(Asked { ends, is_reverse, with_scores, skipped, count })
    }

    /// The ranks that are meant, without what LIMIT leaves out.
    fn ranks(&self, sorted_set: &SortedSet<'_>) -> Range<usize> {
        let found = match &self.ends {
            Ends::Rank(start, stop) => {
                let len = sorted_set.len();
                let ranks = ranks(len, *start, *stop);
                // A rank counts from the end at which the walk begins.
                return if self.is_reverse { len - ranks.end..len - ranks.start } else { ranks };
            }
            Ends::Score(range) => sorted_set.ranks_by_score(range),
            Ends::Lex(range) => sorted_set.ranks_by_lex(range, self.is_reverse),
        };
        let skipped = usize::try_from(self.skipped).unwrap_or(usize::MAX).min(found.len());
        let count = usize::try_from(self.count).unwrap_or(usize::MAX).min(found.len() - skipped);
        if self.is_reverse {
            found.end - skipped - count..found.end - skipped
        } else {
            found.start + skipped..found.start + skipped + count
        }
    }
}

fn reply_range(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>, form: Form) -> Outcome {
    let asked = Asked::parse(args, 2, form)?;
    let Some(sorted_set) = ctx.read_as::<SortedSet<'_>>(args, 1)? else {
        reply.array(0);
        return Ok(());
    };
    let members = sorted_set.members(asked.ranks(&sorted_set), asked.is_reverse);
    let pairs = Pairs::of(asked.with_scores);
    pairs.header(members.len(), reply);
    members.for_each(|member| pairs.reply(member, reply));
    Ok(())
}

/// ZRANGE.
pub(super) fn zrange(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply_range(ctx, args, reply, Form { by: None, is_reverse: None, stores: false })
}

/// ZREVRANGE.
pub(super) fn zrevrange(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    fixed(ctx, args, reply, By::Rank, true)
}

/// ZRANGEBYSCORE.
pub(super) fn zrangebyscore(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    fixed(ctx, args, reply, By::Score, false)
}

/// ZREVRANGEBYSCORE.
pub(super) fn zrevrangebyscore(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    fixed(ctx, args, reply, By::Score, true)
}

/// ZRANGEBYLEX.
pub(super) fn zrangebylex(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    fixed(ctx, args, reply, By::Lex, false)
}

/// ZREVRANGEBYLEX.
pub(super) fn zrevrangebylex(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    fixed(ctx, args, reply, By::Lex, true)
}

fn fixed(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>, by: By, is_reverse: bool) -> Outcome {
    reply_range(ctx, args, reply, Form { by: Some(by), is_reverse: Some(is_reverse), stores: false })
}

/// ZRANGESTORE.
pub(super) fn zrangestore(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let asked = Asked::parse(args, 3, Form { by: None, is_reverse: None, stores: true })?;
    let (mut new, limits) = (NewSortedSet::new(), limits(ctx));
    if let Some(sorted_set) = ctx.read_as::<SortedSet<'_>>(args, 2)? {
        let mut digits = itoa::Buffer::new();
        let ranks = asked.ranks(&sorted_set);
        // Redis builds the result up, unless it knows how many there are; what was packed meanwhile has lost the sign of zero.
        let mut packs = !matches!(asked.ends, Ends::Rank(..)) || ranks.len() as u64 <= limits.entries_max;
        for (index, (member, score)) in sorted_set.members(ranks, asked.is_reverse).enumerate() {
            let member = member.bytes(&mut digits);
            packs &= (index as u64) < limits.entries_max && member.len() as u64 <= limits.value_bytes_max;
            new.add(member, if packs { score + 0.0 } else { score });
        }
    }
    new.sort();
    let len = store(ctx, args, 1, new, ("zrangestore", 1));
    reply.integer(len as i64);
    Ok(())
}

/// Stores the result of a command, sorted, in the place of whatever a key was, without a deadline; nothing removes the key. The
/// event and how many changes it counts for tell that it was stored.
pub(in super::super) fn store(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    index: usize,
    new: NewSortedSet,
    (name, dirty): (&'static str, usize),
) -> usize {
    let limits = limits(ctx);
    let mut place = ctx.write(args, index);
    let len = new.len();
    if len > 0 {
        place.set_new(NewValue::SortedSet(new, limits), Deadline::None);
        place.count_as(dirty);
        place.event(event(name));
    } else if place.remove() {
        place.event(Event::DEL);
    }
    len
}
