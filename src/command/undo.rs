//! A run that can be taken back as if nothing had happened: that of a script which may need leases that it has not named.
//!
//! Design: where a worker holds less than all leases, a script begins undoable. What it changes in shards can be undone there
//! (`store::undo`). What else would leave it is kept, and released at its end in its order: events with notifications and
//! invalidations, published messages, what its client reads while it tracks keys, counts of its commands and of errors. Effects
//! for the worker and counters that commands touch themselves are put back to where they were. Another key's lease is tried for
//! on the spot; a refused one, or a key that a snapshot has yet to save, has the script taken back and run again, first under
//! the leases of all keys that it has met. If it then meets another one that it is refused, it runs under all leases.
//!
//! ```text
//! begin_undoable(keys)  try_key  command  try_key  command ... | commit     all is released, in its order
//!                                                  refused ... | take_back  nothing has happened
//! ```
//!
//! Leases that were tried for stay to the end of the group with all others: the script's effects have a ticket of their own, which
//! is drawn behind `commit` while all of them are held, because an earlier member of the group may have drawn one before.
//!
//! Invariants: while it is on, each shard that the script may touch is held exclusively and has a log; nothing of the script is
//! visible to others before `commit`.
//!
//! Costs: nothing for commands; a script of declared keys begins and ends a log in each of their shards.
//! Not here: the script itself; the unit that its effects are handed over as (`Context::end_unit`).

use super::keys::each_key;
use super::notify::notify;
use super::{Args, Context, Effect, Flags, Row};
use crate::pubsub::SubscriptionKind;
use crate::store::{ChangesMark, DbIndex, ShardId, UndoLog};

/// Whether a key may be touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// Its lease is held.
    Held,
    /// Somebody else has its lease, or waits for it, who needs further leases then. The script has to run under all.
    Refused,
    /// A snapshot has yet to save it. The script has to run again once that is done (`Shard::must_wait`).
    Unsaved,
}

/// What a worker's current script may have to take back.
#[derive(Default)]
pub struct Undo {
    is_on: bool,
    /// Whether a lease was taken since it began.
    has_tried: bool,
    shards: Vec<ShardId>,
    /// The keys that it has met and not named, by their hashes; the last one was refused if it was taken back for that.
    met: Vec<u64>,
    /// Emptied logs.
    #[expect(clippy::vec_box, reason = "shards have them boxed, and they go back and forth")]
    spare: Vec<Box<UndoLog>>,
    /// What there was when it began.
    effects: usize,
    changes: ChangesMark,
    counters: [u64; COUNTERS],
    /// What is released in the end, each with the number of events that were raised before.
    left: Vec<(usize, Left)>,
    calls: Vec<Call>,
    errors: Vec<Box<str>>,
}

/// Counters that commands touch themselves.
const COUNTERS: usize = 4;

/// Something that is for others than who calls the script.
enum Left {
    /// A published message.
    Message { kind: SubscriptionKind, hash: u64, channel: Box<[u8]>, payload: Box<[u8]> },
    /// A key that the client, which tracks keys, has read.
    Read { db: DbIndex, hash: u64, key: Box<[u8]> },
}

/// A command that was run.
struct Call {
    row: u16,
    ns: u64,
    has_failed: bool,
}

impl Undo {
    /// Whether a script is under way that can be taken back.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// The shards that it may have touched; behind `commit` keys in them may be ready.
    pub fn shards(&self) -> &[ShardId] {
        &self.shards
    }

    /// The hashes of the keys that the script which was taken back had met and not named.
    pub fn take_met(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.met)
    }

    fn clear(&mut self) {
        self.is_on = false;
        self.has_tried = false;
        self.left.clear();
        self.calls.clear();
        self.errors.clear();
    }
}

impl Context<'_> {
    /// A script begins whose keys have these hashes; their leases are held, exclusively.
    pub fn begin_undoable(&mut self, hashes: &[u64]) {
        assert!(!self.undo.is_on, "a script runs no other");
        self.undo.is_on = true;
        self.undo.shards.clear();
        self.undo.met.clear();
        self.undo.effects = self.effects.len();
        self.undo.changes = self.changes.mark();
        self.undo.counters = self.counters();
        for hash in hashes {
            self.make_undoable(self.shared.keyspace.shard_of(*hash));
        }
    }

    /// Sees to it that a key which the script has not named may be touched.
    pub fn try_key(&mut self, hash: u64) -> Tried {
        let shard = self.shared.keyspace.shard_of(hash);
        if !self.undo.is_on {
            return if self.leases.holds_exclusively(shard) { Tried::Held } else { Tried::Refused };
        }
        if !self.leases.holds_exclusively(shard) {
            self.undo.met.push(hash);
            if !self.leases.try_take(shard) {
                return Tried::Refused;
            }
            self.undo.has_tried = true;
        }
        let found = self.leases.shard(shard);
        let (is_waited_for, must_wait) = (found.is_waited_for(hash), found.must_wait(hash));
        if is_waited_for || must_wait {
            self.undo.met.push(hash);
            return if is_waited_for { Tried::Refused } else { Tried::Unsaved };
        }
        self.make_undoable(shard);
        Tried::Held
    }

    fn make_undoable(&mut self, shard: ShardId) {
        let found = self.leases.shard(shard);
        if !found.is_undoable() {
            found.begin_undoable(self.undo.spare.pop().unwrap_or_default());
            self.undo.shards.push(shard);
        }
    }

    /// Nothing of what the script has done has happened. Its leases are still held.
    pub fn take_back(&mut self) {
        assert!(self.undo.is_on, "the caller began it");
        for shard in self.undo.shards.drain(..) {
            self.undo.spare.push(self.leases.shard(shard).take_back());
        }
        self.effects.truncate(self.undo.effects);
        self.changes.truncate(self.undo.changes);
        self.set_counters(self.undo.counters);
        self.undo.clear();
    }

    /// What the script has done stays: all that was kept back is released. Its leases are still held; its unit ends afterwards.
    pub fn commit(&mut self) {
        assert!(self.undo.is_on, "the caller began it");
        for shard in &self.undo.shards {
            self.undo.spare.push(self.leases.shard(*shard).commit());
        }
        if self.undo.has_tried {
            // What is recorded next may be under leases that were not held when the group drew its ticket.
            self.journal.publish(&self.shared.journal);
        }
        self.release_calls();
        if self.changes.is_listened() || !self.undo.left.is_empty() {
            self.release_left();
        }
        self.undo.clear();
    }

    fn release_calls(&mut self) {
        for Call { row, ns, has_failed } in self.undo.calls.drain(..) {
            self.stats.count_calls(row, 1, ns);
            self.stats.commands[usize::from(row)].failed.add(has_failed.into());
        }
        self.undo.errors.drain(..).for_each(|text| self.stats.count_error(&text));
    }

    /// Releases events and what others get in the order in which they came.
    #[cold]
    fn release_left(&mut self) {
        for (events, left) in std::mem::take(&mut self.undo.left) {
            self.tell_events(events);
            match left {
                Left::Message { kind, hash, channel, payload } => {
                    self.send(kind, hash, &channel, &payload);
                }
                Left::Read { db, hash, key } => self.note_read(db, hash, &key),
            }
        }
        self.tell_events(usize::MAX);
    }

    /// Tells those who track keys or are notified of the unit's first `until` events.
    fn tell_events(&mut self, until: usize) {
        if self.shared.pubsub.tracking.is_on() {
            self.invalidate_changed(until);
        }
        let notified = self.config.notify_keyspace_events;
        notify(self.changes, self.shared, notified, until, self.effects);
    }

    /// A command of an undoable script has run: what it changed and read is kept.
    #[cold]
    pub(super) fn keep_reads(&mut self, row: &Row, args: &Args<'_>) {
        let notes = self.session.tracking.as_ref().is_some_and(|tracking| tracking.notes_reads());
        if !notes || !row.command.flags.has(Flags::READONLY) {
            return;
        }
        let (events, db) = (self.changes.event_count(), self.session.db);
        let mut hashes = args.hashes().iter();
        // Keys that do not add up were refused by the command.
        let _ = each_key(row, args, |index| {
            let key = args.at(index);
            let hash = hashes.next().copied().unwrap_or_else(|| self.shared.keyspace.hash(key));
            self.undo.left.push((events, Left::Read { db, hash, key: key.into() }));
        });
    }

    /// Publishes a message, now or with all else that a script leaves; how many get it.
    pub fn publish(&mut self, kind: SubscriptionKind, hash: u64, channel: &[u8], payload: &[u8]) -> u64 {
        if !self.undo.is_on {
            return self.send(kind, hash, channel, payload);
        }
        let events = self.changes.event_count();
        let reached = self.shared.pubsub.reached(kind, hash, channel);
        let message = Left::Message { kind, hash, channel: channel.into(), payload: payload.into() };
        self.undo.left.push((events, message));
        reached
    }

    fn send(&mut self, kind: SubscriptionKind, hash: u64, channel: &[u8], payload: &[u8]) -> u64 {
        let effects = &mut *self.effects;
        self.shared.pubsub.publish(kind, hash, channel, payload, |worker, place, message| {
            effects.push(Effect::Publish { worker, place, message });
        })
    }

    /// Counts a command that a script has run.
    #[inline]
    pub fn count_call(&mut self, row: u16, ns: u64, has_failed: bool) {
        self.undo.calls.push(Call { row, ns, has_failed });
        if !self.undo.is_on {
            self.release_calls();
        }
    }

    /// Counts an error that a script has met, by its first word.
    #[cold]
    pub fn count_error(&mut self, text: &str) {
        self.undo.errors.push(text.split(' ').next().unwrap_or(text).into());
        if !self.undo.is_on {
            self.release_calls();
        }
    }

    fn counters(&self) -> [u64; COUNTERS] {
        let counters = &self.stats.counters;
        [
            &counters.keyspace_hits,
            &counters.keyspace_misses,
            &counters.expired_keys,
            &counters.expired_subkeys,
        ]
        .map(|counter| counter.read())
    }

    fn set_counters(&self, before: [u64; COUNTERS]) {
        let counters = &self.stats.counters;
        let [hits, misses, keys, subkeys] = before;
        counters.keyspace_hits.set(hits);
        counters.keyspace_misses.set(misses);
        counters.expired_keys.set(keys);
        counters.expired_subkeys.set(subkeys);
    }
}

#[cfg(test)]
#[path = "undo_tests.rs"]
mod tests;
