//! Deleting entries, and taking them out of what is pending: XDEL, XDELEX, XACK, XACKDEL.

use super::super::{Args, CommandError, Context, Outcome};
use super::trimming::removal_at;
use super::{event, ids};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::stream::{Removal, StreamId};
use crate::store::{Stream, Type};

const NUMIDS: CommandError = CommandError::Text("ERR Number of IDs must be a positive integer");
const NUMIDS_WRONG: CommandError =
    CommandError::Text("ERR The `numids` parameter must match the number of arguments");

/// What became of an entry that was to be deleted.
const NOT_FOUND: i64 = -1;
const DELETED: i64 = 1;
const STILL_REFERENCED: i64 = 2;

/// XDEL.
pub(super) fn xdel(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut place = ctx.write_typed(args, 1, Type::Stream)?;
    if place.stream().is_none() {
        reply.integer(0);
        return Ok(());
    }
    let ids = ids::parse_all(args, 2..args.len())?;
    let deleted = place.stream_take(|stream| ids.iter().filter(|id| stream.delete(**id)).count());
    if deleted > 0 {
        place.event(event("xdel"));
    }
    reply.integer(deleted as i64);
    Ok(())
}

/// What XDELEX and XACKDEL are asked for behind their key and group.
struct Chosen {
    removal: Removal,
    ids: std::ops::Range<usize>,
}

impl Chosen {
    /// From this argument on: what becomes of what is pending, and IDS, in any order.
    fn parse(args: &Args<'_>, first: usize) -> Result<Chosen, CommandError> {
        let (mut removal, mut ids, mut index) = (None, None, first);
        while index < args.len() {
            if let Some(found) = removal_at(args, index).filter(|_| removal.is_none()) {
                removal = Some(found);
                index += 1;
            } else if args.is(index, "IDS") && index + 1 < args.len() && ids.is_none() {
                let count = parse_i64(args.at(index + 1)).filter(|count| *count > 0).ok_or(NUMIDS)?;
                let begin = index + 2;
                let end = usize::try_from(count).ok().and_then(|count| begin.checked_add(count));
                let end = end.filter(|end| *end <= args.len()).ok_or(NUMIDS_WRONG)?;
                ids = Some(begin..end);
                index = end;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(Chosen { removal: removal.unwrap_or_default(), ids: ids.ok_or(CommandError::Syntax)? })
    }
}

/// XDELEX. Errors in this order: type, options, IDs.
pub(super) fn xdelex(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut place = ctx.write_typed(args, 1, Type::Stream)?;
    let Chosen { removal, ids } = Chosen::parse(args, 2)?;
    if place.stream().is_none() {
        return all_missing(ids.len(), reply);
    }
    let ids = ids::parse_all(args, ids)?;
    reply.array(ids.len());
    let mut deleted = 0;
    place.stream_take(|stream| {
        let mut forgotten = 0;
        for id in ids {
            let result = if removal == Removal::Acknowledged && stream.is_referenced(id) {
                STILL_REFERENCED
            } else {
                // What is pending is forgotten of an entry that is gone, too.
                let change = delete(stream, id, removal);
                deleted += usize::from(change.deleted);
                forgotten += usize::from(change.forgotten && !change.deleted);
                if change.deleted { DELETED } else { NOT_FOUND }
            };
            reply.integer(result);
        }
        deleted + forgotten
    });
    place.without_event();
    if deleted > 0 {
        place.event(event("xdel"));
    }
    Ok(())
}

/// What `delete` has done.
struct Change {
    deleted: bool,
    forgotten: bool,
}

/// Deletes an entry, and what is pending of it, if that is asked for.
fn delete(stream: &mut Stream, id: StreamId, removal: Removal) -> Change {
    let forgotten = removal == Removal::ForgetPending && stream.forget_pending(id);
    Change { deleted: stream.delete(id), forgotten }
}

/// No entry was found, because there is no stream, or no group.
fn all_missing(count: usize, reply: &mut Reply<'_>) -> Outcome {
    reply.array(count);
    (0..count).for_each(|_| reply.integer(NOT_FOUND));
    Ok(())
}

/// XACK.
pub(super) fn xack(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut place = ctx.write_typed(args, 1, Type::Stream)?;
    if place.entry().is_none() {
        place.missed();
    }
    let Some(group) = place.stream().and_then(|stream| stream.find_group(args.at(2))) else {
        reply.integer(0);
        return Ok(());
    };
    let ids = ids::parse_all(args, 3..args.len())?;
    let acknowledged =
        place.group_take(group, |group| ids.iter().filter(|id| group.acknowledge(**id)).count());
    place.without_event();
    reply.integer(acknowledged as i64);
    Ok(())
}

/// XACKDEL. Errors in the order of XDELEX.
pub(super) fn xackdel(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut place = ctx.write_typed(args, 1, Type::Stream)?;
    if place.entry().is_none() {
        place.missed();
    }
    let Chosen { removal, ids } = Chosen::parse(args, 3)?;
    let Some(group) = place.stream().and_then(|stream| stream.find_group(args.at(2))) else {
        return all_missing(ids.len(), reply);
    };
    let ids = ids::parse_all(args, ids)?;
    reply.array(ids.len());
    let mut deleted = 0;
    place.stream_take(|stream| {
        let mut acknowledged = 0;
        for id in ids {
            let result = if !stream.edit_group(group, |group| group.acknowledge(id)) {
                NOT_FOUND
            } else if removal == Removal::Acknowledged && stream.is_referenced(id) {
                acknowledged += 1;
                STILL_REFERENCED
            } else {
                acknowledged += 1;
                deleted += usize::from(delete(stream, id, removal).deleted);
                DELETED
            };
            reply.integer(result);
        }
        acknowledged
    });
    place.without_event();
    if deleted > 0 {
        place.event(event("xdel"));
    }
    Ok(())
}
