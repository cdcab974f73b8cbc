//! A snapshot that becomes an RDB file.
//!
//! Not here: the file (`rdb::file`), who feeds it (`background`).

use std::path::PathBuf;
use std::time::Duration;

use super::background::{Sizes, Target};
use super::rdb::file::Use;
use super::rdb::file::save::{NewFile, Options};
use super::rdb::file::write::{Encoder, Key, Notes};
use crate::store::eviction::{decayed, idle_seconds, minutes};
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
    /// Whether it is the beginning of an append-only file.
    pub is_aof_base: bool,
    /// For tests: us for which the thread sleeps at each key; negative: of how many keys only the last.
    pub key_delay: i32,
}

/// The file that is being written.
pub struct RdbTarget {
    options: RdbOptions,
    encoder: Encoder,
    out: Vec<u8>,
    file: Option<NewFile>,
    keys: u64,
}

impl RdbTarget {
    /// Nothing is there yet.
    pub fn new(options: RdbOptions) -> Box<Self> {
        let encoder = Encoder::new(options.compress);
        Box::new(Self { options, encoder, out: Vec::new(), file: None, keys: 0 })
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
    fn begin(&mut self, sizes: &Sizes) -> Result<(), String> {
        let options = &self.options;
        let file = NewFile::create(&options.directory, options.file).map_err(|error| error.to_string())?;
        self.file = Some(file);
        let notes = Notes {
            redis_version: options.redis_version,
            now_s: options.now_ms / 1000,
            used_bytes: options.used_bytes,
            is_aof_base: options.is_aof_base,
        };
        self.encoder.begin(&mut self.out, &notes);
        for (db, (keys, expires)) in sizes {
            self.encoder.database(&mut self.out, *db, *keys, *expires);
        }
        Ok(())
    }

    fn entry(&mut self, db: DbIndex, entry: Entry<'_>) {
        let used = self.used(entry);
        self.keys += 1;
        let Some(file) = &mut self.file else { return };
        let value = View::of(entry);
        let key = Key { name: entry.key(), deadline_ms: entry.deadline(), used, value: &value };
        self.encoder.key(&mut self.out, db, &key, file);
        file.take_if_large(&mut self.out);
        self.delay();
    }

    fn has_failed(&self) -> bool {
        self.file.as_ref().is_some_and(NewFile::has_failed)
    }

    fn written(&self) -> u64 {
        self.file.as_ref().map_or(0, NewFile::written)
    }

    fn finish(mut self: Box<Self>) -> Result<(), String> {
        let file = self.file.take().expect("it was begun");
        let name = std::mem::take(&mut self.options.name);
        file.finish(&mut self.out, &mut self.encoder, &name).map_err(|error| error.to_string())
    }
}
