//! Several sorted sets: ZUNION, ZINTER, ZDIFF, what stores their results, and ZINTERCARD.
//!
//! Design: sources are taken in the order of their sizes, as Redis takes them, since sums of doubles depend on it; of an
//! intersection the smallest one is walked. The result is gathered outside of the keyspace, so that a source may be the destination.

use super::super::{Args, CommandError, Context, Outcome};
use super::Pairs;
use super::range::store;
use crate::resp::Reply;
use crate::resp::number::{parse_f64, parse_i64};
use crate::store::{Item, NewSortedSet, Scored};

const NOT_A_WEIGHT: CommandError = CommandError::Text("ERR weight value is not a float");
const NEGATIVE_LIMIT: CommandError = CommandError::Text("ERR LIMIT can't be negative");

/// What is made of the sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
}

/// What becomes of the scores that a member has in several sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn join(self, one: f64, other: f64) -> f64 {
        match self {
            // Infinities of both signs make 0.
            Aggregate::Sum => number_or_zero(one + other),
            Aggregate::Min => {
                if other < one {
                    other
                } else {
                    one
                }
            }
            Aggregate::Max => {
                if other > one {
                    other
                } else {
                    one
                }
            }
        }
    }
}

fn number_or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// A source: the argument of its key, and its weight.
#[derive(Clone, Copy)]
struct Source {
    index: usize,
    weight: f64,
}

/// A source's members with their weighed scores.
struct Weighed<'a> {
    scored: Scored<'a>,
    weight: f64,
}

impl Weighed<'_> {
    fn weigh(&self, score: f64) -> f64 {
        number_or_zero(self.weight * score)
    }

    /// The score to intersect with. Where it is no number, the sum is 0, and Redis does not see it otherwise.
    fn score(&self, member: &[u8]) -> Option<f64> {
        self.scored.score(member).map(|score| self.weight * score)
    }
}

/// What a command is asked for.
struct Asked {
    operation: Operation,
    sources: Vec<Source>,
    aggregate: Aggregate,
    with_scores: bool,
}

/// The sources, the first of which is counted by argument `first`, and the argument behind them. Their types are looked at before
/// any option is.
fn sources(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    first: usize,
    name: &str,
    reply: &mut Reply<'_>,
) -> Result<(Vec<Source>, usize), CommandError> {
    let count = parse_i64(args.at(first)).ok_or(CommandError::NotInteger)?;
    if count < 1 {
        reply.error_fmt(format_args!("ERR at least 1 input key is needed for '{name}' command"));
        return Err(CommandError::Replied);
    }
    let end = usize::try_from(count).ok().and_then(|count| count.checked_add(first + 1));
    let end = end.filter(|end| *end <= args.len()).ok_or(CommandError::Syntax)?;
    for index in first + 1..end {
        if ctx.read(args, index).is_some_and(|entry| !Scored::is(entry.ty())) {
            return Err(CommandError::WrongType);
        }
    }
    Ok(((first + 1..end).map(|index| Source { index, weight: 1.0 }).collect(), end))
}

impl Asked {
    /// `first` is the argument that says how many sources there are.
    fn parse(
        ctx: &mut Context<'_>,
        args: &Args<'_>,
        (first, name, operation): (usize, &str, Operation),
        reply: &mut Reply<'_>,
    ) -> Result<Asked, CommandError> {
        let stores = first == 2;
        let (mut sources, mut index) = sources(ctx, args, first, name, reply)?;
        let (mut aggregate, mut with_scores) = (Aggregate::Sum, false);
        let joins = operation != Operation::Diff;
        while index < args.len() {
            let behind = args.len() - index - 1;
            if joins && args.is(index, "WEIGHTS") && behind >= sources.len() {
                for source in &mut sources {
                    index += 1;
                    source.weight = parse_f64(args.at(index)).ok_or(NOT_A_WEIGHT)?;
                }
            } else if joins && args.is(index, "AGGREGATE") && behind >= 1 {
                index += 1;
                aggregate = if args.is(index, "SUM") {
                    Aggregate::Sum
                } else if args.is(index, "MIN") {
                    Aggregate::Min
                } else if args.is(index, "MAX") {
                    Aggregate::Max
                } else {
                    return Err(CommandError::Syntax);
                };
            } else if !stores && args.is(index, "WITHSCORES") {
                with_scores = true;
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        Ok(Asked { operation, sources, aggregate, with_scores })
    }

    /// The result, in order.
    fn run(&self, ctx: &Context<'_>, args: &Args<'_>) -> NewSortedSet {
        let weigh = |source: &Source| Weighed {
            scored: Scored::of(ctx.read_again(args, source.index), ctx.hasher()),
            weight: source.weight,
        };
        let mut sources: Vec<Weighed<'_>> = self.sources.iter().map(weigh).collect();
        if self.operation != Operation::Diff {
            sources.sort_by_key(|source| source.scored.len());
        }
        let mut new = NewSortedSet::new();
        let (first, others) = sources.split_first().expect("there is at least one source");
        match self.operation {
            Operation::Union => {
                let keyspace = &ctx.shared.keyspace;
                for source in &sources {
                    source.scored.each(|member, score| {
                        let (hash, score) = (keyspace.hash(member), source.weigh(score));
                        new.merge(hash, member, score, |one, other| self.aggregate.join(one, other));
                        true
                    });
                }
            }
            Operation::Inter => first.scored.each(|member, score| {
                let start = Some(first.weigh(score));
                let joined = others
                    .iter()
                    .fold(start, |joined, other| Some(self.aggregate.join(joined?, other.score(member)?)));
                if let Some(score) = joined {
                    new.add(member, score);
                }
                true
            }),
            Operation::Diff => first.scored.each(|member, score| {
                if others.iter().all(|other| other.scored.score(member).is_none()) {
                    new.add(member, score);
                }
                true
            }),
        }
        new.sort();
        new
    }
}

fn reply_result(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    name: &'static str,
    operation: Operation,
) -> Outcome {
    let asked = Asked::parse(ctx, args, (1, name, operation), reply)?;
    let new = asked.run(ctx, args);
    let pairs = Pairs::of(asked.with_scores);
    pairs.header(new.len(), reply);
    new.iter().for_each(|(member, score)| pairs.reply((Item::Bytes(member), score), reply));
    Ok(())
}

fn store_result(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    name: &'static str,
    operation: Operation,
) -> Outcome {
    let new = Asked::parse(ctx, args, (2, name, operation), reply)?.run(ctx, args);
    let len = store(ctx, args, 1, new, (name, 1));
    reply.integer(len as i64);
    Ok(())
}

/// ZUNION.
pub(super) fn zunion(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply_result(ctx, args, reply, "zunion", Operation::Union)
}

/// ZINTER.
pub(super) fn zinter(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply_result(ctx, args, reply, "zinter", Operation::Inter)
}

/// ZDIFF.
pub(super) fn zdiff(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply_result(ctx, args, reply, "zdiff", Operation::Diff)
}

/// ZUNIONSTORE.
pub(super) fn zunionstore(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    store_result(ctx, args, reply, "zunionstore", Operation::Union)
}

/// ZINTERSTORE.
pub(super) fn zinterstore(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    store_result(ctx, args, reply, "zinterstore", Operation::Inter)
}

/// ZDIFFSTORE.
pub(super) fn zdiffstore(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    store_result(ctx, args, reply, "zdiffstore", Operation::Diff)
}

/// ZINTERCARD.
pub(super) fn zintercard(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (sources, mut index) = sources(ctx, args, 1, "zintercard", reply)?;
    let mut limit = 0;
    while index < args.len() {
        let text = args.find(index + 1).filter(|_| args.is(index, "LIMIT")).ok_or(CommandError::Syntax)?;
        let given = parse_i64(text).and_then(|limit| usize::try_from(limit).ok());
        limit = given.ok_or(NEGATIVE_LIMIT)?;
        index += 2;
    }
    let mut sources: Vec<_> =
        sources.iter().map(|source| Scored::of(ctx.read_again(args, source.index), ctx.hasher())).collect();
    sources.sort_by_key(Scored::len);
    let (first, others) = sources.split_first().expect("there is at least one source");
    let mut count = 0;
    first.each(|member, _| {
        count += usize::from(others.iter().all(|other| other.score(member).is_some()));
        count != limit || limit == 0
    });
    reply.integer(count as i64);
    Ok(())
}
