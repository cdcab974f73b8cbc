//! Backups: all keys in a file that lies in a directory of its own, and was read again before it counts.
//!
//! ```text
//! dir/backups/                 made by the first backup
//!     NAME/dump.rdb            a backup: the name is the client's, the file's is `dbfilename`
//!     temp-PID/dump.rdb        the one that is being made by this process
//! ```
//!
//! Design: a backup is a snapshot like any other. What is special is its end: the file is read back, decoded to its last value and
//! counted, and only then the directory gets its name, by one rename, which replaces nothing that is there. A name has no
//! slash and no leading dot, and a link in the place of `backups` is refused: nothing is written beside it.
//!
//! One at a time. Who asked for it waits, looks again and again ([`Backups::look`]), and takes what became of it.
//!
//! Not here: when it is cut (`worker::walk`), the snapshot (`background`), the file (`rdb_target`), the command (`command::server`).

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use super::background::{Outcome, Sizes, Target, keep_rate};
use super::rdb::file::check;
use super::rdb_target::{RdbOptions, RdbTarget};
use crate::store::snapshot::Snapshot;
use crate::store::{DbIndex, Entry};

/// Where backups lie, below `dir`.
pub const DIRECTORY: &str = "backups";
/// What the directory is called that is being filled begins so, and no backup's name may.
const TEMP: &str = "temp-";
const NAME_BYTES_MAX: usize = 128;
/// How long what became of a backup is kept for a client that has not come for it, and does not wait any more.
const KEPT_MS: u64 = 1000;

/// What a backup is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// A name that is safe as a directory's, if it is: letters, digits, `-`, `_` and `.`, which none begins with.
    pub fn parse(text: &[u8]) -> Option<Name> {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        let is_name = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.iter().all(is_plain);
        let name = std::str::from_utf8(text).ok().filter(|_| is_name)?;
        (!name.starts_with('.') && !name.starts_with(TEMP)).then(|| Name(name.to_owned()))
    }

    /// Where the backup of this name lies, or would.
    pub fn place(&self, dir: &Path) -> PathBuf {
        dir.join(DIRECTORY).join(&self.0)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A backup that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Keys in it.
    pub keys: u64,
    /// The SHA-256 of its bytes, as hexadecimal digits.
    pub sha256: String,
}

/// What is known to who asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// This client has asked for none of this name.
    Unknown,
    /// It is yet to be made.
    Pending,
    /// It is over; nobody is told again.
    Over(Result<Report, String>),
}

enum State {
    Wanted,
    Running,
    Over { ended_ms: u64, result: Result<Report, String> },
}

struct Backup {
    name: Name,
    /// The client's number.
    asker: u64,
    state: State,
}

/// The backup that is wanted or under way, what became of those that nobody has asked about yet, and what INFO says.
#[derive(Default)]
pub struct Backups {
    all: Mutex<Vec<Backup>>,
    is_wanted: AtomicBool,
    /// When the last good one ended, Unix time in s.
    last_s: AtomicU64,
    has_failed: AtomicBool,
}

impl Backups {
    /// What has become of the backup that a client has asked for.
    pub fn look(&self, asker: u64, name: &Name) -> Look {
        let mut all = self.lock();
        let is_it = |backup: &Backup| backup.asker == asker && backup.name == *name;
        let Some(index) = all.iter().position(is_it) else { return Look::Unknown };
        if !matches!(all[index].state, State::Over { .. }) {
            return Look::Pending;
        }
        match all.swap_remove(index).state {
            State::Over { result, .. } => Look::Over(result),
            State::Wanted | State::Running => Look::Pending,
        }
    }

    /// A client wants a backup; the one that is in its way otherwise. `is_waiting` says whether a client still waits.
    pub fn want(
        &self,
        asker: u64,
        name: &Name,
        now_ms: u64,
        is_waiting: impl Fn(u64) -> bool,
    ) -> Result<(), Name> {
        let mut all = self.lock();
        all.retain(|backup| match backup.state {
            State::Wanted | State::Running => true,
            State::Over { ended_ms, .. } => {
                backup.asker != asker && (is_waiting(backup.asker) || now_ms < ended_ms + KEPT_MS)
            }
        });
        if let Some(other) = all.iter().find(|backup| !matches!(backup.state, State::Over { .. })) {
            return Err(other.name.clone());
        }
        all.push(Backup { name: name.clone(), asker, state: State::Wanted });
        self.is_wanted.store(true, Release);
        Ok(())
    }

    /// Whether one waits to be cut.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        self.is_wanted.load(Acquire)
    }

    /// Whether one is wanted or under way.
    pub fn is_pending(&self) -> bool {
        self.lock().iter().any(|backup| !matches!(backup.state, State::Over { .. }))
    }

    /// What the one is called that waits to be cut.
    pub fn wanted(&self) -> Option<Name> {
        let all = self.lock();
        all.iter().find(|backup| matches!(backup.state, State::Wanted)).map(|backup| backup.name.clone())
    }

    /// The one that waits is cut now.
    pub fn begin(&self) {
        let mut all = self.lock();
        if let Some(backup) = all.iter_mut().find(|backup| matches!(backup.state, State::Wanted)) {
            backup.state = State::Running;
        }
        self.is_wanted.store(false, Release);
    }

    /// The one under way is over, and how: `report` is there if it was saved.
    pub fn end(&self, name: &Name, outcome: &Outcome, report: Option<Report>, now_ms: u64) {
        let result = match (outcome, report) {
            (Outcome::Saved, Some(report)) => Ok(report),
            (Outcome::Failed(reason), _) => Err(reason.clone()),
            (Outcome::Saved | Outcome::Cancelled, _) => Err("it was given up".to_owned()),
        };
        match &result {
            Ok(Report { bytes, keys, sha256, .. }) => {
                self.last_s.store(now_ms / 1000, Relaxed);
                log::info!("Backup '{name}' is written: {keys} keys, {bytes} bytes, SHA-256 {sha256}");
            }
            Err(reason) => log::warn!("Backup '{name}' failed: {reason}"),
        }
        self.has_failed.store(result.is_err(), Relaxed);
        let mut all = self.lock();
        if let Some(backup) = all.iter_mut().find(|backup| matches!(backup.state, State::Running)) {
            backup.state = State::Over { ended_ms: now_ms, result };
        }
    }

    /// When the last good one ended, Unix time in s; whether the last one failed.
    pub fn last(&self) -> (u64, bool) {
        (self.last_s.load(Relaxed), self.has_failed.load(Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Backup>> {
        // Nobody panics under it.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A snapshot that becomes a backup.
pub struct BackupTarget {
    /// The directory that is being filled, while it is there.
    temp: Option<PathBuf>,
    dir: PathBuf,
    name: Name,
    /// What the file is called.
    file: PathBuf,
    rdb: Option<Box<RdbTarget>>,
    keys: u64,
    rate_max: u64,
    snapshot: Option<Arc<Snapshot>>,
    report: Arc<OnceLock<Report>>,
}

impl BackupTarget {
    /// The backup of this name below `options.directory`, read back at this rate at most (0: any), and where its report will be.
    pub fn new(options: RdbOptions, name: Name, rate_max: u64) -> (Box<Self>, Arc<OnceLock<Report>>) {
        let report = Arc::default();
        let (dir, file) = (options.directory.clone(), options.name.clone());
        let temp = dir.join(DIRECTORY).join(format!("{TEMP}{}", std::process::id()));
        let mut options = RdbOptions { directory: temp.clone(), ..options };
        options.file.checksum = true;
        let target = Self {
            temp: Some(temp),
            dir,
            name,
            file,
            rdb: Some(RdbTarget::new(options)),
            keys: 0,
            rate_max,
            snapshot: None,
            report: Arc::clone(&report),
        };
        (Box::new(target), report)
    }

    /// Reads what was written as a loader would.
    fn verify(&self, path: &Path) -> Result<Report, String> {
        let file = File::open(path).map_err(|error| at(path, "opened", &error))?;
        let bytes = file.metadata().map_err(|error| at(path, "opened", &error))?.len();
        let mut source = Summed {
            file,
            sum: Sha256::new(),
            read: 0,
            rate_max: self.rate_max,
            snapshot: self.snapshot.as_deref(),
            start: Instant::now(),
        };
        let keys =
            check::count(&mut source, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        if keys != self.keys {
            return Err(format!("{}: {keys} keys, of {} that were saved", path.display(), self.keys));
        }
        let rest = io::copy(&mut source, &mut io::sink()).map_err(|error| at(path, "read", &error))?;
        if rest != 0 || source.read != bytes {
            return Err(format!("{}: {rest} bytes behind its end", path.display()));
        }
        let sha256 = source.sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Report { path: self.name.place(&self.dir).join(&self.file), bytes, keys, sha256 })
    }
}

impl Target for BackupTarget {
    fn watch(&mut self, snapshot: &Arc<Snapshot>) {
        self.snapshot = Some(Arc::clone(snapshot));
    }

    fn begin(&mut self, sizes: &Sizes) -> Result<(), String> {
        self.keys = sizes.values().map(|(keys, _)| keys).sum();
        let all = self.dir.join(DIRECTORY);
        make_directory(&self.dir, &all)?;
        if let Some(temp) = &self.temp {
            match fs::remove_dir_all(temp) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(at(temp, "removed", &error));
                }
                _ => fs::create_dir(temp).map_err(|error| at(temp, "made", &error))?,
            }
        }
        self.rdb.as_mut().map_or(Ok(()), |rdb| rdb.begin(sizes))
    }

    fn entry(&mut self, db: DbIndex, entry: Entry<'_>) {
        if let Some(rdb) = &mut self.rdb {
            rdb.entry(db, entry);
        }
    }

    fn has_failed(&self) -> bool {
        self.rdb.as_ref().is_some_and(|rdb| rdb.has_failed())
    }

    fn written(&self) -> u64 {
        self.rdb.as_ref().map_or(0, |rdb| rdb.written())
    }

    fn finish(mut self: Box<Self>) -> Result<(), String> {
        let (Some(rdb), Some(temp)) = (self.rdb.take(), self.temp.clone()) else {
            return Err("it is over".to_owned());
        };
        rdb.finish()?;
        let report = self.verify(&temp.join(&self.file))?;
        let place = self.name.place(&self.dir);
        // Of what is there, this replaces an empty directory only.
        fs::rename(&temp, &place).map_err(|error| at(&place, "made", &error))?;
        self.temp = None;
        let all = self.dir.join(DIRECTORY);
        sync_directory(&all)?;
        // It was empty: a target that has ended tells once.
        self.report.get_or_init(|| report);
        Ok(())
    }
}

impl Drop for BackupTarget {
    fn drop(&mut self) {
        if let Some(temp) = &self.temp {
            // It may not have been made. Where this fails, the disk has other troubles, which were told.
            fs::remove_dir_all(temp).unwrap_or_default();
        }
    }
}

/// The directory of all backups. A link in its place might lead anywhere.
fn make_directory(dir: &Path, all: &Path) -> Result<(), String> {
    match fs::create_dir(all) {
        Ok(()) => return sync_directory(dir),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(at(all, "made", &error)),
    }
    let there = fs::symlink_metadata(all).map_err(|error| at(all, "looked at", &error))?;
    if there.is_dir() { Ok(()) } else { Err(format!("{} is no directory", all.display())) }
}

fn sync_directory(path: &Path) -> Result<(), String> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|error| at(path, "synced", &error))
}

fn at(path: &Path, step: &str, cause: &io::Error) -> String {
    format!("{} cannot be {step}: {cause}", path.display())
}

/// Bytes at which the rate is kept: about what is read at a time.
const RATE_BYTES: u64 = 256 << 10;

/// A file whose bytes are summed as they are read, at a rate.
struct Summed<'a> {
    file: File,
    sum: Sha256,
    read: u64,
    rate_max: u64,
    snapshot: Option<&'a Snapshot>,
    start: Instant,
}

impl Read for Summed<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if let Some(snapshot) = self.snapshot {
            if snapshot.is_over() {
                return Err(io::Error::other("it is given up"));
            }
            keep_rate(snapshot, self.read, self.rate_max, self.start);
        }
        let room = bytes.len().min(RATE_BYTES as usize);
        let count = self.file.read(&mut bytes[..room])?;
        self.sum.update(&bytes[..count]);
        self.read += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        for good in ["a", "2026-11-29_03.00", "daily.1", "A-Z", &"x".repeat(NAME_BYTES_MAX)] {
            assert!(Name::parse(good.as_bytes()).is_some(), "{good}");
        }
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for bad in
            ["", ".", "..", "../x", "a/b", "/a", ".hidden", "a\\b", "a b", "a\0", "temp-1", "\u{e9}", &long]
        {
            assert_eq!(Name::parse(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(Name::parse(b"\xff"), None);
    }

    #[test]
    fn one_is_made_at_a_time_and_its_asker_is_told_once() {
        let (backups, name) =
            (Backups::default(), |text: &str| Name::parse(text.as_bytes()).expect("a name"));
        let (a, b) = (name("a"), name("b"));
        assert_eq!(backups.look(1, &a), Look::Unknown);
        assert_eq!(backups.want(1, &a, 0, |_| true), Ok(()));
        assert!(backups.is_wanted() && backups.is_pending());
        assert_eq!(backups.want(2, &b, 0, |_| true), Err(a.clone()));
        assert_eq!((backups.look(1, &a), backups.look(2, &a)), (Look::Pending, Look::Unknown));
        assert_eq!(backups.wanted(), Some(a.clone()));
        backups.begin();
        assert_eq!(backups.wanted(), None);
        assert!(!backups.is_wanted() && backups.is_pending());
        backups.end(&a, &Outcome::Failed("full".into()), None, 5000);
        assert_eq!(backups.last(), (0, true));
        // The second client does not take away what the first has yet to hear, if it still waits.
        assert_eq!(backups.want(2, &b, 9000, |client| client == 1), Ok(()));
        assert_eq!(backups.look(1, &a), Look::Over(Err("full".into())));
        assert_eq!(backups.look(1, &a), Look::Unknown);
        backups.begin();
        backups.end(&b, &Outcome::Cancelled, None, 9000);
        assert_eq!(backups.want(3, &a, 9000 + KEPT_MS, |_| false), Ok(()));
        assert_eq!(backups.look(2, &b), Look::Unknown);
    }
}
