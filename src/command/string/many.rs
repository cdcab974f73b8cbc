//! Several keys at once: MGET, MSET, MSETNX. All their shards are held, so that plain loops are atomic.

use super::super::{Args, CommandError, Context, Outcome};
use super::value::reply_string;
use crate::resp::Reply;
use crate::store::{Deadline, Type};

const MSET_ARITY: CommandError = CommandError::Text("ERR wrong number of arguments for 'mset' command");
const MSETNX_ARITY: CommandError = CommandError::Text("ERR wrong number of arguments for 'msetnx' command");

/// MGET. A key of another type counts as absent.
pub(super) fn mget(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.array(args.len() - 1);
    for index in 1..args.len() {
        ctx.fetch_ahead(args, index - 1);
        match ctx.read(args, index) {
            Some(entry) if entry.ty() == Type::String => reply_string(entry, reply),
            _ => reply.null(),
        }
    }
    Ok(())
}

/// MSET. Of values for the same key the last one stays.
pub(super) fn mset(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.len().is_multiple_of(2) {
        return Err(MSET_ARITY);
    }
    set_pairs(ctx, args);
    reply.ok();
    Ok(())
}

/// MSETNX.
pub(super) fn msetnx(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.len().is_multiple_of(2) {
        return Err(MSETNX_ARITY);
    }
    let absent = (1..args.len()).step_by(2).enumerate().all(|(place, index)| {
        ctx.fetch_ahead(args, place);
        ctx.write(args, index).entry().is_none()
    });
    if absent {
        set_pairs(ctx, args);
    }
    reply.integer(i64::from(absent));
    Ok(())
}

fn set_pairs(ctx: &mut Context<'_>, args: &Args<'_>) {
    for (place, index) in (1..args.len()).step_by(2).enumerate() {
        ctx.fetch_ahead(args, place);
        ctx.write(args, index).set_string(args.new_string(index + 1), Deadline::None);
    }
}
