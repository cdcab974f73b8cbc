//! What all workers share, as a command sees it. Everything is read and changed without locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use crate::config::ConfigFile;
use crate::config::live::Live;
use crate::observe::{Registry, SlowLog, Stats};
use crate::store::Keyspace;

/// The state of the process that is not one worker's own.
pub struct Shared {
    /// The configuration in force.
    pub config: Arc<Live>,
    /// The file that CONFIG REWRITE writes to.
    pub config_file: Option<ConfigFile>,
    /// All shards.
    pub keyspace: Arc<Keyspace>,
    /// The cards of all clients.
    pub clients: Registry,
    /// All workers' counters.
    pub stats: Stats,
    /// Commands that took long.
    pub slowlog: SlowLog,
    /// CLIENT PAUSE.
    pub pause: Pause,
    /// SHUTDOWN and signals.
    pub shutdown: Shutdown,
    /// How many workers, from the first on, have connections placed on them; the first worker decides (`worker::balance`).
    pub active_workers: AtomicUsize,
    /// The workers that have clients which receive the MONITOR feed, a bit each.
    pub monitoring: AtomicU64,
    /// When the log last said that a browser was sent here, Unix time in ms.
    pub attack_warned_ms: AtomicU64,
    /// Facts fixed at start.
    pub facts: Facts,
    /// Upkeep settings that DEBUG changes.
    pub debug: DebugSwitches,
}

/// Facts of this process, fixed at start.
pub struct Facts {
    /// 40 hexadecimal digits, new at every start.
    pub run_id: String,
    /// Unix time in ms.
    pub started_ms: u64,
    /// How many workers run.
    pub workers: usize,
    /// `io_uring` or `epoll`.
    pub io_backend: &'static str,
    /// The port in use (0 without TCP).
    pub tcp_port: u16,
}

/// Switches that DEBUG sets for tests.
#[derive(Default)]
pub struct DebugSwitches {
    /// DEBUG SET-ACTIVE-EXPIRE 0.
    pub no_active_expire: std::sync::atomic::AtomicBool,
    /// How often DEBUG CHANGE-REPL-ID was given.
    pub replication_id_changes: AtomicU64,
}

/// CLIENT PAUSE: until when, and whether only commands that may write are held back.
#[derive(Default)]
pub struct Pause {
    until_ms: AtomicU64,
    mode: AtomicU8,
}

/// Which commands a pause holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseMode {
    /// Those that may write.
    Write,
    /// All.
    All,
}

impl Pause {
    /// Holds commands back until `until_ms` (Unix time). A running longer or stricter pause stays so, as in Redis.
    pub fn start(&self, until_ms: u64, mode: PauseMode, now_ms: u64) {
        let running = self.active(now_ms);
        let strict = mode == PauseMode::All || running == Some(PauseMode::All);
        self.mode.store(u8::from(strict), Ordering::Release);
        self.until_ms.fetch_max(until_ms, Ordering::AcqRel);
    }

    /// CLIENT UNPAUSE.
    pub fn end(&self) {
        self.until_ms.store(0, Ordering::Release);
        self.mode.store(0, Ordering::Release);
    }

    /// The pause in force.
    #[inline]
    pub fn active(&self, now_ms: u64) -> Option<PauseMode> {
        if self.until_ms.load(Ordering::Acquire) <= now_ms {
            return None;
        }
        Some(if self.mode.load(Ordering::Acquire) == 1 { PauseMode::All } else { PauseMode::Write })
    }

    /// When the pause ends, Unix time in ms; in the past when there is none.
    pub fn until_ms(&self) -> u64 {
        self.until_ms.load(Ordering::Acquire)
    }
}

/// Whether and how the process is to end.
#[derive(Default)]
pub struct Shutdown {
    state: AtomicU8,
    exit_code: AtomicI64,
}

impl Shutdown {
    /// Asks all workers to finish; they see it at their next turn.
    pub fn request(&self) {
        self.state.store(1, Ordering::Release);
    }

    /// Whether the workers are to finish.
    #[inline]
    pub fn requested(&self) -> bool {
        self.state.load(Ordering::Acquire) != 0
    }

    /// What the process exits with.
    pub fn exit_code(&self) -> i64 {
        self.exit_code.load(Ordering::Acquire)
    }
}
