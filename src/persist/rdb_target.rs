//! A snapshot that becomes an RDB file, or goes to replicas as one.
//!
//! Not here: the file (`rdb::file`), replicas (`replicate::primary`), who feeds it (`background`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::background::{Sizes, Target};
use super::rdb::encode::Sink;
use super::rdb::file::Use;
use super::rdb::file::save::{NewFile, Options};
use super::rdb::file::write::{Encoder, Key, Notes, StreamNote};
use crate::store::eviction::{decayed, idle_seconds, minutes};
use crate::store::snapshot::Snapshot;
use crate::store::{AccessClock, DbIndex, Entry, View};

/// What of an entry's access clock is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseSaved {
    /// Nothing.
    None,
    /// Since when it is idle.
    Idle,
    /// How often it is used; minutes without use that cost one (`lfu-decay-time`).
    Frequency(u32),
}

/// How the file is to be.
pub struct RdbOptions {
    /// Where it is to appear.
    pub directory: PathBuf,
    /// What it is called.
    pub name: PathBuf,
    /// Whether strings are compressed.
    pub compress: bool,
    /// How it is written.
    pub file: Options,
    /// What of access clocks is saved.
    pub use_saved: UseSaved,
    /// The cut, Unix time in ms.
    pub now_ms: u64,
    /// The same for access clocks.
    pub access_clock: AccessClock,
    /// Of which Redis the writer is like.
    pub redis_version: &'static str,
    /// Memory in use.
    pub used_bytes: u64,
    /// Where in a history of replication it is made.
    pub stream: Option<StreamNote>,
    /// Whether it is the beginning of an append-only file.
    pub is_aof_base: bool,
    /// The newest version of the format that who reads it knows.
    pub version: u16,
    /// Whether it is to be one of no keys.
    pub without_keys: bool,
    /// The texts of libraries of functions.
    pub libraries: Vec<Arc<[u8]>>,
    /// For tests: us for which the thread sleeps at each key; negative: of how many keys only the last.
    pub key_delay: i32,
}

/// Where an RDB goes. It takes what is in `out` when that is worth while.
pub trait RdbOutput: Sink + Send {
    /// Which snapshot it is.
    fn watch(&mut self, _snapshot: &Arc<Snapshot>) {}

    /// Before the first byte.
    ///
    /// # Errors
    /// It cannot be made.
    fn begin(&mut self) -> Result<(), String>;

    /// Takes what `out` has once it is enough.
    fn take_if_large(&mut self, out: &mut Vec<u8>);

    /// Whether all that follows is in vain.
    fn has_failed(&self) -> bool;

    /// Bytes that were taken so far.
    fn written(&self) -> u64;

    /// Behind the last key, with what `out` still has.
    ///
    /// # Errors
    /// What failed, now or before.
    fn finish(self: Box<Self>, out: &mut Vec<u8>, encoder: &mut Encoder) -> Result<(), String>;
}

/// The file of a name in a directory.
struct NamedFile {
    directory: PathBuf,
    name: PathBuf,
    options: Options,
    file: Option<NewFile>,
}

impl Sink for NamedFile {
    fn take(&mut self, out: &mut Vec<u8>) {
        if let Some(file) = &mut self.file {
            file.take(out);
        }
    }
}

impl RdbOutput for NamedFile {
    fn begin(&mut self) -> Result<(), String> {
        let file = NewFile::create(&self.directory, self.options);
        self.file = Some(file.map_err(|error| error.to_string())?);
        Ok(())
    }

    fn take_if_large(&mut self, out: &mut Vec<u8>) {
        if let Some(file) = &mut self.file {
            file.take_if_large(out);
        }
    }

    fn has_failed(&self) -> bool {
        self.file.as_ref().is_some_and(NewFile::has_failed)
    }

    fn written(&self) -> u64 {
        self.file.as_ref().map_or(0, NewFile::written)
    }

    fn finish(self: Box<Self>, out: &mut Vec<u8>, encoder: &mut Encoder) -> Result<(), String> {
        let file = self.file.expect("it was begun");
        file.finish(out, encoder, &self.name).map_err(|error| error.to_string())
    }
}

/// An RDB that is being made.
pub struct RdbTarget {
    options: RdbOptions,
    encoder: Encoder,
    out: Vec<u8>,
    output: Box<dyn RdbOutput>,
    keys: u64,
}

impl RdbTarget {
    /// The file that `options` name. Nothing is there yet.
    pub fn new(options: RdbOptions) -> Box<Self> {
        let file = NamedFile {
            directory: options.directory.clone(),
            name: options.name.clone(),
            options: options.file,
            file: None,
        };
        Self::to(options, Box::new(file))
    }

    /// What goes elsewhere.
    pub fn to(options: RdbOptions, output: Box<dyn RdbOutput>) -> Box<Self> {
        let encoder = Encoder::new(options.compress, options.version);
        Box::new(Self { options, encoder, out: Vec::new(), output, keys: 0 })
    }

    fn used(&self, entry: Entry<'_>) -> Option<Use> {
        let options = &self.options;
        match options.use_saved {
            UseSaved::None => None,
            UseSaved::Idle => {
                Some(Use::Idle(idle_seconds(options.access_clock.seconds(), entry.clock()).into()))
            }
            UseSaved::Frequency(decay) => {
                Some(Use::Frequency(decayed(entry.clock(), minutes(options.now_ms), decay)))
            }
        }
    }

    /// As `rdb-key-save-delay` asks: makes a small file take long.
    fn delay(&self) {
        let us = match self.options.key_delay {
            0 => return,
            us if us > 0 => us.unsigned_abs(),
            keys if self.keys.is_multiple_of(keys.unsigned_abs().into()) => 1,
            _ => return,
        };
        std::thread::sleep(Duration::from_micros(us.into()));
    }
}

impl Target for RdbTarget {
    fn watch(&mut self, snapshot: &Arc<Snapshot>) {
        self.output.watch(snapshot);
    }

    fn begin(&mut self, sizes: &Sizes) -> Result<(), String> {
        self.output.begin()?;
        let options = &self.options;
        let notes = Notes {
            redis_version: options.redis_version,
            now_s: options.now_ms / 1000,
            used_bytes: options.used_bytes,
            stream: options.stream.clone(),
            is_aof_base: options.is_aof_base,
        };
        self.encoder.begin(&mut self.out, &notes);
        for text in &options.libraries {
            self.encoder.library(&mut self.out, text);
        }
        for (db, (keys, expires)) in sizes.iter().filter(|_| !options.without_keys) {
            self.encoder.database(&mut self.out, *db, *keys, *expires);
        }
        Ok(())
    }

    fn entry(&mut self, db: DbIndex, entry: Entry<'_>) {
        if self.options.without_keys {
            return;
        }
        let used = self.used(entry);
        self.keys += 1;
        let value = View::of(entry);
        let key = Key { name: entry.key(), deadline_ms: entry.deadline(), used, value: &value };
        self.encoder.key(&mut self.out, db, &key, &mut *self.output);
        self.output.take_if_large(&mut self.out);
        self.delay();
    }

    fn has_failed(&self) -> bool {
        self.output.has_failed()
    }

    fn written(&self) -> u64 {
        self.output.written()
    }

    fn finish(mut self: Box<Self>) -> Result<(), String> {
        self.output.finish(&mut self.out, &mut self.encoder)
    }
}
