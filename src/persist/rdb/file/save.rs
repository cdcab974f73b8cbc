//! A file that appears whole or not at all.
//!
//! Design: everything goes into a file of another name in the same directory, which takes the place of the old one by one
//! rename, once it is on disk; then the directory is synced, so that a power cut cannot bring the old name back (P029). The
//! file's version is known at its end only: the header is written again, and the checksum follows by its linearity.
//!
//! Invariants: the old file is left as it is until the new one is on disk; after a failure nothing is left of the new one.
//! Costs: one write a quarter of a MiB.
//!
//! Not here: who writes what, and when (`persist::save`).

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::write::{Encoder, header};
use crate::persist::rdb::crc64;
use crate::persist::rdb::encode::Sink;

/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 256 << 10;
/// With incremental syncs, bytes after which the system is told to write them to the disk: as Redis does.
const SYNC_BYTES: u64 = 4 << 20;

/// How a file is written.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether it ends with a checksum; 0 otherwise.
    pub checksum: bool,
    /// Whether it is synced while it grows, so that the end is not one long sync.
    pub incremental_sync: bool,
}

/// What went wrong, and in which step.
#[derive(Debug)]
pub struct SaveError {
    step: &'static str,
    path: PathBuf,
    cause: io::Error,
}

impl std::fmt::Display for SaveError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.step, self.path.display(), self.cause)
    }
}

/// A file that is being written, and is gone unless it is finished.
pub struct NewFile {
    file: File,
    path: PathBuf,
    options: Options,
    sum: u64,
    written: u64,
    synced: u64,
    /// The first error; nothing is written after it.
    failed: Option<SaveError>,
    is_done: bool,
}

impl NewFile {
    /// Begins a file in `directory` that only this process writes.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(directory: &Path, options: Options) -> Result<Self, SaveError> {
        let path = directory.join(format!("temp-{}.rdb", std::process::id()));
        let file = File::create(&path);
        let file = file.map_err(|cause| SaveError { step: "Failed opening", path: path.clone(), cause })?;
        Ok(Self { file, path, options, sum: 0, written: 0, synced: 0, failed: None, is_done: false })
    }

    /// Whether writing has failed, so that what follows is in vain.
    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Writes what `out` has once it is enough for a write.
    pub fn take_if_large(&mut self, out: &mut Vec<u8>) {
        if out.len() >= WRITE_BYTES {
            self.take(out);
        }
    }

    /// The end, with what `out` still has: the file is on disk, and has the name `name` in its directory.
    ///
    /// # Errors
    /// What was not written, synced or renamed. The file that had this name is still there.
    pub fn finish(mut self, out: &mut Vec<u8>, encoder: &mut Encoder, name: &Path) -> Result<(), SaveError> {
        encoder.end(out);
        self.take(out);
        let (first, last) = (header(super::VERSION_NOTES), header(encoder.version()));
        let sum = match self.options.checksum {
            true => {
                crc64::exchanged(self.sum, &first, &last, self.written.saturating_sub(first.len() as u64))
            }
            false => 0,
        };
        self.write(&sum.to_le_bytes());
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let patched = self.file.write_all_at(&last, 0).and_then(|()| self.file.sync_all());
        patched.map_err(|cause| self.error("Write error saving DB on disk, file", cause))?;
        let directory = self.path.parent().unwrap_or(Path::new(".")).to_path_buf();
        let renamed = std::fs::rename(&self.path, directory.join(name));
        renamed.map_err(|cause| self.error("Error moving temp DB file", cause))?;
        self.is_done = true;
        let synced = File::open(&directory).and_then(|directory| directory.sync_all());
        synced.map_err(|cause| SaveError { step: "Error syncing the directory", path: directory, cause })
    }

    fn error(&self, step: &'static str, cause: io::Error) -> SaveError {
        SaveError { step, path: self.path.clone(), cause }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        let mut outcome = self.file.write_all(bytes);
        self.written += bytes.len() as u64;
        if outcome.is_ok() && self.options.incremental_sync && self.written - self.synced >= SYNC_BYTES {
            self.synced = self.written;
            outcome = self.file.sync_data();
        }
        if let Err(cause) = outcome {
            self.failed = Some(self.error("Write error saving DB on disk, file", cause));
        }
    }
}

impl Sink for NewFile {
    fn take(&mut self, out: &mut Vec<u8>) {
        if self.options.checksum && self.failed.is_none() {
            self.sum = crc64::sum(self.sum, out);
        }
        self.write(out);
        out.clear();
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_done {
            // Where this fails too, the disk has other troubles, which were told.
            std::fs::remove_file(&self.path).unwrap_or_default();
        }
    }
}
