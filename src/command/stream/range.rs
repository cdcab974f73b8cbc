//! Entries between two IDs: XRANGE, XREVRANGE; and how many there are: XLEN.

use super::super::{Args, CommandError, Context, Outcome};
use super::ids::{parse_end, parse_start, reply_entry};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::Stream;
use crate::store::stream::Entry;

/// XLEN.
pub(super) fn xlen(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let stream = ctx.read_as::<&Stream>(args, 1)?;
    reply.integer(stream.map_or(0, Stream::len) as i64);
    Ok(())
}

/// XRANGE.
pub(super) fn xrange(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    range(ctx, args, reply, false)
}

/// XREVRANGE.
pub(super) fn xrevrange(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    range(ctx, args, reply, true)
}

/// Errors in this order: start, end, count, type.
fn range(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>, is_backward: bool) -> Outcome {
    let (start_at, end_at) = if is_backward { (3, 2) } else { (2, 3) };
    let (from, to) = (parse_start(args.at(start_at))?, parse_end(args.at(end_at))?);
    let mut count = None;
    for index in (4..args.len()).step_by(2) {
        let given = args.find(index + 1).filter(|_| args.is(index, "COUNT")).ok_or(CommandError::Syntax)?;
        let number = parse_i64(given).ok_or(CommandError::NotInteger)?;
        count = Some(usize::try_from(number).unwrap_or(0));
    }
    match ctx.read_as::<&Stream>(args, 1)? {
        None => reply.array(0),
        Some(_) if count == Some(0) => reply.null_array(),
        Some(stream) => {
            let count = count.unwrap_or(usize::MAX);
            if is_backward {
                reply_entries(stream.entries_backward(from, to).take(count), reply);
            } else {
                reply_entries(stream.entries(from, to).take(count), reply);
            }
        }
    }
    Ok(())
}

/// Replies entries as an array.
#[inline]
pub(super) fn reply_entries<'s>(entries: impl Iterator<Item = Entry<'s>>, reply: &mut Reply<'_>) {
    let array = reply.defer_array();
    let mut count = 0;
    for entry in entries {
        reply_entry(&entry, reply);
        count += 1;
    }
    reply.finish_array(array, count);
}
