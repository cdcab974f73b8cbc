//! A file into the keyspace, while clients may connect and hear that it is being loaded.
//!
//! Design: one thread reads the file and cuts it into pieces (`rdb::file::split`); the workers decode them between their turns
//! (`worker::loading`), all of them at once, and store what they find under the leases of its shards. Between them is one
//! short queue, whose bound keeps memory small where reading is faster.
//!
//! ```text
//! file -> [loader thread: read, checksum, cut] -> pieces -> [every worker: decode, insert] -> emptied memory back
//! ```
//!
//! Invariants: at most [`PIECES_MAX`] pieces wait; the end is told when the last piece is in the keyspace.
//! Not here: what becomes of a key (`insert`), what clients hear (`worker::client_run`).

pub mod insert;

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::rdb::file::FileError;
use super::rdb::file::split::{Findings, Piece, Splitter};
use crate::resp::number::parse_i64;
use crate::threads;
use insert::Counts;

/// Pieces that wait to be decoded.
const PIECES_MAX: usize = 16;

/// What is loaded, and how far it is. One for the process.
#[derive(Default)]
pub struct Loading {
    is_on: AtomicBool,
    /// Unix time in ms at the beginning.
    started_ms: AtomicU64,
    /// Whether what has expired by then is loaded all the same.
    keeps_expired: AtomicBool,
    total_bytes: AtomicU64,
    loaded_bytes: AtomicU64,
    used_bytes: AtomicU64,
    keys_loaded: AtomicU64,
    keys_expired: AtomicU64,
    queue: Mutex<Queue>,
    /// Room in the queue, or its end.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    pieces: VecDeque<Piece>,
    /// Taken, and not yet in the keyspace.
    under_way: usize,
    /// Memory of pieces that are done.
    spares: Vec<Vec<u8>>,
    failure: Option<FileError>,
}

impl Loading {
    /// A file of so many bytes is going to be loaded: from now on clients are told.
    pub fn begin(&self, total_bytes: u64, now_ms: u64) {
        self.started_ms.store(now_ms, Relaxed);
        self.keeps_expired.store(false, Relaxed);
        self.total_bytes.store(total_bytes, Relaxed);
        self.loaded_bytes.store(0, Relaxed);
        self.used_bytes.store(0, Relaxed);
        self.keys_loaded.store(0, Relaxed);
        self.keys_expired.store(0, Relaxed);
        self.is_on.store(true, Release);
    }

    /// All is in the keyspace.
    pub fn end(&self) {
        self.is_on.store(false, Release);
    }

    /// Whether a file is being loaded.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on.load(Acquire)
    }

    /// What has expired is loaded: commands follow that were run before it had, or that say that it has.
    pub fn keep_expired(&self) {
        self.keeps_expired.store(true, Relaxed);
    }

    /// The time by which deadlines are judged, Unix time in ms.
    pub fn judged_ms(&self) -> u64 {
        if self.keeps_expired.load(Relaxed) { 0 } else { self.started_ms() }
    }

    /// Unix time in ms at which loading began.
    pub fn started_ms(&self) -> u64 {
        self.started_ms.load(Relaxed)
    }

    /// The size of the file, and how much of it has been read.
    pub fn bytes(&self) -> (u64, u64) {
        (self.total_bytes.load(Relaxed), self.loaded_bytes.load(Relaxed))
    }

    /// So much of it has been read.
    pub fn note_read(&self, bytes: u64) {
        self.loaded_bytes.store(bytes, Relaxed);
    }

    /// Memory that whoever wrote the file used then.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Relaxed)
    }

    /// Keys of the last load that are in the keyspace, and that had expired.
    pub fn keys(&self) -> Counts {
        Counts { loaded: self.keys_loaded.load(Relaxed), expired: self.keys_expired.load(Relaxed) }
    }

    /// Counts keys.
    pub fn count(&self, keys: Counts) {
        self.keys_loaded.fetch_add(keys.loaded, Relaxed);
        self.keys_expired.fetch_add(keys.expired, Relaxed);
    }

    /// Whether a piece waits for somebody to decode it.
    pub fn has_pieces(&self) -> bool {
        !self.queue().pieces.is_empty()
    }

    /// A piece to decode, if there is one; [`Self::done`] follows.
    pub fn take(&self) -> Option<Piece> {
        let mut queue = self.queue();
        let piece = queue.pieces.pop_front()?;
        queue.under_way += 1;
        Some(piece)
    }

    /// A piece is in the keyspace, or cannot be.
    pub fn done(&self, piece: Piece, outcome: Result<Counts, FileError>) {
        let mut queue = self.queue();
        queue.under_way -= 1;
        queue.spares.push(piece.bytes);
        match outcome {
            Ok(keys) => self.count(keys),
            // The first of those that several workers may find.
            Err(error) if queue.failure.as_ref().is_none_or(|known| error.offset < known.offset) => {
                queue.failure = Some(error);
            }
            Err(_) => {}
        }
        drop(queue);
        threads::notify_all(&self.changed);
    }

    /// Reads a file and has it decoded, until its last key is in the keyspace. `wake` is called where workers may sleep.
    ///
    /// # Errors
    /// The file cannot be read, or is not what it should be. Part of it may be in the keyspace.
    pub fn run<R: Read>(&self, mut splitter: Splitter<R>, wake: impl Fn()) -> Result<Findings, FileError> {
        let mut spare = Vec::new();
        let mut has_told = false;
        while let Some(piece) = splitter.next_piece(spare)? {
            self.loaded_bytes.store(splitter.offset(), Relaxed);
            if !has_told && splitter.findings.keys > 0 {
                has_told = true;
                self.tell_notes(&splitter.findings);
            }
            let mut queue = self.await_that(|queue| queue.pieces.len() < PIECES_MAX)?;
            spare = queue.spares.pop().unwrap_or_default();
            queue.pieces.push_back(piece);
            let was_empty = queue.pieces.len() == 1;
            drop(queue);
            if was_empty {
                wake();
            }
        }
        drop(self.await_that(|queue| queue.pieces.is_empty() && queue.under_way == 0)?);
        Ok(splitter.findings)
    }

    fn await_that(&self, met: impl Fn(&Queue) -> bool) -> Result<MutexGuard<'_, Queue>, FileError> {
        let waits = |queue: &mut Queue| queue.failure.is_none() && !met(queue);
        let mut queue = threads::wait_while(&self.changed, &self.queue, None, waits);
        match queue.failure.take() {
            Some(failure) => {
                queue.pieces.clear();
                Err(failure)
            }
            None => Ok(queue),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nobody panics under it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the file's writer.
    pub fn tell_notes(&self, findings: &Findings) {
        let note = |name: &str| {
            let mut found = findings.notes.iter().filter(|(known, _)| known == name.as_bytes());
            found.next().map(|(_, value)| &value[..])
        };
        if note("repl-id").is_some() {
            // Others may have come as far, and keep what has expired until they are told that it goes.
            self.keep_expired();
        }
        let number = |name| note(name).and_then(parse_i64).and_then(|number| u64::try_from(number).ok());
        if let Some(version) = note("redis-ver") {
            log::info!("Loading RDB produced by version {}", version.escape_ascii());
        }
        if let Some(age) = number("ctime").and_then(|s| (self.started_ms() / 1000).checked_sub(s)) {
            log::info!("RDB age {age} seconds");
        }
        if let Some(bytes) = number("used-mem") {
            self.used_bytes.store(bytes, Relaxed);
            log::info!("RDB memory usage when created {:.2} Mb", bytes as f64 / (1 << 20) as f64);
        }
    }
}

/// What was found in a file that nobody here uses, and how it ended.
pub fn tell_findings(findings: &Findings, keys: Counts) {
    if findings.module_parts > 0 {
        log::warn!("What {} modules keep beside their keys was passed over", findings.module_parts);
    }
    if !findings.is_checked {
        log::info!("RDB file was saved with checksum disabled: no check performed.");
    }
    log::info!("Done loading RDB, keys loaded: {}, keys expired: {}.", keys.loaded, keys.expired);
}

/// Opens a file to be loaded, for a server with so many databases; none where there is no such file.
///
/// # Errors
/// It cannot be opened, or does not begin as such a file does.
pub fn open(path: &Path, databases: usize, checks: bool) -> Result<Option<(Splitter<File>, u64)>, FileError> {
    let failed =
        |error: std::io::Error| FileError { offset: 0, reason: format!("cannot be opened: {error}") };
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let size = file.metadata().map_err(failed)?.len();
    Ok(Some((Splitter::new(file, Some(size), databases, checks)?, size)))
}
