//! Sets: writes each in the form that Redis has for its encoding, and reads all.
//!
//! ```text
//! type 20   a listpack as a string
//! type 11   an intset as a string
//! type 2    count of members, then each: a string
//! ```
//!
//! Invariants: what is read has at least one member, and none twice.

use super::decode::{Malformed, Reader, Text};
use super::encode::{self, Sink};
use crate::store::{Intset, Item, KeyHasher, Limits, NewSet, Set, packed};

pub const TYPE_SET: u8 = 2;
pub const TYPE_SET_INTSET: u8 = 11;
pub const TYPE_SET_LISTPACK: u8 = 20;

/// The type in whose form a set is written.
pub fn form(set: &Set<'_>) -> u8 {
    match set {
        Set::Ints(_) => TYPE_SET_INTSET,
        Set::Packed(..) => TYPE_SET_LISTPACK,
        Set::Dict(_) => TYPE_SET,
    }
}

/// The value of a set, in its form or, if it is small, in that of `TYPE_SET`.
pub fn write(out: &mut Vec<u8>, set: &Set<'_>, value_type: u8, compress: bool, sink: &mut dyn Sink) {
    match set {
        Set::Packed(_, count) if value_type == TYPE_SET => {
            encode::length(out, *count as u64);
            for member in set.iter() {
                encode::string(out, member.bytes(&mut itoa::Buffer::new()), compress);
            }
        }
        Set::Ints(ints) => encode::string(out, ints.bytes(), compress),
        Set::Packed(body, count) => {
            let mut listpack = Vec::with_capacity(body.len() + packed::LISTPACK_FRAME_BYTES);
            packed::write_listpack(&mut listpack, body, *count);
            encode::string(out, &listpack, compress);
        }
        Set::Dict(dict) => {
            encode::length(out, dict.len() as u64);
            for record in dict.iter() {
                encode::string(out, record.key, compress);
                encode::hand_on(out, sink);
            }
        }
    }
}

/// A set of one of the types above.
pub fn read(
    value_type: u8,
    reader: &mut Reader<'_>,
    limits: &Limits,
    hasher: &KeyHasher,
) -> Result<NewSet, Malformed> {
    let set = match value_type {
        TYPE_SET => {
            let count = reader.length()?;
            let mut set = if count > limits.intset_entries_max {
                NewSet::table(limits, hasher)
            } else {
                NewSet::new(limits, hasher)
            };
            for _ in 0..count {
                let is_new = match reader.string()? {
                    Text::Int(value) => set.add(Item::Int(value)),
                    Text::Plain(bytes) => set.add(Item::Bytes(bytes)),
                    Text::Unpacked(bytes) => set.add(Item::Bytes(&bytes)),
                };
                if !is_new {
                    return Err(Malformed);
                }
            }
            set
        }
        TYPE_SET_INTSET => {
            let bytes = super::list::bytes(reader.string()?);
            NewSet::of_ints(Intset::validated(&bytes).ok_or(Malformed)?, limits, hasher)
        }
        TYPE_SET_LISTPACK => {
            let bytes = super::list::bytes(reader.string()?);
            let (body, count) = packed::validated(&bytes).ok_or(Malformed)?;
            NewSet::of_body(body, count, limits, hasher).ok_or(Malformed)?
        }
        _ => return Err(Malformed),
    };
    if set.is_empty() { Err(Malformed) } else { Ok(set) }
}
