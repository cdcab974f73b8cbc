//! The append-only file on disk: Redis 7's directory of a manifest, a base file and incremental files.
//!
//! ```text
//! dir/appendonlydir/                           appenddirname
//!     appendonly.aof.manifest                  which files count, and in which order
//!     appendonly.aof.2.base.rdb                everything up to a cut (.base.aof where it is commands)
//!     appendonly.aof.2.incr.aof                every command since then
//!     temp-appendonly.aof.manifest             the next manifest, before it takes the place of the one above
//!     temp-appendonly.aof.base                 the next base file, while a rewrite fills it
//!     temp-appendonly.aof.incr                 the first incremental file, until the first base is whole
//! ```
//!
//! | file | what |
//! |---|---|
//! | `manifest` | the manifest, as text and as a list of files |
//! | `store` | which files there are, and a rewrite's steps from one manifest to the next |
//! | `file` | one file that is appended to |
//! | `check` | whether all of it can be loaded, for people |
//! | `reader` | one file's commands, and how it ends |
//! | `disk` | changes to a directory that outlive a power cut |
//! | `powered` | a disk that forgets, for tests |
//!
//! Not here: what is appended and when (the journal), what becomes of the commands (loading), the RDB format (`rdb`).

pub mod check;
mod disk;
pub mod file;
pub mod manifest;
pub mod powered;
pub mod reader;
pub mod store;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use disk::truncate;
pub use file::AofFile;
pub use manifest::Manifest;
pub use reader::{AofReader, Next, place};
pub use store::{AofStore, BaseFormat, Existing, Part};

/// For fuzzing: any bytes as a manifest and as a file of commands.
pub fn fuzz(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::parse(bytes) {
        assert_eq!(Manifest::parse(&manifest.format()).as_ref(), Ok(&manifest));
    }
    let mut reader = AofReader::new(bytes, Path::new(""), 0, bytes.len() as u64);
    loop {
        let before = reader.offset();
        match reader.next() {
            Ok(Next::Command(command)) => assert!(command.end > before && !command.is_empty()),
            Ok(Next::Annotation(line)) => assert!(line.end > before),
            Ok(Next::End { offset }) => return assert_eq!(offset, bytes.len() as u64),
            Ok(Next::Torn { offset, .. } | Next::Damaged { offset, .. }) => {
                return assert_eq!(offset, before);
            }
            Err(error) => unreachable!("memory is read without errors: {error}"),
        }
    }
}

/// Where in a file something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole: it cannot be opened, is missing, ...
    Whole,
    /// A line, counted from 1.
    Line(u64),
    /// A byte, counted from 0.
    Offset(u64),
}

/// What is wrong with a file of the append-only file; `Display` is a line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AofError {
    /// Which file or directory.
    pub path: PathBuf,
    /// Where in it.
    pub place: Place,
    /// What is wrong.
    pub reason: String,
}

impl AofError {
    /// An error about a whole file.
    pub fn new(path: &Path, reason: impl Into<String>) -> Self {
        Self { path: path.to_path_buf(), place: Place::Whole, reason: reason.into() }
    }

    /// The system refused to do something (`step`, a verb in its past form) with a file.
    fn io(path: &Path, step: &str, cause: &io::Error) -> Self {
        Self::new(path, format!("cannot be {step}: {cause}"))
    }
}

impl fmt::Display for AofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.place {
            Place::Whole => write!(f, "{path}: {}", self.reason),
            Place::Line(line) => write!(f, "{path}, line {line}: {}", self.reason),
            Place::Offset(offset) => write!(f, "{path}, at offset {offset}: {}", self.reason),
        }
    }
}
