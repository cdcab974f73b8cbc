//! What waits for the journal: replies under `appendfsync always`, and commands that write while the disk is behind.
//!
//! Design: under `always` no reply leaves before everything is on disk that was drawn when it was flushed: not that of a write, and
//! not that of a read that saw it. A connection's replies are then taken out as if they were being sent, and sent once the
//! journal thread has come so far; what is written meanwhile follows with the next flush. The thread wakes who waits.
//!
//! Not here: the thread (`persist::journal`).

use super::Worker;
use crate::io::Io;

impl<I: Io> Worker<I> {
    /// The ticket that replies have to wait for which are flushed now, if they have to wait.
    pub(super) fn awaited_ticket(&self) -> Option<u64> {
        let journal = &self.shared.journal;
        let drawn = journal.holds_replies().then(|| journal.drawn())?;
        (drawn > journal.told()).then_some(drawn)
    }

    /// Sends what is on disk by now, and lets commands go on that waited for the disk.
    pub(super) fn release_held(&mut self) {
        if self.held.is_empty() && self.paused.is_empty() {
            return;
        }
        let shared = std::sync::Arc::clone(&self.shared);
        let journal = &shared.journal;
        loop {
            let told = journal.told();
            let mut held = std::mem::take(&mut self.held);
            held.retain(|(token, ticket)| {
                let Some(connection) = self.connections.find(*token).filter(|connection| !connection.closing)
                else {
                    return false;
                };
                if *ticket <= told
                    && let Some(outgoing) = connection.held.take()
                {
                    self.io.send(*token, outgoing);
                }
                connection.held.is_some()
            });
            self.held = held;
            let next = self.held.iter().map(|(_, ticket)| *ticket).min();
            if next.is_none_or(|ticket| !journal.await_told(self.number, ticket)) {
                break;
            }
        }
        if !self.paused.is_empty()
            && self.constants.as_ref().is_some_and(|constants| constants.obstacles.must_wait)
        {
            // It may have been written between the question and the wish to hear of it.
            let is_full = journal.is_full() && {
                journal.await_told(self.number, u64::MAX);
                journal.is_full()
            };
            if !is_full && shared.pause.active(self.clock.now_ms()).is_none() {
                self.resume_paused();
            }
        }
    }
}
