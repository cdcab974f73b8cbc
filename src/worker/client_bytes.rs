//! What a worker's clients hold: query buffers, queued commands, large bulks on their way in, replies.
//!
//! Design: a client's info says what was counted of it last; whoever changes what it holds recounts it, and the worker's sum
//! moves by the difference. Under a memory limit the sum goes into the gauges at the end of every turn's commands, so that
//! the next command sees it; otherwise cron tells it. A turn's input is bounded, so what is not told yet is, too.
//!
//! Invariants: the sum is that of this worker's connections' infos.
//! Costs: an addition for each connection and turn; under a limit, one atomic addition a turn.
//! Not here: the limit (`memory`), the gauges (`observe`).

use super::Worker;
use crate::io::Io;
use crate::net::Connection;

/// Bytes that the clients of one worker hold.
#[derive(Default)]
pub(super) struct ClientBytes(u64);

impl ClientBytes {
    /// What all of them hold.
    pub(super) fn sum(&self) -> u64 {
        self.0
    }

    /// What a client holds may have changed, or it has come.
    #[inline]
    pub(super) fn recount(&mut self, connection: &Connection) {
        let (before, after) = connection.recount_bytes();
        self.0 = self.0.wrapping_sub(before).wrapping_add(after);
    }

    /// A client goes, with all it holds.
    pub(super) fn forget(&mut self, connection: &Connection) {
        self.0 = self.0.wrapping_sub(connection.forget_bytes());
    }
}

impl<I: Io> Worker<I> {
    /// Leaves the sum in the gauges.
    #[inline]
    pub(super) fn tell_client_bytes(&self) {
        let stats = self.stats();
        if stats.client_bytes.read() != self.client_bytes.0 {
            self.shared.stats.gauges.note_clients(stats, self.client_bytes.0);
        }
    }

    /// Looks at every client anew: what one holds may also change where nobody recounts it.
    pub(super) fn recount_clients(&mut self) {
        for slot in 0..self.connections.bound() {
            if let Some(connection) = self.connections.get(slot) {
                self.client_bytes.recount(connection);
            }
        }
    }
}
