//! XPENDING: what is pending in a group, as a summary or entry by entry.

use super::super::{Args, CommandError, Context, Outcome};
use super::ids::{parse_end, parse_start, reply_id};
use super::{group_of, now_ms};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::Stream;
use crate::store::stream::{Group, Pending, StreamId};

/// How long nobody has been idle.
const RELEASED_IDLE: i64 = -1;

/// A range of pending entries.
struct Range {
    idle_ms_min: i64,
    from: StreamId,
    to: StreamId,
    count: usize,
    /// The argument that names a consumer.
    consumer_at: usize,
}

impl Range {
    /// From argument 3 on. What stands behind the consumer is passed over, as in Redis.
    fn parse(args: &Args<'_>) -> Result<Range, CommandError> {
        let (mut idle_ms_min, mut first) = (0, 3);
        if args.is(3, "IDLE") {
            idle_ms_min = parse_i64(args.at(4)).ok_or(CommandError::NotInteger)?;
            if args.len() < 8 {
                return Err(CommandError::Syntax);
            }
            first = 5;
        }
        let count = parse_i64(args.at(first + 2)).ok_or(CommandError::NotInteger)?;
        let (from, to) = (parse_start(args.at(first))?, parse_end(args.at(first + 1))?);
        let count = usize::try_from(count).unwrap_or(0);
        Ok(Range { idle_ms_min, from, to, count, consumer_at: first + 3 })
    }
}

/// XPENDING. Errors in this order: number of arguments, IDLE, count, IDs, type, no such key or group.
pub(super) fn xpending(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let range = match args.len() {
        3 => None,
        6..=9 => Some(Range::parse(args)?),
        _ => return Err(CommandError::Syntax),
    };
    let now_ms = now_ms(ctx);
    let stream = ctx.read_as::<&Stream>(args, 1)?;
    let place = group_of(stream, args, 1, 2, reply)?;
    let group = stream.expect("it has the group").group_at(place);
    match range {
        None => reply_summary(group, reply),
        Some(range) => reply_range(group, &range, args.find(range.consumer_at), now_ms, reply),
    }
    Ok(())
}

fn reply_summary(group: &Group, reply: &mut Reply<'_>) {
    let pending = group.pending();
    reply.array(4);
    reply.integer(pending.len() as i64);
    let (Some(first), Some(last)) = (pending.first(), pending.last()) else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    reply_id(first.id, reply);
    reply_id(last.id, reply);
    let consumers = || group.consumers().filter(|(_, consumer)| !consumer.pending().is_empty());
    reply.array(consumers().count());
    for (_, consumer) in consumers() {
        reply.array(2);
        reply.bulk(&consumer.name);
        reply.bulk_integer(consumer.pending().len() as i64);
    }
}

fn reply_range(group: &Group, range: &Range, consumer: Option<&[u8]>, now_ms: i64, reply: &mut Reply<'_>) {
    if range.count == 0 {
        return reply.array(0);
    }
    let array = reply.defer_array();
    let mut count = 0;
    let mut visit = |pending: &Pending| {
        let idle_ms = now_ms.wrapping_sub(pending.delivered_ms);
        if range.idle_ms_min == 0 || idle_ms >= range.idle_ms_min {
            reply.array(4);
            reply_id(pending.id, reply);
            match pending.consumer() {
                Some(consumer) => {
                    reply.bulk(&group.consumer(consumer).name);
                    reply.integer(idle_ms.max(0));
                }
                None => {
                    reply.bulk(b"");
                    reply.integer(RELEASED_IDLE);
                }
            }
            reply.integer(pending.deliveries as i64);
            count += 1;
        }
        count < range.count
    };
    let is_before_end = |id: StreamId| id <= range.to;
    if let Some(name) = consumer {
        let ids = group.find_consumer(name).map(|slot| group.consumer(slot).pending());
        let ids =
            ids.into_iter().flat_map(|ids| ids.iter_from(range.from)).take_while(|id| is_before_end(**id));
        ids.filter_map(|id| group.pending().find(*id)).all(&mut visit);
    } else {
        let pending = group.pending().iter_from(range.from);
        pending.take_while(|pending| is_before_end(pending.id)).all(&mut visit);
    }
    reply.finish_array(array, count);
}
