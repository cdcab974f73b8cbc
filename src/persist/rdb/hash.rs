//! Hashes: writes the newest forms, reads all.
//!
//! ```text
//! type 25   earliest deadline or 0, u64 LE; a listpack of field, value, deadline or 0 as a string
//! type 24   earliest deadline or 0, u64 LE; count, then each: 0, or by how much its deadline is later, and 1; field, value
//! type 23   a listpack as of type 25       what Redis 7.4 wrote before its release
//! type 22   count, then each: deadline or 0, field, value       likewise
//! type 22   count, then each: field, value, deadline or -1, i64 LE    in files of Valkey 9
//! type 16   a listpack of field, value as a string
//! type 13   a ziplist likewise
//! type 9    a zipmap as a string
//! type 4    count of fields, then each: field, value
//! ```
//!
//! Invariants: what is read has at least one field, none twice, and deadlines that Redis can have written; the triples of
//! a listpack are in the order of their deadlines, those without last.
//!
//! Costs: what is written is written twice over for dicts with deadlines, the earliest of which comes first.

use super::decode::{Malformed, Reader, Text};
use super::encode::Sink;
use super::{VERSION_HASH_DEADLINES, VERSION_LISTPACK, VERSION_STRING, encode, ziplist, zipmap};
use crate::store::{Field, Hash, HashPack, Item, NewHash, NewItem, PackForm, packed};

pub const TYPE_HASH: u8 = 4;
pub const TYPE_HASH_ZIPMAP: u8 = 9;
pub const TYPE_HASH_ZIPLIST: u8 = 13;
pub const TYPE_HASH_LISTPACK: u8 = 16;
pub const TYPE_HASH_METADATA_EARLY: u8 = 22;
/// The type 22 of Valkey's files, which is another one.
pub const TYPE_HASH_DEADLINES_VALKEY: u8 = 22 | 0x40;
pub const TYPE_HASH_LISTPACK_EX_EARLY: u8 = 23;
pub const TYPE_HASH_METADATA: u8 = 24;
pub const TYPE_HASH_LISTPACK_EX: u8 = 25;

/// The longest name or value.
const PART_BYTES_MAX: usize = u32::MAX as usize;
/// The latest deadline that a field can have.
const DEADLINE_MAX: u64 = (1 << 48) - 1;

/// The type in whose form a hash is written, and the first version that knows it. One whose last deadline is gone keeps its form,
/// unless whoever reads it knows older versions only.
pub fn form(hash: &Hash<'_>, newest: u16) -> (u8, u16) {
    match hash {
        Hash::Packed(HashPack { form: PackForm::Pairs, .. }) => (TYPE_HASH_LISTPACK, VERSION_LISTPACK),
        Hash::Packed(_) if newest < VERSION_HASH_DEADLINES && earliest_deadline(hash).is_none() => {
            (TYPE_HASH_LISTPACK, VERSION_LISTPACK)
        }
        Hash::Packed(_) => (TYPE_HASH_LISTPACK_EX, VERSION_HASH_DEADLINES),
        Hash::Dict(_) if earliest_deadline(hash).is_some() => (TYPE_HASH_METADATA, VERSION_HASH_DEADLINES),
        Hash::Dict(_) => (TYPE_HASH, VERSION_STRING),
    }
}

/// Writes a hash in the form of a type that `form` has said.
pub fn write(out: &mut Vec<u8>, hash: &Hash<'_>, value_type: u8, compress: bool, sink: &mut dyn Sink) {
    if let Hash::Packed(pack) = hash {
        return write_packed(out, pack, hash, value_type, compress);
    }
    let earliest = earliest_deadline(hash);
    if let Some(earliest) = earliest {
        out.extend_from_slice(&earliest.to_le_bytes());
    }
    encode::length(out, hash.len() as u64);
    for Field { name, value, deadline } in hash.iter() {
        if let Some(earliest) = earliest {
            encode::length(out, deadline.map_or(0, |deadline| deadline - earliest + 1));
        }
        for item in [name, value] {
            encode::string(out, item.bytes(&mut itoa::Buffer::new()), compress);
        }
        encode::hand_on(out, sink);
    }
}

fn write_packed(out: &mut Vec<u8>, pack: &HashPack<'_>, hash: &Hash<'_>, value_type: u8, compress: bool) {
    let mut listpack = Vec::with_capacity(pack.body.len() + packed::LISTPACK_FRAME_BYTES);
    match pack.form {
        PackForm::Pairs => packed::write_listpack(&mut listpack, pack.body, 2 * pack.fields),
        PackForm::Triples if value_type == TYPE_HASH_LISTPACK => {
            let mut pairs = Vec::with_capacity(pack.body.len());
            hash.iter().flat_map(|field| [field.name, field.value]).for_each(|item| push(&mut pairs, item));
            packed::write_listpack(&mut listpack, &pairs, 2 * pack.fields);
        }
        PackForm::Triples => {
            out.extend_from_slice(&pack.noted.unwrap_or(0).to_le_bytes());
            packed::write_listpack(&mut listpack, pack.body, 3 * pack.fields);
        }
    }
    encode::string(out, &listpack, compress);
}

/// Adds an element to a listpack's body.
fn push(body: &mut Vec<u8>, item: Item<'_>) {
    let item = match item {
        Item::Int(value) => NewItem::Int(value),
        Item::Bytes(bytes) => NewItem::Bytes(bytes),
        Item::Blob(blob) => NewItem::Blob(blob.clone()),
    };
    let (encoded, at) = (packed::Encoded::of(&item), body.len());
    body.resize(at + encoded.len(), 0);
    encoded.write(&mut body[at..]);
}

/// The earliest deadline of a hash's fields.
fn earliest_deadline(hash: &Hash<'_>) -> Option<u64> {
    // Most hashes are known to have none.
    hash.due()?;
    hash.iter().filter_map(|field| field.deadline).min()
}

/// Which type of value a byte means in a file of Valkey's own kind, or in any other.
pub fn exact_type(value_type: u8, is_valkey: bool) -> u8 {
    match value_type {
        TYPE_HASH_METADATA_EARLY if is_valkey => TYPE_HASH_DEADLINES_VALKEY,
        other => other,
    }
}

/// A hash of one of the types above.
pub fn read(value_type: u8, reader: &mut Reader<'_>) -> Result<NewHash, Malformed> {
    let hash = match value_type {
        TYPE_HASH => read_fields(reader, PackForm::Pairs, |_| Ok(None))?,
        TYPE_HASH_METADATA_EARLY => read_fields(reader, PackForm::Triples, |ms| Ok(nonzero(ms)))?,
        TYPE_HASH_DEADLINES_VALKEY => read_fields_of_valkey(reader)?,
        TYPE_HASH_METADATA => {
            let earliest = reader.u64_le()?;
            let deadline = |by: u64| match by {
                0 => Ok(None),
                by => earliest.checked_add(by - 1).map(Some).ok_or(Malformed),
            };
            if earliest > DEADLINE_MAX {
                return Err(Malformed);
            }
            read_fields(reader, PackForm::Triples, deadline)?
        }
        TYPE_HASH_ZIPMAP => {
            let zipmap = reader.string()?.to_vec();
            let mut hash = NewHash::new(PackForm::Pairs);
            zipmap::each(&zipmap, |name, value| {
                hash.add(&NewItem::Bytes(name), &NewItem::Bytes(value), None);
            })?;
            hash
        }
        TYPE_HASH_ZIPLIST => read_ziplist(&reader.string()?.to_vec())?,
        TYPE_HASH_LISTPACK => read_listpack(&reader.string()?, PackForm::Pairs)?,
        TYPE_HASH_LISTPACK_EX_EARLY => read_listpack(&reader.string()?, PackForm::Triples)?,
        TYPE_HASH_LISTPACK_EX => {
            // What it says of the earliest deadline is found out again.
            reader.u64_le()?;
            read_listpack(&reader.string()?, PackForm::Triples)?
        }
        _ => return Err(Malformed),
    };
    if hash.fields() == 0 || hash.has_duplicates() { Err(Malformed) } else { Ok(hash) }
}

fn nonzero(ms: u64) -> Option<u64> {
    (ms != 0).then_some(ms)
}

/// Fields one by one; with triples a number before each says when it expires.
fn read_fields(
    reader: &mut Reader<'_>,
    form: PackForm,
    deadline: impl Fn(u64) -> Result<Option<u64>, Malformed>,
) -> Result<NewHash, Malformed> {
    let mut hash = NewHash::new(form);
    for _ in 0..reader.length()? {
        let deadline = match form {
            PackForm::Pairs => None,
            PackForm::Triples => deadline(reader.length()?)?,
        };
        if deadline.is_some_and(|deadline| deadline > DEADLINE_MAX) {
            return Err(Malformed);
        }
        let (name, value) = (reader.string()?, reader.string()?);
        // Longer ones would not fit a body, and Redis has none.
        if name.len().max(value.len()) > PART_BYTES_MAX {
            return Err(Malformed);
        }
        hash.add(&new_item(&name), &new_item(&value), deadline);
    }
    hash.sort();
    Ok(hash)
}

/// Each field with its value and then its deadline, or -1.
fn read_fields_of_valkey(reader: &mut Reader<'_>) -> Result<NewHash, Malformed> {
    let mut hash = NewHash::new(PackForm::Triples);
    for _ in 0..reader.length()? {
        let (name, value, deadline) = (reader.string()?, reader.string()?, reader.u64_le()?);
        let deadline = (deadline != u64::MAX).then_some(deadline);
        let is_long = name.len().max(value.len()) > PART_BYTES_MAX;
        if is_long || deadline.is_some_and(|deadline| deadline > DEADLINE_MAX) {
            return Err(Malformed);
        }
        hash.add(&new_item(&name), &new_item(&value), deadline);
    }
    hash.sort();
    Ok(hash)
}

fn new_item<'a>(text: &'a Text<'_>) -> NewItem<'a> {
    match text {
        Text::Int(value) => NewItem::Int(*value),
        Text::Plain(bytes) => NewItem::Bytes(bytes),
        Text::Unpacked(bytes) => NewItem::Bytes(bytes),
    }
}

/// A pack keeps its form whatever the length of its parts.
fn read_ziplist(ziplist: &[u8]) -> Result<NewHash, Malformed> {
    let mut hash = NewHash::packed(PackForm::Pairs);
    let mut name = None;
    ziplist::each(ziplist, |item| match name.take() {
        None => name = Some(item),
        Some(name) => hash.add(&name, &item, None),
    })?;
    if name.is_some() { Err(Malformed) } else { Ok(hash) }
}

fn read_listpack(text: &Text<'_>, form: PackForm) -> Result<NewHash, Malformed> {
    let bytes = match text {
        Text::Plain(bytes) => bytes,
        Text::Unpacked(bytes) => &bytes[..],
        Text::Int(_) => return Err(Malformed),
    };
    let (body, count) = packed::validated(bytes).ok_or(Malformed)?;
    let parts = if form == PackForm::Pairs { 2 } else { 3 };
    if count % parts != 0 {
        return Err(Malformed);
    }
    let mut hash = NewHash::packed(form);
    let (mut at, mut last) = (0, 0);
    while at < body.len() {
        let (name, value_at) = packed::item(body, at);
        let (value, mut end) = packed::item(body, value_at);
        let mut deadline = None;
        if form == PackForm::Triples {
            let (ms, behind) = packed::item(body, end);
            let Item::Int(ms) = ms else { return Err(Malformed) };
            deadline = nonzero(u64::try_from(ms).ok().filter(|ms| *ms <= DEADLINE_MAX).ok_or(Malformed)?);
            end = behind;
        }
        let order = deadline.unwrap_or(u64::MAX);
        if order < last {
            return Err(Malformed);
        }
        last = order;
        hash.add(&as_new(name), &as_new(value), deadline);
        at = end;
    }
    Ok(hash)
}

fn as_new(item: Item<'_>) -> NewItem<'_> {
    match item {
        Item::Int(value) => NewItem::Int(value),
        Item::Bytes(bytes) => NewItem::Bytes(bytes),
        Item::Blob(blob) => NewItem::Bytes(blob),
    }
}
