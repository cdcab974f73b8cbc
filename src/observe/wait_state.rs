//! Whether a client waits, and who may end that: one atomic word in its client info, claimed once for each time it waits.
//!
//! Design: a client's own worker begins a wait, which has a number (`WaitId`) that no other wait of this client has. Many may
//! want to end it: whoever makes a key present that it waits for, its own worker when its time is up, CLIENT UNBLOCK from
//! anywhere, its own worker when the client goes. One compare-and-swap decides.
//!
//! ```text
//!   over --begin--> waiting --claim--> served --finish--> over
//!                     |  ^---give back----|
//!                     |                   |
//!                     +------ end --------+---abandon---> over
//! ```
//!
//! Invariants (the loom model below checks the first two):
//! - of all that try to end a wait, one succeeds;
//! - a wait that was claimed and given back can still be ended, and one that was abandoned meanwhile stays over;
//! - a wait id is never valid again once its wait is over.
//!
//! Not here: what is done with it (`exec::blocking`, `worker::blocking`).

#[cfg(loom)]
use loom::sync::atomic::AtomicU64;
#[cfg(not(loom))]
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

const STATE_BITS: u32 = 2;
const STATE: u64 = (1 << STATE_BITS) - 1;
const OVER: u64 = 0;
const WAITING: u64 = 1;
const SERVED: u64 = 2;

/// One wait of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitId(u64);

/// What became of an attempt to end a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitOutcome {
    /// It is over, and the caller has to tell the client.
    Ended,
    /// It is being served right now, which may still come to nothing.
    BeingServed,
    /// It was over before.
    WasOver,
}

/// The word: the number of the latest wait and its state.
#[derive(Debug)]
pub struct WaitState(AtomicU64);

impl Default for WaitState {
    fn default() -> WaitState {
        WaitState(AtomicU64::new(OVER))
    }
}

impl WaitId {
    fn word(self, state: u64) -> u64 {
        self.0 << STATE_BITS | state
    }
}

impl WaitState {
    /// Begins a wait. Only the client's own worker may, and only when the latest wait is over.
    pub fn begin(&self) -> WaitId {
        let word = self.0.load(Acquire);
        assert!(word & STATE == OVER, "a client waits for one thing at a time");
        let wait_id = WaitId((word >> STATE_BITS) + 1);
        self.0.store(wait_id.word(WAITING), Release);
        wait_id
    }

    /// Whether this wait is over.
    pub fn is_over(&self, wait_id: WaitId) -> bool {
        let word = self.0.load(Acquire);
        word >> STATE_BITS != wait_id.0 || word & STATE == OVER
    }

    fn change(&self, wait_id: WaitId, from: u64, to: u64) -> bool {
        self.0.compare_exchange(wait_id.word(from), wait_id.word(to), AcqRel, Acquire).is_ok()
    }

    /// Claims the wait, to serve it; then either `finish` or `give_back` follows.
    pub fn claim(&self, wait_id: WaitId) -> bool {
        self.change(wait_id, WAITING, SERVED)
    }

    /// The claimed wait was served.
    pub fn finish(&self, wait_id: WaitId) {
        // If it was abandoned meanwhile, that is as good.
        self.change(wait_id, SERVED, OVER);
    }

    /// The claimed wait could not be served after all; `false` if it was abandoned meanwhile.
    pub fn give_back(&self, wait_id: WaitId) -> bool {
        self.change(wait_id, SERVED, WAITING)
    }

    /// Ends the wait without serving it.
    pub fn end(&self, wait_id: WaitId) -> WaitOutcome {
        match self.0.compare_exchange(wait_id.word(WAITING), wait_id.word(OVER), AcqRel, Acquire) {
            Ok(_) => WaitOutcome::Ended,
            Err(word) if word == wait_id.word(SERVED) => WaitOutcome::BeingServed,
            Err(_) => WaitOutcome::WasOver,
        }
    }

    /// Ends whatever wait there is, from anywhere; nothing if there is none, or if it is being served.
    pub fn end_any(&self) -> Option<WaitId> {
        let wait_id = WaitId(self.0.load(Acquire) >> STATE_BITS);
        (self.end(wait_id) == WaitOutcome::Ended).then_some(wait_id)
    }

    /// The client is gone: its wait is over, even if it is being served. Only its own worker may say so.
    pub fn abandon(&self, wait_id: WaitId) {
        // Each further round needs another server that has claimed and given back in between.
        while self.end(wait_id) == WaitOutcome::BeingServed && !self.change(wait_id, SERVED, OVER) {}
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_once() {
        let state = WaitState::default();
        assert_eq!(state.end_any(), None);
        let first = state.begin();
        assert!(!state.is_over(first));
        assert!(state.claim(first) && !state.claim(first));
        assert_eq!((state.end(first), state.end_any()), (WaitOutcome::BeingServed, None));
        assert!(state.give_back(first));
        assert_eq!(state.end(first), WaitOutcome::Ended);
        assert_eq!(state.end(first), WaitOutcome::WasOver);
        assert!(state.is_over(first) && !state.claim(first));
        let second = state.begin();
        assert!(state.is_over(first) && !state.claim(first) && !state.is_over(second));
        assert!(state.claim(second));
        state.abandon(second);
        assert!(!state.give_back(second) && state.is_over(second));
        state.finish(second);
        let third = state.begin();
        assert_eq!(state.end_any(), Some(third));
    }
}

#[cfg(all(test, loom))]
mod loom_models {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// A server that can serve, one that gives back, and the client's own worker whose patience ends: the wait ends once.
    #[test]
    fn one_of_all_ends_a_wait() {
        loom::model(|| {
            let state = Arc::new(WaitState::default());
            let wait_id = state.begin();
            let spawn = |body: fn(&WaitState, WaitId) -> u32| {
                let state = state.clone();
                thread::spawn(move || body(&state, wait_id))
            };
            let serves = spawn(|state, wait_id| {
                let won = state.claim(wait_id);
                if won {
                    state.finish(wait_id);
                }
                u32::from(won)
            });
            let gives_back = spawn(|state, wait_id| {
                if state.claim(wait_id) {
                    assert!(state.give_back(wait_id), "nobody abandons it here");
                }
                0
            });
            let mut ended = 0;
            loop {
                match state.end(wait_id) {
                    WaitOutcome::Ended => break ended += 1,
                    WaitOutcome::WasOver => break,
                    WaitOutcome::BeingServed => thread::yield_now(),
                }
            }
            for thread in [serves, gives_back] {
                ended += thread.join().expect("no assertion failed");
            }
            assert_eq!(ended, 1);
            assert!(state.is_over(wait_id));
        });
    }

    /// A client that goes while somebody serves it: whatever happens, its wait is over, and the next one is untouched.
    #[test]
    fn an_abandoned_wait_stays_over() {
        loom::model(|| {
            let state = Arc::new(WaitState::default());
            let wait_id = state.begin();
            let other = state.clone();
            let server = thread::spawn(move || {
                if other.claim(wait_id) {
                    other.give_back(wait_id);
                }
            });
            state.abandon(wait_id);
            assert!(state.is_over(wait_id));
            let next = state.begin();
            server.join().expect("no assertion failed");
            assert!(!state.is_over(next) && state.is_over(wait_id));
        });
    }
}
