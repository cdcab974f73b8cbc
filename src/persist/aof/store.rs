//! Which files the append-only file has, and how a rewrite goes from one manifest to the next.
//!
//! Design: Redis's. A file counts once a manifest on disk names it, and the manifest is replaced as a whole. So each change does
//! its work on files that do not count, has their bytes and names on disk, and then replaces the manifest:
//!
//! ```text
//! begin_rewrite   new incr N+1 -> sync names -> manifest: base, incr .. N, incr N+1
//!                 (the journal goes on in N+1 from the cut on; somebody writes temp_base)
//! end_rewrite     sync temp base -> base M+1 -> sync names -> manifest: base M+1, history .., incr N+1
//! forget_history  remove history files -> manifest: base M+1, incr N+1
//! ```
//!
//! Where `appendonly` is switched on in a running server there may be files of an earlier time, which say nothing of the data of
//! now. So the first rewrite writes its incremental file under a temporary name, which no manifest has: until its base is
//! whole, a restart finds what it would have found before. That is [`AofStore::begin_rewrite`] of a store that is off.
//!
//! A manifest that names no file, a comment, is made before the first file gets a name. So a directory with files and without
//! a manifest has lost it, and is refused rather than taken for a new one (P035).
//!
//! Invariants: what this value says is what the manifest on disk says, or an earlier one of the same data; no file that counts is
//! written over or removed; at any crash, every file that the manifest on disk names is there, with what was synced.
//! Costs: a change syncs one or two files and the directory twice; it blocks, and is made by one thread.
//!
//! Not here: what is written into the files (the journal, `rdb_target`), when to rewrite.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::manifest::{Entry, ManifestError};
use super::{AofError, AofFile, Manifest, Place, disk};

/// An RDB file without keys has fewer bytes; Redis leaves one without a manifest when it is ended during its first start.
const EMPTY_BASE_BYTES_MAX: u64 = 256;

/// What a base file is made of (`aof-use-rdb-preamble`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseFormat {
    /// An RDB file.
    Rdb,
    /// Commands.
    Commands,
}

/// A file to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes it has.
    pub size: u64,
    /// Whether it is the base; otherwise it is an incremental file.
    pub is_base: bool,
    /// Whether it may be torn, and is then cut behind its last whole command: an incremental file behind which nothing was
    /// written (else what came between would be lost), or a base that is the only file, as of an older server. Other bases were
    /// whole when they got their names.
    pub may_be_torn: bool,
}

/// What is there at a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Nothing: the data is empty.
    None,
    /// These files, to be loaded one behind the other.
    Parts(Vec<Part>),
    /// A single file of a server before Redis 7, `dir/appendfilename`: [`AofStore::upgrade`] makes it the base.
    OldFile {
        /// Where it is.
        path: PathBuf,
        /// Bytes it has.
        size: u64,
    },
}

/// A rewrite under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rewrite {
    /// Its incremental file is in the manifest.
    Listed,
    /// Its incremental file has a temporary name; the offset in the replication stream at which it begins.
    Temporary(u64),
    /// Nothing is appended: only a base is made.
    BaseOnly,
}

/// The directory of an append-only file.
#[derive(Debug)]
pub struct AofStore {
    /// `dir`.
    dir: PathBuf,
    /// `appenddirname` in it.
    directory: PathBuf,
    /// `appendfilename`.
    name: OsString,
    /// As it is on disk.
    manifest: Manifest,
    has_manifest: bool,
    /// Whether the last incremental file is appended to.
    is_on: bool,
    rewrite: Option<Rewrite>,
}

impl AofStore {
    /// Reads the manifest of `dir/appenddirname`, if it is there. Nothing is changed.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn open(dir: &Path, appenddirname: &OsStr, appendfilename: &OsStr) -> Result<Self, AofError> {
        let mut store = Self {
            dir: dir.to_path_buf(),
            directory: dir.join(appenddirname),
            name: appendfilename.to_os_string(),
            manifest: Manifest::default(),
            has_manifest: false,
            is_on: false,
            rewrite: None,
        };
        if let Some(manifest) = read_manifest(&store.manifest_path())? {
            store.manifest = manifest;
            store.has_manifest = true;
        }
        Ok(store)
    }

    /// Which files are to be loaded, or that there are none.
    ///
    /// # Errors
    /// A file that the manifest names is missing; or there are files with data, and no manifest that says which of them count.
    pub fn find(&self) -> Result<Existing, AofError> {
        if let Some(existing) = self.old_file()? {
            return Ok(existing);
        }
        if self.manifest.is_empty() {
            return if self.has_manifest { Ok(Existing::None) } else { self.refuse_orphans() };
        }
        let mut parts = Vec::new();
        for (kind, entry) in self.manifest.entries().filter(|(kind, _)| *kind != 'h') {
            let path = self.path(&entry.name);
            let size = size(&path)?.ok_or_else(|| {
                let manifest = self.manifest_path();
                AofError::new(&path, format!("is missing, though {} names it", manifest.display()))
            })?;
            parts.push(Part { path, size, is_base: kind == 'b', may_be_torn: true });
        }
        let (is_alone, mut is_empty_behind) = (parts.len() == 1, true);
        for part in parts.iter_mut().rev() {
            part.may_be_torn = if part.is_base { is_alone } else { is_empty_behind };
            is_empty_behind &= part.size == 0;
        }
        Ok(Existing::Parts(parts))
    }

    /// The file of a server before Redis 7, unless there are newer ones.
    fn old_file(&self) -> Result<Option<Existing>, AofError> {
        let path = self.dir.join(&self.name);
        let Some(size) = size(&path)? else { return Ok(None) };
        // The last: an upgrade ended between its manifest and the move.
        let is_half_upgraded = self.manifest.incremental.is_empty()
            && self.manifest.base.as_ref().is_some_and(|base| base.name == self.name.as_bytes())
            && self::size(&self.path(self.name.as_bytes()))?.is_none();
        if !self.manifest.is_empty() && !is_half_upgraded {
            return Ok(None);
        }
        if !self.has_manifest {
            self.refuse_orphans()?;
        }
        Ok(Some(Existing::OldFile { path, size }))
    }

    /// There is no manifest: refuses if there is data of which it should say whether it counts.
    fn refuse_orphans(&self) -> Result<Existing, AofError> {
        let entries = match std::fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Existing::None),
            entries => entries.map_err(|error| AofError::io(&self.directory, "read", &error))?,
        };
        for entry in entries {
            let entry = entry.map_err(|error| AofError::io(&self.directory, "read", &error))?;
            let Some(kind) = self.kind_of(&entry.file_name()) else { continue };
            let size = size(&entry.path())?.unwrap_or(0);
            if size > (if kind == 'b' { EMPTY_BASE_BYTES_MAX } else { 0 }) {
                let manifest = self.manifest_path();
                let reason = format!(
                    "{} has {size} bytes of data, but the manifest, which says what counts, is missing: \
                    restore it, or move the directory away to begin without data",
                    entry.path().display()
                );
                return Err(AofError::new(&manifest, reason));
            }
        }
        Ok(Existing::None)
    }

    /// Whether a file has a name as ours have, and the letter of its kind.
    fn kind_of(&self, name: &OsStr) -> Option<char> {
        let rest = name.as_bytes().strip_prefix(self.name.as_bytes())?.strip_prefix(b".")?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        match &rest[digits..] {
            b".base.rdb" | b".base.aof" if digits > 0 => Some('b'),
            b".incr.aof" if digits > 0 => Some('i'),
            _ => None,
        }
    }

    /// Makes the single file of an older server the base: the manifest names it, then it moves into the directory. If the server
    /// ends between both, the next start finds it again.
    ///
    /// # Errors
    /// What could not be done.
    pub fn upgrade(&mut self) -> Result<(), AofError> {
        self.create_directory()?;
        let base = Some(Entry::new(self.name.as_bytes().to_vec(), 1));
        self.replace(Manifest { base, ..self.manifest.clone() })?;
        disk::rename(&self.dir.join(&self.name), &self.path(self.name.as_bytes()))?;
        disk::sync_directory(&self.directory)?;
        disk::sync_directory(&self.dir)
    }

    /// Where no data is: makes the first base, which `write` writes to the path it is given. The file need not be synced.
    ///
    /// # Errors
    /// What could not be done, or what `write` says.
    pub fn write_first_base(
        &mut self,
        format: BaseFormat,
        write: impl FnOnce(&Path) -> Result<(), String>,
    ) -> Result<(), AofError> {
        assert!(self.manifest.is_empty(), "there is data, which a first base would hide");
        self.begin_base_rewrite()?;
        let written = write(&self.temp_base()).map_err(|reason| AofError::new(&self.temp_base(), reason));
        let ended = written.and_then(|()| self.end_rewrite(format));
        if ended.is_err() {
            self.abandon_rewrite();
        }
        ended
    }

    /// Opens the last incremental file to append to it, or makes one. `stream_offset`: where the replication stream is, which a
    /// new file notes. What an ended rewrite left is removed.
    ///
    /// # Errors
    /// What could not be done.
    pub fn open_last(&mut self, stream_offset: u64) -> Result<AofFile, AofError> {
        assert!(!self.is_on && self.rewrite.is_none(), "it is opened once");
        self.create_directory()?;
        for path in [self.temp_base(), self.temp_incremental()] {
            disk::remove(&path)?;
        }
        let mut manifest = self.manifest.clone();
        let file = match manifest.incremental.last_mut() {
            Some(last) => {
                // It is about to be wrong.
                last.end_offset = None;
                AofFile::open(&self.path(&last.name), false)?
            }
            None => self.add_incremental(&mut manifest, stream_offset)?,
        };
        if manifest != self.manifest || !self.has_manifest {
            self.replace(manifest)?;
        }
        self.is_on = true;
        Ok(file)
    }

    /// Begins a rewrite: the file to which everything from its cut on is appended. `stream_offset`: where the replication stream is
    /// at the cut, as far as it is known.
    ///
    /// Of a store that is on, the file counts at once. Whoever appends syncs the old file before it syncs the new one, so that a
    /// power cut leaves no gap between both. Of a store that is off, the file counts from [`Self::end_rewrite`] on.
    ///
    /// # Errors
    /// What could not be done; nothing has begun.
    pub fn begin_rewrite(&mut self, stream_offset: u64) -> Result<AofFile, AofError> {
        assert!(self.rewrite.is_none(), "one rewrite at a time");
        self.create_directory()?;
        disk::remove(&self.temp_base())?;
        if !self.is_on {
            let file = AofFile::open(&self.temp_incremental(), true)?;
            self.rewrite = Some(Rewrite::Temporary(stream_offset));
            return Ok(file);
        }
        let mut manifest = self.manifest.clone();
        let file = self.add_incremental(&mut manifest, stream_offset)?;
        self.replace(manifest)?;
        self.rewrite = Some(Rewrite::Listed);
        Ok(file)
    }

    /// Begins a rewrite of a store that is off and stays so: nothing is appended behind its base.
    ///
    /// # Errors
    /// What could not be done; nothing has begun.
    pub fn begin_base_rewrite(&mut self) -> Result<(), AofError> {
        assert!(!self.is_on && self.rewrite.is_none(), "what is appended would be lost");
        self.create_directory()?;
        disk::remove(&self.temp_base())?;
        self.rewrite = Some(Rewrite::BaseOnly);
        Ok(())
    }

    /// Where a rewrite is to write its base.
    pub fn temp_base(&self) -> PathBuf {
        self.path(&self.temp_name(".base"))
    }

    /// Ends a rewrite, whose base is whole: it counts, and what it replaces is history ([`Self::history`]).
    ///
    /// # Errors
    /// What could not be done. The rewrite is still under way: [`Self::abandon_rewrite`] ends it.
    pub fn end_rewrite(&mut self, format: BaseFormat) -> Result<(), AofError> {
        let rewrite = self.rewrite.expect("a rewrite is under way");
        disk::sync(&self.temp_base())?;
        if !self.has_manifest {
            self.replace(Manifest::default())?;
        }
        let mut manifest = self.manifest.clone();
        let seq = manifest.next_base_seq().ok_or_else(|| self.numbers_used_up())?;
        let suffix = if format == BaseFormat::Rdb { "rdb" } else { "aof" };
        let base = Entry::new(self.file_name(seq, "base", suffix), seq);
        // The newest first, as Redis has them.
        let kept = usize::from(rewrite == Rewrite::Listed).min(manifest.incremental.len());
        let replaced = manifest.incremental.len() - kept;
        let old: Vec<_> =
            manifest.base.take().into_iter().chain(manifest.incremental.drain(..replaced)).collect();
        manifest.history.splice(0..0, old.into_iter().rev());

        disk::rename(&self.temp_base(), &self.path(&base.name))?;
        manifest.base = Some(base);
        if let Rewrite::Temporary(stream_offset) = rewrite {
            let seq = self.manifest.next_incremental_seq().ok_or_else(|| self.numbers_used_up())?;
            let mut entry = Entry::new(self.file_name(seq, "incr", "aof"), seq);
            entry.start_offset = Some(stream_offset);
            disk::sync(&self.temp_incremental())?;
            disk::rename(&self.temp_incremental(), &self.path(&entry.name))?;
            manifest.incremental.push(entry);
        }
        self.replace(manifest)?;
        self.is_on |= matches!(rewrite, Rewrite::Temporary(_));
        self.rewrite = None;
        Ok(())
    }

    /// Ends a rewrite without a base. The incremental file that it began goes on if the store was on; otherwise it is removed, and
    /// what is appended to it is lost. What cannot be removed is logged, and removed by the next start.
    pub fn abandon_rewrite(&mut self) {
        let rewrite = self.rewrite.take();
        let mut left = vec![self.temp_base()];
        if matches!(rewrite, Some(Rewrite::Temporary(_))) {
            left.push(self.temp_incremental());
        }
        for error in left.iter().filter_map(|path| disk::remove(path).err()) {
            log::warn!("{error}");
        }
    }

    /// Ends the store's being on, once what was appended is synced. `stream_offset`: where the replication stream is, noted as
    /// the last file's end.
    ///
    /// # Errors
    /// The manifest could not be replaced; the next start then counts the stream from the last file's size.
    pub fn close(&mut self, stream_offset: u64) -> Result<(), AofError> {
        self.is_on = false;
        let mut manifest = self.manifest.clone();
        match manifest.incremental.last_mut() {
            Some(last) => last.end_offset = Some(stream_offset),
            None => return Ok(()),
        }
        self.replace(manifest)
    }

    /// Where the replication stream was when the last file ended, to go on from there: what an orderly end noted, or what
    /// follows from the file's beginning and its size.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub fn stream_offset(&self) -> Result<u64, AofError> {
        let Some(last) = self.manifest.incremental.last() else { return Ok(0) };
        match last.end_offset {
            Some(offset) => Ok(offset),
            None => {
                let size = size(&self.path(&last.name))?.unwrap_or(0);
                Ok(last.start_offset.unwrap_or(0).saturating_add(size))
            }
        }
    }

    /// Files that count no more. Whoever may take long removes them ([`remove_history`]); then [`Self::forget_history`].
    pub fn history(&self) -> Vec<PathBuf> {
        self.manifest.history.iter().map(|entry| self.path(&entry.name)).collect()
    }

    /// Has the manifest name no history any more that is gone. What is still there is removed at the next start.
    ///
    /// # Errors
    /// The manifest could not be replaced: it names files that are gone, which does no harm.
    pub fn forget_history(&mut self) -> Result<(), AofError> {
        let mut manifest = self.manifest.clone();
        manifest.history.retain(|entry| self.path(&entry.name).symlink_metadata().is_ok());
        if manifest.history.len() == self.manifest.history.len() { Ok(()) } else { self.replace(manifest) }
    }

    /// Whether the last incremental file is appended to.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether a rewrite is under way.
    pub fn is_rewriting(&self) -> bool {
        self.rewrite.is_some()
    }

    /// What counts.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where the manifest is.
    pub fn manifest_path(&self) -> PathBuf {
        self.path(&[self.name.as_bytes(), b".manifest"].concat())
    }

    /// The directory of all files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes a new, empty incremental file, which `manifest` names.
    fn add_incremental(&self, manifest: &mut Manifest, stream_offset: u64) -> Result<AofFile, AofError> {
        let seq = manifest.next_incremental_seq().ok_or_else(|| self.numbers_used_up())?;
        let mut entry = Entry::new(self.file_name(seq, "incr", "aof"), seq);
        entry.start_offset = Some(stream_offset);
        let file = AofFile::open(&self.path(&entry.name), true)?;
        manifest.incremental.push(entry);
        Ok(file)
    }

    /// Replaces the manifest. All files that it names are on disk, but for their names.
    fn replace(&mut self, manifest: Manifest) -> Result<(), AofError> {
        let temp = self.path(&self.temp_name(".manifest"));
        disk::write(&temp, &manifest.format())?;
        // Names of files become durable before the manifest that has them.
        disk::sync_directory(&self.directory)?;
        disk::rename(&temp, &self.manifest_path())?;
        // From here on it is what a restart reads, though a power cut may yet bring the old one back.
        self.has_manifest = true;
        self.manifest = manifest;
        disk::sync_directory(&self.directory)
    }

    fn create_directory(&self) -> Result<(), AofError> {
        disk::create_directory(&self.directory)
    }

    fn numbers_used_up(&self) -> AofError {
        AofError::new(&self.manifest_path(), "the sequence numbers are used up")
    }

    fn file_name(&self, seq: u64, kind: &str, suffix: &str) -> Vec<u8> {
        [self.name.as_bytes(), format!(".{seq}.{kind}.{suffix}").as_bytes()].concat()
    }

    fn temp_name(&self, suffix: &str) -> Vec<u8> {
        [b"temp-", self.name.as_bytes(), suffix.as_bytes()].concat()
    }

    fn temp_incremental(&self) -> PathBuf {
        self.path(&self.temp_name(".incr"))
    }

    fn path(&self, name: &[u8]) -> PathBuf {
        self.directory.join(OsStr::from_bytes(name))
    }
}

/// Removes files that count no more; the first line for the log for each that could not be removed.
pub fn remove_history(paths: &[PathBuf]) -> Vec<AofError> {
    paths.iter().filter_map(|path| disk::remove(path).err()).collect()
}

/// Reads a manifest; none where there is no such file.
///
/// # Errors
/// It cannot be read, or is none, and in which line.
pub fn read_manifest(path: &Path) -> Result<Option<Manifest>, AofError> {
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| AofError::io(path, "read", &error))?,
    };
    let manifest = Manifest::parse(&text).map_err(|ManifestError { line, reason }| AofError {
        path: path.to_path_buf(),
        place: Place::Line(line),
        reason,
    })?;
    Ok(Some(manifest))
}

/// Bytes a file has; none if it is not there.
fn size(path: &Path) -> Result<Option<u64>, AofError> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        metadata => Ok(Some(metadata.map_err(|error| AofError::io(path, "looked at", &error))?.len())),
    }
}

#[cfg(test)]
pub(super) mod tests;
