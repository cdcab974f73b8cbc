//! What all workers share, as a command sees it. Everything is read and changed without waiting for a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use super::BusyScripts;
use super::generic::migrate::Migrations;
use super::recorder::Recorder;
use super::replay::Replay;
use crate::config::ConfigFile;
use crate::config::live::Live;
use crate::observe::{Registry, SlowLog, Stats};
use crate::persist::append_only::AppendOnly;
use crate::persist::background::{Background, LastSave};
use crate::persist::backup::Backups;
use crate::persist::journal::Journal;
use crate::persist::load::Loading;
use crate::pubsub::PubSub;
use crate::replicate::Replication;
use crate::replicate::replica::Link;
use crate::script::{ScriptCache, ScriptState};
use crate::security::Users;
use crate::security::tls::Tls;
use crate::store::Keyspace;

/// The state of the process that is not one worker's own.
pub struct Shared {
    /// The configuration in force.
    pub config: Arc<Live>,
    /// Who may do what.
    pub users: Users,
    /// What clients are served over TLS.
    pub tls: Tls,
    /// The file that CONFIG REWRITE writes to.
    pub config_file: Option<ConfigFile>,
    /// All shards.
    pub keyspace: Arc<Keyspace>,
    /// The client infos of all clients.
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
    /// Who listens to which channels.
    pub pubsub: PubSub,
    /// When the log last said that a browser was sent here, Unix time in ms.
    pub attack_warned_ms: AtomicU64,
    /// A file that is being loaded.
    pub loading: Loading,
    /// The effects of all commands, in one order.
    pub journal: Arc<Journal>,
    /// The append-only file.
    pub append_only: Arc<AppendOnly>,
    /// Commands of an append-only file that is being loaded.
    pub replay: Replay,
    /// Primary or replica: of which history, and how far.
    pub replication: Arc<Replication>,
    /// The link to the primary.
    pub link: Link,
    /// Keys on their way to other servers.
    pub migrations: Migrations,
    /// Facts fixed at start.
    pub facts: Facts,
    /// The snapshot under way.
    pub background: Arc<Background>,
    /// The backup that is wanted or under way.
    pub backups: Arc<Backups>,
    /// What is known of saves.
    pub last_save: Arc<LastSave>,
    /// The scripts that are known.
    pub scripts: ScriptCache,
    /// What outlives scripts: libraries of functions, what these keep.
    pub script_state: ScriptState,
    /// Scripts that run for too long.
    pub busy: BusyScripts,
    /// Cron settings that DEBUG changes.
    pub debug: DebugSwitches,
}

impl Shared {
    /// How many replicas have applied what was written up to this ticket.
    pub fn applied_count(&self, ticket: u64) -> u64 {
        let offset = self.replication.marks.offset_of(ticket);
        offset.map_or(0, |offset| self.replication.replicas.acked_count(offset))
    }

    /// On how many disks that is: this server's, and replicas'.
    pub fn synced_counts(&self, ticket: u64) -> (u64, u64) {
        let own = self.journal.has_file() && self.journal.kept() >= ticket;
        let offset = self.replication.marks.offset_of(ticket);
        (own.into(), offset.map_or(0, |offset| self.replication.replicas.kept_count(offset)))
    }

    /// Whether what has expired stays in its place, and only reads as absent: while a pause lasts or the journal is full, and on
    /// a replica, whose primary says when it goes.
    #[inline]
    pub fn keeps_expired(&self, now_ms: u64) -> bool {
        self.pause.active(now_ms).is_some() || self.replication.is_replica() || self.journal.is_full()
    }
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
    /// The port for TLS in use (0 without).
    pub tls_port: u16,
}

/// Switches that DEBUG sets for tests.
#[derive(Default)]
pub struct DebugSwitches {
    /// DEBUG SET-ACTIVE-EXPIRE 0.
    pub no_active_expire: std::sync::atomic::AtomicBool,
    /// PFDEBUG SIMD OFF: registers are read one after the other.
    pub reads_registers_singly: std::sync::atomic::AtomicBool,
    /// DEBUG CHANGES.
    pub changes: Recorder,
}

/// CLIENT PAUSE: until when, and whether only commands that may write are held back. While it lasts nothing expires and
/// nothing is evicted, whichever commands it holds back.
///
/// Writes are also held back by whoever hands them over: a failover, and an end that waits for replicas ([`Holder`]). CLIENT UNPAUSE
/// does not concern those.
///
/// One word, as workers may begin and end pauses at the same time: who holds, a bit each; the Unix time in ms; whether all commands.
#[derive(Default)]
pub struct Pause(AtomicU64);

/// Who holds writes back until he says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// FAILOVER.
    Failover = 62,
    /// The end of the process, which waits for replicas.
    End = 63,
}

/// The bits of holders, and the last ms that there is room for below them.
const HOLDERS: u64 = 1 << Holder::Failover as u64 | 1 << Holder::End as u64;
const UNTIL_MS_MAX: u64 = (!HOLDERS) >> 1;

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
        let joined = |word: u64| {
            let running_ms = (word & !HOLDERS) >> 1;
            let (running_ms, is_strict) =
                if running_ms > now_ms { (running_ms, word & 1 == 1) } else { (0, false) };
            let is_strict = is_strict || mode == PauseMode::All;
            Some(word & HOLDERS | until_ms.max(running_ms).min(UNTIL_MS_MAX) << 1 | u64::from(is_strict))
        };
        let _always = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, joined);
    }

    /// CLIENT UNPAUSE.
    pub fn end(&self) {
        self.0.fetch_and(HOLDERS, Ordering::AcqRel);
    }

    /// Holds writes back until [`Self::release`].
    pub fn hold(&self, holder: Holder) {
        self.0.fetch_or(1 << holder as u64, Ordering::AcqRel);
    }

    /// This one holds nothing back any more.
    pub fn release(&self, holder: Holder) {
        self.0.fetch_and(!(1 << holder as u64), Ordering::AcqRel);
    }

    /// Whether anybody holds writes back whose replicas are to come to an end of the stream.
    pub fn is_held(&self) -> bool {
        self.0.load(Ordering::Acquire) & HOLDERS != 0
    }

    /// The pause in force.
    #[inline]
    pub fn active(&self, now_ms: u64) -> Option<PauseMode> {
        let word = self.0.load(Ordering::Acquire);
        if word >> 1 <= now_ms {
            return None;
        }
        let is_strict = word & 1 == 1 && (word & !HOLDERS) >> 1 > now_ms;
        Some(if is_strict { PauseMode::All } else { PauseMode::Write })
    }

    /// When the pause ends, Unix time in ms; in the past when there is none.
    pub fn until_ms(&self) -> u64 {
        self.0.load(Ordering::Acquire) >> 1
    }
}

/// Who asks for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// SIGINT.
    Int = 1,
    /// SIGTERM.
    Term = 2,
    /// SHUTDOWN, which waits for replicas: data is not saved.
    Command = 3,
    /// The same: it is saved.
    CommandSaves = 4,
    /// The same: it is saved, or the end comes without that.
    CommandTriesToSave = 5,
}

impl Ask {
    const ALL: [Self; 5] =
        [Self::Int, Self::Term, Self::Command, Self::CommandSaves, Self::CommandTriesToSave];
}

/// Whether and how the process is to end.
#[derive(Default)]
pub struct Shutdown {
    state: AtomicU8,
    /// Who has asked for it, as `Ask`; 0 for none.
    asked: AtomicU8,
    /// How often it was asked for.
    asks: AtomicU64,
    exit_code: AtomicI64,
}

impl Shutdown {
    /// Asks all workers to finish; they see it at their next turn.
    pub fn request(&self) {
        self.state.store(1, Ordering::Release);
    }

    /// As [`Self::request`], after something that cannot be: the process exits with 1.
    pub fn fail(&self) {
        self.exit_code.store(1, Ordering::Release);
        self.request();
    }

    /// The end is asked for; the first worker prepares it.
    pub fn ask(&self, ask: Ask) {
        self.asks.fetch_add(1, Ordering::AcqRel);
        self.asked.store(ask as u8, Ordering::Release);
    }

    /// Who has asked for the end.
    #[inline]
    pub fn asked(&self) -> Option<Ask> {
        let asked = usize::from(self.asked.load(Ordering::Acquire));
        asked.checked_sub(1).map(|index| Ask::ALL[index])
    }

    /// How often it was asked for.
    pub fn asks(&self) -> u64 {
        self.asks.load(Ordering::Acquire)
    }

    /// The end that was asked for cannot be now, or is not wanted any more.
    pub fn withdraw(&self) {
        self.asked.store(0, Ordering::Release);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_and_clients_pause_each_for_himself() {
        let pause = Pause::default();
        assert_eq!(pause.active(100), None);
        pause.start(200, PauseMode::All, 100);
        pause.hold(Holder::Failover);
        assert_eq!(pause.active(150), Some(PauseMode::All));
        assert_eq!(pause.active(200), Some(PauseMode::Write), "the client's is over");
        pause.start(400, PauseMode::Write, 300);
        pause.end();
        assert!(pause.is_held() && pause.active(u64::from(u32::MAX)) == Some(PauseMode::Write));
        pause.hold(Holder::End);
        pause.release(Holder::Failover);
        assert!(pause.is_held());
        pause.start(u64::MAX, PauseMode::All, 500);
        pause.release(Holder::End);
        assert_eq!(pause.active(1 << 50), Some(PauseMode::All));
        pause.end();
        assert_eq!((pause.active(1), pause.until_ms()), (None, 0));
    }
}
