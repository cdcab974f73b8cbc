//! Adding members and changing their scores: ZADD, ZINCRBY.

use super::super::{Args, CommandError, Context, Outcome};
use super::{event, limits, write};
use crate::resp::Reply;
use crate::resp::number::parse_f64;
use crate::store::{KeyMut, PackLimits};

const NX_AND_XX: CommandError =
    CommandError::Text("ERR XX and NX options at the same time are not compatible");
const GT_LT_NX: CommandError =
    CommandError::Text("ERR GT, LT, and/or NX options at the same time are not compatible");
const INCR_SINGLE: CommandError =
    CommandError::Text("ERR INCR option supports a single increment-element pair");
const NOT_A_NUMBER: CommandError = CommandError::Text("ERR resulting score is not a number (NaN)");

/// What ZADD is asked for.
#[derive(Clone, Copy, Default)]
pub(in super::super) struct AddOptions {
    pub only_new: bool,
    pub only_existing: bool,
    pub only_greater: bool,
    pub only_less: bool,
    pub counts_changed: bool,
    pub increments: bool,
}

impl AddOptions {
    /// The options from argument 2 on, and the argument of the first score.
    fn parse(args: &Args<'_>) -> Result<(AddOptions, usize), CommandError> {
        let mut options = AddOptions::default();
        let mut index = 2;
        while index < args.len() {
            let option = match args.at(index).len() {
                2 if args.is(index, "NX") => &mut options.only_new,
                2 if args.is(index, "XX") => &mut options.only_existing,
                2 if args.is(index, "GT") => &mut options.only_greater,
                2 if args.is(index, "LT") => &mut options.only_less,
                2 if args.is(index, "CH") => &mut options.counts_changed,
                4 if args.is(index, "INCR") => &mut options.increments,
                _ => break,
            };
            *option = true;
            index += 1;
        }
        let count = args.len() - index;
        if count == 0 || !count.is_multiple_of(2) {
            return Err(CommandError::Syntax);
        }
        if options.only_new && options.only_existing {
            return Err(NX_AND_XX);
        }
        if [options.only_greater, options.only_less, options.only_new].iter().filter(|is| **is).count() > 1 {
            return Err(GT_LT_NX);
        }
        if options.increments && count > 2 {
            return Err(INCR_SINGLE);
        }
        Ok((options, index))
    }

    /// The score that a member is to have, if it is to be changed; an error if that would be none.
    #[inline]
    fn decide(self, before: Option<f64>, given: f64) -> Result<Option<f64>, CommandError> {
        let Some(before) = before else {
            return Ok((!self.only_existing).then_some(given));
        };
        if self.only_new {
            return Ok(None);
        }
        let score = if self.increments { before + given } else { given };
        if score.is_nan() {
            return Err(NOT_A_NUMBER);
        }
        let refused = self.only_greater && score <= before || self.only_less && score >= before;
        Ok((!refused).then_some(score))
    }

    /// Applies it to one member: the score before, and that decided on.
    #[inline]
    fn apply(
        self,
        place: &mut KeyMut<'_>,
        member: &[u8],
        given: f64,
        limits: PackLimits,
    ) -> Result<(Option<f64>, Option<f64>), CommandError> {
        let mut failed = None;
        let result = place.sorted_set_update(member, limits, |before| {
            self.decide(before, given).unwrap_or_else(|error| {
                failed = Some(error);
                None
            })
        });
        failed.map_or(Ok(result), Err)
    }
}

/// ZADD. Errors in this order: options, scores, type; nothing is changed if any score is none.
pub(super) fn zadd(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (options, first) = AddOptions::parse(args)?;
    let count = (args.len() - first) / 2;
    let only = if count == 1 { Some(score_at(args, first)?) } else { None };
    if only.is_none() {
        (0..count).try_for_each(|pair| score_at(args, first + 2 * pair).map(drop))?;
    }
    add_pairs(ctx, args, reply, options, count, |pair| {
        let index = first + 2 * pair;
        Ok((args.at(index + 1), only.map_or_else(|| score_at(args, index), Ok)?))
    })
    .map(drop)
}

/// As ZADD, members whose scores are known already; how many have changed.
pub(in super::super) fn add_members(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    options: AddOptions,
    members: &[(&[u8], f64)],
) -> Result<usize, CommandError> {
    add_pairs(ctx, args, reply, options, members.len(), |pair| Ok(members[pair]))
}

/// Adds so many members to the sorted set of argument 1, each of which `pair` tells with its score, and replies; how many have
/// changed.
#[inline]
fn add_pairs<'m>(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    options: AddOptions,
    count: usize,
    pair: impl Fn(usize) -> Result<(&'m [u8], f64), CommandError>,
) -> Result<usize, CommandError> {
    let mut limits = limits(ctx);
    let mut place = write(ctx, args, 1)?;
    if count as u64 > limits.entries_max {
        // It is made for as many as are given, even if some are given twice.
        if place.entry().is_some() {
            place.sorted_set_expect(count, limits);
        } else {
            limits.entries_max = 0;
        }
    }
    let (mut added, mut updated, mut last) = (0, 0, None);
    for index in 0..count {
        let (member, given) = pair(index)?;
        let (before, after) = options.apply(&mut place, member, given, limits)?;
        match (before, after) {
            (None, Some(_)) => added += 1,
            (Some(before), Some(after)) if before != after => updated += 1,
            _ => {}
        }
        last = after;
    }
    if added + updated > 0 {
        place.count_as(added + updated);
        place.event(event(if options.increments { "zincr" } else { "zadd" }));
    }
    match last {
        _ if !options.increments => {
            reply.integer((added + if options.counts_changed { updated } else { 0 }) as i64);
        }
        Some(score) => reply.double(score),
        None => reply.null(),
    }
    Ok(added + updated)
}

/// ZINCRBY.
pub(super) fn zincrby(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    // As in Redis, where a score stands what may be an option is one, and then a score or a member is missing.
    if AddOptions::parse(args)?.1 != 2 {
        return Err(CommandError::Syntax);
    }
    let given = score_at(args, 2)?;
    let limits = limits(ctx);
    let mut place = write(ctx, args, 1)?;
    let options = AddOptions { increments: true, ..AddOptions::default() };
    let (before, after) = options.apply(&mut place, args.at(3), given, limits)?;
    let after = after.expect("nothing forbids it");
    if before != Some(after) {
        place.event(event("zincr"));
    }
    reply.double(after);
    Ok(())
}

fn score_at(args: &Args<'_>, index: usize) -> Result<f64, CommandError> {
    parse_f64(args.at(index)).ok_or(CommandError::NotFloat)
}
