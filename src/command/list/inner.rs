//! What lies inside a list: LLEN, LRANGE, LINDEX, LSET, LINSERT, LREM, LTRIM.
//!
//! Costs: LRANGE writes each element from packed memory straight into the output.

use super::super::{Args, CommandError, Context, Outcome, reply_item};
use super::{event, index_in, limits};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::{End, List, NewItem, Side, Type, packed::Encoded};

const COUNT_OUT_OF_RANGE: CommandError = CommandError::Text(
    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
);

fn integer(args: &Args<'_>, index: usize) -> Result<i64, CommandError> {
    parse_i64(args.at(index)).ok_or(CommandError::NotInteger)
}

/// LLEN.
pub(super) fn llen(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let len = ctx.read_as::<List<'_>>(args, 1)?.map_or(0, |list| list.len());
    reply.integer(len as i64);
    Ok(())
}

/// LRANGE.
pub(super) fn lrange(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (start, stop) = (integer(args, 2)?, integer(args, 3)?);
    let Some(list) = ctx.read_as::<List<'_>>(args, 1)? else {
        reply.array(0);
        return Ok(());
    };
    let (start, count) = span(list.len(), start, stop);
    reply.array(count);
    list.items(End::Left, start, count).for_each(|item| reply_item(item, reply));
    Ok(())
}

/// LINDEX. The index is looked at only if there is a list.
pub(super) fn lindex(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let Some(list) = ctx.read_as::<List<'_>>(args, 1)? else {
        reply.null();
        return Ok(());
    };
    let index = index_in(list.len(), integer(args, 2)?);
    match index.and_then(|index| list.get(index)) {
        Some(item) => reply_item(item, reply),
        None => reply.null(),
    }
    Ok(())
}

/// LSET.
pub(super) fn lset(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let limits = limits(ctx);
    let mut place = ctx.write_typed(args, 1, Type::List)?;
    let len = place.list().ok_or(CommandError::NoSuchKey)?.len();
    // Redis keeps the low 32 bits of this index, and clients may see that.
    let index = i64::from(integer(args, 2)? as i32);
    let item = args.new_item(3);
    place.list_expect(&item, limits);
    let index = index_in(len, index).ok_or(CommandError::IndexOutOfRange)?;
    place.list_replace(index, &item, limits);
    place.event(event("lset"));
    reply.ok();
    Ok(())
}

/// LINSERT.
pub(super) fn linsert(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let side = if args.is(2, "AFTER") {
        Side::After
    } else if args.is(2, "BEFORE") {
        Side::Before
    } else {
        return Err(CommandError::Syntax);
    };
    let limits = limits(ctx);
    let item = args.new_item(4);
    let mut place = ctx.write_typed(args, 1, Type::List)?;
    place.list_expect(&item, limits);
    let Some(list) = place.list() else {
        reply.integer(0);
        return Ok(());
    };
    let (len, pivot) = (list.len(), NewItem::Bytes(args.at(3)));
    let encoded = Encoded::of(&pivot);
    let mut items = list.iter();
    let found = std::iter::from_fn(|| items.next_is(&encoded, args.at(3))).position(|equal| equal);
    match found {
        None => reply.integer(-1),
        Some(index) => {
            place.list_insert(index, side, &item, limits);
            place.event(event("linsert"));
            reply.integer(len as i64 + 1);
        }
    }
    Ok(())
}

/// LREM.
pub(super) fn lrem(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let count = integer(args, 2)?;
    if count == i64::MIN {
        return Err(COUNT_OUT_OF_RANGE);
    }
    let limits = limits(ctx);
    let (end, count) = match count {
        0 => (End::Left, usize::MAX),
        count if count > 0 => (End::Left, count as usize),
        count => (End::Right, count.unsigned_abs() as usize),
    };
    let mut place = ctx.write_typed(args, 1, Type::List)?;
    let removed = place.list_remove_equal(end, count, &NewItem::Bytes(args.at(3)), limits);
    if removed > 0 {
        place.event(event("lrem"));
    }
    reply.integer(removed as i64);
    Ok(())
}

/// LTRIM.
pub(super) fn ltrim(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (start, stop) = (integer(args, 2)?, integer(args, 3)?);
    let limits = limits(ctx);
    let mut place = ctx.write_typed(args, 1, Type::List)?;
    if let Some(list) = place.list() {
        let (start, count) = span(list.len(), start, stop);
        let removed = list.len() - count;
        if count == 0 {
            place.remove_emptied();
            place.count_as(removed);
        } else if count == list.len() {
            // For those that watch the key any LTRIM is a change.
            place.note_unchanged();
        } else {
            place.list_keep(start, count, limits);
        }
        place.event(event("ltrim"));
    }
    reply.ok();
    Ok(())
}

/// The first element and the number of those that `start` and `stop` mean, both included, negative ones counting from the
/// end.
fn span(len: usize, start: i64, stop: i64) -> (usize, usize) {
    let len = len as i64;
    let from_start = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    let (start, stop) = (from_start(start).max(0), from_start(stop).min(len - 1));
    if start > stop { (0, 0) } else { (start as usize, (stop - start) as usize + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_clamped() {
        assert_eq!(span(5, 0, -1), (0, 5));
        assert_eq!(span(5, 1, 2), (1, 2));
        assert_eq!(span(5, -3, -2), (2, 2));
        assert_eq!(span(5, -100, 100), (0, 5));
        assert_eq!(span(5, 3, 2), (0, 0));
        assert_eq!(span(5, 5, 9), (0, 0));
        assert_eq!(span(5, -100, -90), (0, 0));
        assert_eq!(span(5, i64::MIN, i64::MAX), (0, 5));
        assert_eq!(span(5, i64::MAX, i64::MIN), (0, 0));
        assert_eq!((index_in(3, -1), index_in(3, -4), index_in(3, 3)), (Some(2), None, None));
        assert_eq!(index_in(3, i64::MIN), None);
    }
}
