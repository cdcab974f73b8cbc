//! The family `hyperloglog`: strings that hold a sketch of a set, from which its size is estimated.
//!
//! | file | what |
//! |---|---|
//! | `add` | PFADD |
//! | `count` | PFCOUNT |
//! | `merge` | PFMERGE |
//! | `debug` | PFDEBUG, PFSELFTEST |
//! | `sketch` | what is in a string: its header, and either of its two forms |
//! | `sparse` | the form of few registers: runs |
//! | `dense` | the form of many: six bits each |
//! | `hash` | which register an element belongs to, and what it says there |
//! | `estimate` | registers to a number |
//!
//! Design: bytes and numbers are Redis's, so that sketches can be read and written as strings, and carried from one server to
//! the other (Flajolet, Fusy, Gandouet, Meunier: HyperLogLog, 2007; the estimate is that of Ertl: New cardinality estimation
//! algorithms for HyperLogLog sketches, 2017).
//!
//! Costs: PFADD looks first whether anything changes; a dense sketch is then changed where it lies, a sparse one copied. PFCOUNT
//! of one key finds its number in the header unless something was added since.

mod add;
mod count;
mod debug;
mod dense;
mod estimate;
mod hash;
mod merge;
mod rows;
mod sketch;
mod sparse;

pub use rows::ROWS;

use super::{Args, CommandError, Context};
use crate::store::{Class, Encoding, Entry, Event, KeyMut, Str, Type};
use sketch::Sketch;

const NOT_A_SKETCH: CommandError =
    CommandError::Text("WRONGTYPE Key is not a valid HyperLogLog string value.");
const CORRUPTED: CommandError = CommandError::Text("INVALIDOBJ Corrupted HLL object detected");

/// Something was added to a sketch.
const PFADD: Event = Event::new(Class::String, "pfadd");

/// Registers of a sketch: an element's hash chooses one by its low bits.
const REGISTERS: usize = 1 << hash::INDEX_BITS;

/// The registers of a sketch, or of several.
type Registers = [u8; REGISTERS];

/// The sketch that an entry holds.
fn sketch_of(entry: Entry<'_>) -> Result<Sketch<'_>, CommandError> {
    if entry.ty() != Type::String {
        return Err(CommandError::WrongType);
    }
    match entry.string() {
        Str::Bytes(bytes) => Sketch::of(bytes).ok_or(NOT_A_SKETCH),
        Str::Int(_) => Err(NOT_A_SKETCH),
    }
}

/// The place of a key that holds a sketch or nothing. A string that was set is encoded raw by this, which is no change.
fn write<'k>(ctx: &'k mut Context<'_>, args: &Args<'k>, index: usize) -> Result<KeyMut<'k>, CommandError> {
    let mut place = ctx.write(args, index);
    if let Some(entry) = place.entry() {
        sketch_of(entry)?;
        if entry.encoding() != Encoding::Raw {
            place.edit_string_if(0, |_| false);
        }
    }
    Ok(place)
}

/// The sketch of a place that [`write`] has found one in.
fn found<'a>(place: &'a KeyMut<'_>) -> Option<Sketch<'a>> {
    place.entry().and_then(|entry| sketch_of(entry).ok())
}
