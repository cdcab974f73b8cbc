//! The shard: a part of the keyspace, with all databases' tables for it, its memory and its counters.
//!
//! Design: whoever holds the shard's lease has it to itself, so all of this is plain sequential code. Database 0 lies in
//! the shard, the others are made when first used. Reading expires lazily; writing goes through `KeyMut`.
//!
//! Costs: an empty shard takes a few hundred bytes. Reads write nothing to memory but the access clock, if it changed: a
//! shard that several workers read stays in all their caches.
//!
//! Who listens to changes (recording, watchers, waiters) is told from `note`: one branch where nobody does.
//!
//! Not here: leases (`keyspace`), the guard (`key_mut`), what a command means by all this.
#![expect(unsafe_code, reason = "touches entries found in tables")]

use std::sync::Arc;

use super::changes::{ChangeKind, Changes};
use super::db::{Db, Hashes, due_tick, entry_of, now_tick, pointer_of, tick_ms};
use super::entry::Entry;
use super::entry::EntryPtr;
use super::eviction::Touch;
use super::hash::KeyHasher;
use super::heap::Heap;
use super::key_mut::KeyMut;
use super::pool::POOL;
use super::table::{Place, Probe, Verdict};
use super::waiters::Waiters;
use super::watchers::{WatchFlag, Watchers};
use super::{DbIndex, table};

/// Steps of a scan for each key asked for, so that an almost empty table does not make it long.
const SCAN_STEPS_PER_KEY: usize = 10;

/// Counters of a shard since it was made (or since `reset`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// Keys removed because their deadline had come.
    pub expired: u64,
}

/// Where a shard's memory is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardMemory {
    /// Entries with their values.
    pub entries_bytes: u64,
    /// Of these, large values.
    pub blobs_bytes: u64,
    /// Directories and segments.
    pub table_bytes: u64,
    /// Room in slab pages that no entry uses.
    pub slab_overhead_bytes: u64,
}

/// What a flush took away. Its memory is freed by `Shard::free_discarded`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discarded {
    /// The number of keys.
    pub keys: u64,
}

/// How far a round of active expiry came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpireProgress {
    /// Entries looked at.
    pub visited: usize,
    /// Keys removed.
    pub expired: usize,
    /// Whether nothing that is due is left.
    pub done: bool,
}

/// A part of the keyspace.
pub struct Shard {
    first: Db,
    others: Vec<Option<Box<Db>>>,
    heap: Heap,
    hasher: KeyHasher,
    /// Counters, for INFO.
    pub stats: ShardStats,
    changes: Changes,
    watchers: Watchers,
    dirty: u64,
    pub(super) listeners: Listeners,
    pub(super) waiters: Option<Box<Waiters>>,
    discarded: Vec<Db>,
    expire_db: u16,
    expire_position: u64,
    evacuation: Evacuation,
}

/// Who wants to know of a shard's changes, in one byte, so that a write asks once for all of them.
#[derive(Clone, Copy, Default)]
pub(super) struct Listeners(u8);

impl Listeners {
    /// Changes are recorded.
    pub const RECORDING: u8 = 1 << 0;
    /// Somebody waits for a key.
    pub const WAITERS: u8 = 1 << 1;
    /// A key that somebody waits for is listed as ready.
    pub const READY: u8 = 1 << 2;
    /// Somebody watches a key.
    pub const WATCHERS: u8 = 1 << 3;

    #[inline]
    pub fn has(self, bits: u8) -> bool {
        self.0 & bits != 0
    }

    pub fn set(&mut self, bits: u8, on: bool) {
        self.0 = if on { self.0 | bits } else { self.0 & !bits };
    }
}

/// How far this shard's segments have been moved out of a chunk of the pool.
#[derive(Clone, Copy, Default)]
struct Evacuation {
    number: u64,
    db: u16,
    position: u64,
}

// SAFETY: a shard owns its tables, entries and slabs; no pointer of it is known outside but through borrows of it.
unsafe impl Send for Shard {}

impl Shard {
    /// An empty shard with so many databases.
    pub fn new(databases: usize, hasher: KeyHasher) -> Shard {
        assert!((1..=usize::from(u16::MAX)).contains(&databases));
        let mut others = Vec::new();
        others.resize_with(databases - 1, || None);
        Shard {
            first: Db::new(),
            others,
            heap: Heap::new(),
            hasher,
            stats: ShardStats::default(),
            changes: Changes::new(),
            watchers: Watchers::default(),
            dirty: 0,
            listeners: Listeners::default(),
            waiters: None,
            discarded: Vec::new(),
            expire_db: 0,
            expire_position: 0,
            evacuation: Evacuation::default(),
        }
    }

    /// Where the search for a key begins; nowhere in an empty database.
    #[inline]
    pub(super) fn probe(&self, db: DbIndex, hash: u64) -> Option<Probe<'_>> {
        self.db(db)?.table.probe(hash)
    }

    /// Finds a key for reading. One whose deadline has come is removed. `touch` is left on the access clock.
    #[inline(always)]
    pub fn read(&mut self, db: DbIndex, hash: u64, key: &[u8], now_ms: u64, touch: Touch) -> Option<&Entry> {
        let (_, pointer) = self.find_alive(db, hash, key, now_ms)?;
        if touch != Touch::None {
            // SAFETY: the entry is in the table, and the reference ends here.
            let clock = touch.apply(unsafe { pointer.entry() }.clock());
            // SAFETY: the shard is borrowed mutably, so nobody has a reference to the entry.
            unsafe { pointer.set_clock(clock) };
        }
        // SAFETY: the entry is in the table; who changes or frees it needs the shard, which the result borrows.
        Some(unsafe { pointer.entry() })
    }

    /// Finds a key without any effect; also one whose deadline has come.
    #[inline]
    pub fn peek(&self, db: DbIndex, hash: u64, key: &[u8]) -> Option<&Entry> {
        let db = self.db(db)?;
        db.find(hash, key).map(|(place, _)| db.entry(place))
    }

    /// Gives access to a key, present or absent, for changing it. One whose deadline has come is removed first.
    #[inline]
    pub fn write<'a>(&'a mut self, db: DbIndex, hash: u64, key: &'a [u8], now_ms: u64) -> KeyMut<'a> {
        let found = self.find_alive(db, hash, key, now_ms);
        KeyMut::new(self, db, hash, key, found, now_ms)
    }

    /// The number of keys, those included whose deadline has come unnoticed.
    pub fn len(&self, db: DbIndex) -> u64 {
        self.db(db).map_or(0, |db| db.table.len())
    }

    /// The number of keys with a deadline.
    pub fn expires(&self, db: DbIndex) -> u64 {
        self.db(db).map_or(0, |db| db.expires)
    }

    /// The sum of all deadlines of a database: with `expires`, the average time to live.
    pub fn deadline_sum(&self, db: DbIndex) -> u128 {
        self.db(db).map_or(0, |db| db.deadline_sum)
    }

    /// The average time to live of the keys with a deadline, in milliseconds.
    pub fn ttl_ms_average(&self, db: DbIndex, now_ms: u64) -> u64 {
        let (expires, sum) = (u128::from(self.expires(db)), self.deadline_sum(db));
        sum.checked_div(expires).map_or(0, |average| (average as u64).saturating_sub(now_ms))
    }

    /// Emits about `budget_keys` entries from a position on (0 is the beginning), and returns where to go on. Every
    /// key that exists from the first call to the last is emitted; none twice. The low 12 bits of positions are zero.
    pub fn scan(
        &self,
        db: DbIndex,
        position: u64,
        budget_keys: usize,
        emit: &mut dyn FnMut(&Entry),
    ) -> Option<u64> {
        let db = self.db(db)?;
        let mut emitted = 0;
        let mut position = position;
        for _ in 0..budget_keys.saturating_mul(SCAN_STEPS_PER_KEY).max(1) {
            position = db.table.scan_step(position, &Hashes(&self.hasher), |item| {
                emitted += 1;
                emit(entry_of(&item));
            })?;
            if emitted >= budget_keys {
                break;
            }
        }
        Some(position)
    }

    /// Calls back for every entry of a database.
    pub fn for_each(&self, db: DbIndex, mut f: impl FnMut(&Entry)) {
        if let Some(db) = self.db(db) {
            db.table.for_each(|item| f(entry_of(&item)));
        }
    }

    /// An entry drawn at random, nearly evenly; its deadline may have come.
    pub fn random(&self, db: DbIndex, seed: u64) -> Option<&Entry> {
        let item = self.db(db)?.table.random(seed)?;
        // SAFETY: the entry is in the table, and stays while the shard is borrowed.
        Some(unsafe { pointer_of(item).entry() })
    }

    /// Calls back for up to `count` neighbouring entries, from a random place on: candidates for eviction.
    pub fn sample(&self, db: DbIndex, seed: u64, count: usize, f: &mut dyn FnMut(&Entry)) {
        if let Some(db) = self.db(db) {
            db.table.sample(seed, count, |item| f(entry_of(&item)));
        }
    }

    /// Empties a database in O(1). The memory is freed by `free_discarded`, and counted until then.
    pub fn flush(&mut self, db: DbIndex) -> Discarded {
        let keys = self.len(db);
        if keys > 0 {
            self.touch_watched(&[db]);
            let (db, _, _) = self.parts(db);
            let emptied = std::mem::take(db);
            self.discarded.push(emptied);
            self.dirty += keys;
        }
        Discarded { keys }
    }

    /// Empties all databases, as `flush` does.
    pub fn flush_all(&mut self) -> Discarded {
        let all = 0..=self.others.len() as u16;
        Discarded { keys: all.map(|db| self.flush(DbIndex(db)).keys).sum() }
    }

    /// Frees about `budget` of the discarded entries and pieces of huge values; true when none is left.
    pub fn free_discarded(&mut self, budget: usize) -> bool {
        let mut left = budget;
        while let Some(db) = self.discarded.last_mut() {
            let before = db.table.len();
            if !db.drain(left, &mut self.heap) {
                return false;
            }
            left = left.saturating_sub(before as usize);
            self.discarded.pop();
        }
        self.heap.free_trash(left);
        !self.heap.has_trash()
    }

    /// Exchanges the contents of two databases.
    pub fn swap_dbs(&mut self, a: DbIndex, b: DbIndex) {
        if a != b && self.len(a) + self.len(b) > 0 {
            self.touch_watched(&[a, b]);
            let taken = std::mem::take(self.parts(a).0);
            let other = std::mem::replace(self.parts(b).0, taken);
            *self.parts(a).0 = other;
            self.list_swapped(a, b);
        }
    }

    /// Removes keys whose deadline has come, looking at about `budget_entries`; the next call goes on where this one
    /// ended. Calls back before each removal.
    pub fn expire_due(
        &mut self,
        now_ms: u64,
        budget_entries: usize,
        on_expired: &mut dyn FnMut(DbIndex, &[u8]),
    ) -> ExpireProgress {
        let mut progress = ExpireProgress::default();
        let databases = self.others.len() as u16 + 1;
        for _ in 0..databases {
            if progress.visited >= budget_entries {
                return progress;
            }
            let db = DbIndex(self.expire_db);
            let left = budget_entries - progress.visited;
            if self.expires(db) > 0 && !self.expire_in(db, now_ms, left, &mut progress, on_expired) {
                return progress;
            }
            self.expire_position = 0;
            self.expire_db = (self.expire_db + 1) % databases;
        }
        progress.done = true;
        progress
    }

    /// Before this time `expire_due` finds nothing, unless the shard is written to; Unix time in ms.
    pub fn expire_due_ms(&self) -> u64 {
        let due = |db: &Db| if db.expires > 0 { tick_ms(db.table.due()) } else { u64::MAX };
        self.all_dbs().map(due).min().unwrap_or(u64::MAX)
    }

    /// A slice of the shard's own upkeep, which takes about as long as touching so many entries: frees what was flushed,
    /// helps to empty sparse chunks of the pool. True when there is nothing left to do.
    pub fn upkeep(&mut self, budget_entries: usize) -> bool {
        if self.listeners.has(Listeners::WATCHERS) {
            self.watchers.sweep();
            self.recount_watchers();
        }
        if !self.free_discarded(budget_entries) {
            return false;
        }
        let Some((number, from)) = POOL.evacuation() else { return true };
        if number != self.evacuation.number {
            self.evacuation = Evacuation { number, db: 0, position: 0 };
        }
        let Evacuation { db, position, .. } = self.evacuation;
        if usize::from(db) >= self.databases() {
            return true;
        }
        let found = match usize::from(db) {
            0 => Some(&mut self.first),
            index => self.others[index - 1].as_deref_mut(),
        };
        match found.and_then(|found| found.table.evacuate(position, &from, budget_entries)) {
            Some(position) => self.evacuation.position = position,
            None => self.evacuation = Evacuation { db: db + 1, position: 0, ..self.evacuation },
        }
        false
    }

    /// Whether memory of flushed databases or of huge values is still to be freed.
    pub fn has_discarded(&self) -> bool {
        !self.discarded.is_empty() || self.heap.has_trash()
    }

    /// Whether `upkeep` has something to do.
    #[inline]
    pub fn upkeep_due(&self) -> bool {
        let Evacuation { number, db, .. } = self.evacuation;
        self.has_discarded()
            || POOL
                .evacuation()
                .is_some_and(|(current, _)| current != number || usize::from(db) < self.databases())
    }

    /// The number of databases.
    pub fn databases(&self) -> usize {
        self.others.len() + 1
    }

    /// Changes since the shard was made: one for each key changed by a command.
    pub fn dirty(&self) -> u64 {
        self.dirty
    }

    /// Starts or stops recording changes; what was recorded stays until drained.
    pub fn record_changes(&mut self, on: bool) {
        self.listeners.set(Listeners::RECORDING, on);
        self.changes.set_recording(on);
    }

    /// What commands changed, if recording is on.
    pub fn changes(&mut self) -> &mut Changes {
        &mut self.changes
    }

    /// Bytes that the shard occupies: entries, values and tables.
    pub fn used_bytes(&self) -> u64 {
        self.heap.bytes_used() + self.table_bytes()
    }

    /// Where the memory is.
    pub fn memory(&self) -> ShardMemory {
        let entries_bytes = self.heap.bytes_used();
        let blobs_bytes = self.heap.blob_bytes();
        ShardMemory {
            entries_bytes,
            blobs_bytes,
            table_bytes: self.table_bytes(),
            slab_overhead_bytes: (self.heap.bytes_reserved() + blobs_bytes).saturating_sub(entries_bytes),
        }
    }

    /// Segments and slots of a database's table.
    pub fn table_capacity(&self, db: DbIndex) -> (u64, u64) {
        self.db(db).map_or((0, 0), |db| db.table.capacity())
    }

    /// Checks the structures against each other; for tests and DEBUG.
    pub fn check_invariants(&self) {
        self.heap.check_invariants();
        self.check_waiters();
        let mut bytes = 0;
        for db in self.all_dbs() {
            db.check_invariants(&self.hasher);
        }
        for db in self.all_dbs().chain(&self.discarded) {
            db.table.for_each(|item| bytes += entry_of(&item).bytes_allocated() as u64);
        }
        assert_eq!(bytes + self.heap.trash_bytes(), self.heap.bytes_used());
    }

    #[inline]
    pub(super) fn db(&self, db: DbIndex) -> Option<&Db> {
        match usize::from(db.0) {
            0 => Some(&self.first),
            index => self.others[index - 1].as_deref(),
        }
    }

    /// A database and what it needs to change.
    #[inline]
    pub(super) fn parts(&mut self, db: DbIndex) -> (&mut Db, &mut Heap, &KeyHasher) {
        let found = match usize::from(db.0) {
            0 => &mut self.first,
            index => self.others[index - 1].get_or_insert_default(),
        };
        (found, &mut self.heap, &self.hasher)
    }

    #[inline]
    pub(super) fn note_change(&mut self, kind: ChangeKind, db: DbIndex, hash: u64, key: &[u8]) {
        self.dirty += 1;
        self.note(kind, db, hash, key);
    }

    /// Tells whoever listens of a change.
    #[inline]
    pub(super) fn note(&mut self, kind: ChangeKind, db: DbIndex, hash: u64, key: &[u8]) {
        if self.listeners.0 != 0 {
            self.tell_listeners(kind, db, hash, key);
        }
    }

    #[cold]
    fn tell_listeners(&mut self, kind: ChangeKind, db: DbIndex, hash: u64, key: &[u8]) {
        self.changes.note(kind, db, hash, key);
        if kind == ChangeKind::Set {
            self.list_ready(db, hash);
        }
        if self.listeners.has(Listeners::WATCHERS) {
            self.watchers.touch(db, hash, key);
            self.recount_watchers();
        }
    }

    /// These databases are about to be emptied or exchanged: that changes every watched key that is in one of them, under
    /// whichever of their numbers it is watched.
    fn touch_watched(&mut self, dbs: &[DbIndex]) {
        if !self.listeners.has(Listeners::WATCHERS) {
            return;
        }
        let mut watchers = std::mem::take(&mut self.watchers);
        watchers.touch_where(|db, hash, key| {
            let there = |db: &DbIndex| self.db(*db).is_some_and(|db| db.find(hash, key).is_some());
            dbs.contains(&db) && dbs.iter().any(there)
        });
        self.watchers = watchers;
        self.recount_watchers();
    }

    /// Raises `flag` when this key changes, until it has been raised or has ended.
    pub fn watch(&mut self, db: DbIndex, hash: u64, key: &[u8], flag: &Arc<WatchFlag>) {
        self.watchers.add(db, hash, key, flag);
        self.recount_watchers();
    }

    /// Forgets about `flag`, where it was registered under this hash.
    pub fn unwatch(&mut self, hash: u64, flag: &Arc<WatchFlag>) {
        self.watchers.remove(hash, flag);
        self.recount_watchers();
    }

    fn recount_watchers(&mut self) {
        self.listeners.set(Listeners::WATCHERS, !self.watchers.is_empty());
    }

    #[inline(always)]
    fn find_alive(&mut self, db: DbIndex, hash: u64, key: &[u8], now_ms: u64) -> Option<(Place, EntryPtr)> {
        let found = self.db(db)?;
        let (place, pointer) = found.find(hash, key)?;
        // SAFETY: the entry is in the table, and the reference ends here.
        if unsafe { pointer.entry() }.is_expired(now_ms) {
            self.expire(db, place, hash, key);
            return None;
        }
        Some((place, pointer))
    }

    #[cold]
    fn expire(&mut self, db: DbIndex, place: Place, hash: u64, key: &[u8]) {
        let (found, heap, hasher) = self.parts(db);
        found.remove(place, hash, hasher, heap);
        self.stats.expired += 1;
        self.note(ChangeKind::Expired, db, hash, key);
    }

    /// Expires keys of one database; true when it is through with it.
    fn expire_in(
        &mut self,
        db: DbIndex,
        now_ms: u64,
        budget: usize,
        progress: &mut ExpireProgress,
        on_expired: &mut dyn FnMut(DbIndex, &[u8]),
    ) -> bool {
        let position = self.expire_position;
        let Shard { first, others, heap, hasher, changes, watchers, .. } = self;
        let found = match usize::from(db.0) {
            0 => first,
            index => others[index - 1].get_or_insert_default(),
        };
        let (mut expired, mut sum) = (0, 0);
        let visit = found.table.visit_due(position, now_tick(now_ms), budget, &Hashes(hasher), |item| {
            let entry = entry_of(&item);
            let deadline = entry.deadline();
            let Some(deadline_ms) = deadline.filter(|deadline_ms| *deadline_ms <= now_ms) else {
                return Verdict::Keep(due_tick(deadline));
            };
            let hash = hasher.hash(entry.key());
            on_expired(db, entry.key());
            changes.note(ChangeKind::Expired, db, hash, entry.key());
            if !watchers.is_empty() {
                watchers.touch(db, hash, entry.key());
            }
            expired += 1;
            sum += u128::from(deadline_ms);
            // SAFETY: the table forgets the entry on this verdict, and does not look at it again.
            unsafe { heap.destroy(pointer_of(item)) };
            Verdict::Remove(hash)
        });
        found.expires -= expired;
        found.deadline_sum -= sum;
        self.stats.expired += expired;
        self.expire_position = visit.position;
        progress.visited += visit.visited;
        progress.expired += expired as usize;
        visit.done
    }

    fn table_bytes(&self) -> u64 {
        self.all_dbs().chain(&self.discarded).map(|db| db.table.bytes()).sum()
    }

    fn all_dbs(&self) -> impl Iterator<Item = &Db> {
        std::iter::once(&self.first).chain(self.others.iter().flatten().map(|db| &**db))
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.flush_all();
        self.free_discarded(usize::MAX);
        assert_eq!(self.heap.bytes_used(), 0, "every entry was in a table");
    }
}

const _: () = assert!(size_of::<Shard>() <= 512);
const _: () = assert!(table::NEVER == u32::MAX);

#[cfg(test)]
#[path = "shard_tests.rs"]
mod tests;
