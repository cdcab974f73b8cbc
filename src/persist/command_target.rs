//! A snapshot that becomes a file of commands: the base of an append-only file with `aof-use-rdb-preamble no`.
//!
//! Design: each key is a RESTORE of what DUMP says, so that every type and encoding is kept as it is. Redis loads it too. With
//! `aof-timestamp-enabled` it begins with the time of the cut.
//!
//! Not here: values as bytes (`rdb`), who feeds it (`background`).

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use super::aof::reader::timestamp;
use super::background::{Sizes, Target};
use super::rdb;
use crate::resp::inline::encode_words;
use crate::store::{DbIndex, Entry, View};

/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 256 << 10;

/// The file that is being written.
pub struct CommandTarget {
    path: PathBuf,
    file: Option<File>,
    out: Vec<u8>,
    db: Option<DbIndex>,
    written: u64,
    failed: Option<io::Error>,
    is_done: bool,
}

impl CommandTarget {
    /// Nothing is there yet. `cut_s` is the time that it is to begin with, Unix time in seconds; libraries of functions follow.
    pub fn new(path: PathBuf, cut_s: Option<u64>, libraries: &[Arc<[u8]>]) -> Box<Self> {
        let mut out = cut_s.map(timestamp).unwrap_or_default();
        for text in libraries {
            encode_words(&mut out, [&b"FUNCTION"[..], b"LOAD", text].into_iter());
        }
        Box::new(Self { path, file: None, out, db: None, written: 0, failed: None, is_done: false })
    }

    fn write(&mut self) {
        let Some(file) = &mut self.file else { return };
        if self.failed.is_none() {
            self.failed = file.write_all(&self.out).err();
        }
        self.written += self.out.len() as u64;
        self.out.clear();
    }

    fn error(&self, error: &io::Error) -> String {
        format!("{}: {error}", self.path.display())
    }
}

impl Target for CommandTarget {
    fn begin(&mut self, _: &Sizes) -> Result<(), String> {
        self.file = Some(File::create(&self.path).map_err(|error| self.error(&error))?);
        Ok(())
    }

    fn entry(&mut self, db: DbIndex, entry: Entry<'_>) {
        if self.db != Some(db) {
            self.db = Some(db);
            let number = db.0.to_string();
            encode_words(&mut self.out, [&b"SELECT"[..], number.as_bytes()].into_iter());
        }
        let payload = rdb::payload(&View::of(entry), entry.bytes_allocated(), true);
        let deadline = entry.deadline().unwrap_or(0).to_string();
        let words = [&b"RESTORE"[..], entry.key(), deadline.as_bytes(), &payload, b"ABSTTL"];
        encode_words(&mut self.out, words.into_iter());
        if self.out.len() >= WRITE_BYTES {
            self.write();
        }
    }

    fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    fn written(&self) -> u64 {
        self.written
    }

    fn finish(mut self: Box<Self>) -> Result<(), String> {
        self.write();
        if let Some(error) = self.failed.take() {
            return Err(self.error(&error));
        }
        self.is_done = true;
        Ok(())
    }
}

impl Drop for CommandTarget {
    fn drop(&mut self) {
        if !self.is_done {
            // The next rewrite or start tries again.
            std::fs::remove_file(&self.path).unwrap_or_default();
        }
    }
}
