//! The snapshot of all shards at one instant, which is taken while they are written to; nothing is forked.
//!
//! Design: at the cut, when all leases are held, each database of each shard gets a walk: a position from which on nothing has
//! been saved yet ([`Unsaved`]). The items of a table are ordered by hash, and a scan by position meets everything that stays
//! exactly once, however the table grows, splits, joins or shrinks meanwhile. So the walk is such a scan, in slices, by the
//! shard's home worker, and no change of a table's structure matters to it. The walk lies in the `Db`: it goes along where SWAPDB
//! exchanges tables, and where a flush takes one away.
//!
//! ```text
//! hash  0 .............. position ............................. max
//!       | saved, as free |  unsaved: before it changes, the entry is handed over
//!       | as ever        |  and gets a mark: the walk passes it over, and clears the mark
//! ```
//!
//! All changes go through the guard: `KeyMut::new` hands the entry over and its drop marks what is there then, be it a new key or
//! one that was rebuilt. Besides the guard only expiry removes or changes entries, and does the same. A flushed table is walked
//! before it is freed, unless the snapshot ends with the flush.
//!
//! Walk and hand-over copy entries, as they lie in memory, into the shard's block, and full blocks go to the snapshot's thread
//! ([`Taker`]), which encodes them. What lies outside of its entry, however large, is not copied: the entry and the
//! block share it (`External::Shared`), and the entry owns it again once the block is gone. Who changes it before copies it
//! first, which is only done while it is small: see [`Shard::must_wait`].
//!
//! Invariants:
//! - an entry has a mark only where its database has a walk, at or behind the walk's position; so after a walk no mark is left, and
//!   the next snapshot may begin;
//! - a snapshot that ends early is walked to its end without a sink;
//! - `Listeners::SNAPSHOT` is set while the shard has a snapshot, and only then is there anything to hand over;
//! - `held_bytes` is what the blocks of all shards, of the queue and of the thread hold.
//!
//! Costs: without a snapshot one predictable branch for a guard that finds its key, and one for each that changed something. An
//! entry's copy takes its bytes and 8 more until it is encoded.
//!
//! Not here: what is made of the blocks (`persist`), when the walk goes on (`worker::walk`), which writers wait
//! (`exec::group`).

mod block;
mod taker;
mod walk;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::mpsc::{Sender, channel};
use std::thread::Thread;

pub use block::Block;
pub use taker::{Taken, Taker};
pub(super) use walk::{Saving, Unsaved};

/// Bytes of a block from which on it goes to the thread.
const BLOCK_BYTES: u64 = 64 << 10;
/// What waits for the thread, at most, for the walk to go on: enough for the thread never to wait for the walk.
const QUEUED_BYTES_MAX: u64 = 4 << 20;
/// The limit has a share of at least so many parts for hand-overs: the walk stops adding to the queue before.
const QUEUED_PARTS: u64 = 4;

/// What becomes of a snapshot when everything is flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFlush {
    /// It ends: nobody wants to keep what was flushed.
    Ends,
    /// It goes on: what is flushed is walked before it is freed.
    GoesOn,
}

/// A snapshot under way, as workers and its thread share it.
pub struct Snapshot {
    blocks: Sender<Block>,
    on_flush: OnFlush,
    limit_bytes: u64,
    queued_bytes: AtomicU64,
    held_bytes: AtomicU64,
    /// Shards whose walk has not ended.
    shards_left: AtomicUsize,
    /// Large values that the thread still has to write and that nobody copies.
    lent_count: AtomicU64,
    keys_total: AtomicU64,
    is_over: AtomicBool,
    was_flushed: AtomicBool,
    taker: OnceLock<Thread>,
}

impl Snapshot {
    /// A snapshot of so many shards, which holds no more than about so many bytes, and the place where its blocks come out. Each
    /// shard joins it at the cut (`Shard::begin_snapshot`).
    pub fn new(shards: usize, limit_bytes: u64, on_flush: OnFlush) -> (Arc<Snapshot>, Taker) {
        let (blocks, receiver) = channel();
        let snapshot = Arc::new(Snapshot {
            blocks,
            on_flush,
            limit_bytes,
            queued_bytes: AtomicU64::new(0),
            held_bytes: AtomicU64::new(0),
            shards_left: AtomicUsize::new(shards),
            lent_count: AtomicU64::new(0),
            keys_total: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            was_flushed: AtomicBool::new(false),
            taker: OnceLock::new(),
        });
        (Arc::clone(&snapshot), Taker::new(snapshot, receiver))
    }

    /// It is to end early: from now on nothing is handed over, and the walk only clears its marks.
    pub fn end(&self) {
        self.is_over.store(true, Release);
        self.wake_taker();
    }

    /// Everything is flushed: it ends, unless it is to go on all the same.
    pub fn flush(&self) {
        if self.on_flush == OnFlush::Ends {
            self.was_flushed.store(true, Relaxed);
            self.is_over.store(true, Release);
        }
    }

    /// Whether it ends early because everything was flushed.
    pub fn was_flushed(&self) -> bool {
        self.was_flushed.load(Relaxed)
    }

    /// Whether it ends early.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.is_over.load(Acquire)
    }

    /// Whether the walk has ended in all shards.
    pub fn is_walked(&self) -> bool {
        self.shards_left.load(Acquire) == 0
    }

    /// How many keys there were at the cut.
    pub fn keys_total(&self) -> u64 {
        self.keys_total.load(Relaxed)
    }

    /// Bytes that are held for the snapshot alone.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Relaxed)
    }

    /// Whether the thread has more to do than the walk should add to.
    pub fn is_crowded(&self) -> bool {
        let queued_max = QUEUED_BYTES_MAX.min(self.limit_bytes / QUEUED_PARTS);
        self.queued_bytes.load(Relaxed) > queued_max && !self.is_over()
    }

    /// Whether as much is held as may be.
    pub fn is_at_limit(&self) -> bool {
        self.held_bytes.load(Relaxed) >= self.limit_bytes && !self.is_over()
    }

    /// Whether it has large values for which writers wait.
    fn lends(&self) -> bool {
        self.lent_count.load(Relaxed) > 0 && !self.is_over()
    }

    /// Lets the thread see what was handed over, if it sleeps. A system call: not under a lease.
    pub fn wake_taker(&self) {
        if let Some(thread) = self.taker.get() {
            thread.unpark();
        }
    }

    fn send(&self, block: Block) {
        self.queued_bytes.fetch_add(block.bytes(), Relaxed);
        // The thread may have given up: then nobody wants it.
        if let Err(unsent) = self.blocks.send(block) {
            self.forget(&unsent.0);
        }
    }

    /// A block is encoded, or of no use any more.
    fn forget(&self, block: &Block) {
        self.queued_bytes.fetch_sub(block.bytes(), Relaxed);
        self.held_bytes.fetch_sub(block.bytes(), Relaxed);
        self.lent_count.fetch_sub(block.lent_count(), Relaxed);
    }

    fn end_shard(&self) {
        let left = self.shards_left.fetch_sub(1, AcqRel);
        assert!(left > 0, "each shard ends once");
    }
}
