//! Searches: GEOSEARCH, GEOSEARCHSTORE, GEORADIUS, GEORADIUSBYMEMBER and their read-only forms.
//!
//! Design: the squares that cover the area are ranges of scores. What is found in them is gathered first, as its order may have to
//! be another one.

use super::super::sorted_set::store;
use super::super::{Args, Context, Outcome, reply_item};
use super::hash::Point;
use super::options::{Center, CommandForm, Order, Search};
use super::shape::Shape;
use super::{reply_distance, reply_point};
use crate::resp::Reply;
use crate::store::{Item, NewSortedSet, ScoreBound, SortedSet};

/// A member within the area.
struct Found<'a> {
    member: Item<'a>,
    score: f64,
    point: Point,
    /// In metres.
    distance: f64,
}

const RADIUS: CommandForm = CommandForm { center: Center::Place, source: 1, may_store: true, stores: false };
const BY_MEMBER: CommandForm = CommandForm { center: Center::Member, ..RADIUS };
const SEARCH: CommandForm = CommandForm { center: Center::Options, may_store: false, ..RADIUS };

/// GEORADIUS.
pub(super) fn georadius(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    search(ctx, args, reply, RADIUS)
}

/// GEORADIUS_RO.
pub(super) fn georadius_ro(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    search(ctx, args, reply, CommandForm { may_store: false, ..RADIUS })
}

/// GEORADIUSBYMEMBER.
pub(super) fn georadiusbymember(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    search(ctx, args, reply, BY_MEMBER)
}

/// GEORADIUSBYMEMBER_RO.
pub(super) fn georadiusbymember_ro(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    search(ctx, args, reply, CommandForm { may_store: false, ..BY_MEMBER })
}

/// GEOSEARCH.
pub(super) fn geosearch(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    search(ctx, args, reply, SEARCH)
}

/// GEOSEARCHSTORE.
pub(super) fn geosearchstore(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    search(ctx, args, reply, CommandForm { source: 2, stores: true, ..SEARCH })
}

/// Errors in this order: type, place and radius, options.
fn search(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>, kind: CommandForm) -> Outcome {
    let source = ctx.read_as::<SortedSet<'_>>(args, kind.source)?;
    let search = Search::parse(args, kind, source, reply)?;
    let found = match (source, &search.shape) {
        (Some(source), Some(shape)) => find(&source, &search, shape),
        _ => Vec::new(),
    };
    let Some(target) = search.target else {
        reply.array(found.len());
        found.iter().for_each(|found| reply_found(found, &search, reply));
        return Ok(());
    };
    let (mut new, mut digits) = (NewSortedSet::new(), itoa::Buffer::new());
    for found in &found {
        let score = if search.stores_distance { found.distance / search.metres } else { found.score };
        new.add(found.member.bytes(&mut digits), score);
    }
    drop(found);
    new.sort();
    let (len, name) = (new.len(), if kind.stores { "geosearchstore" } else { "georadiusstore" });
    store(ctx, args, target, new, (name, len.max(1)));
    reply.integer(len as i64);
    Ok(())
}

/// What is inside, in the order asked for.
fn find<'a>(source: &SortedSet<'a>, search: &Search, shape: &Shape) -> Vec<Found<'a>> {
    let limit = if search.any { search.count } else { usize::MAX };
    let mut found = Vec::new();
    for square in shape.squares() {
        if found.len() >= limit {
            break;
        }
        let (first, behind) = square.scores();
        let members = source.members_from(ScoreBound { score: first as f64, is_exclusive: false });
        let members = members.take_while(|(_, score)| *score < behind as f64);
        let inside = members.filter_map(|(member, score)| {
            let point = Point::of_score(score);
            let distance = shape.distance_inside(point)?;
            Some(Found { member, score, point, distance })
        });
        found.extend(inside.take(limit - found.len()));
    }
    match search.order {
        Order::Found => {}
        Order::Nearest => found.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
        Order::Farthest => found.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
    }
    if search.count > 0 {
        found.truncate(search.count);
    }
    found
}

fn reply_found(found: &Found<'_>, search: &Search, reply: &mut Reply<'_>) {
    let extras = [search.with_distance, search.with_hash, search.with_place];
    let extras = extras.iter().filter(|with| **with).count();
    if extras > 0 {
        reply.array(1 + extras);
    }
    reply_item(found.member, reply);
    if search.with_distance {
        reply_distance(found.distance / search.metres, reply);
    }
    if search.with_hash {
        reply.integer(found.score as i64);
    }
    if search.with_place {
        reply_point(found.point, reply);
    }
}
