//! One set's members: SADD, SREM, SISMEMBER, SMISMEMBER, SCARD, SMEMBERS, SMOVE.

use super::super::{Args, CommandError, Context, Outcome, reply_item};
use super::event;
use crate::resp::Reply;
use crate::store::{Item, Set, Type};

/// SADD.
pub(super) fn sadd(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let limits = ctx.limits();
    let mut place = ctx.write_typed(args, 1, Type::Set)?;
    let added = place.set_add((2..args.len()).map(|index| args.at(index)), &limits);
    if added > 0 {
        place.count_as(added);
        place.event(event("sadd"));
    }
    reply.integer(added as i64);
    Ok(())
}

/// SREM.
pub(super) fn srem(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut place = ctx.write_typed(args, 1, Type::Set)?;
    let removed = args.from(2).filter(|member| place.set_remove(Item::Bytes(member))).count();
    if removed > 0 {
        place.count_as(removed);
        place.event(event("srem"));
    }
    reply.integer(removed as i64);
    Ok(())
}

/// SISMEMBER.
pub(super) fn sismember(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let keyspace = &ctx.shared.keyspace;
    let set = ctx.read_as::<Set<'_>>(args, 1)?;
    let found = set.is_some_and(|set| set.contains(keyspace.hasher(), Item::Bytes(args.at(2))));
    reply.integer(found.into());
    Ok(())
}

/// SMISMEMBER.
pub(super) fn smismember(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let keyspace = &ctx.shared.keyspace;
    let set = ctx.read_as::<Set<'_>>(args, 1)?;
    reply.array(args.len() - 2);
    for member in args.from(2) {
        let found = set.is_some_and(|set| set.contains(keyspace.hasher(), Item::Bytes(member)));
        reply.integer(found.into());
    }
    Ok(())
}

/// SCARD.
pub(super) fn scard(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let set = ctx.read_as::<Set<'_>>(args, 1)?;
    reply.integer(set.map_or(0, |set| set.len() as i64));
    Ok(())
}

/// SMEMBERS.
pub(super) fn smembers(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let Some(set) = ctx.read_as::<Set<'_>>(args, 1)? else {
        reply.set(0);
        return Ok(());
    };
    reply.set(set.len());
    set.iter().for_each(|member| reply_item(member, reply));
    Ok(())
}

/// SMOVE. A source that does not exist is looked at first, then both types.
pub(super) fn smove(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (limits, member) = (ctx.limits(), Item::Bytes(args.at(3)));
    let keyspace = &ctx.shared.keyspace;
    let source = ctx.write(args, 1);
    let ty = source.entry().map(|entry| entry.ty());
    let is_same = args.at(1) == args.at(2);
    let found =
        ty == Some(Type::Set) && source.set().is_some_and(|set| set.contains(keyspace.hasher(), member));
    drop(source);
    let Some(ty) = ty else {
        reply.integer(0);
        return Ok(());
    };
    if ty != Type::Set {
        return Err(CommandError::WrongType);
    }
    drop(ctx.write_typed(args, 2, Type::Set)?);
    reply.integer(found.into());
    if is_same || !found {
        return Ok(());
    }
    // The two keys may be in one shard, so the guards follow each other.
    let mut source = ctx.write(args, 1);
    source.set_remove(member);
    source.event(event("srem"));
    drop(source);
    let mut target = ctx.write(args, 2);
    let is_new = match target.entry() {
        Some(_) => target.set_add_one(args.at(3), &limits),
        None => target.set_add(std::iter::once(args.at(3)), &limits) > 0,
    };
    if is_new {
        target.event(event("sadd"));
    }
    Ok(())
}
