//! One file that is appended to, by one thread.
//!
//! Design: an append is in the file as a whole or not at all, as far as the system lets us. After a write that failed half-way the
//! file is cut back to the last whole append. Where even that fails, the bytes that are in the file are remembered, and the
//! next append, which begins with the same bytes, writes only what follows them: so does Redis.
//!
//! Invariants: what is in the file is whole appends, and at most `torn_bytes` of the next; a sync that failed is never taken for
//! success later, since the system forgets after one error what it could not write.
//! Costs: one write a call, one fdatasync a sync; no allocation.
//!
//! Not here: what is appended, and when it is synced (the journal).

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use super::{AofError, disk};

/// What a file is to an [`AofFile`]: the system's, or one that fails where a test wants it to.
pub trait Disk {
    /// Appends some of the bytes; how many.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Cuts the file to its first `bytes` bytes.
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;
    /// Has what was written on disk.
    fn sync(&mut self) -> io::Result<()>;
}

impl Disk for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(self, bytes)
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.flush()?;
        self.set_len(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A file that is appended to.
#[derive(Debug)]
pub struct AofFile<D = File> {
    disk: D,
    path: PathBuf,
    /// Bytes of whole appends.
    len: u64,
    /// Bytes behind them: the beginning of the next append, which could be neither completed nor taken back.
    torn_bytes: usize,
    has_failed_sync: bool,
}

impl AofFile {
    /// Opens a file to append to it; `is_new`: it is made, or emptied.
    ///
    /// # Errors
    /// It cannot be opened, or emptied.
    pub(super) fn open(path: &Path, is_new: bool) -> Result<Self, AofError> {
        let file = disk::open_to_append(path, is_new)?;
        let len = file.metadata().map_err(|error| AofError::io(path, "opened", &error))?.len();
        Ok(Self::new(file, path, len))
    }
}

impl AsFd for AofFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.disk.as_fd()
    }
}

impl<D: Disk> AofFile<D> {
    /// A file that has `len` bytes.
    pub fn new(disk: D, path: &Path, len: u64) -> Self {
        Self { disk, path: path.to_path_buf(), len, torn_bytes: 0, has_failed_sync: false }
    }

    /// Appends all bytes. After an error call again with the same bytes, more behind them or not, or leave the file alone.
    ///
    /// # Errors
    /// What the system said; out of space where it wrote a part and then no more.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        assert!(bytes.len() >= self.torn_bytes, "a failed append is repeated, not shortened");
        let mut written = self.torn_bytes;
        while written < bytes.len() {
            match self.disk.write(&bytes[written..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(count @ 1..) => written += count,
                Ok(_) => return Err(self.take_back(written, io::ErrorKind::WriteZero.into())),
                Err(error) => return Err(self.take_back(written, error)),
            }
        }
        self.torn_bytes = 0;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Cuts the file back to the last whole append.
    #[cold]
    fn take_back(&mut self, written: usize, cause: io::Error) -> io::Error {
        self.torn_bytes = written;
        if written > 0 {
            match self.disk.truncate(self.len) {
                Ok(()) => self.torn_bytes = 0,
                Err(error) => {
                    let path = self.path.display();
                    log::warn!(
                        "{path}: {written} bytes of a failed write cannot be taken back: {error}. \
                        Should the server end before the rest is written, the file ends with them"
                    );
                }
            }
        }
        cause
    }

    /// Has all that was appended on disk.
    ///
    /// # Errors
    /// What the system said. From then on every sync of this file fails, since nobody knows any more what of it is on disk: a
    /// rewrite begins a new one.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.has_failed_sync {
            return Err(io::Error::other("an earlier sync of this file failed"));
        }
        let synced = self.disk.sync();
        self.has_failed_sync = synced.is_err();
        synced
    }

    /// Whether a sync has failed: what of the file is on disk is not known.
    pub fn has_failed_sync(&self) -> bool {
        self.has_failed_sync
    }

    /// Bytes of whole appends, with what was in the file before it was opened.
    #[expect(clippy::len_without_is_empty, reason = "a file's length, not a collection's")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of a failed append that are in the file behind [`Self::len`]: the beginning of the next.
    pub fn torn_bytes(&self) -> usize {
        self.torn_bytes
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is below.
    pub fn disk(&self) -> &D {
        &self.disk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with so much room, whose truncation and sync may fail.
    #[derive(Default)]
    struct Small {
        bytes: Vec<u8>,
        room: usize,
        interrupts: usize,
        refuses_truncate: bool,
        refuses_sync: bool,
    }

    impl Disk for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.interrupts > 0 {
                self.interrupts -= 1;
                return Err(io::ErrorKind::Interrupted.into());
            }
            // Never more than two bytes at a time, so that every append is a chain of short writes.
            let count = bytes.len().min(2).min(self.room - self.bytes.len());
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.bytes.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn truncate(&mut self, bytes: u64) -> io::Result<()> {
            if self.refuses_truncate {
                return Err(io::ErrorKind::ReadOnlyFilesystem.into());
            }
            self.bytes.truncate(bytes as usize);
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            if self.refuses_sync { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
        }
    }

    fn file(room: usize) -> AofFile<Small> {
        AofFile::new(Small { room, ..Small::default() }, Path::new("a.aof"), 0)
    }

    #[test]
    fn short_writes_are_completed() {
        let mut file = file(100);
        file.disk.interrupts = 3;
        file.append(b"seven b").expect("there is room");
        file.append(b"").expect("nothing needs no room");
        file.append(b"!").expect("there is room");
        assert_eq!((&file.disk.bytes[..], file.len()), (&b"seven b!"[..], 8));
    }

    #[test]
    fn failed_append_leaves_nothing() {
        let mut file = file(10);
        file.append(b"first").expect("there is room");
        let error = file.append(b"second append").expect_err("the disk is full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!((&file.disk.bytes[..], file.len(), file.torn_bytes()), (&b"first"[..], 5, 0));
        file.disk.room = 100;
        file.append(b"second append").expect("there is room");
        assert_eq!(file.disk.bytes, b"firstsecond append");
    }

    #[test]
    fn what_cannot_be_taken_back_is_continued() {
        let mut file = file(9);
        file.append(b"first").expect("there is room");
        file.disk.refuses_truncate = true;
        for room in [9, 9, 10] {
            file.disk.room = room;
            file.append(b"second").expect_err("the disk is full");
        }
        assert_eq!((&file.disk.bytes[..], file.len(), file.torn_bytes()), (&b"firstsecon"[..], 5, 5));
        file.disk.room = 100;
        file.append(b"second").expect("there is room");
        file.append(b"third").expect("there is room");
        assert_eq!((&file.disk.bytes[..], file.len()), (&b"firstsecondthird"[..], 16));
    }

    #[test]
    fn failed_sync_is_never_taken_for_success() {
        let mut file = file(9);
        file.sync().expect("it works");
        file.disk.refuses_sync = true;
        assert_eq!(file.sync().expect_err("it fails").kind(), io::ErrorKind::BrokenPipe);
        file.disk.refuses_sync = false;
        assert!(file.sync().is_err() && file.has_failed_sync());
    }
}
