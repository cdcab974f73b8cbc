//! Whether a client waits, and who may end that: one atomic word on its card, claimed once for each time it waits.
//!
//! Design: a client's own worker begins a wait, which has a number (`Ticket`) that no other wait of this client has. Many may
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
//! - a ticket is never valid again once its wait is over.
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
pub struct Ticket(u64);

/// What became of an attempt to end a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is over, and the caller has to tell the client.
    Ended,
    /// It is being served right now, which may still come to nothing.
    BeingServed,
    /// It was over before.
    WasOver,
}

/// The word: the number of the latest wait and its state.
#[derive(Debug)]
pub struct Claim(AtomicU64);

impl Default for Claim {
    fn default() -> Claim {
        Claim(AtomicU64::new(OVER))
    }
}

impl Ticket {
    fn word(self, state: u64) -> u64 {
        self.0 << STATE_BITS | state
    }
}

impl Claim {
    /// Begins a wait. Only the client's own worker may, and only when the latest wait is over.
    pub fn begin(&self) -> Ticket {
        let word = self.0.load(Acquire);
        assert!(word & STATE == OVER, "a client waits for one thing at a time");
        let ticket = Ticket((word >> STATE_BITS) + 1);
        self.0.store(ticket.word(WAITING), Release);
        ticket
    }

    /// Whether this wait is over.
    pub fn is_over(&self, ticket: Ticket) -> bool {
        let word = self.0.load(Acquire);
        word >> STATE_BITS != ticket.0 || word & STATE == OVER
    }

    fn change(&self, ticket: Ticket, from: u64, to: u64) -> bool {
        self.0.compare_exchange(ticket.word(from), ticket.word(to), AcqRel, Acquire).is_ok()
    }

    /// Claims the wait, to serve it; then either `finish` or `give_back` follows.
    pub fn claim(&self, ticket: Ticket) -> bool {
        self.change(ticket, WAITING, SERVED)
    }

    /// The claimed wait was served.
    pub fn finish(&self, ticket: Ticket) {
        // If it was abandoned meanwhile, that is as good.
        self.change(ticket, SERVED, OVER);
    }

    /// The claimed wait could not be served after all; `false` if it was abandoned meanwhile.
    pub fn give_back(&self, ticket: Ticket) -> bool {
        self.change(ticket, SERVED, WAITING)
    }

    /// Ends the wait without serving it.
    pub fn end(&self, ticket: Ticket) -> Ending {
        match self.0.compare_exchange(ticket.word(WAITING), ticket.word(OVER), AcqRel, Acquire) {
            Ok(_) => Ending::Ended,
            Err(word) if word == ticket.word(SERVED) => Ending::BeingServed,
            Err(_) => Ending::WasOver,
        }
    }

    /// Ends whatever wait there is, from anywhere; nothing if there is none, or if it is being served.
    pub fn end_any(&self) -> Option<Ticket> {
        let ticket = Ticket(self.0.load(Acquire) >> STATE_BITS);
        (self.end(ticket) == Ending::Ended).then_some(ticket)
    }

    /// The client is gone: its wait is over, even if it is being served. Only its own worker may say so.
    pub fn abandon(&self, ticket: Ticket) {
        // Each further round needs another server that has claimed and given back in between.
        while self.end(ticket) == Ending::BeingServed && !self.change(ticket, SERVED, OVER) {}
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_once() {
        let claim = Claim::default();
        assert_eq!(claim.end_any(), None);
        let first = claim.begin();
        assert!(!claim.is_over(first));
        assert!(claim.claim(first) && !claim.claim(first));
        assert_eq!((claim.end(first), claim.end_any()), (Ending::BeingServed, None));
        assert!(claim.give_back(first));
        assert_eq!(claim.end(first), Ending::Ended);
        assert_eq!(claim.end(first), Ending::WasOver);
        assert!(claim.is_over(first) && !claim.claim(first));
        let second = claim.begin();
        assert!(claim.is_over(first) && !claim.claim(first) && !claim.is_over(second));
        assert!(claim.claim(second));
        claim.abandon(second);
        assert!(!claim.give_back(second) && claim.is_over(second));
        claim.finish(second);
        let third = claim.begin();
        assert_eq!(claim.end_any(), Some(third));
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
            let claim = Arc::new(Claim::default());
            let ticket = claim.begin();
            let spawn = |body: fn(&Claim, Ticket) -> u32| {
                let claim = claim.clone();
                thread::spawn(move || body(&claim, ticket))
            };
            let serves = spawn(|claim, ticket| {
                let won = claim.claim(ticket);
                if won {
                    claim.finish(ticket);
                }
                u32::from(won)
            });
            let gives_back = spawn(|claim, ticket| {
                if claim.claim(ticket) {
                    assert!(claim.give_back(ticket), "nobody abandons it here");
                }
                0
            });
            let mut ended = 0;
            loop {
                match claim.end(ticket) {
                    Ending::Ended => break ended += 1,
                    Ending::WasOver => break,
                    Ending::BeingServed => thread::yield_now(),
                }
            }
            for thread in [serves, gives_back] {
                ended += thread.join().expect("no assertion failed");
            }
            assert_eq!(ended, 1);
            assert!(claim.is_over(ticket));
        });
    }

    /// A client that goes while somebody serves it: whatever happens, its wait is over, and the next one is untouched.
    #[test]
    fn an_abandoned_wait_stays_over() {
        loom::model(|| {
            let claim = Arc::new(Claim::default());
            let ticket = claim.begin();
            let other = claim.clone();
            let server = thread::spawn(move || {
                if other.claim(ticket) {
                    other.give_back(ticket);
                }
            });
            claim.abandon(ticket);
            assert!(claim.is_over(ticket));
            let next = claim.begin();
            server.join().expect("no assertion failed");
            assert!(!claim.is_over(next) && claim.is_over(ticket));
        });
    }
}
