//! The family `bitmap`: strings as rows of bits, the first one being the highest of the first byte.
//!
//! | file | what |
//! |---|---|
//! | `bit` | single bits: SETBIT, GETBIT |
//! | `count` | BITCOUNT, BITPOS: their ranges |
//! | `scan` | counting and finding bits |
//! | `field` | BITFIELD, BITFIELD_RO: operations on integers of any width |
//! | `integer` | integers of any width among the bits |
//! | `operation` | BITOP: its keys and its result |
//! | `combine` | several rows of bits combined to one |
//!
//! Costs: values are looked at and edited where they lie; BITOP makes its result once. The loops over bytes are written so
//! that the compiler makes vector instructions of them.

mod bit;
mod combine;
mod count;
mod field;
mod integer;
mod operation;
mod rows;
mod scan;

pub use rows::ROWS;

use super::{CommandError, Context};
use crate::resp::number::parse_i64;
use crate::store::{Class, Event, STRING_BYTES_MAX, Str};

const BAD_OFFSET: CommandError = CommandError::Text("ERR bit offset is not an integer or out of range");

/// What happened to the bits of a string.
const SETBIT: Event = Event::new(Class::String, "setbit");

/// The bit that an argument names. A string of `proto-max-bulk-len` has no later ones.
fn offset_of(ctx: &Context<'_>, text: &[u8]) -> Result<u64, CommandError> {
    checked_offset(ctx, parse_i64(text).ok_or(BAD_OFFSET)?)
}

fn checked_offset(ctx: &Context<'_>, offset: i64) -> Result<u64, CommandError> {
    let bytes_max = ctx.config.proto_max_bulk_len.min(STRING_BYTES_MAX);
    u64::try_from(offset).ok().filter(|offset| offset / 8 < bytes_max).ok_or(BAD_OFFSET)
}

/// Looks at the bytes of a string, an integer's digits among them.
fn on_bytes<R>(value: Str<'_>, look: impl FnOnce(&[u8]) -> R) -> R {
    match value {
        Str::Int(number) => look(itoa::Buffer::new().format(number).as_bytes()),
        Str::Bytes(bytes) => look(bytes),
    }
}
