//! Facts about a host, behind one small interface: a test makes up any host with a directory in place of the root.
//!
//! Not here: what the facts mean (the checks).

use std::path::{Path, PathBuf};

use crate::io::{self, BackendKind, Options, SqPoll};

/// How a ring is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// As by default.
    Plain,
    /// With a kernel thread that submits.
    SqPoll,
    /// With polling of the network card.
    BusyPoll,
}

/// A host.
pub trait Host {
    /// The text of a file; none if it cannot be read.
    fn read(&self, path: &str) -> Option<String>;

    /// The names in a directory, sorted; none of one that cannot be read.
    fn names(&self, path: &str) -> Vec<String>;

    /// Whether io_uring can be had so, or why not.
    ///
    /// # Errors
    /// What is missing.
    fn open_ring(&self, ring: Ring) -> Result<(), String>;
}

/// The host that this process runs on.
pub struct System {
    root: PathBuf,
}

impl System {
    /// It, as seen from the root.
    pub fn new() -> Self {
        Self::at(Path::new("/"))
    }

    /// A host whose files are below this directory.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

impl Default for System {
    fn default() -> Self {
        Self::new()
    }
}

impl Host for System {
    fn read(&self, path: &str) -> Option<String> {
        let bytes = std::fs::read(self.path(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn names(&self, path: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(path)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn open_ring(&self, ring: Ring) -> Result<(), String> {
        const IDLE_MS: u32 = 1;
        const POLL_US: u32 = 1;
        let sqpoll = (ring == Ring::SqPoll).then_some(SqPoll { idle_ms: IDLE_MS, cpu: None });
        let napi_busy_poll_us = (ring == Ring::BusyPoll).then_some(POLL_US);
        // Closed at once.
        let opened =
            io::open(BackendKind::IoUring, &Options { sqpoll, napi_busy_poll_us, ..Options::default() });
        opened.map(drop).map_err(|error| error.to_string())
    }
}
