//! Parts of values: APPEND, SETRANGE, GETRANGE, SUBSTR.

use std::ops::Range;

use super::super::{Args, CommandError, Context, Outcome};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::resp::reply::BLOB_LARGE_BYTES_MIN;
use crate::store::{Class, Deadline, Entry, Event, STRING_BYTES_MAX, Str, Type};

const TOO_LONG: CommandError =
    CommandError::Text("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
const OFFSET_OUT_OF_RANGE: CommandError = CommandError::Text("ERR offset is out of range");

/// APPEND.
pub(super) fn append(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let bytes_max = bytes_max(ctx);
    let mut place = ctx.write_string(args, 1)?;
    let added = args.at(2);
    let len = match place.entry() {
        None => {
            place.set_string(args.new_string(2), Deadline::None);
            added.len()
        }
        Some(entry) => {
            check_length(entry.string().len() as u64, added.len(), bytes_max)?;
            place.append(added)
        }
    };
    place.event(Event::new(Class::String, "append"));
    reply.integer(len as i64);
    Ok(())
}

/// SETRANGE. Writing nothing creates and changes nothing, wherever it is to be written.
pub(super) fn setrange(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let offset = parse_i64(args.at(2)).ok_or(CommandError::NotInteger)?;
    let offset = u64::try_from(offset).map_err(|_| OFFSET_OUT_OF_RANGE)?;
    let bytes_max = bytes_max(ctx);
    let mut place = ctx.write_string(args, 1)?;
    let written = args.at(3);
    let len = if written.is_empty() {
        place.entry().map_or(0, |entry| entry.string().len())
    } else {
        check_length(offset, written.len(), bytes_max)?;
        let len = place.set_range(offset as usize, written);
        place.event(Event::new(Class::String, "setrange"));
        len
    };
    reply.integer(len as i64);
    Ok(())
}

/// How long a string may become.
fn bytes_max(ctx: &Context<'_>) -> u64 {
    ctx.config.proto_max_bulk_len.min(STRING_BYTES_MAX)
}

/// Whether a string of `before` and `added` bytes is within `proto-max-bulk-len`.
fn check_length(before: u64, added: usize, bytes_max: u64) -> Outcome {
    match before.checked_add(added as u64) {
        Some(len) if len <= bytes_max => Ok(()),
        _ => Err(TOO_LONG),
    }
}

/// GETRANGE and SUBSTR. A large part of a large value is sent from where it lies.
pub(super) fn getrange(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let start = parse_i64(args.at(2)).ok_or(CommandError::NotInteger)?;
    let end = parse_i64(args.at(3)).ok_or(CommandError::NotInteger)?;
    let Some(entry) = ctx.read(args, 1) else {
        reply.bulk(b"");
        return Ok(());
    };
    if entry.ty() != Type::String {
        return Err(CommandError::WrongType);
    }
    reply_part(entry, start, end, reply);
    Ok(())
}

fn reply_part(entry: Entry<'_>, start: i64, end: i64, reply: &mut Reply<'_>) {
    let mut digits = itoa::Buffer::new();
    let bytes = match entry.string() {
        Str::Int(number) => digits.format(number).as_bytes(),
        Str::Bytes(bytes) => bytes,
    };
    let part = part_of(bytes.len(), start, end);
    match entry.blob() {
        Some(blob) if part.len() >= BLOB_LARGE_BYTES_MIN => reply.blob(&blob.slice(part)),
        _ => reply.bulk(&bytes[part]),
    }
}

/// The bytes that GETRANGE means by `start` and `end`, both included, negative ones counting from the end.
fn part_of(len: usize, start: i64, end: i64) -> Range<usize> {
    let len = len as i64;
    // Both before the beginning in the wrong order: clamping would make them the first byte.
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let from_start = |index: i64| if index < 0 { (len + index).max(0) } else { index };
    let (start, end) = (from_start(start), from_start(end).min(len - 1));
    if start > end { 0..0 } else { start as usize..end as usize + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_clamped_as_redis_does() {
        assert_eq!(part_of(5, 0, -1), 0..5);
        assert_eq!(part_of(5, 1, 2), 1..3);
        assert_eq!(part_of(5, -3, -2), 2..4);
        assert_eq!(part_of(5, -100, 100), 0..5);
        assert_eq!(part_of(5, -100, -90), 0..1);
        assert_eq!(part_of(5, 5, 10), 0..0);
        assert_eq!(part_of(5, 3, 2), 0..0);
        assert_eq!(part_of(5, -90, -100), 0..0);
        assert_eq!(part_of(0, 0, -1), 0..0);
        assert_eq!(part_of(0, 0, 0), 0..0);
        assert_eq!(part_of(5, i64::MIN, i64::MAX), 0..5);
        assert_eq!(part_of(5, i64::MAX, i64::MIN), 0..0);
    }

    #[test]
    fn lengths_beyond_the_limit_are_refused() {
        assert_eq!(check_length(3, 2, 5), Ok(()));
        assert_eq!(check_length(3, 3, 5), Err(TOO_LONG));
        assert_eq!(check_length(u64::MAX, 1, u64::MAX), Err(TOO_LONG));
    }
}
