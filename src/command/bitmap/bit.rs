//! Single bits: SETBIT, GETBIT.

use super::super::{Args, CommandError, Context, Outcome};
use super::{SETBIT, offset_of, on_bytes};
use crate::resp::Reply;

const NOT_A_BIT: CommandError = CommandError::Text("ERR bit is not an integer or out of range");

/// SETBIT. A string that grows has changed, whatever the bit.
pub(super) fn setbit(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let offset = offset_of(ctx, args.at(2))?;
    let bit = match args.at(3) {
        b"0" => false,
        b"1" => true,
        _ => return Err(NOT_A_BIT),
    };
    let mut place = ctx.write_string(args, 1)?;
    let (at, mask) = (byte_of(offset), mask_of(offset));
    let len = place.entry().map_or(0, |entry| entry.string().len());
    let mut before = false;
    let has_changed = place.edit_string_if(at + 1, |bytes| {
        before = bytes[at] & mask != 0;
        bytes[at] = if bit { bytes[at] | mask } else { bytes[at] & !mask };
        before != bit || at >= len
    });
    if has_changed {
        place.event(SETBIT);
    }
    reply.integer(before.into());
    Ok(())
}

/// GETBIT. Behind the end are zeros.
pub(super) fn getbit(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let offset = offset_of(ctx, args.at(2))?;
    let value = ctx.read_string(args, 1)?;
    let byte = value.and_then(|value| on_bytes(value, |bytes| bytes.get(byte_of(offset)).copied()));
    reply.integer(byte.is_some_and(|byte| byte & mask_of(offset) != 0).into());
    Ok(())
}

/// The byte that a bit is in; there are no more than `STRING_BYTES_MAX`.
fn byte_of(offset: u64) -> usize {
    (offset / 8) as usize
}

fn mask_of(offset: u64) -> u8 {
    0x80 >> (offset % 8)
}
