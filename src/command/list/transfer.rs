//! From list to list: LMOVE, RPOPLPUSH.

use super::super::{Args, CommandError, Context, Outcome, reply_item};
use super::{end_at, limits, popped, pushed};
use crate::resp::Reply;
use crate::store::{End, Type};

/// LMOVE.
pub(super) fn lmove(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let way = Way { source: 1, target: 2, from: end_at(args, 3)?, to: end_at(args, 4)? };
    move_or_null(ctx, args, way, reply)
}

/// RPOPLPUSH.
pub(super) fn rpoplpush(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    move_or_null(ctx, args, Way { source: 1, target: 2, from: End::Right, to: End::Left }, reply)
}

fn move_or_null(ctx: &mut Context<'_>, args: &Args<'_>, way: Way, reply: &mut Reply<'_>) -> Outcome {
    if !move_one(ctx, args, way, reply)? {
        reply.null();
    }
    Ok(())
}

/// What moves where: the arguments of the keys, and the ends of their lists.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub source: usize,
    pub target: usize,
    pub from: End,
    pub to: End,
}

/// Moves one element, which is one change, and replies it; false, with no reply, if the source does not exist.
pub(super) fn move_one(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    way: Way,
    reply: &mut Reply<'_>,
) -> Result<bool, CommandError> {
    let limits = limits(ctx);
    let mut source = ctx.write_typed(args, way.source, Type::List)?;
    let Some(list) = source.list() else { return Ok(false) };
    let index = if way.from == End::Left { 0 } else { list.len() - 1 };
    let item = list.get(index).expect("a list is never empty");
    if args.at(way.source) == args.at(way.target) {
        reply_item(item, reply);
        source.list_rotate(way.from, way.to, limits);
        source.event(pushed(way.to));
        source.event(popped(way.from));
        return Ok(true);
    }
    // The two keys may be in one shard, so the guards follow each other.
    let item = item.to_owned();
    drop(source);
    let mut target = ctx.write(args, way.target);
    if target.entry().is_some_and(|entry| entry.ty() != Type::List) {
        return Err(CommandError::WrongType);
    }
    target.list_push(way.to, std::iter::once(item.as_new()), limits);
    target.event(pushed(way.to));
    drop(target);
    let mut source = ctx.write(args, way.source);
    source.list_remove(index, 1, limits);
    source.count_as(0);
    source.event(popped(way.from));
    drop(source);
    reply_item(item.as_item(), reply);
    Ok(true)
}
