//! BITFIELD, BITFIELD_RO: operations on integers of any width.

use super::super::{Args, CommandError, Context, Outcome};
use super::integer::{Integer, Overflow};
use super::{BAD_OFFSET, SETBIT, checked_offset, offset_of, on_bytes};
use crate::resp::Reply;
use crate::resp::number::parse_i64;

const BAD_TYPE: CommandError = CommandError::Text(
    "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
);
const BAD_OVERFLOW: CommandError = CommandError::Text("ERR Invalid OVERFLOW type specified");
const ONLY_GET: CommandError = CommandError::Text("ERR BITFIELD_RO only supports the GET subcommand");

/// What is done to one integer.
struct Operation {
    integer: Integer,
    offset: u64,
    action: Action,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Get,
    Set(i64, Overflow),
    Add(i64, Overflow),
}

/// BITFIELD. All operations are read before the type is looked at, and anything is done.
pub(super) fn bitfield(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let operations = parse(ctx, args)?;
    match bytes_written(&operations) {
        None => read(ctx, args, reply, &operations),
        Some(len) => write(ctx, args, reply, &operations, len),
    }
}

/// BITFIELD_RO.
pub(super) fn bitfield_ro(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let operations = parse(ctx, args)?;
    if bytes_written(&operations).is_some() {
        return Err(ONLY_GET);
    }
    read(ctx, args, reply, &operations)
}

fn parse(ctx: &Context<'_>, args: &Args<'_>) -> Result<Vec<Operation>, CommandError> {
    let mut operations = Vec::with_capacity((args.len() - 2).div_ceil(3));
    let (mut overflow, mut index) = (Overflow::Wrap, 2);
    while index < args.len() {
        let has = |count: usize| index + count < args.len();
        if args.is(index, "OVERFLOW") && has(1) {
            overflow = overflow_at(args, index + 1)?;
            index += 2;
            continue;
        }
        let is_get = args.is(index, "GET") && has(2);
        let is_set = args.is(index, "SET") && has(3);
        let is_add = args.is(index, "INCRBY") && has(3);
        if !(is_get || is_set || is_add) {
            return Err(CommandError::Syntax);
        }
        // As a string of C, and so to a zero byte.
        let integer = Integer::parse(args.c_string(index + 1)).ok_or(BAD_TYPE)?;
        let offset = offset_at(ctx, args, index + 2, integer)?;
        let action = if is_get {
            Action::Get
        } else {
            let value = parse_i64(args.at(index + 3)).ok_or(CommandError::NotInteger)?;
            if is_set { Action::Set(value, overflow) } else { Action::Add(value, overflow) }
        };
        operations.push(Operation { integer, offset, action });
        index += if is_get { 3 } else { 4 };
    }
    Ok(operations)
}

fn overflow_at(args: &Args<'_>, index: usize) -> Result<Overflow, CommandError> {
    let known = [("WRAP", Overflow::Wrap), ("SAT", Overflow::Saturate), ("FAIL", Overflow::Fail)];
    let found = known.iter().find(|(word, _)| args.is(index, word));
    found.map(|(_, overflow)| *overflow).ok_or(BAD_OVERFLOW)
}

/// A bit, or behind `#` the number of an integer. A product that has no room in 64 bits wraps around, as in Redis.
fn offset_at(
    ctx: &Context<'_>,
    args: &Args<'_>,
    index: usize,
    integer: Integer,
) -> Result<u64, CommandError> {
    match args.at(index).strip_prefix(b"#") {
        None => offset_of(ctx, args.at(index)),
        Some(number) => {
            let number = parse_i64(number).ok_or(BAD_OFFSET)?;
            checked_offset(ctx, number.wrapping_mul(integer.bits.into()))
        }
    }
}

/// How long the string has to be for all that is written; none where nothing is.
fn bytes_written(operations: &[Operation]) -> Option<usize> {
    let written = operations.iter().filter(|operation| operation.action != Action::Get);
    let end = written.map(|operation| operation.offset + u64::from(operation.integer.bits)).max()?;
    Some(end.div_ceil(8) as usize)
}

fn read(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>, operations: &[Operation]) -> Outcome {
    let value = ctx.read_string(args, 1)?;
    reply.array(operations.len());
    let mut reply_all = |bytes: &[u8]| {
        for Operation { integer, offset, .. } in operations {
            reply.integer(integer.read(bytes, *offset));
        }
    };
    match value {
        None => reply_all(b""),
        Some(value) => on_bytes(value, reply_all),
    }
    Ok(())
}

/// An operation that does not fail is a change if it makes another integer of what was there, and each is in a string that has
/// grown.
fn write(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    operations: &[Operation],
    len: usize,
) -> Outcome {
    let mut place = ctx.write_string(args, 1)?;
    let has_grown = place.entry().is_none_or(|entry| entry.string().len() < len);
    reply.array(operations.len());
    let mut changes = 0;
    place.edit_string_if(len, |bytes| {
        for Operation { integer, offset, action } in operations {
            let before = integer.read(bytes, *offset);
            let (after, is_replied_before) = match *action {
                Action::Get => {
                    reply.integer(before);
                    continue;
                }
                Action::Set(value, overflow) => (integer.sum(value, 0, overflow), true),
                Action::Add(increment, overflow) => (integer.sum(before, increment, overflow), false),
            };
            let Some(after) = after else {
                reply.null();
                continue;
            };
            integer.write(bytes, *offset, after);
            reply.integer(if is_replied_before { before } else { after });
            changes += usize::from(has_grown || after != before);
        }
        changes > 0
    });
    if changes > 0 {
        place.count_as(changes);
        place.event(SETBIT);
    } else if has_grown {
        // By what has overflowed and failed. Redis tells nobody, and its replicas stay as they were.
        place.repeat_as(|words| {
            words.add_all(args.from(0));
        });
    }
    Ok(())
}
