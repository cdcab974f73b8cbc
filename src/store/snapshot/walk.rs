//! A shard's part of a snapshot: its walk, and what is handed over before it changes.
//!
//! Not here: who calls this (`key_mut`, `shard`), the blocks (`block`).
#![expect(unsafe_code, reason = "marks entries, and shares what they own")]

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::super::DbIndex;
use super::super::db::{Hashes, entry_of, pointer_of};
use super::super::entry::{Entry, EntryPtr};
use super::super::shard::{Listeners, Shard};
use super::{BLOCK_BYTES, Block, Snapshot};

/// From so many bytes on nobody copies a large value that the snapshot shares: who writes to it waits until it is saved. That
/// many are copied in about as long as a few commands take.
const LENT_BYTES_MIN: u64 = 64 << 10;
/// What a large value is counted as while the snapshot has it, at most: more is not copied.
const EXTERNAL_BYTES_MAX: u64 = LENT_BYTES_MIN;

/// The walk of a database that has one: what it had at the cut at this hash or behind has not been saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Unsaved {
    /// Its number at the cut.
    number: DbIndex,
    position: u64,
}

impl Unsaved {
    #[inline]
    pub fn covers(self, hash: u64) -> bool {
        hash >= self.position
    }
}

/// A shard's snapshot, if there is one, and what was handed over to it and has not gone to the thread.
#[derive(Default)]
pub(in super::super) struct Saving {
    snapshot: Option<Arc<Snapshot>>,
    /// What goes to the thread next; none while nothing does, so that a shard has but a pointer.
    block: Option<Box<Block>>,
    /// The last snapshot that was given large values to which nobody may write before they are saved.
    lent_to: Option<Arc<Snapshot>>,
}

impl Saving {
    /// The snapshot that the shard is walked for.
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// Whether nothing more may be handed over but what has to be.
    pub fn is_at_limit(&self) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| snapshot.is_at_limit())
    }

    /// Whether an entry has a large value that the snapshot has too, so that nobody writes to it.
    pub fn is_lent(&self, entry: Entry<'_>) -> bool {
        let is_large = entry.is_shared() && entry.external_bytes() >= LENT_BYTES_MIN;
        is_large && self.lent_to.as_ref().is_some_and(|snapshot| snapshot.lends())
    }

    /// An entry that nobody has a reference to is about to change or to go: its picture goes to the snapshot, unless that has it. Says
    /// also that the walk is to pass over what is there afterwards.
    #[cold]
    pub fn hand_over(&mut self, unsaved: Option<Unsaved>, hash: u64, pointer: EntryPtr) {
        let Some(unsaved) = unsaved.filter(|unsaved| unsaved.covers(hash)) else { return };
        // SAFETY: the caller found it in a table; the reference ends with this.
        if unsafe { pointer.entry() }.is_passed_over() {
            return;
        }
        self.add(unsaved.number, pointer);
        // SAFETY: nobody has a reference to the entry.
        unsafe { pointer.set_passed_over(true) };
    }

    /// The walk has come to an entry that nobody has a reference to.
    fn pass(&mut self, number: DbIndex, pointer: EntryPtr) {
        // SAFETY: the entry is in a table; the reference ends with this.
        if unsafe { pointer.entry() }.is_passed_over() {
            // SAFETY: nobody has a reference to the entry.
            unsafe { pointer.set_passed_over(false) };
        } else {
            self.add(number, pointer);
        }
    }

    fn add(&mut self, number: DbIndex, pointer: EntryPtr) {
        let Some(snapshot) = self.snapshot.as_ref().filter(|snapshot| !snapshot.is_over()) else { return };
        let block = self.block.get_or_insert_default();
        let before = block.bytes();
        // SAFETY: nobody has a reference to the entry.
        let shared = unsafe { pointer.share_external() };
        if let Some(shared) = &shared {
            let allocated = shared.allocated();
            let is_lent = allocated >= LENT_BYTES_MIN;
            block.note_external(allocated.min(EXTERNAL_BYTES_MAX), is_lent);
            if is_lent {
                snapshot.lent_count.fetch_add(1, Relaxed);
                self.lent_to = Some(Arc::clone(snapshot));
            }
        }
        // SAFETY: nobody changes the entry meanwhile.
        block.push(number, unsafe { pointer.entry() }, shared);
        let after = block.bytes();
        snapshot.held_bytes.fetch_add(after - before, Relaxed);
        if after >= BLOCK_BYTES {
            self.send();
        }
    }

    /// Gives the thread what was handed over.
    fn send(&mut self) {
        if let (Some(snapshot), Some(block)) = (&self.snapshot, self.block.take()) {
            snapshot.send(*block);
        }
    }

    /// The shard has been walked.
    fn end(&mut self) {
        self.send();
        if let Some(snapshot) = self.snapshot.take() {
            snapshot.end_shard();
        }
    }
}

impl Shard {
    /// The cut, at which all leases are held: all that the shard has now is the snapshot's.
    pub fn begin_snapshot(&mut self, snapshot: &Arc<Snapshot>) {
        assert!(self.saving.snapshot.is_none(), "one snapshot at a time");
        let mut keys = 0;
        for (number, db) in self.dbs.iter_numbered_mut() {
            assert!(db.unsaved.is_none(), "the last walk has ended");
            let len = db.table.len();
            if len > 0 {
                db.unsaved = Some(Unsaved { number, position: 0 });
                keys += len;
            }
        }
        if keys == 0 {
            snapshot.end_shard();
            return;
        }
        snapshot.keys_total.fetch_add(keys, Relaxed);
        self.saving.snapshot = Some(Arc::clone(snapshot));
        self.listeners.set(Listeners::SNAPSHOT, true);
    }

    /// Whether the shard has a snapshot to be walked.
    #[inline]
    pub fn is_walked_on(&self) -> bool {
        self.listeners.has(Listeners::SNAPSHOT)
    }

    /// Goes on with the walk: about as many entries; true when it has ended, or there is none.
    pub fn walk(&mut self, budget: usize) -> bool {
        if !self.is_walked_on() {
            return true;
        }
        self.end_walks_of_discarded();
        let Shard { dbs, discarded, hasher, saving, .. } = self;
        let mut left = budget;
        for db in discarded.iter_mut().chain(dbs.iter_mut()) {
            while let Some(unsaved) = db.unsaved {
                if left == 0 {
                    return false;
                }
                let mut passed = 0;
                let next = db.table.scan_step(unsaved.position, &Hashes(hasher), |item| {
                    passed += 1;
                    saving.pass(unsaved.number, pointer_of(item));
                });
                left = left.saturating_sub(passed.max(1));
                db.unsaved = next.map(|position| Unsaved { position, ..unsaved });
            }
        }
        self.saving.end();
        self.listeners.set(Listeners::SNAPSHOT, false);
        self.listeners.set(Listeners::LENT, self.saving.lent_to.is_some());
        true
    }

    /// Hands an entry of a database over before it changes.
    #[cold]
    pub(in super::super) fn hand_over(&mut self, db: DbIndex, hash: u64, pointer: EntryPtr) {
        let unsaved = self.dbs.get(db).and_then(|db| db.unsaved);
        self.saving.hand_over(unsaved, hash, pointer);
    }

    /// An entry that nobody has a reference to is new or has changed, and what was there before is the snapshot's.
    #[cold]
    pub(in super::super) fn pass_over(&mut self, db: DbIndex, hash: u64, pointer: EntryPtr) {
        let unsaved = self.dbs.get(db).and_then(|db| db.unsaved);
        if unsaved.is_some_and(|unsaved| unsaved.covers(hash)) {
            // SAFETY: the caller found it in a table, and has no reference to it.
            unsafe { pointer.set_passed_over(true) };
        }
    }

    /// Whether a write to a key with this hash has to wait: as much is held as may be, and the key is not saved yet; or it has
    /// a large value that the snapshot has and that is yet to be written. One that is not saved yet is handed over for that.
    #[inline]
    pub fn must_wait(&mut self, hash: u64) -> bool {
        self.listeners.has(Listeners::SNAPSHOT | Listeners::LENT) && self.must_wait_for_snapshot(hash)
    }

    #[cold]
    fn must_wait_for_snapshot(&mut self, hash: u64) -> bool {
        let Shard { dbs, heap, hasher, saving, listeners, .. } = self;
        if saving.lent_to.as_ref().is_some_and(|snapshot| !snapshot.lends()) {
            saving.lent_to = None;
            listeners.set(Listeners::LENT, false);
        }
        let is_at_limit = saving.is_at_limit();
        let may_hand_over = saving.snapshot.as_ref().is_some_and(|snapshot| !snapshot.is_over());
        if !is_at_limit && heap.blob_bytes() < LENT_BYTES_MIN {
            return false;
        }
        let mut waits = false;
        for db in dbs.iter_mut() {
            let is_it = |item| hasher.hash(entry_of(&item).key()) == hash;
            let Some((_, item)) = db.table.find(hash, is_it) else { continue };
            let (pointer, unsaved) = (pointer_of(item), db.unsaved.filter(|_| may_hand_over));
            let entry = entry_of(&item);
            let is_large = entry.external_bytes() >= LENT_BYTES_MIN;
            let is_unsaved = unsaved.is_some_and(|unsaved| unsaved.covers(hash)) && !entry.is_passed_over();
            if is_unsaved && is_large {
                saving.hand_over(unsaved, hash, pointer);
                saving.send();
            }
            waits |= is_unsaved && (is_at_limit || is_large);
            waits |= saving.is_lent(entry_of(&item));
        }
        listeners.set(Listeners::LENT, saving.lent_to.is_some());
        waits
    }

    /// Whether an entry with this hash is not saved yet and no more should be handed over.
    #[inline]
    pub(in super::super) fn is_held_back(&self, db: DbIndex, hash: u64, entry: Entry<'_>) -> bool {
        let unsaved = || self.dbs.get(db).and_then(|db| db.unsaved);
        self.is_walked_on()
            && self.saving.is_at_limit()
            && !entry.is_passed_over()
            && unsaved().is_some_and(|unsaved| unsaved.covers(hash))
    }

    /// Nothing of what was flushed is saved any more once the snapshot is over.
    pub(in super::super) fn end_walks_of_discarded(&mut self) {
        if self.saving.snapshot.as_ref().is_none_or(|snapshot| snapshot.is_over()) {
            self.discarded.iter_mut().for_each(|db| db.unsaved = None);
        }
    }

    /// The shard goes: nothing of it will be walked.
    pub(in super::super) fn abandon_walk(&mut self) {
        self.dbs.iter_mut().chain(&mut self.discarded).for_each(|db| db.unsaved = None);
        self.saving = Saving::default();
        self.listeners.set(Listeners::SNAPSHOT | Listeners::LENT, false);
    }

    /// Checks the marks; for tests and DEBUG.
    pub(in super::super) fn check_walk(&self) {
        let is_walked_on = self.is_walked_on();
        assert_eq!(is_walked_on, self.saving.snapshot.is_some());
        for (_, db) in self.dbs.iter() {
            assert!(is_walked_on || db.unsaved.is_none());
            db.table.for_each(|item| {
                let entry = entry_of(&item);
                let is_covered = db.unsaved.is_some_and(|unsaved| unsaved.covers(self.hash_of(entry)));
                assert!(is_covered || !entry.is_passed_over(), "a mark is left behind the walk");
            });
        }
    }
}
