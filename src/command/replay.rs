//! Commands of an append-only file, on their way from the thread that reads them to the worker that runs them.
//!
//! Design: the thread looks names up and hashes keys, so that the worker only runs; it is one batch ahead. A batch holds
//! whole transactions, and is run under all leases.
//!
//! Not here: reading (`worker::recovery`), running (`worker::replay`).

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Queue;
use crate::threads;

/// Batches that wait to be run.
const WAITING_MAX: usize = 2;
/// Memory that an emptied batch keeps.
const BATCH_BYTES_KEPT: usize = 4 << 20;

/// Batches between the two threads.
#[derive(Default)]
pub struct Replay {
    state: Mutex<State>,
    /// A batch was run.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Queue>,
    under_way: usize,
    spares: Vec<Queue>,
    /// Commands that have failed, and what the first of them was told.
    failed: u64,
    first_failure: Option<String>,
}

impl Replay {
    /// Hands a batch over, once there is room for it; an empty one to fill next.
    pub fn hand_over(&self, batch: Queue) -> Queue {
        let mut state = self.wait_while(|state| state.waiting.len() >= WAITING_MAX);
        state.waiting.push_back(batch);
        state.spares.pop().unwrap_or_default()
    }

    /// Waits until all that was handed over has run: how many commands have failed, and how the first of them.
    pub fn finish(&self) -> (u64, Option<String>) {
        let mut state = self.wait_while(|state| !state.waiting.is_empty() || state.under_way > 0);
        state.spares.clear();
        (std::mem::take(&mut state.failed), state.first_failure.take())
    }

    /// Whether a batch waits.
    pub fn has_waiting(&self) -> bool {
        !self.state().waiting.is_empty()
    }

    /// A batch to run, if there is one; [`Self::done`] or [`Self::put_back`] follows.
    pub fn take(&self) -> Option<Queue> {
        let mut state = self.state();
        let batch = state.waiting.pop_front()?;
        state.under_way += 1;
        Some(batch)
    }

    /// A batch cannot be run yet.
    pub fn put_back(&self, batch: Queue) {
        let mut state = self.state();
        state.under_way -= 1;
        state.waiting.push_front(batch);
    }

    /// A batch has run; so many of its commands have failed, the first of them so.
    pub fn done(&self, mut batch: Queue, failed: u64, failure: Option<String>) {
        batch.clear(BATCH_BYTES_KEPT);
        let mut state = self.state();
        state.under_way -= 1;
        state.spares.push(batch);
        state.failed += failed;
        if state.first_failure.is_none() {
            state.first_failure = failure;
        }
        drop(state);
        threads::notify_all(&self.changed);
    }

    fn wait_while(&self, is_waiting: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        threads::wait_while(&self.changed, &self.state, None, |state| is_waiting(state))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nobody panics under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
