//! Single places: GEOADD, GEOPOS, GEODIST, GEOHASH.

use super::super::sorted_set::{AddOptions, add_members};
use super::super::{Args, CommandError, Context, Outcome};
use super::hash::Point;
use super::shape::distance;
use super::{point_at, reply_distance, reply_point, unit_at};
use crate::resp::Reply;
use crate::store::SortedSet;

/// GEOADD: repeated as the ZADD of the geohashes.
pub(super) fn geoadd(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut options = AddOptions::default();
    let mut first = 2;
    while first < args.len() {
        let option = if args.is(first, "NX") {
            &mut options.only_new
        } else if args.is(first, "XX") {
            &mut options.only_existing
        } else if args.is(first, "CH") {
            &mut options.counts_changed
        } else {
            break;
        };
        *option = true;
        first += 1;
    }
    if !(args.len() - first).is_multiple_of(3) || options.only_new && options.only_existing {
        return Err(CommandError::Syntax);
    }
    let count = (args.len() - first) / 3;
    (0..count).try_for_each(|place| point_at(args, first + 3 * place, reply).map(drop))?;
    if count == 0 {
        return Err(CommandError::Syntax);
    }
    let mut points = Vec::with_capacity(count);
    for place in 0..count {
        let hash = point_at(args, first + 3 * place, reply)?.hash();
        points.push((args.at(first + 3 * place + 2), hash as f64));
    }
    if add_members(ctx, args, reply, options, &points)? == 0 {
        return Ok(());
    }
    ctx.repeat_as(|words| {
        words.add("zadd").add_all(args.from(1).take(first - 1));
        for (member, score) in &points {
            words.add(*score as u64).add(*member);
        }
    });
    Ok(())
}

/// GEOPOS.
pub(super) fn geopos(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    each_place(ctx, args, reply, |point, reply| match point {
        Some(point) => reply_point(point, reply),
        None => reply.null_array(),
    })
}

/// GEOHASH.
pub(super) fn geohash(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    each_place(ctx, args, reply, |point, reply| match point {
        Some(point) => reply.bulk(&point.text()),
        None => reply.null(),
    })
}

fn each_place(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    reply_one: impl Fn(Option<Point>, &mut Reply<'_>),
) -> Outcome {
    let sorted_set = ctx.read_as::<SortedSet<'_>>(args, 1)?;
    reply.array(args.len() - 2);
    for member in args.from(2) {
        let score = sorted_set.and_then(|sorted_set| sorted_set.score(member));
        reply_one(score.map(Point::of_score), reply);
    }
    Ok(())
}

/// GEODIST. Errors in this order: unit, number of arguments, type.
pub(super) fn geodist(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let metres = match args.len() {
        4 => 1.0,
        5 => unit_at(args, 4)?,
        _ => return Err(CommandError::Syntax),
    };
    let sorted_set = ctx.read_as::<SortedSet<'_>>(args, 1)?;
    let point = |index| {
        let score = sorted_set.and_then(|sorted_set| sorted_set.score(args.at(index)));
        score.map(Point::of_score)
    };
    match point(2).zip(point(3)) {
        Some((one, other)) => reply_distance(distance(one, other) / metres, reply),
        None => reply.null(),
    }
    Ok(())
}
