//! BITCOUNT, BITPOS: their ranges.

use std::ops::Range;

use super::super::{Args, CommandError, Context, Outcome};
use super::{on_bytes, scan};
use crate::resp::Reply;
use crate::resp::number::parse_i64;

const NOT_A_BIT: CommandError = CommandError::Text("ERR The bit argument must be 1 or 0.");

/// What a range counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Byte,
    Bit,
}

/// BITCOUNT. Errors in this order: start and end, unit, type.
pub(super) fn bitcount(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let range = match args.len() {
        2 => None,
        4 | 5 => {
            let (start, end) = (integer_at(args, 2)?, integer_at(args, 3)?);
            Some((start, end, unit_at(args, 4)?))
        }
        _ => return Err(CommandError::Syntax),
    };
    let value = ctx.read_string(args, 1)?;
    let count = value.map_or(0, |value| {
        on_bytes(value, |bytes| match range {
            None => scan::count(bytes, 0..bits_in(bytes)),
            // Both before the beginning in the wrong order: clamping would make them the first.
            Some((start, end, _)) if start < 0 && end < 0 && start > end => 0,
            Some((start, end, unit)) => scan::count(bytes, unit.bits(bytes, start, end)),
        })
    });
    reply.integer(count as i64);
    Ok(())
}

/// BITPOS. Errors in this order: bit, start, unit, end, type. Where no end is given, zeros follow the string.
pub(super) fn bitpos(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let bit = match integer_at(args, 2)? {
        0 => false,
        1 => true,
        _ => return Err(NOT_A_BIT),
    };
    if args.len() > 6 {
        return Err(CommandError::Syntax);
    }
    let start = if args.len() > 3 { integer_at(args, 3)? } else { 0 };
    let unit = unit_at(args, 5)?;
    let end = if args.len() > 4 { Some(integer_at(args, 4)?) } else { None };
    let Some(value) = ctx.read_string(args, 1)? else {
        reply.integer(if bit { -1 } else { 0 });
        return Ok(());
    };
    let found = on_bytes(value, |bytes| {
        let range = unit.bits(bytes, start, end.unwrap_or(-1));
        if range.is_empty() {
            return None;
        }
        let behind = (!bit && end.is_none()).then_some(bits_in(bytes));
        scan::find(bytes, range, bit).or(behind)
    });
    reply.integer(found.map_or(-1, |found| found as i64));
    Ok(())
}

fn integer_at(args: &Args<'_>, index: usize) -> Result<i64, CommandError> {
    parse_i64(args.at(index)).ok_or(CommandError::NotInteger)
}

/// The unit in argument `index`: bytes where there is none.
fn unit_at(args: &Args<'_>, index: usize) -> Result<Unit, CommandError> {
    match args.len() > index {
        false => Ok(Unit::Byte),
        true if args.is(index, "BYTE") => Ok(Unit::Byte),
        true if args.is(index, "BIT") => Ok(Unit::Bit),
        true => Err(CommandError::Syntax),
    }
}

/// Strings are far from having 2^61 bytes.
fn bits_in(bytes: &[u8]) -> u64 {
    8 * bytes.len() as u64
}

impl Unit {
    /// The bits that are meant by `start` and `end`, both included, negative ones counting from the end.
    fn bits(self, bytes: &[u8], start: i64, end: i64) -> Range<u64> {
        let (count, size) = match self {
            Unit::Byte => (bytes.len() as i64, 8),
            Unit::Bit => (bits_in(bytes) as i64, 1),
        };
        let from_start = |index: i64| if index < 0 { (count + index).max(0) } else { index };
        let (start, end) = (from_start(start), from_start(end).min(count - 1));
        if start > end { 0..0 } else { start as u64 * size..(end as u64 + 1) * size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_clamped_as_redis_does() {
        let bytes = |start, end| Unit::Byte.bits(b"abc", start, end);
        assert_eq!(bytes(0, -1), 0..24);
        assert_eq!(bytes(1, 1), 8..16);
        assert_eq!(bytes(-2, -2), 8..16);
        assert_eq!(bytes(-100, -200), 0..8);
        assert_eq!(bytes(i64::MIN, i64::MAX), 0..24);
        assert!(bytes(3, 3).is_empty() && bytes(2, 1).is_empty() && bytes(i64::MAX, i64::MIN).is_empty());
        let bits = |start, end| Unit::Bit.bits(b"abc", start, end);
        assert_eq!(bits(0, -1), 0..24);
        assert_eq!(bits(7, 8), 7..9);
        assert_eq!(bits(-1, -1), 23..24);
        assert!(bits(24, 30).is_empty() && bits(5, 4).is_empty());
        assert!(Unit::Byte.bits(b"", 0, -1).is_empty() && Unit::Bit.bits(b"", -1, -1).is_empty());
    }
}
