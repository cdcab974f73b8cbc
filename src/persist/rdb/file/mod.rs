//! RDB files: what stands around values.
//!
//! ```text
//! REDIS0011                     the format's version in four digits
//! fa string string              a note of whoever wrote the file: its name and what it says
//! f5 string                     a library of functions
//! f7 ...                        what a module keeps beside its keys
//! fe length                     the database of the keys that follow
//! fb length length              about how many keys it has, and how many of them with a deadline
//! f4 length length length       about how many keys a slot has
//! fc i64 | fd i32               before a key: its deadline in ms | s
//! f8 length | f9 byte           before a key: seconds since its last use | how often it is used
//! type string value             a key
//! ff u64                        the end, and CRC64 of all before; 0 for none, and not there before version 5
//! ```
//!
//! Design: both ways are cut where memory or work are to be bounded. Writing hands on what it has wherever a value has an
//! element (`encode::Sink`). Reading first finds where each key ends, without looking inside (`scan`), so that pieces of a file
//! can be decoded in any order and by several threads (`records`).
//!
//! | file | what |
//! |---|---|
//! | `write` | keys and what stands around them, into any buffer |
//! | `save` | a file that appears whole or not at all |
//! | `scan` | where the next key ends |
//! | `split` | a file in pieces of whole keys; the checksum |
//! | `records` | the keys of a piece, decoded |
//! | `check` | what a file holds, for people |
//!
//! Not here: what becomes of the keys (`persist::load`), values (`rdb::value`).

pub mod check;
pub mod records;
pub mod save;
pub mod scan;
pub mod split;
#[cfg(test)]
mod tests;
pub mod write;

use std::fmt;

const MAGIC: &[u8; 5] = b"REDIS";
/// With what Valkey 9 begins its files, in which a type of hashes is another than in Redis's; and their version.
const MAGIC_VALKEY: &[u8; 6] = b"VALKEY";
pub(super) const VERSION_VALKEY: u16 = 80;
const HEADER_BYTES: usize = MAGIC.len() + 4;
/// The first version with a checksum at the end.
const VERSION_CHECKSUM: u16 = 5;
/// The first version with notes and sizes of databases, which are always written.
const VERSION_NOTES: u16 = 7;
/// The first version that says how a key was used.
const VERSION_USE: u16 = 9;

/// The first version with libraries of functions.
pub const VERSION_FUNCTIONS: u16 = 10;

const SLOT_INFO: u8 = 0xf4;
pub(super) const FUNCTION: u8 = 0xf5;
pub(super) const FUNCTION_EARLY: u8 = 0xf6;
const MODULE_AUX: u8 = 0xf7;
const IDLE: u8 = 0xf8;
const FREQUENCY: u8 = 0xf9;
const NOTE: u8 = 0xfa;
const SIZES: u8 = 0xfb;
const DEADLINE_MS: u8 = 0xfc;
const DEADLINE_S: u8 = 0xfd;
const DATABASE: u8 = 0xfe;
const END: u8 = 0xff;

/// How a key was used, as far as eviction is to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Seconds since the last use.
    Idle(u64),
    /// A counter that grows with the logarithm of the uses.
    Frequency(u8),
}

/// Why a file cannot be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The byte at which what is wrong begins.
    pub offset: u64,
    /// What is wrong.
    pub reason: String,
}

impl FileError {
    fn new(offset: u64, reason: impl Into<String>) -> Self {
        Self { offset, reason: reason.into() }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at offset {}: {}", self.offset, self.reason)
    }
}
