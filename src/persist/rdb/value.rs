//! Values of any type: which form each is written in, and which type of the format is read by whom.
//!
//! Not here: the forms themselves, one file per type of value.

use super::decode::{Malformed, Reader, Text};
use super::encode::Sink;
use super::{
    VERSION_LISTPACK, VERSION_SET_LISTPACK, VERSION_STREAM_3, VERSION_STREAM_4, VERSION_STRING, encode, hash,
    list, set, sorted_set, stream,
};
use crate::store::{BLOB_BYTES_MIN, KeyHasher, Limits, NewString, NewValue, Str, View};

/// The type of a string value.
pub const TYPE_STRING: u8 = 0;

/// The type in whose form a value is written for who knows versions up to `newest`, and the first version that knows it. That is a
/// newer one where the value cannot be told in an older form.
pub fn form(value: &View<'_>, newest: u16) -> (u8, u16) {
    match value {
        View::String(_) => (TYPE_STRING, VERSION_STRING),
        View::List(_) => (list::TYPE_LIST_QUICKLIST_2, VERSION_LISTPACK),
        View::Set(set) => match set::form(set) {
            set::TYPE_SET_LISTPACK if newest < VERSION_SET_LISTPACK => (set::TYPE_SET, VERSION_STRING),
            form @ set::TYPE_SET_LISTPACK => (form, VERSION_SET_LISTPACK),
            form => (form, VERSION_STRING),
        },
        View::Stream(stream) if stream.idempotency().is_some() => (stream::TYPE_STREAM_4, VERSION_STREAM_4),
        // It says nothing of when consumers were active.
        View::Stream(_) if newest < VERSION_STREAM_3 => (stream::TYPE_STREAM_2, VERSION_LISTPACK),
        View::Stream(_) => (stream::TYPE_STREAM_3, VERSION_STREAM_3),
        View::SortedSet(value) => sorted_set::form(value),
        View::Hash(value) => hash::form(value, newest),
    }
}

/// Writes a value in this form of it, without the type. What `sink` takes of it meanwhile is no longer in `out`.
pub fn write(out: &mut Vec<u8>, value: &View<'_>, value_type: u8, compress: bool, sink: &mut dyn Sink) {
    match value {
        View::String(Str::Int(value)) => encode::integer(out, *value),
        View::String(Str::Bytes(bytes)) => encode::string(out, bytes, compress),
        View::List(list) => list::write(out, list, compress, sink),
        View::Set(set) => set::write(out, set, value_type, compress, sink),
        View::Stream(stream) => stream::write(out, stream, value_type, compress, sink),
        View::SortedSet(value) => sorted_set::write(out, value, compress, sink),
        View::Hash(value) => hash::write(out, value, value_type, compress, sink),
    }
}

/// Reads a value of this type.
pub fn read<'a>(
    value_type: u8,
    reader: &mut Reader<'a>,
    limits: &Limits,
    hasher: &KeyHasher,
) -> Result<NewValue<'a>, Malformed> {
    match value_type {
        TYPE_STRING => Ok(NewValue::String(new_string(reader.string()?))),
        list::TYPE_LIST
        | list::TYPE_LIST_ZIPLIST
        | list::TYPE_LIST_QUICKLIST
        | list::TYPE_LIST_QUICKLIST_2 => Ok(NewValue::List(list::read(value_type, reader, limits.list)?)),
        set::TYPE_SET | set::TYPE_SET_INTSET | set::TYPE_SET_LISTPACK => {
            Ok(NewValue::Set(set::read(value_type, reader, limits, hasher)?))
        }
        stream::TYPE_STREAM
        | stream::TYPE_STREAM_2
        | stream::TYPE_STREAM_3
        | stream::TYPE_STREAM_4
        | stream::TYPE_STREAM_5 => Ok(NewValue::Stream(stream::read(value_type, reader)?)),
        sorted_set::TYPE_SORTED_SET
        | sorted_set::TYPE_SORTED_SET_2
        | sorted_set::TYPE_SORTED_SET_ZIPLIST
        | sorted_set::TYPE_SORTED_SET_LISTPACK => {
            let (new, limits) = sorted_set::read(value_type, reader, limits.sorted_set)?;
            Ok(NewValue::SortedSet(new, limits))
        }
        hash::TYPE_HASH
        | hash::TYPE_HASH_ZIPMAP
        | hash::TYPE_HASH_ZIPLIST
        | hash::TYPE_HASH_LISTPACK
        | hash::TYPE_HASH_METADATA_EARLY
        | hash::TYPE_HASH_DEADLINES_VALKEY
        | hash::TYPE_HASH_LISTPACK_EX_EARLY
        | hash::TYPE_HASH_METADATA
        | hash::TYPE_HASH_LISTPACK_EX => Ok(NewValue::Hash(hash::read(value_type, reader)?, limits.hash)),
        _ => Err(Malformed),
    }
}

fn new_string(text: Text<'_>) -> NewString<'_> {
    match text {
        Text::Int(value) => NewString::Int(value),
        Text::Plain(bytes) if bytes.len() >= BLOB_BYTES_MIN => NewString::Blob(bytes.to_vec().into()),
        Text::Plain(bytes) => NewString::Bytes(bytes),
        Text::Unpacked(bytes) => NewString::Blob(bytes.into()),
    }
}
