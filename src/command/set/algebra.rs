//! Intersections, unions and differences: SINTER, SUNION, SDIFF, their STORE and their CARD forms.
//!
//! Design: one walk for each operation calls back with the result's members, which are replied, counted or stored. An intersection
//! walks the smallest set, a difference the first one, a union all; each member is looked up in the other sets. A union of many
//! sets remembers what it has had instead.
//!
//! Invariants: no member is called back with twice. All types are looked at before anything is replied or stored.
//!
//! Costs: what is stored is made outside of its key and put there as a whole.

use std::ops::{ControlFlow, Range};

use super::super::{Args, CommandError, Context, Outcome, reply_item};
use super::event;
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::{Deadline, Event, Item, KeyHasher, Limits, NewSet, NewValue, Set, Typed};

const NUMKEYS: CommandError = CommandError::Text("ERR numkeys should be greater than 0");
const TOO_MANY_KEYS: CommandError =
    CommandError::Text("ERR Number of keys can't be greater than number of args");
const LIMIT: CommandError = CommandError::Text("ERR LIMIT can't be negative");
/// A union of no more sets looks each member up in those before.
const LOOKED_UP_SETS_MAX: usize = 4;

/// What is done to sets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Intersection,
    Union,
    Difference,
}

impl Operation {
    /// The event of a result that is stored.
    fn event(self) -> Event {
        match self {
            Operation::Intersection => event("sinterstore"),
            Operation::Union => event("sunionstore"),
            Operation::Difference => event("sdiffstore"),
        }
    }
}

/// SINTER.
pub(super) fn sinter(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    list(ctx, args, reply, Operation::Intersection)
}

/// SUNION.
pub(super) fn sunion(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    list(ctx, args, reply, Operation::Union)
}

/// SDIFF.
pub(super) fn sdiff(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    list(ctx, args, reply, Operation::Difference)
}

/// SINTERSTORE.
pub(super) fn sinterstore(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    store(ctx, args, reply, Operation::Intersection)
}

/// SUNIONSTORE.
pub(super) fn sunionstore(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    store(ctx, args, reply, Operation::Union)
}

/// SDIFFSTORE.
pub(super) fn sdiffstore(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    store(ctx, args, reply, Operation::Difference)
}

/// SINTERCARD.
pub(super) fn sintercard(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    count(ctx, args, reply, Operation::Intersection)
}

/// SUNIONCARD. With APPROX the count may be inexact, and is not.
pub(super) fn sunioncard(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    count(ctx, args, reply, Operation::Union)
}

/// SDIFFCARD.
pub(super) fn sdiffcard(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    count(ctx, args, reply, Operation::Difference)
}

fn list(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>, operation: Operation) -> Outcome {
    let limits = ctx.limits();
    let hasher = ctx.shared.keyspace.hasher();
    let sets = sets(ctx, args, 1..args.len())?;
    let members = reply.defer_set();
    let mut len = 0;
    let _all = walk(operation, &sets, hasher, &limits, &mut |member| {
        reply_item(member, reply);
        len += 1;
        ControlFlow::Continue(())
    });
    reply.finish_set(members, len);
    Ok(())
}

/// A result without members removes the destination.
fn store(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>, operation: Operation) -> Outcome {
    let limits = ctx.limits();
    let hasher = ctx.shared.keyspace.hasher();
    let sets = sets(ctx, args, 2..args.len())?;
    let new = result(operation, &sets, hasher, &limits);
    drop(sets);
    let mut place = ctx.write(args, 1);
    reply.integer(new.len() as i64);
    if new.is_empty() {
        if place.remove() {
            place.event(Event::DEL);
        }
    } else {
        place.set_new(NewValue::Set(new), Deadline::None);
        place.event(operation.event());
    }
    Ok(())
}

/// The result as a set of its own, in the encoding that Redis comes to:
///
/// 1. An intersection begins as a listpack, in the order of the smallest set, unless that is an intset; integers alone become
///    an intset in the end.
/// 2. A difference where little is taken from much begins with all of the first set, whose encoding stays.
/// 3. Any other begins as an intset.
fn result(operation: Operation, sets: &[Option<Set<'_>>], hasher: &KeyHasher, limits: &Limits) -> NewSet {
    if let (Operation::Difference, Some((Some(first), others))) = (operation, sets.split_first())
        && takes_little(first, others)
    {
        let mut all = NewSet::new(limits, hasher);
        first.iter().for_each(|member| {
            all.add(member);
        });
        return all.filtered(|member| !others.iter().flatten().any(|set| set.contains(hasher, member)));
    }
    let smallest = sets.iter().flatten().min_by_key(|set| set.len());
    let mut new = match (operation, smallest) {
        (Operation::Intersection, Some(Set::Packed(..) | Set::Dict(_))) => NewSet::packed(limits, hasher),
        _ => NewSet::new(limits, hasher),
    };
    let _all = walk(operation, sets, hasher, limits, &mut |member| {
        new.add(member);
        ControlFlow::Continue(())
    });
    if operation == Operation::Intersection {
        new.prefer_integers();
    }
    new
}

/// Whether Redis would remove the others' members from the first set, rather than look each of its members up in them.
fn takes_little(first: &Set<'_>, others: &[Option<Set<'_>>]) -> bool {
    let others = || others.iter().flatten();
    let looked_up = first.len() * (1 + others().count()) / 2;
    looked_up > first.len() + others().map(Set::len).sum::<usize>()
}

/// Errors in this order: number of keys, options, types.
fn count(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>, operation: Operation) -> Outcome {
    let keys = parse_i64(args.at(1)).filter(|keys| *keys > 0).ok_or(NUMKEYS)?;
    let end = usize::try_from(keys).ok().and_then(|keys| keys.checked_add(2));
    let end = end.filter(|end| *end <= args.len()).ok_or(TOO_MANY_KEYS)?;
    let (mut limit, mut index) = (0, end);
    while index < args.len() {
        if let (true, Some(text)) = (args.is(index, "LIMIT"), args.find(index + 1)) {
            limit = parse_i64(text).filter(|limit| *limit >= 0).ok_or(LIMIT)?;
            index += 2;
        } else if operation == Operation::Union && args.is(index, "APPROX") {
            index += 1;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let (limits, hasher) = (ctx.limits(), ctx.shared.keyspace.hasher());
    let sets = sets(ctx, args, 2..end)?;
    let mut len = 0;
    let _all = walk(operation, &sets, hasher, &limits, &mut |_| {
        len += 1;
        if len == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    reply.integer(len);
    Ok(())
}

/// The sets of these key arguments; none where a key does not exist.
fn sets<'c>(
    ctx: &'c mut Context<'_>,
    args: &Args<'_>,
    keys: Range<usize>,
) -> Result<Vec<Option<Set<'c>>>, CommandError> {
    let mut exist = Vec::with_capacity(keys.len());
    for (number, index) in keys.clone().enumerate() {
        ctx.fetch_ahead(args, number);
        exist.push(ctx.read_as::<Set<'_>>(args, index)?.is_some());
    }
    // What was found is there still, and can be looked at together now.
    let ctx = &*ctx;
    let set = |(index, exists): (usize, &bool)| ctx.peek(args, index).filter(|_| *exists).map(Set::of);
    Ok(keys.zip(&exist).map(set).collect())
}

/// Calls back with each member of the result, until told to stop.
fn walk(
    operation: Operation,
    sets: &[Option<Set<'_>>],
    hasher: &KeyHasher,
    limits: &Limits,
    found: &mut dyn FnMut(Item<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    match operation {
        Operation::Intersection => intersection(sets, hasher, found),
        Operation::Union => union(sets, hasher, limits, found),
        Operation::Difference => difference(sets, hasher, found),
    }
}

fn intersection(
    sets: &[Option<Set<'_>>],
    hasher: &KeyHasher,
    found: &mut dyn FnMut(Item<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut present: Vec<Set<'_>> = sets.iter().copied().flatten().collect();
    if present.len() < sets.len() {
        return ControlFlow::Continue(());
    }
    present.sort_by_key(|set| set.len());
    let Some((smallest, others)) = present.split_first() else { return ControlFlow::Continue(()) };
    smallest
        .iter()
        .filter(|member| others.iter().all(|set| set.contains(hasher, *member)))
        .try_for_each(found)
}

fn union(
    sets: &[Option<Set<'_>>],
    hasher: &KeyHasher,
    limits: &Limits,
    found: &mut dyn FnMut(Item<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let present: Vec<Set<'_>> = sets.iter().copied().flatten().collect();
    if present.len() > LOOKED_UP_SETS_MAX {
        let mut seen = NewSet::table(limits, hasher);
        return present.iter().flat_map(Set::iter).filter(|member| seen.add(*member)).try_for_each(found);
    }
    for (index, set) in present.iter().enumerate() {
        let before = &present[..index];
        set.iter()
            .filter(|member| !before.iter().any(|set| set.contains(hasher, *member)))
            .try_for_each(&mut *found)?;
    }
    ControlFlow::Continue(())
}

fn difference(
    sets: &[Option<Set<'_>>],
    hasher: &KeyHasher,
    found: &mut dyn FnMut(Item<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some((Some(first), others)) = sets.split_first() else { return ControlFlow::Continue(()) };
    first
        .iter()
        .filter(|member| !others.iter().flatten().any(|set| set.contains(hasher, *member)))
        .try_for_each(found)
}
