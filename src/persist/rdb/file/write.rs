//! Writes keys and what stands around them into any buffer.
//!
//! Design: every part is appended to a buffer that belongs to whoever writes, who takes it when there is enough; only inside of
//! large values it is taken by a [`Sink`] meanwhile. So a thread can write keys that others hand to it one by one, in any
//! order of databases.
//!
//! Invariants: a file says the lowest version that can hold what is in it, which is only known at its end:
//! [`Encoder::version`].

use super::{
    DATABASE, DEADLINE_MS, END, FREQUENCY, FUNCTION, HEADER_BYTES, IDLE, MAGIC, NOTE, SIZES, Use,
    VERSION_FUNCTIONS, VERSION_NOTES, VERSION_USE,
};
use crate::persist::rdb::encode::{self, Sink};
use crate::persist::rdb::{VERSION_LENGTH_64, value};
use crate::store::{DbIndex, Str, View};

/// What is said of the file.
pub struct Notes<'a> {
    /// Of which Redis the writer is like.
    pub redis_version: &'a str,
    /// Unix time in seconds.
    pub now_s: u64,
    /// Memory in use, in bytes.
    pub used_bytes: u64,
    /// Where in a history of replication it was made.
    pub stream: Option<StreamNote>,
    /// Whether this is the beginning of an append-only file.
    pub is_aof_base: bool,
}

/// Where in a history of replication a file was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamNote {
    /// The history's name.
    pub id: String,
    /// How many bytes of its stream are in the file.
    pub offset: u64,
    /// The database that the stream has selected there.
    pub db: DbIndex,
}

/// A key as it is written.
pub struct Key<'a, 'v> {
    /// Its name.
    pub name: &'a [u8],
    /// In ms since 1970.
    pub deadline_ms: Option<u64>,
    /// How it was used, if that is to be kept.
    pub used: Option<Use>,
    /// Its value.
    pub value: &'a View<'v>,
}

/// Writes a file's parts in the order in which it is called.
pub struct Encoder {
    compress: bool,
    /// The newest that readers know, and the oldest that knows all that was written.
    newest: u16,
    version: u16,
    db: Option<DbIndex>,
}

impl Encoder {
    /// `compress`: whether strings are, where it pays. `newest`: the newest version that is read where it is read.
    pub fn new(compress: bool, newest: u16) -> Self {
        Self { compress, newest, version: VERSION_NOTES, db: None }
    }

    /// The version that can hold all that was written so far.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// The beginning. Its version, the first nine bytes, is that of now ([`header`]).
    pub fn begin(&mut self, out: &mut Vec<u8>, notes: &Notes<'_>) {
        out.extend_from_slice(&header(self.version));
        let mut note = |name: &str, value: &[u8]| {
            out.push(NOTE);
            encode::string(out, name.as_bytes(), false);
            encode::string(out, value, false);
        };
        note("redis-ver", notes.redis_version.as_bytes());
        note("redis-bits", b"64");
        note("ctime", notes.now_s.to_string().as_bytes());
        note("used-mem", notes.used_bytes.to_string().as_bytes());
        if let Some(stream) = &notes.stream {
            note("repl-stream-db", stream.db.0.to_string().as_bytes());
            note("repl-id", stream.id.as_bytes());
            note("repl-offset", stream.offset.to_string().as_bytes());
        }
        note("aof-base", if notes.is_aof_base { b"1" } else { b"0" });
    }

    /// A library of functions.
    pub fn library(&mut self, out: &mut Vec<u8>, text: &[u8]) {
        library(out, text, self.compress);
        self.version = self.version.max(VERSION_FUNCTIONS);
    }

    /// The keys of a database follow: so many, and so many of them with a deadline.
    pub fn database(&mut self, out: &mut Vec<u8>, db: DbIndex, keys: u64, expires: u64) {
        self.select(out, db);
        out.push(SIZES);
        encode::length(out, keys);
        encode::length(out, expires);
    }

    fn select(&mut self, out: &mut Vec<u8>, db: DbIndex) {
        if self.db != Some(db) {
            self.db = Some(db);
            out.push(DATABASE);
            encode::length(out, db.0.into());
        }
    }

    /// A key. Of a large value `sink` takes the beginning before the end is written.
    pub fn key(&mut self, out: &mut Vec<u8>, db: DbIndex, key: &Key<'_, '_>, sink: &mut dyn Sink) {
        self.select(out, db);
        if let Some(deadline_ms) = key.deadline_ms {
            out.push(DEADLINE_MS);
            out.extend_from_slice(&deadline_ms.to_le_bytes());
        }
        match key.used {
            None => {}
            Some(Use::Idle(seconds)) => {
                out.push(IDLE);
                encode::length(out, seconds);
            }
            Some(Use::Frequency(count)) => out.extend_from_slice(&[FREQUENCY, count]),
        }
        if key.used.is_some() {
            self.version = self.version.max(VERSION_USE);
        }
        let (value_type, version) = value::form(key.value, self.newest);
        out.push(value_type);
        encode::string(out, key.name, self.compress);
        value::write(out, key.value, value_type, self.compress, sink);
        let length = if has_long_string(key) { VERSION_LENGTH_64 } else { 0 };
        self.version = self.version.max(version).max(length);
    }

    /// The end; a checksum of eight bytes follows.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        out.push(END);
    }
}

/// A library of functions.
pub fn library(out: &mut Vec<u8>, text: &[u8], compress: bool) {
    out.push(FUNCTION);
    encode::string(out, text, compress);
}

/// Whether a string has a length of more than 32 bits. Elements have none, nor have keys.
fn has_long_string(key: &Key<'_, '_>) -> bool {
    matches!(key.value, View::String(Str::Bytes(bytes)) if u32::try_from(bytes.len()).is_err())
}

/// The first bytes of a file of a version.
pub fn header(version: u16) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    header[MAGIC.len()..].copy_from_slice(format!("{version:04}").as_bytes());
    header
}
