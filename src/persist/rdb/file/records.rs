//! The keys of a piece of a file, decoded one after the other.
//!
//! Design: what a key's value is made of is lent from the piece wherever it stands there as it is stored.
//!
//! Invariants: no input panics; what is allocated follows from what was read.

use super::scan::{Scan, TYPE_MODULE};
use super::split::Piece;
use super::{
    DATABASE, DEADLINE_MS, DEADLINE_S, END, FREQUENCY, FUNCTION, FUNCTION_EARLY, FileError, IDLE, MODULE_AUX,
    NOTE, SIZES, SLOT_INFO, Use,
};
use crate::persist::rdb::decode::{Malformed, Reader, Text};
use crate::persist::rdb::{hash, list, set, sorted_set, value};
use crate::store::{DbIndex, KEY_BYTES_MAX, KeyHasher, Limits, NewValue};

/// Bytes of packed values that hold nothing.
const EMPTY_LISTPACK: &[u8] = b"\x07\x00\x00\x00\x00\x00\xff";
const EMPTY_ZIPLIST: &[u8] = b"\x0b\x00\x00\x00\x0a\x00\x00\x00\x00\x00\xff";
const EMPTY_ZIPMAP: &[u8] = b"\x00\xff";
const INTSET_HEADER_BYTES: usize = 8;

/// A key with what is said of it.
pub struct Record<'a, 'b> {
    /// Its database.
    pub db: DbIndex,
    /// Its name.
    pub key: &'b [u8],
    /// In ms since 1970; may have come, or lie before that year.
    pub deadline_ms: Option<i64>,
    /// How it was used.
    pub used: Option<Use>,
    /// Its value.
    pub value: NewValue<'a>,
    /// Where in the file it stands.
    pub offset: u64,
}

/// Calls back with each key of a piece.
///
/// # Errors
/// A value is not what its type says, or what is called back fails, with its reason.
pub fn each(
    piece: &Piece,
    limits: &Limits,
    hasher: &KeyHasher,
    mut visit: impl FnMut(Record<'_, '_>) -> Result<(), String>,
) -> Result<(), FileError> {
    let bytes = &piece.bytes[..];
    let mut digits = itoa::Buffer::new();
    let (mut at, mut db) = (0, piece.db);
    while at < bytes.len() {
        let start = at;
        let error = |reason: String| FileError::new(piece.offset + start as u64, reason);
        let mut reader = Reader::new(&bytes[at..]);
        let (deadline_ms, used, value_type) =
            before_key(&mut reader).map_err(|Malformed| error("damaged before a key".to_owned()))?;
        let Some(value_type) = value_type.map(|value_type| hash::exact_type(value_type, piece.is_valkey))
        else {
            let mut scan = Scan::new(bytes, at);
            match scan.part() {
                Ok(super::scan::Part::Database(number)) => db = DbIndex(number as u32),
                Ok(_) => {}
                Err(_) => return Err(error("damaged between keys".to_owned())),
            }
            at = scan.at();
            continue;
        };
        let key = reader.string().map_err(|Malformed| error("a key that is damaged".to_owned()))?;
        let key = match &key {
            Text::Int(value) => digits.format(*value).as_bytes(),
            Text::Plain(bytes) => bytes,
            Text::Unpacked(bytes) => &bytes[..],
        };
        if key.len() > KEY_BYTES_MAX {
            return Err(error("a key of more than 4 GiB".to_owned()));
        }
        let value_at = bytes.len() - reader.rest().len();
        match value::read(value_type, &mut reader, limits, hasher) {
            Ok(value) => {
                let record =
                    Record { db, key, deadline_ms, used, value, offset: piece.offset + start as u64 };
                visit(record).map_err(error)?;
                at = bytes.len() - reader.rest().len();
            }
            Err(Malformed) => at = behind_empty(bytes, value_at, value_type, key).map_err(error)?,
        }
    }
    Ok(())
}

type BeforeKey = (Option<i64>, Option<Use>, Option<u8>);

/// What stands before a key, and the type of its value; no type where no key follows.
fn before_key(reader: &mut Reader<'_>) -> Result<BeforeKey, Malformed> {
    let (mut deadline_ms, mut used) = (None, None);
    loop {
        match reader.byte()? {
            DEADLINE_MS => deadline_ms = Some(i64::from_le_bytes(reader.take()?)),
            DEADLINE_S => deadline_ms = Some(i64::from(i32::from_le_bytes(reader.take()?)) * 1000),
            IDLE => used = Some(Use::Idle(reader.length()?)),
            FREQUENCY => used = Some(Use::Frequency(reader.byte()?)),
            DATABASE | SIZES | SLOT_INFO | NOTE | FUNCTION | FUNCTION_EARLY | MODULE_AUX | END => {
                return Ok((None, None, None));
            }
            // That is how Redis writes that there is none.
            value_type => return Ok((deadline_ms.filter(|ms| *ms != -1), used, Some(value_type))),
        }
    }
}

/// A value could not be read. If that is because it holds nothing, which is no value but harmless, where it ends; otherwise what
/// is wrong.
#[cold]
fn behind_empty(bytes: &[u8], value_at: usize, value_type: u8, key: &[u8]) -> Result<usize, String> {
    let key = key.escape_ascii();
    if value_type == TYPE_MODULE {
        let name = Reader::new(&bytes[value_at..]).length().map_or_else(|_| String::new(), module_name);
        return Err(format!(
            "the key '{key}' has a value of the module type '{name}', which is not known here"
        ));
    }
    let mut scan = Scan::new(bytes, value_at);
    if scan.value(value_type).is_err() || !is_empty(&bytes[value_at..scan.at()], value_type) {
        return Err(format!("the value of the key '{key}', of type {value_type}, is damaged"));
    }
    log::warn!("Skipping the key '{key}', whose value is empty");
    Ok(scan.at())
}

/// Whether a value has no elements.
fn is_empty(value: &[u8], value_type: u8) -> bool {
    let mut reader = Reader::new(value);
    let packed = |reader: &mut Reader<'_>| reader.string().map(|text| text.to_vec()).unwrap_or_default();
    match value_type {
        list::TYPE_LIST
        | list::TYPE_LIST_QUICKLIST
        | list::TYPE_LIST_QUICKLIST_2
        | set::TYPE_SET
        | sorted_set::TYPE_SORTED_SET
        | sorted_set::TYPE_SORTED_SET_2
        | hash::TYPE_HASH
        | hash::TYPE_HASH_DEADLINES_VALKEY
        | hash::TYPE_HASH_METADATA_EARLY => reader.length() == Ok(0),
        hash::TYPE_HASH_METADATA => reader.u64_le().is_ok() && reader.length() == Ok(0),
        hash::TYPE_HASH_LISTPACK_EX => reader.u64_le().is_ok() && packed(&mut reader) == EMPTY_LISTPACK,
        set::TYPE_SET_INTSET => {
            let intset = packed(&mut reader);
            intset.len() == INTSET_HEADER_BYTES && intset[4..] == [0; 4]
        }
        list::TYPE_LIST_ZIPLIST | sorted_set::TYPE_SORTED_SET_ZIPLIST | hash::TYPE_HASH_ZIPLIST => {
            packed(&mut reader) == EMPTY_ZIPLIST
        }
        hash::TYPE_HASH_ZIPMAP => packed(&mut reader) == EMPTY_ZIPMAP,
        set::TYPE_SET_LISTPACK
        | sorted_set::TYPE_SORTED_SET_LISTPACK
        | hash::TYPE_HASH_LISTPACK
        | hash::TYPE_HASH_LISTPACK_EX_EARLY => packed(&mut reader) == EMPTY_LISTPACK,
        _ => false,
    }
}

/// The nine characters in the upper 54 bits of a module type's number.
fn module_name(number: u64) -> String {
    const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9).map(|place| char::from(CHARACTERS[(number >> (10 + 6 * (8 - place)) & 63) as usize])).collect()
}
