//! The shard: a part of the keyspace, with all databases' tables for it, its memory and its counters.
//!
//! Design: whoever holds the shard's lease has it to itself, so all of this is plain sequential code. Reading expires lazily;
//! writing goes through `KeyMut`. Which databases there are is known to `dbs`.
//!
//! Costs: an empty shard takes a few hundred bytes. Reads write nothing to memory but the access clock, if it changed: a
//! shard that several workers read stays in all their caches.
//!
//! Who watches a key or waits for it is told from `note`: one branch where nobody does.
//!
//! Not here: leases (`keyspace`), the guard (`key_mut`), what a command means by all this.
#![expect(unsafe_code, reason = "touches entries found in tables")]

use std::sync::Arc;

use super::changes::ChangeKind;
use super::db::{Db, Hashes, due_tick, entry_of, now_tick, pointer_of, tick_ms};
use super::dbs::Dbs;
use super::entry::Entry;
use super::entry::EntryPtr;
use super::eviction::Touch;
use super::hash::KeyHasher;
use super::heap::Heap;
use super::key_mut::KeyMut;
use super::pool::POOL;
use super::snapshot::Saving;
use super::table::{Item, Place, Probe, Verdict};
use super::trackers::Trackers;
use super::undo::UndoLog;
use super::unshare::Unsharing;
use super::waiters::{ReadyKey, Waiters};
use super::watchers::{WatchFlag, Watchers};
use super::{DbIndex, defrag, table};

/// Steps of a scan for each key asked for, so that an almost empty table does not make it long.
const SCAN_STEPS_PER_KEY: usize = 10;

/// What one look at a value removes of what has expired in it.
const EXPIRED_SUBKEYS_STEP: usize = 64;

/// Counters of a shard since it was made (or since `reset`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// Keys removed because their deadline had come.
    pub expired: u64,
    /// What was removed inside of values because its deadline had come: fields of hashes.
    pub expired_subkeys: u64,
}

/// What active expiry found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired<'a> {
    /// A key whose deadline has come.
    Key,
    /// A part of its value whose deadline has come, and what it is called.
    Subkey(&'a [u8]),
    /// Behind such parts: whether nothing is left, so that the key goes too.
    Inside {
        /// Whether nothing is left.
        is_emptied: bool,
    },
}

/// Who is told of what active expiry removes, with database and key.
pub type OnExpired<'a> = dyn FnMut(DbIndex, &[u8], Expired<'_>) + 'a;

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

/// What a reader finds that may change nothing.
pub enum Sight<'a> {
    /// The key.
    Alive(Entry<'a>),
    /// No such key.
    Absent,
    /// A key whose deadline has come, to be removed by whoever may.
    Expired,
}

/// A part of the keyspace.
pub struct Shard {
    pub(super) dbs: Dbs,
    pub(super) heap: Heap,
    pub(super) hasher: KeyHasher,
    /// Counters, for INFO.
    pub stats: ShardStats,
    watchers: Watchers,
    /// Who has read its keys and is to be told of changes.
    trackers: Option<Box<Trackers>>,
    dirty: u64,
    pub(super) listeners: Listeners,
    pub(super) waiters: Option<Box<Waiters>>,
    pub(super) discarded: Vec<Db>,
    pub(super) saving: Saving,
    /// What takes back all changes, while a script runs under less than all leases.
    pub(super) undo: Option<Box<UndoLog>>,
    expire_db: DbIndex,
    expire_position: u64,
    evacuation: Evacuation,
    pub(super) defrag: defrag::Progress,
    pub(super) unsharing: Unsharing,
}

/// Who watches a shard's keys or waits for them, in one byte, so that a write asks once for all of them.
#[derive(Clone, Copy, Default)]
pub(super) struct Listeners(u8);

impl Listeners {
    /// Somebody waits for a key.
    pub const WAITERS: u8 = 1 << 0;
    /// A key that somebody waits for is listed as ready.
    pub const READY: u8 = 1 << 1;
    /// Somebody watches a key.
    pub const WATCHERS: u8 = 1 << 2;
    /// A snapshot is to have what was there at its cut.
    pub const SNAPSHOT: u8 = 1 << 3;
    /// A snapshot has large values of the shard that it has not written yet.
    pub const LENT: u8 = 1 << 4;
    /// Changes can be taken back.
    pub const UNDO: u8 = 1 << 5;

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
    /// None when it is through.
    db: Option<DbIndex>,
    position: u64,
}

// SAFETY: a shard owns its tables, entries and slabs; no pointer of it is known outside but through borrows of it.
unsafe impl Send for Shard {}

impl Shard {
    /// An empty shard.
    pub fn new(hasher: KeyHasher) -> Shard {
        Shard {
            dbs: Dbs::default(),
            heap: Heap::new(),
            hasher,
            stats: ShardStats::default(),
            watchers: Watchers::default(),
            trackers: None,
            dirty: 0,
            listeners: Listeners::default(),
            waiters: None,
            discarded: Vec::new(),
            saving: Saving::default(),
            undo: None,
            expire_db: DbIndex(0),
            expire_position: 0,
            evacuation: Evacuation::default(),
            defrag: defrag::Progress::default(),
            unsharing: Unsharing::default(),
        }
    }

    /// Where the search for a key begins; nowhere in an empty database.
    #[inline]
    pub(super) fn probe(&self, db: DbIndex, hash: u64) -> Option<Probe<'_>> {
        self.db(db)?.table.probe(hash)
    }

    /// Finds a key for reading. One whose deadline has come is absent, and removed unless it `stays`. `touch` is left on the
    /// access clock.
    #[inline(always)]
    pub fn read(
        &mut self,
        db: DbIndex,
        hash: u64,
        key: &[u8],
        now_ms: u64,
        touch: Touch,
        stays: impl FnOnce() -> bool,
    ) -> Option<Entry<'_>> {
        let (_, pointer) = self.find_alive(db, hash, key, now_ms, stays)?;
        // SAFETY: the entry is in the table; who changes or frees it needs the shard, which the result borrows.
        let entry = unsafe { pointer.entry() };
        if touch != Touch::None {
            entry.set_clock(touch.apply(entry.clock()));
        }
        Some(entry)
    }

    /// Finds a key for reading, where others may be reading too: nothing changes but the access clock.
    #[inline]
    pub fn read_shared(&self, db: DbIndex, hash: u64, key: &[u8], now_ms: u64, touch: Touch) -> Sight<'_> {
        match self.peek(db, hash, key) {
            None => Sight::Absent,
            Some(entry) if entry.is_expired(now_ms) => Sight::Expired,
            Some(entry) => {
                if touch != Touch::None {
                    entry.set_clock(touch.apply(entry.clock()));
                }
                Sight::Alive(entry)
            }
        }
    }

    /// Finds a key without any effect; also one whose deadline has come.
    #[inline]
    pub fn peek(&self, db: DbIndex, hash: u64, key: &[u8]) -> Option<Entry<'_>> {
        let db = self.db(db)?;
        db.find(hash, key).map(|(place, _)| db.entry(place))
    }

    /// Finds the key with this hash, without any effect; also one whose deadline has come.
    pub(super) fn peek_hash(&self, db: DbIndex, hash: u64) -> Option<Entry<'_>> {
        let found = self.db(db)?;
        let (place, _) = found.table.find(hash, |item| self.hash_of(entry_of(&item)) == hash)?;
        Some(found.entry(place))
    }

    /// The hash of an entry's key.
    pub(super) fn hash_of(&self, entry: Entry<'_>) -> u64 {
        self.hasher.hash(entry.key())
    }

    /// Gives access to a key, present or absent, for changing it. One whose deadline has come is removed first.
    #[inline]
    pub fn write<'a>(&'a mut self, db: DbIndex, hash: u64, key: &'a [u8], now_ms: u64) -> KeyMut<'a> {
        self.write_noting(db, hash, key, now_ms, || ())
    }

    /// As `write`; calls back before it removes the key because its deadline has come.
    #[inline]
    pub fn write_noting<'a>(
        &'a mut self,
        db: DbIndex,
        hash: u64,
        key: &'a [u8],
        now_ms: u64,
        on_expired: impl FnOnce(),
    ) -> KeyMut<'a> {
        let stays = || {
            on_expired();
            false
        };
        let found = self.find_alive(db, hash, key, now_ms, stays);
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

    /// The number of keys in whose values something expires.
    pub fn expires_inside(&self, db: DbIndex) -> u64 {
        self.db(db).map_or(0, |db| db.expires_inside)
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
        emit: &mut dyn FnMut(Entry<'_>),
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
    pub fn for_each(&self, db: DbIndex, mut f: impl FnMut(Entry<'_>)) {
        if let Some(db) = self.db(db) {
            db.table.for_each(|item| f(entry_of(&item)));
        }
    }

    /// An entry drawn at random, nearly evenly; its deadline may have come.
    pub fn random(&self, db: DbIndex, seed: u64) -> Option<Entry<'_>> {
        let item = self.db(db)?.table.random(seed)?;
        // SAFETY: the entry is in the table, and stays while the shard is borrowed.
        Some(unsafe { pointer_of(item).entry() })
    }

    /// Calls back for up to `count` neighbouring entries, from a random place on: candidates for eviction.
    pub fn sample(&self, db: DbIndex, seed: u64, count: usize, f: &mut dyn FnMut(Entry<'_>)) {
        if let Some(db) = self.db(db) {
            db.table.sample(seed, count, |item| f(entry_of(&item)));
        }
    }

    /// Empties a database in O(1). The memory is freed by `free_discarded`, and counted until then.
    pub fn flush(&mut self, db: DbIndex) -> Discarded {
        assert!(!self.is_undoable(), "what empties a database holds all leases");
        let keys = self.len(db);
        if keys > 0 {
            self.touch_watched(&[db]);
            self.list_emptied(db);
            let emptied = self.dbs.take(db);
            self.discarded.push(emptied);
            self.dirty += keys;
        }
        Discarded { keys }
    }

    /// Empties all databases, as `flush` does.
    pub fn flush_all(&mut self) -> Discarded {
        if let Some(snapshot) = self.saving.snapshot() {
            snapshot.flush();
        }
        let used: Vec<DbIndex> = self.used_dbs().collect();
        Discarded { keys: used.into_iter().map(|db| self.flush(db).keys).sum() }
    }

    /// Frees about `budget` of the discarded entries and pieces of huge values; true when none is left, but for those of which a
    /// snapshot has yet to be made.
    pub fn free_discarded(&mut self, budget: usize) -> bool {
        let mut left = budget;
        self.end_walks_of_discarded();
        while let Some(at) = self.discarded.iter().rposition(|db| db.unsaved.is_none()) {
            let db = &mut self.discarded[at];
            let before = db.table.len();
            if !db.drain(left, &mut self.heap) {
                return false;
            }
            left = left.saturating_sub(before as usize);
            self.discarded.swap_remove(at);
        }
        self.heap.lazy_free(left);
        !self.heap.has_lazy_free()
    }

    /// Exchanges the contents of two databases.
    pub fn swap_dbs(&mut self, a: DbIndex, b: DbIndex) {
        assert!(!self.is_undoable(), "what exchanges databases holds all leases");
        if a != b && self.len(a) + self.len(b) > 0 {
            self.touch_watched(&[a, b]);
            let (of_a, of_b) = (self.dbs.take(a), self.dbs.take(b));
            self.dbs.put(a, of_b);
            self.dbs.put(b, of_a);
            self.list_swapped(a, b);
        }
    }

    /// Removes keys whose deadline has come, and what has expired inside of values, looking at about `budget_entries`; the next
    /// call goes on where this one ended. Calls back before each removal.
    pub fn expire_due(
        &mut self,
        now_ms: u64,
        budget_entries: usize,
        on_expired: &mut OnExpired<'_>,
    ) -> ExpireProgress {
        let mut progress = ExpireProgress::default();
        for _ in 0..self.dbs.count() {
            if progress.visited >= budget_entries {
                return progress;
            }
            let db = self.dbs.next_from(self.expire_db).unwrap_or_default();
            if db != self.expire_db {
                (self.expire_db, self.expire_position) = (db, 0);
            }
            let left = budget_entries - progress.visited;
            let has_due = self.db(db).is_some_and(Db::has_due);
            if has_due && !self.expire_in(db, now_ms, left, &mut progress, on_expired) {
                return progress;
            }
            self.expire_position = 0;
            self.expire_db = DbIndex(db.0 + 1);
        }
        progress.done = true;
        progress
    }

    /// Before this time `expire_due` finds nothing, unless the shard is written to; Unix time in ms.
    pub fn expire_due_ms(&self) -> u64 {
        let due = |db: &Db| if db.has_due() { tick_ms(db.table.due()) } else { u64::MAX };
        self.dbs.iter().map(|(_, db)| due(db)).min().unwrap_or(u64::MAX)
    }

    /// A slice of the shard's own cron, which takes about as long as touching so many entries: frees what was flushed,
    /// copies what COPY left shared, helps to empty sparse chunks of the pool. True when there is nothing left to do.
    pub fn cron(&mut self, budget_entries: usize) -> bool {
        if self.listeners.has(Listeners::WATCHERS) {
            self.watchers.sweep();
            self.recount_watchers();
        }
        self.dbs.forget_empty();
        if !self.free_discarded(budget_entries) || !self.unshare(budget_entries) {
            return false;
        }
        let Some((number, from)) = POOL.evacuation() else { return true };
        if number != self.evacuation.number {
            self.evacuation = Evacuation { number, db: Some(DbIndex(0)), position: 0 };
        }
        let Evacuation { db, position, .. } = self.evacuation;
        let Some(db) = db else { return true };
        let found = self.dbs.get_mut(db);
        match found.and_then(|found| found.table.evacuate(position, &from, budget_entries)) {
            Some(position) => self.evacuation.position = position,
            None => {
                let next = self.dbs.next_from(DbIndex(db.0 + 1));
                self.evacuation = Evacuation { db: next, position: 0, ..self.evacuation };
            }
        }
        false
    }

    /// Whether memory of flushed databases or of huge values is still to be freed, and may be.
    pub fn has_discarded(&self) -> bool {
        self.discarded.iter().any(|db| db.unsaved.is_none()) || self.heap.has_lazy_free()
    }

    /// Whether `cron` has something to do.
    #[inline]
    pub fn cron_due(&self) -> bool {
        let Evacuation { number, db, .. } = self.evacuation;
        self.has_discarded()
            || !self.unsharing.is_empty()
            || POOL.evacuation().is_some_and(|(current, _)| current != number || db.is_some())
    }

    /// The databases that have keys.
    pub fn used_dbs(&self) -> impl Iterator<Item = DbIndex> {
        self.dbs.iter().filter(|(_, db)| db.table.len() > 0).map(|(number, _)| number)
    }

    /// Changes by commands since the shard was made, as Redis counts them: a value is one, of a list each element.
    pub fn dirty(&self) -> u64 {
        self.dirty
    }

    /// Sets the counters to what they were.
    pub(super) fn restore_counts(&mut self, dirty: u64, stats: ShardStats) {
        (self.dirty, self.stats) = (dirty, stats);
    }

    /// Counts a change of a command that changes no single key.
    pub fn count_change(&mut self) {
        self.dirty += 1;
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
        self.check_walk();
        let mut bytes = 0;
        for (_, db) in self.dbs.iter() {
            db.check_invariants(&self.hasher);
        }
        for db in self.dbs.iter().map(|(_, db)| db).chain(&self.discarded) {
            db.table.for_each(|item| bytes += entry_of(&item).bytes_allocated() as u64);
        }
        assert_eq!(bytes + self.heap.lazy_free_bytes(), self.heap.bytes_used());
    }

    #[inline]
    pub(super) fn db(&self, db: DbIndex) -> Option<&Db> {
        self.dbs.get(db)
    }

    /// A database and what it needs to change.
    #[inline]
    pub(super) fn parts(&mut self, db: DbIndex) -> (&mut Db, &mut Heap, &KeyHasher) {
        (self.dbs.make(db), &mut self.heap, &self.hasher)
    }

    #[inline]
    pub(super) fn note_change(&mut self, kind: ChangeKind, db: DbIndex, hash: u64, key: &[u8], dirty: u64) {
        self.dirty += dirty;
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
        if self.is_undoable() {
            return self.tell_later(Some(kind), db, hash, key);
        }
        match kind {
            ChangeKind::Set => self.list_ready(db, hash),
            ChangeKind::Aside => return,
            ChangeKind::Removed | ChangeKind::Emptied | ChangeKind::Expired | ChangeKind::Evicted => {
                self.list_lost(db, hash);
            }
            ChangeKind::Lessened | ChangeKind::Deadline => {}
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

    /// Who has read its keys; made when somebody is entered first.
    pub fn trackers(&mut self) -> &mut Trackers {
        self.trackers.get_or_insert_default()
    }

    /// Brings what is known of a key's readers close to the processor.
    #[inline]
    pub(super) fn fetch_tracked(&self, hash: u64) {
        if let Some(trackers) = &self.trackers {
            trackers.fetch(hash);
        }
    }

    fn recount_watchers(&mut self) {
        self.listeners.set(Listeners::WATCHERS, !self.watchers.is_empty());
    }

    #[inline(always)]
    fn find_alive(
        &mut self,
        db: DbIndex,
        hash: u64,
        key: &[u8],
        now_ms: u64,
        stays: impl FnOnce() -> bool,
    ) -> Option<(Place, EntryPtr)> {
        let found = self.db(db)?;
        let (place, pointer) = found.find(hash, key)?;
        // SAFETY: the entry is in the table, and the reference ends here.
        if unsafe { pointer.entry() }.is_expired(now_ms) {
            if !stays() {
                self.expire(db, place, hash, key);
            }
            return None;
        }
        Some((place, pointer))
    }

    #[cold]
    fn expire(&mut self, db: DbIndex, place: Place, hash: u64, key: &[u8]) {
        let Shard { dbs, saving, .. } = self;
        let found = dbs.make(db);
        let pointer = found.pointer(place);
        saving.hand_over(found.unsaved, hash, pointer);
        // SAFETY: it is the key's entry; whoever has a reference to it has borrowed the shard.
        unsafe { self.keep_before(db, hash, key, pointer) };
        let Shard { dbs, heap, hasher, .. } = self;
        let found = dbs.make(db);
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
        on_expired: &mut OnExpired<'_>,
    ) -> bool {
        let position = self.expire_position;
        let Shard { dbs, heap, hasher, watchers, waiters, listeners, saving, .. } = self;
        let found = dbs.make(db);
        let unsaved = found.unsaved;
        let mut removed = Removed::default();
        let visit = found.table.visit_due(position, now_tick(now_ms), budget, &Hashes(hasher), |item| {
            let entry = entry_of(&item);
            let deadline = entry.deadline();
            let Some(deadline_ms) = deadline.filter(|deadline_ms| *deadline_ms <= now_ms) else {
                let due = entry.due();
                if due.is_none_or(|due_ms| due_ms > now_ms) {
                    return Verdict::Keep(due_tick(due));
                }
                if removed.subkeys >= budget as u64 {
                    removed.is_cut = true;
                    return Verdict::Keep(due_tick(due));
                }
                let before = removed.subkeys;
                if unsaved.is_some() {
                    saving.hand_over(unsaved, hasher.hash(entry.key()), pointer_of(item));
                }
                if saving.is_lent(entry_of(&item)) {
                    removed.is_cut = true;
                    return Verdict::Keep(due_tick(due));
                }
                let verdict = expire_inside(heap, hasher, item, now_ms, &mut removed, &mut |key, what| {
                    on_expired(db, key, what);
                });
                let (key, hash) = (&removed.key, hasher.hash(&removed.key));
                if removed.subkeys > before && !watchers.is_empty() {
                    watchers.touch(db, hash, key);
                }
                if matches!(verdict, Verdict::Remove(_))
                    && let Some(waiters) = waiters
                {
                    waiters.list_lost(ReadyKey { hash, db });
                    listeners.set(Listeners::READY, waiters.has_ready());
                }
                return verdict;
            };
            let hash = hasher.hash(entry.key());
            saving.hand_over(unsaved, hash, pointer_of(item));
            on_expired(db, entry.key(), Expired::Key);
            if !watchers.is_empty() {
                watchers.touch(db, hash, entry.key());
            }
            if let Some(waiters) = waiters {
                waiters.list_lost(ReadyKey { hash, db });
                listeners.set(Listeners::READY, waiters.has_ready());
            }
            removed.keys += 1;
            removed.count_entry(deadline_ms, entry.expires_inside());
            // SAFETY: the table forgets the entry on this verdict, and does not look at it again.
            unsafe { heap.destroy(pointer_of(item)) };
            Verdict::Remove(hash)
        });
        found.expires -= removed.with_deadline;
        found.expires_inside -= removed.inside;
        found.deadline_sum -= removed.deadline_sum;
        self.stats.expired += removed.keys;
        self.stats.expired_subkeys += removed.subkeys;
        self.expire_position = visit.position;
        progress.visited += visit.visited + removed.subkeys as usize;
        progress.expired += removed.keys as usize;
        visit.done && !removed.is_cut
    }

    fn table_bytes(&self) -> u64 {
        self.dbs.bytes() + self.discarded.iter().map(|db| db.table.bytes()).sum::<u64>()
    }
}

/// What a visit of due entries has removed, to be taken off the database's counts.
#[derive(Default)]
struct Removed {
    keys: u64,
    /// Entries that are gone, or in whose values nothing expires any more.
    with_deadline: u64,
    inside: u64,
    deadline_sum: u128,
    subkeys: u64,
    /// Whether something is left that had come, because it was too much at once.
    is_cut: bool,
    /// The key that was looked at last inside.
    key: Vec<u8>,
}

impl Removed {
    fn count_entry(&mut self, deadline_ms: u64, expires_inside: bool) {
        self.with_deadline += 1;
        self.deadline_sum += u128::from(deadline_ms);
        self.inside += u64::from(expires_inside);
    }
}

/// Removes some of what has expired in the value of a table's item, and says what becomes of that.
#[cold]
fn expire_inside(
    heap: &mut Heap,
    hasher: &KeyHasher,
    item: Item,
    now_ms: u64,
    removed: &mut Removed,
    on_expired: &mut dyn FnMut(&[u8], Expired<'_>),
) -> Verdict {
    let entry = entry_of(&item);
    let deadline = entry.deadline();
    removed.key.clear();
    removed.key.extend_from_slice(entry.key());
    let (key, mut subkeys) = (&removed.key[..], 0);
    let mut on_removed = |name: &[u8]| {
        subkeys += 1;
        on_expired(key, Expired::Subkey(name));
    };
    // SAFETY: the item is in a table, and nobody has a reference to its entry any more.
    let (said, expiry) =
        unsafe { heap.expire_inside(pointer_of(item), now_ms, EXPIRED_SUBKEYS_STEP, &mut on_removed) };
    if subkeys > 0 {
        on_expired(key, Expired::Inside { is_emptied: expiry.is_emptied });
    }
    removed.subkeys += subkeys;
    removed.inside += u64::from(said && expiry.due.is_none());
    if expiry.is_emptied {
        if let Some(deadline_ms) = deadline {
            removed.count_entry(deadline_ms, false);
        }
        // SAFETY: the table forgets the entry on this verdict, and does not look at it again.
        unsafe { heap.destroy(pointer_of(item)) };
        return Verdict::Remove(hasher.hash(&removed.key));
    }
    removed.is_cut |= expiry.due.is_some_and(|due_ms| due_ms <= now_ms);
    Verdict::Keep(due_tick(entry_of(&item).due()))
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.abandon_walk();
        self.flush_all();
        self.free_discarded(usize::MAX);
        assert_eq!(self.heap.bytes_used(), 0, "every entry was in a table");
    }
}

const _: () = assert!(size_of::<Shard>() <= 576, "with its lease it takes five pairs of lines");
const _: () = assert!(table::NEVER == u32::MAX);

#[cfg(test)]
#[path = "shard_tests.rs"]
mod tests;
