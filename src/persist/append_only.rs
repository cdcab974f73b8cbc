//! The append-only file beside a running server: whether it is on, and the steps of a rewrite.
//!
//! Design: a rewrite is a snapshot whose cut is where the journal changes files (PROTOCOL 15). What touches the disk happens on
//! threads of its own, so that no worker waits:
//!
//! ```text
//! asked for -> [thread] the next incremental file -> [first worker, all leases] cut, the journal changes files
//!           -> [snapshot's thread] the base, the manifest that names both, old files removed
//! ```
//!
//! To switch it on is a rewrite too, whose cut also begins the journal; its files count once the first base is whole.
//! A rewrite that fails leaves a directory that is loaded as before, with one incremental file more; it is tried again.
//!
//! Not here: the files (`aof`), the journal (`journal`), the snapshot (`background`), who asks (`command`, `worker::rewrite`).

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::aof::file::Disk;
use super::aof::store::remove_history;
use super::aof::{AofError, AofFile, AofStore, BaseFormat};
use super::journal::{Journal, Sink};
use crate::threads;

impl<D: Disk + Send> Sink for AofFile<D> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        AofFile::append(self, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        AofFile::sync(self)
    }

    fn is_doubtful(&self) -> bool {
        self.has_failed_sync()
    }
}

/// How far a rewrite is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// There is none.
    None,
    /// The next incremental file is being made.
    Preparing,
    /// It is there: the cut may come.
    Prepared,
    /// The base is being written.
    Writing,
}

/// The state of the append-only file. One for the process.
pub struct AppendOnly {
    /// Whether it is to be on.
    is_wanted: AtomicBool,
    stage: AtomicU8,
    is_asked_for: AtomicBool,
    store: Mutex<Option<AofStore>>,
    /// The incremental file that is prepared.
    next: Mutex<Option<AofFile>>,
    /// Unix time in ms: when the rewrite under way began, and before which none is begun.
    begun_ms: AtomicU64,
    retry_ms: AtomicU64,
    /// Of the last rewrite, in s; -1 while there was none.
    took_s: AtomicI64,
    has_failed: AtomicBool,
    rewrites: AtomicU64,
    failures_in_row: AtomicU64,
    /// Bytes of the base, or of all files at the start.
    base_bytes: AtomicU64,
    /// Whether there is a base for what is appended, so that it counts.
    has_base: AtomicBool,
}

impl Default for AppendOnly {
    fn default() -> Self {
        Self {
            is_wanted: AtomicBool::new(false),
            stage: AtomicU8::new(Stage::None as u8),
            is_asked_for: AtomicBool::new(false),
            store: Mutex::new(None),
            next: Mutex::new(None),
            begun_ms: AtomicU64::new(0),
            retry_ms: AtomicU64::new(0),
            took_s: AtomicI64::new(-1),
            has_failed: AtomicBool::new(false),
            rewrites: AtomicU64::new(0),
            failures_in_row: AtomicU64::new(0),
            base_bytes: AtomicU64::new(0),
            has_base: AtomicBool::new(false),
        }
    }
}

/// After a failure, ms until the next try.
const RETRY_MS: u64 = 5000;

impl AppendOnly {
    /// It is on from the start, with files of so many bytes.
    pub fn open(&self, store: AofStore, bytes: u64) {
        self.has_base.store(true, Release);
        *lock(&self.store) = Some(store);
        self.base_bytes.store(bytes, Relaxed);
        self.is_wanted.store(true, Release);
    }

    /// Whether what is appended stands behind a base, and so counts at the next start.
    pub fn has_base(&self) -> bool {
        self.has_base.load(Acquire)
    }

    /// Whether it is on, or being switched on.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted.load(Acquire)
    }

    /// It is to be on: a rewrite begins it.
    pub fn want(&self) {
        self.is_wanted.store(true, Release);
        self.ask();
    }

    /// It is off; the journal has been told. A rewrite under way comes to nothing.
    pub fn close(&self) {
        self.has_base.store(false, Release);
        self.is_wanted.store(false, Release);
        self.is_asked_for.store(false, Release);
        if self.stage() == Stage::None {
            *lock(&self.store) = None;
        }
    }

    /// How far a rewrite is.
    pub fn stage(&self) -> Stage {
        match self.stage.load(Acquire) {
            stage if stage == Stage::Preparing as u8 => Stage::Preparing,
            stage if stage == Stage::Prepared as u8 => Stage::Prepared,
            stage if stage == Stage::Writing as u8 => Stage::Writing,
            _ => Stage::None,
        }
    }

    /// A rewrite is to begin as soon as it can.
    pub fn ask(&self) {
        self.retry_ms.store(0, Relaxed);
        self.is_asked_for.store(true, Release);
    }

    /// Whether a rewrite is to begin.
    pub fn is_asked_for(&self) -> bool {
        self.is_asked_for.load(Acquire)
    }

    /// Whether it may begin by now.
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.is_asked_for() && now_ms >= self.retry_ms.load(Relaxed)
    }

    /// Makes the next incremental file on a thread, or only what a base needs where nothing is appended, and calls `wake` when
    /// the cut may come. `open` reads the directory, where that has not been done.
    pub fn prepare(
        self: &Arc<Self>,
        open: impl FnOnce() -> Result<AofStore, AofError> + Send + 'static,
        now_ms: u64,
        wake: impl FnOnce() + Send + 'static,
    ) {
        self.is_asked_for.store(false, Release);
        self.begun_ms.store(now_ms, Relaxed);
        self.rewrites.fetch_add(1, Relaxed);
        self.set(Stage::Preparing);
        let append_only = Arc::clone(self);
        let body = move || {
            match append_only.begin(open) {
                Ok(()) => append_only.set(Stage::Prepared),
                Err(error) => append_only.fail(&error.to_string(), now_ms),
            }
            wake();
        };
        if let Err(error) = threads::spawn("torc-aof", body) {
            self.fail(&format!("no thread: {error}"), now_ms);
        }
    }

    fn begin(&self, open: impl FnOnce() -> Result<AofStore, AofError>) -> Result<(), AofError> {
        let mut store = lock(&self.store);
        let store = match &mut *store {
            Some(store) => store,
            none => none.insert(open()?),
        };
        if self.is_wanted() {
            *lock(&self.next) = Some(store.begin_rewrite(0)?);
            Ok(())
        } else {
            store.begin_base_rewrite()
        }
    }

    /// The file that was prepared, for the cut; none where nothing is appended. And where the base is to be written.
    pub fn take_prepared(&self) -> (Option<AofFile>, PathBuf) {
        let path = lock(&self.store).as_ref().map(AofStore::temp_base);
        (lock(&self.next).take(), path.unwrap_or_default())
    }

    /// The cut is made: the base follows.
    pub fn note_cut(&self) {
        self.set(Stage::Writing);
    }

    /// There is nothing more of the rewrite under way.
    pub fn abandon(&self) {
        *lock(&self.next) = None;
        let mut store = lock(&self.store);
        if let Some(open) = &mut *store {
            open.abandon_rewrite();
        }
        if !self.is_wanted() {
            *store = None;
        }
        self.set(Stage::None);
    }

    /// The base is written under its temporary name: it counts from now on.
    pub fn finish(&self, journal: &Journal, format: BaseFormat, took_s: u64, now_ms: u64) {
        if let Err(error) = self.end(journal, format) {
            return self.fail(&error.to_string(), now_ms);
        }
        self.took_s.store(took_s as i64, Relaxed);
        self.has_failed.store(false, Relaxed);
        self.failures_in_row.store(0, Relaxed);
        log::info!("Background AOF rewrite finished successfully");
        self.abandon();
    }

    fn end(&self, journal: &Journal, format: BaseFormat) -> Result<(), AofError> {
        let mut store = lock(&self.store);
        let Some(store) = &mut *store else { return Ok(()) };
        let bytes = std::fs::metadata(store.temp_base()).map_or(0, |file| file.len());
        store.end_rewrite(format)?;
        self.has_base.store(true, Release);
        self.base_bytes.store(bytes, Relaxed);
        journal.note_base();
        // What is still there is removed at the next start.
        remove_history(&store.history()).iter().for_each(|error| log::warn!("{error}"));
        if let Err(error) = store.forget_history() {
            log::warn!("{error}");
        }
        Ok(())
    }

    /// The rewrite has failed; it is tried again later if its file is to be on.
    pub fn fail(&self, reason: &str, now_ms: u64) {
        log::warn!("Background AOF rewrite failed: {reason}");
        self.has_failed.store(true, Relaxed);
        self.failures_in_row.fetch_add(1, Relaxed);
        self.retry_ms.store(now_ms + RETRY_MS, Relaxed);
        self.is_asked_for.store(self.is_wanted(), Release);
        self.abandon();
    }

    /// What INFO says.
    pub fn report(&self) -> Report {
        Report {
            begun_ms: self.begun_ms.load(Relaxed),
            took_s: self.took_s.load(Relaxed),
            has_failed: self.has_failed.load(Relaxed),
            rewrites: self.rewrites.load(Relaxed),
            failures_in_row: self.failures_in_row.load(Relaxed),
            base_bytes: self.base_bytes.load(Relaxed),
        }
    }

    fn set(&self, stage: Stage) {
        self.stage.store(stage as u8, Release);
    }
}

/// Figures of rewrites.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// When the rewrite under way began, Unix time in ms.
    pub begun_ms: u64,
    /// How long the last one took, in s; -1 while there was none.
    pub took_s: i64,
    /// Whether the last one failed.
    pub has_failed: bool,
    /// How many have begun.
    pub rewrites: u64,
    /// How many have failed since the last that did not.
    pub failures_in_row: u64,
    /// Bytes of the base, or of all files at the start.
    pub base_bytes: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nobody panics under it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
