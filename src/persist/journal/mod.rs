//! The journal: the effects of all workers' commands in one order, for the append-only file and for replicas.
//!
//! Design: a group of commands that changes something draws the next ticket of one counter at its first effect, while it holds all
//! its leases, and leaves its effects in its worker's [`Writer`]. Before its leases go back it hands them over to the journal
//! thread (`thread`), which merges them by ticket and writes them. So effects on the same shard stand in the order of its
//! leases. Tickets are dense: whoever merges waits for the next one.
//!
//! ```text
//! worker: draw, record, publish -> groups -> [journal thread: merge by ticket, add SELECT, write, sync] -> file, stream
//!                                                                      |
//! worker: replies held back under `always`  <-  kept up to ticket N  --+
//! ```
//!
//! One order, two streams of bytes: a record says whom it is for ([`Audience`]). The stream for replicas goes to a [`Feed`]
//! before the file is written, so that no disk holds it up.
//!
//! Invariants:
//! - a ticket that was drawn is published before the last lease of its group goes back;
//! - nothing is drawn unless the journal is on; it is switched while all leases are held.
//!
//! Costs: off, one load and branch for a group. On, one atomic addition and one message for a group that writes.
//! Not here: files (`aof`), which changes a command has (`store::changes`), who holds replies back (`worker::journal`).

mod merge;
#[cfg(test)]
mod power_tests;
mod thread;
mod writer;

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU64};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

pub use thread::{Driver, Feed, Hooks, Sink, start};
pub use writer::Writer;

/// When what was appended is synced to disk: `appendfsync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SyncPolicy {
    /// Before any reply that tells of it.
    Always,
    /// Once a second.
    EverySecond,
    /// When the system likes to.
    No,
}

/// What the configuration asks of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `appendfsync`.
    pub policy: SyncPolicy,
    /// `journal-limit`: beyond so many queued bytes commands that write wait.
    pub limit_bytes: u64,
    /// `aof-timestamp-enabled`: effects stand behind the time at which they were appended, where that is another second.
    pub stamps: bool,
    /// `no-appendfsync-on-rewrite`: nothing is synced while a snapshot is written, and replies do not wait for that.
    pub spares_disk: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let policy = SyncPolicy::EverySecond;
        Self { policy, limit_bytes: u64::MAX, stamps: false, spares_disk: false }
    }
}

/// What is sent to the journal thread.
pub(super) enum Message {
    /// The effects of a group, as [`Writer`] encodes them.
    Group { ticket: u64, effects: Vec<u8> },
    /// Something to do.
    Order(Order),
}

/// What the journal thread is told to do.
pub enum Order {
    /// All effects behind this ticket go to another sink; those up to it, to the one before, which is then synced.
    Open {
        /// Where they go.
        sink: Box<dyn Sink>,
        /// The last ticket that belongs to the sink before.
        after: u64,
    },
    /// No effects behind this ticket go to a sink.
    Close {
        /// The last ticket.
        after: u64,
    },
    /// The effects behind this ticket go to replicas, or do so no more.
    Feed {
        /// Where they go.
        feed: Option<Box<dyn Feed>>,
        /// The last ticket before.
        after: u64,
    },
    /// A snapshot for replicas was cut: what follows this ticket names its database again.
    Cut {
        /// The last ticket that the snapshot has.
        after: u64,
        /// Told how many bytes of the stream come before.
        then: Box<dyn FnOnce(u64) + Send>,
    },
    /// Behind this ticket's effects replicas are to be asked how far they are.
    Ask {
        /// The ticket.
        after: u64,
    },
    /// Behind this ticket's effects the file has a line that is no command.
    Note {
        /// The ticket.
        after: u64,
        /// The line.
        line: Vec<u8>,
    },
    /// Replicas are told this, which concerns no database.
    Say {
        /// A command.
        words: &'static [u8],
    },
    /// The policy has changed.
    Follow,
    /// A base holds what stands in the files before the current one.
    BaseWritten,
    /// All that was published is to be written and synced, and the thread is to end.
    Finish,
}

/// Bits of who listens.
const FILE: u8 = 1;
const REPLICAS: u8 = 2;

/// Whom a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Audience {
    /// The file.
    File = FILE,
    /// Replicas.
    Replicas = REPLICAS,
    /// Both.
    Both = FILE | REPLICAS,
}

impl Audience {
    const fn contains(self, listener: u8) -> bool {
        self as u8 & listener != 0
    }
}

/// In a cache line of its own: all workers write it.
#[repr(align(64))]
#[derive(Default)]
struct Line<T>(T);

/// What all workers and the journal thread share.
pub struct Journal {
    /// The last ticket that was drawn.
    drawn: Line<AtomicU64>,
    /// Bytes that were published and are not written yet.
    queued_bytes: Line<AtomicU64>,
    /// Whom effects are recorded for: [`FILE`], [`REPLICAS`].
    listeners: AtomicU8,
    policy: AtomicU8,
    /// What was changed up to this ticket is on disk.
    kept: AtomicU64,
    /// Replies that tell of what was changed up to this ticket may leave.
    told: AtomicU64,
    /// Workers that hold replies back, a bit each.
    holding: AtomicU64,
    limit_bytes: AtomicU64,
    stamps: AtomicBool,
    spares_disk: AtomicBool,
    /// Why the last write or sync failed; 0: it did not.
    errno: AtomicI32,
    /// Whether that needs another file.
    is_doubtful: AtomicBool,
    /// Syncs that took longer than a second.
    delayed_syncs: AtomicU64,
    /// Bytes in the current file, and in those before it that the base does not hold.
    current_bytes: AtomicU64,
    older_bytes: AtomicU64,
    messages: Sender<Message>,
    /// Until the thread takes it.
    receiver: Mutex<Option<Receiver<Message>>>,
}

impl Default for Journal {
    fn default() -> Self {
        let (messages, receiver) = channel();
        Self {
            drawn: Line::default(),
            queued_bytes: Line::default(),
            listeners: AtomicU8::new(0),
            policy: AtomicU8::new(SyncPolicy::EverySecond as u8),
            kept: AtomicU64::new(0),
            told: AtomicU64::new(0),
            holding: AtomicU64::new(0),
            limit_bytes: AtomicU64::new(u64::MAX),
            stamps: AtomicBool::new(false),
            spares_disk: AtomicBool::new(false),
            errno: AtomicI32::new(0),
            is_doubtful: AtomicBool::new(false),
            delayed_syncs: AtomicU64::new(0),
            current_bytes: AtomicU64::new(0),
            older_bytes: AtomicU64::new(0),
            messages,
            receiver: Mutex::new(Some(receiver)),
        }
    }
}

impl Journal {
    /// Whether effects are to be recorded; asked for under a lease.
    #[inline]
    pub fn is_on(&self) -> bool {
        // Whoever changed it held all leases, and this one was taken since.
        self.listeners.load(Relaxed) != 0
    }

    fn listeners(&self) -> u8 {
        self.listeners.load(Relaxed)
    }

    /// Whether effects are recorded for the file.
    #[inline]
    pub fn has_file(&self) -> bool {
        self.listeners.load(Relaxed) & FILE != 0
    }

    /// Whether effects are recorded for replicas.
    #[inline]
    pub fn has_replicas(&self) -> bool {
        self.listeners.load(Relaxed) & REPLICAS != 0
    }

    /// Begins or ends to record for the file; all leases are held.
    pub fn record_for_file(&self, on: bool) {
        self.listen(FILE, on);
    }

    /// Begins or ends to record for replicas; all leases are held.
    pub fn record_for_replicas(&self, on: bool) {
        self.listen(REPLICAS, on);
    }

    fn listen(&self, listener: u8, on: bool) {
        let others = self.listeners.load(Relaxed) & !listener;
        self.listeners.store(if on { others | listener } else { others }, Relaxed);
    }

    /// The last ticket that was drawn.
    #[inline]
    pub fn drawn(&self) -> u64 {
        self.drawn.0.load(Relaxed)
    }

    fn draw(&self) -> u64 {
        self.drawn.0.fetch_add(1, Relaxed) + 1
    }

    /// Whether a reply leaves only when what it tells is on disk.
    #[inline]
    pub fn holds_replies(&self) -> bool {
        self.policy.load(Relaxed) == SyncPolicy::Always as u8 && self.has_file()
    }

    /// The policy in force.
    pub fn policy(&self) -> SyncPolicy {
        match self.policy.load(Relaxed) {
            policy if policy == SyncPolicy::Always as u8 => SyncPolicy::Always,
            policy if policy == SyncPolicy::EverySecond as u8 => SyncPolicy::EverySecond,
            _ => SyncPolicy::No,
        }
    }

    /// Other settings from now on. What was held back for `always` is still held back until it is on disk.
    pub fn follow(&self, settings: Settings) {
        let Settings { policy, limit_bytes, stamps, spares_disk } = settings;
        self.limit_bytes.store(limit_bytes, Relaxed);
        self.stamps.store(stamps, Relaxed);
        let spared = self.spares_disk.swap(spares_disk, Relaxed);
        if self.policy.swap(policy as u8, AcqRel) != policy as u8 || spared != spares_disk {
            self.order(Order::Follow);
        }
    }

    /// The last ticket whose effects, and all before, are on disk.
    #[inline]
    pub fn kept(&self) -> u64 {
        self.kept.load(Acquire)
    }

    /// The last ticket of which replies may tell: [`Self::kept`], unless the disk is spared.
    #[inline]
    pub fn told(&self) -> u64 {
        self.told.load(Acquire)
    }

    /// A worker holds replies back for tickets beyond [`Self::told`]: it is woken when that grows. Whether it has grown beyond
    /// `ticket` meanwhile.
    pub fn await_told(&self, worker: usize, ticket: u64) -> bool {
        self.holding.fetch_or(1 << worker, SeqCst);
        self.told.load(SeqCst) >= ticket
    }

    /// Workers to be woken now that replies may tell of more, a bit each; whether that is on disk.
    fn tell(&self, ticket: u64, is_kept: bool) -> u64 {
        if is_kept {
            self.kept.store(ticket, SeqCst);
        }
        self.told.fetch_max(ticket, SeqCst);
        self.holding.swap(0, SeqCst)
    }

    /// Workers that wait for anything, a bit each: they look again.
    fn take_holding(&self) -> u64 {
        self.holding.swap(0, SeqCst)
    }

    /// Whether commands that write are to wait until the disk has caught up.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.queued_bytes.0.load(Relaxed) > self.limit_bytes.load(Relaxed)
    }

    /// Whether a sync has failed, so that only a rewrite makes the file good again.
    pub fn is_doubtful(&self) -> bool {
        self.is_doubtful.load(Relaxed)
    }

    /// Bytes that are not written yet.
    pub fn queued_bytes(&self) -> u64 {
        self.queued_bytes.0.load(Relaxed)
    }

    /// Why the last write or sync failed, unless one has succeeded since.
    #[inline]
    pub fn failure(&self) -> Option<i32> {
        Some(self.errno.load(Relaxed)).filter(|errno| *errno != 0)
    }

    /// Syncs that took longer than a second.
    pub fn delayed_syncs(&self) -> u64 {
        self.delayed_syncs.load(Relaxed)
    }

    /// Tells the thread to do something, after all that was published before.
    pub fn order(&self, order: Order) {
        // The thread ends only when it is told to, and nothing concerns it then.
        self.messages.send(Message::Order(order)).unwrap_or_default();
    }

    /// Bytes that were appended since the last base, or since the start.
    pub fn file_bytes(&self) -> u64 {
        self.current_bytes.load(Relaxed) + self.older_bytes.load(Relaxed)
    }

    /// A new base holds what stands in the files before the current one.
    pub fn note_base(&self) {
        self.older_bytes.store(0, Relaxed);
        self.order(Order::BaseWritten);
    }

    fn publish(&self, ticket: u64, effects: Vec<u8>) {
        self.queued_bytes.0.fetch_add(effects.len() as u64, Relaxed);
        self.messages.send(Message::Group { ticket, effects }).unwrap_or_default();
    }

    fn take_receiver(&self) -> Option<Receiver<Message>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn written(&self, bytes: u64) {
        self.queued_bytes.0.fetch_sub(bytes, Relaxed);
    }

    fn note_failure(&self, errno: i32) {
        self.errno.store(errno, Release);
    }
}
