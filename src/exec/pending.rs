//! What of a turn's batch is yet to run: the connections that were passed over, then all others.
//!
//! Design: a connection is parsed once a turn, so its commands lie side by side in the batch. One whose command was refused
//! its leases is passed over: what is left of its commands is a [`Leftover`], kept in the order in which they came. Forming a
//! group tries the leftovers first, oldest first, and then goes on in the rest of the batch.
//!
//! Invariants: no command is in two leftovers, or both in one and in the rest; a leftover's commands are of one connection, so
//! that their order is that of their places.
//!
//! Costs: nothing while no lease is refused.

use super::batch::Batch;
use crate::store::{ShardId, ShardSet};

/// What is left of the commands of a connection that was passed over.
#[derive(Clone, Debug)]
pub struct Leftover {
    /// The place of the first.
    pub next: u32,
    /// The place behind the last.
    pub end: u32,
    /// What the first was refused; none if it waits for those before it, or for a group without others.
    pub refused: Option<Refusal>,
    /// Shards that the first needs beyond those of its keys, as far as they are known.
    pub waiter_keys: Option<Box<ShardSet>>,
}

/// Why a command has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Somebody has the lease of this shard.
    Lease(ShardId),
    /// It may change a key that a snapshot has to have before.
    Unsaved,
}

/// The commands that have yet to run.
#[derive(Debug, Default)]
pub struct Pending {
    /// Connections that were passed over.
    pub(super) behind: Vec<Leftover>,
    /// All commands from this place on.
    pub(super) rest: usize,
    /// Lease words of the rest before this place have been fetched.
    pub(super) fetched: usize,
}

impl Pending {
    /// Begins with a whole batch.
    pub fn begin(&mut self) {
        self.behind.clear();
        self.rest = 0;
        self.fetched = 0;
    }

    /// Becomes what another one is.
    #[inline]
    pub fn copy_from(&mut self, other: &Pending) {
        self.behind.clear();
        if !other.behind.is_empty() {
            self.behind.extend_from_slice(&other.behind);
        }
        (self.rest, self.fetched) = (other.rest, other.fetched);
    }

    /// Takes one of the connections that were passed over; the oldest comes first.
    pub fn next_behind(&mut self) -> Option<Leftover> {
        (!self.behind.is_empty()).then(|| self.behind.remove(0))
    }

    /// Takes the first of those that were refused, and what.
    pub fn next_refused(&mut self) -> Option<(Leftover, Refusal)> {
        let place = self.behind.iter().position(|leftover| leftover.refused.is_some())?;
        let leftover = self.behind.remove(place);
        let refusal = leftover.refused?;
        Some((leftover, refusal))
    }

    /// Whether nothing of the batch is left.
    #[inline]
    pub fn is_empty(&self, batch: &Batch) -> bool {
        self.rest >= batch.commands.len() && self.behind.is_empty()
    }

    /// The place of the first command of the rest.
    pub fn rest(&self) -> usize {
        self.rest
    }
}

/// The place behind the last command of the connection whose command is at `place`.
pub(super) fn end_of_connection(batch: &Batch, place: usize) -> usize {
    let slot = batch.commands[place].slot;
    let count = batch.commands[place..].iter().take_while(|command| command.slot == slot).count();
    place + count
}
