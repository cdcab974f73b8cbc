//! Fields by name: HSET, HMSET, HSETNX, HGET, HMGET, HEXISTS, HSTRLEN, HDEL.

use super::super::{Args, CommandError, Context, Outcome, reply_item};
use super::{HDEL, HSET, Lapsing, item_len, lapse, lapse_read, limits};
use crate::resp::Reply;
use crate::store::{Deadline, Field, Hash, Type};

/// HSET.
pub(super) fn hset(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let added = set_all(ctx, args, "hset", reply)?;
    reply.integer(added as i64);
    Ok(())
}

/// HMSET.
pub(super) fn hmset(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    set_all(ctx, args, "hmset", reply)?;
    reply.ok();
    Ok(())
}

/// Sets all fields to their values; how many are new.
#[inline]
fn set_all(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    name: &str,
    reply: &mut Reply<'_>,
) -> Result<usize, CommandError> {
    if !args.len().is_multiple_of(2) {
        reply.error_fmt(format_args!("ERR wrong number of arguments for '{name}' command"));
        return Err(CommandError::Replied);
    }
    let limits = limits(ctx);
    let mut place = ctx.write_typed(args, 1, Type::Hash)?;
    let pairs = (args.len() - 2) / 2;
    let longest = args.from(2).map(<[u8]>::len).max().expect("there is at least one pair");
    place.hash_expect(pairs, longest, limits);
    let mut added = 0;
    for index in (2..args.len()).step_by(2) {
        let is_new = place.hash_set(args.at(index), args.at(index + 1), Deadline::None, limits);
        added += usize::from(is_new);
    }
    place.count_as(pairs);
    place.event(HSET);
    Ok(added)
}

/// HSETNX.
pub(super) fn hsetnx(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (limits, mut lapsing) = (limits(ctx), Lapsing::of(ctx, args));
    let mut place = ctx.write_typed(args, 1, Type::Hash)?;
    let field = args.at(2);
    lapse(&mut lapsing, &mut place, field);
    let exists = place.hash().is_some_and(|hash| hash.get(lapsing.hasher, field).is_some());
    if !exists {
        place.hash_set(field, args.at(3), Deadline::None, limits);
        place.count_as(1);
        place.event(HSET);
    }
    reply.integer((!exists).into());
    Ok(())
}

/// What is at a field.
enum Found<'a> {
    Nothing,
    Field(Field<'a>),
    /// Its deadline has come.
    Expired,
}

#[inline]
fn find<'s>(ctx: &'s mut Context<'_>, args: &Args<'_>) -> Result<Found<'s>, CommandError> {
    let (hasher, now_ms) = (ctx.hasher(), ctx.now_ms);
    let field = ctx.read_as::<Hash<'_>>(args, 1)?.and_then(|hash| hash.get(hasher, args.at(2)));
    Ok(match field {
        None => Found::Nothing,
        Some(field) if field.is_expired(now_ms) => Found::Expired,
        Some(field) => Found::Field(field),
    })
}

/// HGET.
pub(super) fn hget(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    match find(ctx, args)? {
        Found::Field(field) => reply_item(field.value, reply),
        Found::Nothing => reply.null(),
        Found::Expired => {
            lapse_read(ctx, args, 2..3);
            reply.null();
        }
    }
    Ok(())
}

/// HEXISTS.
pub(super) fn hexists(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let found = find(ctx, args)?;
    let exists = matches!(found, Found::Field(_));
    if let Found::Expired = found {
        lapse_read(ctx, args, 2..3);
    }
    reply.integer(exists.into());
    Ok(())
}

/// HSTRLEN.
pub(super) fn hstrlen(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let len = match find(ctx, args)? {
        Found::Field(field) => item_len(field.value),
        Found::Nothing => 0,
        Found::Expired => {
            lapse_read(ctx, args, 2..3);
            0
        }
    };
    reply.integer(len as i64);
    Ok(())
}

/// HMGET.
pub(super) fn hmget(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (hasher, now_ms) = (ctx.hasher(), ctx.now_ms);
    let hash = ctx.read_as::<Hash<'_>>(args, 1)?;
    reply.array(args.len() - 2);
    let mut met_expired = false;
    for name in args.from(2) {
        match hash.as_ref().and_then(|hash| hash.get(hasher, name)) {
            Some(field) if !field.is_expired(now_ms) => reply_item(field.value, reply),
            found => {
                met_expired |= found.is_some();
                reply.null();
            }
        }
    }
    if met_expired {
        lapse_read(ctx, args, 2..args.len());
    }
    Ok(())
}

/// HDEL. A field whose deadline has come counts as any other.
pub(super) fn hdel(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut place = ctx.write_typed(args, 1, Type::Hash)?;
    let removed = args.from(2).filter(|name| place.hash_remove(name)).count();
    if removed > 0 {
        place.count_as(removed);
        place.event(HDEL);
    }
    reply.integer(removed as i64);
    Ok(())
}
