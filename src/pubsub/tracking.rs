//! What all workers know of clients that keep copies (CLIENT TRACKING): whether there are any, and where.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Workers are bits.
#[derive(Default)]
pub struct Tracking {
    /// Clients that track.
    pub clients: AtomicU64,
    /// Keys in all tables.
    pub keys: AtomicU64,
    /// Pairs of a key and a client there.
    pub items: AtomicU64,
    /// Prefixes of all clients.
    pub prefixes: AtomicU64,
    /// Workers that have such clients.
    workers: AtomicU64,
    /// Workers that have some which are told of all keys, or of all with a prefix.
    broadcasting: AtomicU64,
}

/// That a key has changed, on its way to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalidation {
    /// To a client that has read it.
    Read {
        /// The client's place, as one word.
        client: u64,
        /// The key.
        key: Box<[u8]>,
        /// Who has changed it, as one word; 0 for no client.
        by: u64,
    },
    /// To all whose prefixes it has.
    Broadcast {
        /// The key.
        key: Box<[u8]>,
        /// Who has changed it.
        by: u64,
    },
    /// All keys are gone: to all.
    All,
}

impl Tracking {
    /// Whether any client tracks; asked for under a lease.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.workers.load(Relaxed) != 0
    }

    /// The workers that have clients which track.
    pub fn workers(&self) -> u64 {
        self.workers.load(Relaxed)
    }

    /// The workers that have clients which are told of keys that they have not read.
    pub fn broadcasting(&self) -> u64 {
        self.broadcasting.load(Relaxed)
    }

    /// A worker has such clients, or has no more; only it says so.
    pub fn note(&self, worker: usize, has_any: bool, has_broadcast: bool) {
        let set = |word: &AtomicU64, on: bool| match on {
            true => word.fetch_or(1 << worker, Relaxed),
            false => word.fetch_and(!(1 << worker), Relaxed),
        };
        set(&self.workers, has_any);
        set(&self.broadcasting, has_broadcast);
    }
}
