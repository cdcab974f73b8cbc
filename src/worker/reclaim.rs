//! Giving back: what the worker's thread holds of free memory, and when the system gets it.
//!
//! Design: at most once a second, and for at most a thousandth of the time, a worker looks through its part of the general
//! allocator (`store::allocator`) for what other workers have freed; then the prefault thread is asked to give back whatever is
//! free. Once the worker rests it looks more often, until nothing more can come of it, and drops the buffers that it keeps for
//! the next replies. MEMORY PURGE has every worker do all of that at once.
//!
//! Costs: some 20 ns for each page of the allocator that is partly free; nothing on the path of a request.
//! Not here: the thread that gives memory back (`store::prefault`), emptying sparse memory (`defrag`).

use super::Worker;
use crate::io::Io;
use crate::store::{allocator, prefault};

/// Time between two looks while the worker is busy, and while it rests, in ms.
const BUSY_PERIOD_MS: u64 = 1000;
const RESTING_PERIOD_MS: u64 = 100;
/// A look takes at most this part of the time.
const TIME_DIVISOR: u64 = 1000;
/// Looks of a resting worker: empty pages go with the last of so many, and one more is asked to give them back.
const RESTING_LOOKS_MAX: u32 = allocator::COLLECTS_TO_RETIRE + 2;

/// When the worker looks for free memory.
#[derive(Default)]
pub(super) struct Reclaim {
    next_ms: u64,
    resting_looks: u32,
}

impl Reclaim {
    /// Whether a resting worker has yet to look.
    pub(super) fn is_done(&self) -> bool {
        self.resting_looks >= RESTING_LOOKS_MAX
    }
}

impl<I: Io> Worker<I> {
    /// Looks for free memory if it is time to; `rests` says that nothing has happened since the last tick.
    pub(super) fn reclaim(&mut self, now_ms: u64, rests: bool) {
        if !rests {
            self.reclaim.resting_looks = 0;
        } else if self.reclaim.is_done() {
            return;
        } else if self.reclaim.resting_looks == 0 {
            // The first tick of rest need not wait for the next busy one.
            self.reclaim.next_ms = self.reclaim.next_ms.min(now_ms + RESTING_PERIOD_MS);
        }
        if now_ms < self.reclaim.next_ms {
            return;
        }
        let start = self.clock.ticks();
        allocator::collect();
        let took_ms = self.clock.ns_between(start, self.clock.ticks()) * TIME_DIVISOR / 1_000_000;
        let period_ms = if rests { RESTING_PERIOD_MS } else { BUSY_PERIOD_MS };
        self.reclaim.next_ms = now_ms + period_ms.max(took_ms);
        if rests {
            self.reclaim.resting_looks += 1;
            self.spares = Vec::new();
        }
        prefault::want_purge();
    }

    /// MEMORY PURGE: all that is free goes back.
    pub(super) fn purge_memory(&mut self) {
        self.spares = Vec::new();
        (0..=allocator::COLLECTS_TO_RETIRE).for_each(|_| allocator::collect());
        prefault::want_purge();
    }
}
