//! Chores: what is to be tidied up in shards when their leases are to be had anyway.
//!
//! Design: a client that waits no more, because its time was up or it has gone, is still registered in queues of shards that
//! other workers may hold now. Its worker notes that here and tries each turn; it never waits for a lease, and nothing
//! depends on when a chore is done but memory.

use super::Worker;
use crate::exec::blocking;
use crate::io::Io;
use crate::store::ReadyKey;

/// Chores tried in one turn.
const CHORES_PER_TURN_MAX: usize = 256;

/// Something to be tidied up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chore {
    /// A waiter in the queue of this key is over.
    WaiterOver(ReadyKey),
}

impl<I: Io> Worker<I> {
    /// Does what can be done.
    pub(super) fn do_chores(&mut self) {
        if self.chores.is_empty() {
            return;
        }
        let keyspace = &self.shared.keyspace;
        let tried = self.chores.len().min(CHORES_PER_TURN_MAX);
        let mut kept = 0;
        for index in 0..tried {
            let chore = self.chores[index];
            let Chore::WaiterOver(key) = chore;
            if self.kit.leases.try_take(keyspace.shard_of(key.hash)) {
                blocking::note_over(key, keyspace, &mut self.kit.leases);
            } else {
                self.chores[kept] = chore;
                kept += 1;
            }
        }
        let wanted = self.kit.leases.release_all();
        self.post.wake_wanting(wanted);
        self.chores.drain(kept..tried);
        if self.chores.is_empty() {
            self.chores = Vec::new();
        }
    }
}
