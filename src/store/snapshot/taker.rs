//! Where the blocks of a snapshot come out: the side of its thread.
//!
//! Not here: what is done with them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, TryRecvError};

use super::{Block, Snapshot};

/// Takes what is handed over.
pub struct Taker {
    snapshot: Arc<Snapshot>,
    blocks: Receiver<Block>,
}

/// What there is to take.
pub enum Taken {
    /// Some entries; to be given back to `Taker::done_with`.
    Block(Block),
    /// Nothing yet.
    Nothing,
    /// That was all: every shard has been walked.
    All,
    /// The snapshot ends early.
    Over,
}

impl Taker {
    pub(super) fn new(snapshot: Arc<Snapshot>, blocks: Receiver<Block>) -> Taker {
        Taker { snapshot, blocks }
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The calling thread is the one that takes: it is woken when there is something.
    pub fn attend(&self) {
        let _ = self.snapshot.taker.set(std::thread::current());
    }

    /// Takes what comes next.
    pub fn take(&mut self) -> Taken {
        if self.snapshot.is_over() {
            return Taken::Over;
        }
        // Asked first: whoever walked the last shard has sent its last block before.
        let is_walked = self.snapshot.is_walked();
        match self.blocks.try_recv() {
            Ok(block) => Taken::Block(block),
            Err(TryRecvError::Empty) if is_walked => Taken::All,
            Err(TryRecvError::Empty) => Taken::Nothing,
            Err(TryRecvError::Disconnected) => unreachable!("the snapshot has the other end"),
        }
    }

    /// The entries of a block are dealt with.
    pub fn done_with(&mut self, block: Block) {
        // Before it counts as gone: who waits for a large value in it may own it again then.
        let (bytes, lent) = (block.bytes(), block.lent_count());
        drop(block);
        self.snapshot.queued_bytes.fetch_sub(bytes, Relaxed);
        self.snapshot.held_bytes.fetch_sub(bytes, Relaxed);
        self.snapshot.lent_count.fetch_sub(lent, Relaxed);
    }
}

impl Drop for Taker {
    /// Nobody takes any more: what is left is of no use.
    fn drop(&mut self) {
        self.snapshot.end();
        while let Ok(block) = self.blocks.try_recv() {
            self.snapshot.forget(&block);
        }
    }
}
