//! Saving beside a running server: who takes what a snapshot hands over, what it is made into, and what is known of it.
//!
//! Design: whoever wants a snapshot brings a [`Target`] and holds all leases ([`Background::cut`]): that instant is what the target
//! will get. It is then given back, and a thread begins the target, feeds it what workers hand over, and finishes it
//! ([`Background::start`]). The thread lives as long as the snapshot: when it has failed, or is cancelled, it waits until the walk
//! has come to its end without it. So there is one at a time.
//!
//! ```text
//! worker with all leases    cut ── start (no lease) ─┐
//! workers                   walk, hand over ─ ─ ─ ─ ─│─ ─ ─ ─ ┐
//! the thread                                          begin ── entry ... ── finish ── end (once walked)
//! ```
//!
//! Not here: the walk (`store::snapshot`, `worker::walk`), RDB files as a target (`rdb_target`).

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::store::snapshot::{OnFlush, Snapshot, Taken, Taker};
use crate::store::{DbIndex, Entry, Keyspace, Leases};
use crate::threads::{self, park_timeout};

/// How long the thread sleeps, at most, when there is nothing to take: workers wake it, but not under a lease.
const IDLE: Duration = Duration::from_millis(20);
/// How long the end of the process waits for the thread to clear away what it has begun.
const STOP_WAIT: Duration = Duration::from_secs(1);
/// From one look whether it has ended to the next.
const STOP_LOOK: Duration = Duration::from_millis(5);

/// How many keys a database had at the cut, and how many of them had a deadline.
pub type Sizes = BTreeMap<DbIndex, (u64, u64)>;

/// What a snapshot is made into. All of it runs on the snapshot's thread.
pub trait Target: Send {
    /// Which snapshot it is that follows, for a target that waits for others.
    fn watch(&mut self, _snapshot: &Arc<Snapshot>) {}

    /// Before the first entry.
    ///
    /// # Errors
    /// It cannot be made.
    fn begin(&mut self, sizes: &Sizes) -> Result<(), String>;

    /// An entry, with the number that its database had at the cut.
    fn entry(&mut self, db: DbIndex, entry: Entry<'_>);

    /// Whether all further entries are in vain.
    fn has_failed(&self) -> bool;

    /// Bytes that were written so far.
    fn written(&self) -> u64;

    /// Behind the last entry. A target that is dropped instead leaves nothing behind.
    ///
    /// # Errors
    /// What failed, now or before.
    fn finish(self: Box<Self>) -> Result<(), String>;
}

/// How a snapshot ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is where it was to be.
    Saved,
    /// It is not, and why.
    Failed(String),
    /// Somebody did not want it any more.
    Cancelled,
}

/// Told how a snapshot ended, and how long it took.
pub type OnEnd = Box<dyn FnOnce(&Outcome, Duration) + Send>;

/// What a snapshot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The file that BGSAVE and save points write.
    Save,
    /// The base of an append-only file.
    Rewrite,
    /// What replicas begin with.
    Sync,
    /// A file in a directory of its own, which BACKUP has asked for.
    Backup,
}

impl Purpose {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Save => "save",
            Self::Rewrite => "rewrite of the append-only file",
            Self::Sync => "synchronisation of replicas",
            Self::Backup => "backup",
        }
    }
}

/// What is wanted.
pub struct Order {
    /// What for.
    pub purpose: Purpose,
    /// What it is made into.
    pub target: Box<dyn Target>,
    /// What becomes of it when everything is flushed.
    pub on_flush: OnFlush,
    /// Bytes that may be held for it (`snapshot-buffer-limit`).
    pub held_bytes_max: u64,
    /// Bytes that are written in a second at most; 0: as many as can be (`snapshot-rate-max`).
    pub rate_max: u64,
    /// Told on the snapshot's thread, before another one may begin.
    pub on_end: OnEnd,
}

/// A snapshot under way.
pub struct Running {
    /// What it is for.
    pub purpose: Purpose,
    /// What workers hand over to.
    pub snapshot: Arc<Snapshot>,
    /// When it was cut, Unix time in ms.
    pub started_ms: u64,
    /// Keys that are written.
    keys_done: AtomicU64,
    is_cancelled: AtomicBool,
    /// Whether its target is there or given up: nothing is written any more.
    is_fed: AtomicBool,
    /// Whether writers waited too long for it.
    is_too_slow: AtomicBool,
    begun: Instant,
    keyspace: Arc<Keyspace>,
}

impl Running {
    /// Keys that are written.
    pub fn keys_done(&self) -> u64 {
        self.keys_done.load(Relaxed)
    }

    /// Writers have waited too long for it: it fails, and they go on.
    pub fn fail_as_too_slow(&self) {
        self.is_too_slow.store(true, Relaxed);
        self.snapshot.end();
    }

    /// Nobody wants it any more.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Relaxed);
        self.snapshot.end();
    }
}

/// A thread that is to be started.
struct Start {
    taker: Taker,
    order: Order,
    running: Arc<Running>,
    sizes: Sizes,
}

#[derive(Default)]
struct State {
    running: Option<Arc<Running>>,
    /// The last one, which may have ended before its walk.
    walked: Option<Arc<Snapshot>>,
    start: Option<Start>,
    thread: Option<JoinHandle<()>>,
}

/// The place of the one snapshot that there may be.
#[derive(Default)]
pub struct Background {
    state: Mutex<State>,
    /// How many have begun: whoever walks looks whether it is another number than the last time.
    number: AtomicU64,
    is_running: AtomicBool,
    is_stopping: AtomicBool,
    /// What each thread does first: it chooses its processors.
    settle: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Background {
    /// No snapshot yet; the thread of each does this first.
    pub fn new(settle: impl Fn() + Send + Sync + 'static) -> Self {
        Self { settle: Some(Box::new(settle)), ..Self::default() }
    }

    /// How many snapshots have begun.
    #[inline]
    pub fn number(&self) -> u64 {
        self.number.load(Acquire)
    }

    /// Whether there is a snapshot.
    #[inline]
    pub fn is_running(&self) -> bool {
        self.is_running.load(Acquire)
    }

    /// The snapshot under way.
    pub fn running(&self) -> Option<Arc<Running>> {
        self.lock().running.clone()
    }

    /// The snapshot under way, if an append-only file is its purpose.
    pub fn running_rewrite(&self) -> Option<Arc<Running>> {
        self.running().filter(|running| running.purpose == Purpose::Rewrite)
    }

    /// Takes the picture of this instant, at which all leases are held; `start` is to be called once they are given back. `order` is
    /// asked for, with the changes counted so far, if no snapshot is under way; none then.
    pub fn cut(&self, leases: &mut Leases, now_ms: u64, order: impl FnOnce(u64) -> Order) -> Option<()> {
        let mut state = self.lock();
        let is_walked = state.walked.as_ref().is_none_or(|last| last.is_walked());
        if state.running.is_some() || !is_walked || self.is_stopping.load(Relaxed) {
            return None;
        }
        let keyspace = Arc::clone(leases.keyspace());
        let changes = keyspace.shards().map(|shard| leases.shard_ref(shard).dirty()).sum();
        let order = order(changes);
        let (snapshot, taker) = Snapshot::new(keyspace.shard_count(), order.held_bytes_max, order.on_flush);
        let mut sizes = Sizes::new();
        for id in keyspace.shards() {
            let shard = leases.shard(id);
            for db in shard.used_dbs() {
                let (keys, expires) = sizes.entry(db).or_default();
                *keys += shard.len(db);
                *expires += shard.expires(db);
            }
            shard.begin_snapshot(&snapshot);
        }
        keyspace.set_snapshotted(true);
        state.walked = Some(Arc::clone(&snapshot));
        let running = Arc::new(Running {
            purpose: order.purpose,
            snapshot,
            started_ms: now_ms,
            keys_done: AtomicU64::new(0),
            is_cancelled: AtomicBool::new(false),
            is_fed: AtomicBool::new(false),
            is_too_slow: AtomicBool::new(false),
            keyspace,
            begun: threads::now(),
        });
        state.running = Some(Arc::clone(&running));
        state.start = Some(Start { taker, order, running, sizes });
        self.is_running.store(true, Release);
        self.number.fetch_add(1, Release);
        Some(())
    }

    /// Starts the thread of a snapshot that was cut; no lease is held.
    pub fn start(self: &Arc<Self>) {
        let Some(start) = self.lock().start.take() else { return };
        // Kept here until the thread has it, as there may be no thread.
        let start = Arc::new(Mutex::new(Some(start)));
        let (background, given) = (Arc::clone(self), Arc::clone(&start));
        let take = |start: &Mutex<Option<Start>>| start.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = threads::spawn("torc-snapshot", move || {
            background.settle.iter().for_each(|settle| settle());
            if let Some(start) = take(&given) {
                background.attend(start);
            }
        });
        match (thread, take) {
            (Ok(thread), _) => self.lock().thread = Some(thread),
            (Err(error), take) => {
                if let Some(Start { order, taker, running, .. }) = take(&start) {
                    // The walk goes on without a sink.
                    drop(taker);
                    self.end(order.on_end, &Outcome::Failed(format!("no thread: {error}")), &running);
                }
            }
        }
    }

    fn end(&self, on_end: OnEnd, outcome: &Outcome, running: &Running) {
        on_end(outcome, threads::now() - running.begun);
        running.keyspace.set_snapshotted(false);
        let mut state = self.lock();
        // Before INFO says that it is over: who has seen that may save.
        self.is_running.store(false, Release);
        state.running = None;
    }

    /// The life of the thread.
    fn attend(&self, start: Start) {
        let Start { mut taker, order, running, sizes } = start;
        let Order { target, rate_max, on_end, .. } = order;
        taker.attend();
        let outcome = match feed(&mut taker, target, &running, &sizes, rate_max) {
            Ok(()) => Outcome::Saved,
            Err(_) if running.is_cancelled.load(Relaxed) || running.snapshot.was_flushed() => {
                Outcome::Cancelled
            }
            Err(reason) => Outcome::Failed(reason),
        };
        drop(taker);
        running.is_fed.store(true, Release);
        while !running.snapshot.is_walked() && !self.is_stopping.load(Relaxed) {
            park_timeout(IDLE);
        }
        self.end(on_end, &outcome, &running);
    }

    /// The save under way is given up for one that is newer: when this returns it writes nothing more, and its file does not
    /// take the place of another. Waits as long as the disk takes for what has begun.
    pub fn give_up(&self) {
        let Some(running) = self.running().filter(|running| running.purpose == Purpose::Save) else { return };
        running.cancel();
        while !running.is_fed.load(Acquire) {
            park_timeout(STOP_LOOK);
        }
    }

    /// The process ends: the snapshot under way is given up, and what was begun of it cleared away.
    pub fn stop(&self) {
        self.is_stopping.store(true, Relaxed);
        let (running, thread) = {
            let mut state = self.lock();
            (state.running.clone(), state.thread.take())
        };
        let (Some(running), Some(thread)) = (running, thread) else { return };
        log::warn!("There is a snapshot under way. Giving it up!");
        running.cancel();
        // The thread may hang in a write to a disk that does not answer.
        let end = Instant::now() + STOP_WAIT;
        while !thread.is_finished() && Instant::now() < end {
            park_timeout(STOP_LOOK);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a target all that is handed over.
fn feed(
    taker: &mut Taker,
    mut target: Box<dyn Target>,
    running: &Running,
    sizes: &Sizes,
    rate_max: u64,
) -> Result<(), String> {
    target.watch(&running.snapshot);
    target.begin(sizes)?;
    let start = threads::now();
    loop {
        match taker.take() {
            Taken::Block(block) => {
                let mut keys = 0;
                block.for_each(|db, entry| {
                    if !target.has_failed() && !running.snapshot.is_over() {
                        target.entry(db, entry);
                        keys += 1;
                    }
                });
                taker.done_with(block);
                running.keys_done.fetch_add(keys, Relaxed);
                if target.has_failed() {
                    return target.finish();
                }
                keep_rate(taker.snapshot(), target.written(), rate_max, start);
            }
            Taken::Nothing => park_timeout(IDLE),
            Taken::All => return target.finish(),
            Taken::Over if running.is_too_slow.load(Relaxed) => {
                return Err("it came to a standstill, and writers waited for it".to_owned());
            }
            Taken::Over => return Err("given up".to_owned()),
        }
    }
}

/// Waits where more was written than this rate allows.
pub(super) fn keep_rate(snapshot: &Snapshot, written: u64, rate_max: u64, start: Instant) {
    if rate_max == 0 {
        return;
    }
    let due = Duration::from_secs_f64(written as f64 / rate_max as f64);
    let elapsed = || threads::now() - start;
    while elapsed() < due && !snapshot.is_over() {
        park_timeout((due - elapsed().min(due)).min(IDLE));
    }
}

/// What is known of the last save in background, for INFO and for whoever looks whether the next is due.
#[derive(Default)]
pub struct LastSave {
    /// When data was saved last, Unix time in s, and the changes counted when that was cut (P011).
    saved_s: AtomicU64,
    changes_saved: AtomicU64,
    /// How many have begun.
    count: AtomicU64,
    has_failed: AtomicBool,
    is_wanted: AtomicBool,
    /// Plus one; 0 while there was none.
    took_s: AtomicI64,
    tried_ms: AtomicU64,
}

impl LastSave {
    /// Whether the last one failed.
    #[inline]
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Relaxed)
    }

    /// How long the last one took, in s; -1 while there was none.
    pub fn took_s(&self) -> i64 {
        self.took_s.load(Relaxed) - 1
    }

    /// When the last one began, Unix time in ms.
    pub fn tried_ms(&self) -> u64 {
        self.tried_ms.load(Relaxed)
    }

    /// At the start, which counts as a save, as in Redis.
    pub fn new(now_s: u64) -> Self {
        Self { saved_s: now_s.into(), ..Self::default() }
    }

    /// When data was saved last, Unix time in s.
    pub fn saved_s(&self) -> u64 {
        self.saved_s.load(Relaxed)
    }

    /// Changes since then; `changes` are those since the start.
    pub fn changes_since(&self, changes: u64) -> u64 {
        changes.saturating_sub(self.changes_saved.load(Relaxed))
    }

    /// How many have begun.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// One begins.
    pub fn note_begin(&self, now_ms: u64) {
        self.count.fetch_add(1, Relaxed);
        self.tried_ms.store(now_ms, Relaxed);
        self.is_wanted.store(false, Relaxed);
    }

    /// One has ended, after so many seconds. One that was cancelled says nothing of the next.
    pub fn note_end(&self, outcome: &Outcome, took_s: i64) {
        self.took_s.store(took_s + 1, Relaxed);
        match outcome {
            Outcome::Saved | Outcome::Cancelled => {}
            Outcome::Failed(_) => self.has_failed.store(true, Relaxed),
        }
    }

    /// All that had changed by then is saved.
    pub fn note_saved(&self, now_s: u64, changes: u64) {
        self.saved_s.store(now_s, Relaxed);
        self.changes_saved.store(changes, Relaxed);
        self.has_failed.store(false, Relaxed);
    }

    /// One that somebody waited for.
    pub fn count_one(&self) {
        self.count.fetch_add(1, Relaxed);
    }

    /// What is there was loaded from what was saved, after so many changes.
    pub fn note_loaded(&self, changes: u64) {
        self.changes_saved.store(changes, Relaxed);
    }

    /// One is to begin as soon as it can, or no longer.
    pub fn want(&self, on: bool) {
        self.is_wanted.store(on, Relaxed);
    }

    /// Whether one is to begin as soon as it can.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        self.is_wanted.load(Relaxed)
    }
}
