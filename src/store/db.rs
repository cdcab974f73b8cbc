//! One database's part of a shard: a table of entries and the sums over their deadlines.
//!
//! Invariants:
//! - every item of the table is an entry of the shard's heap, found under the hash of its key;
//! - `expires` and `deadline_sum` count exactly the entries that have a deadline, `expires_inside` those in whose values something
//!   has one.
//!
//! Not here: expiry on access and the accounting of changes (`shard`, `key_mut`).
#![expect(unsafe_code, reason = "gives out references to the entries that a table points to")]

use super::entry::{Entry, EntryPtr};
use super::hash::KeyHasher;
use super::heap::Heap;
use super::snapshot::Unsaved;
use super::table::{Item, Items, NEVER, Place, Table, Tick};

/// The beginning of the coarse time of the tables: 2025-01-01, in milliseconds since 1970.
const TICK_BASE_MS: u64 = 1_735_689_600_000;
/// The step of that time. Active expiry may be late by as much; 2^32 of them last until 2059.
const TICK_MS: u64 = 256;

/// The first tick at which a deadline has certainly come.
#[inline]
pub(super) fn due_tick(deadline: Option<u64>) -> Tick {
    let Some(deadline_ms) = deadline else { return NEVER };
    let ticks = deadline_ms.saturating_sub(TICK_BASE_MS).div_ceil(TICK_MS);
    ticks.min(u64::from(NEVER - 1)) as Tick
}

/// The tick that has begun last.
pub(super) fn now_tick(now_ms: u64) -> Tick {
    (now_ms.saturating_sub(TICK_BASE_MS) / TICK_MS).min(u64::from(NEVER - 1)) as Tick
}

/// When a tick begins, Unix time in ms.
pub(super) fn tick_ms(tick: Tick) -> u64 {
    if tick == NEVER { u64::MAX } else { TICK_BASE_MS + u64::from(tick) * TICK_MS }
}

/// Tells tables about entries.
pub(super) struct Hashes<'a>(pub &'a KeyHasher);

impl Items for Hashes<'_> {
    #[inline]
    fn hash(&self, item: Item) -> u64 {
        self.0.hash(entry_of(&item).key())
    }

    #[inline]
    fn due(&self, item: Item) -> Tick {
        due_tick(entry_of(&item).due())
    }
}

/// The entry that a table's item is. The result must not outlive the table's borrow, nor the entry.
#[inline]
pub(super) fn entry_of(item: &Item) -> Entry<'_> {
    // SAFETY: the tables of this module's parent hold only entries, which live until they are taken out.
    unsafe { pointer_of(*item).entry() }
}

#[inline]
pub(super) fn pointer_of(item: Item) -> EntryPtr {
    // SAFETY: as above.
    unsafe { EntryPtr::new(item) }
}

/// A table of entries.
#[derive(Default)]
pub(super) struct Db {
    pub table: Table,
    pub expires: u64,
    pub expires_inside: u64,
    pub deadline_sum: u128,
    /// The walk of a snapshot that has not come to its end.
    pub unsaved: Option<Unsaved>,
}

impl Db {
    pub const fn new() -> Db {
        Db { table: Table::new(), expires: 0, expires_inside: 0, deadline_sum: 0, unsaved: None }
    }

    #[inline(always)]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<(Place, EntryPtr)> {
        let (place, item) = self.table.find(hash, |item| entry_of(&item).has_key(key))?;
        Some((place, pointer_of(item)))
    }

    #[inline]
    pub fn pointer(&self, place: Place) -> EntryPtr {
        pointer_of(self.table.item(place))
    }

    #[inline]
    pub fn entry(&self, place: Place) -> Entry<'_> {
        let pointer = self.pointer(place);
        // SAFETY: the entry is in the table, and whoever changes or frees it needs the database mutably.
        unsafe { pointer.entry() }
    }

    /// Counts that an entry's deadline changed, or that it came (before is none) or went (after is none).
    #[inline]
    pub fn recount_deadline(&mut self, before: Option<u64>, after: Option<u64>) {
        if let Some(deadline_ms) = before {
            self.expires -= 1;
            self.deadline_sum -= u128::from(deadline_ms);
        }
        if let Some(deadline_ms) = after {
            self.expires += 1;
            self.deadline_sum += u128::from(deadline_ms);
        }
    }

    /// Counts that something expires inside of an entry's value, or no longer.
    #[inline]
    pub fn recount_inside(&mut self, before: bool, after: bool) {
        self.expires_inside = self.expires_inside - u64::from(before) + u64::from(after);
    }

    /// Whether there is anything that active expiry may have to do.
    #[inline]
    pub fn has_due(&self) -> bool {
        self.expires + self.expires_inside > 0
    }

    /// Takes an entry out of the table, with its counts. It is the caller's now.
    pub fn detach(&mut self, place: Place, hash: u64, hasher: &KeyHasher) -> EntryPtr {
        let entry = self.entry(place);
        let (before, inside) = (entry.deadline(), entry.expires_inside());
        self.recount_deadline(before, None);
        self.recount_inside(inside, false);
        let item = self.table.remove(place, hash);
        self.table.shrink(hash, &Hashes(hasher));
        pointer_of(item)
    }

    /// Removes an entry for good.
    pub fn remove(&mut self, place: Place, hash: u64, hasher: &KeyHasher, heap: &mut Heap) {
        let pointer = self.detach(place, hash, hasher);
        // SAFETY: the entry is out of the table, and references to it would have borrowed the database.
        unsafe { heap.destroy(pointer) };
    }

    /// Removes about `budget` entries without looking at them closely; true when none is left.
    pub fn drain(&mut self, budget: usize, heap: &mut Heap) -> bool {
        let done = self.table.drain(budget, |item| {
            // SAFETY: the table forgets the entry.
            unsafe { heap.destroy(pointer_of(item)) };
        });
        if done {
            *self = Db::new();
        }
        done
    }

    pub fn check_invariants(&self, hasher: &KeyHasher) {
        self.table.check_invariants(&Hashes(hasher));
        let (mut expires, mut sum, mut inside) = (0, 0, 0);
        self.table.for_each(|item| {
            inside += u64::from(entry_of(&item).expires_inside());
            if let Some(deadline_ms) = entry_of(&item).deadline() {
                expires += 1;
                sum += u128::from(deadline_ms);
            }
        });
        assert_eq!((expires, sum, inside), (self.expires, self.deadline_sum, self.expires_inside));
    }
}
