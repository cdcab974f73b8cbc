//! Taking back what a script has changed in a shard, as if nothing had happened.
//!
//! Design: while a script runs under less than all leases, each of its shards has a log. What a key held is kept once, when its
//! guard is made or before it expires; a small value is copied, which takes less than changing it. A large value stays where it is,
//! and every change to it leaves its inverse, as cheap as the change (`KeyMut::edit_undoable`). Where a change has none, or the value
//! is replaced or removed, the log shares the value with its entry, as a snapshot does (`External::Shared`): what is removed moves
//! into the log that way, and what is changed is copied first. From then on the key is *kept*, and whatever happens to it is not
//! looked at again. Undoing goes through the steps from the last to the first.
//!
//! ```text
//! LPUSH large a     | met: its clock | edit: take one off the left |
//! DEL large         |  ...           | kept: the value, with its deadline |
//! SET large 1       |                  nothing: it is kept
//! ```
//!
//! Whoever watches or waits is told at the end, in the order of the changes, or never. The snapshot needs nothing: the guard hands an
//! entry over before it changes, and what it hands over is the picture at the cut, whether the change stays or not. An entry that
//! is put back gets the mark of one that was handed over, because it was: it is only kept behind that.
//!
//! Invariants:
//! - `Listeners::UNDO` is set exactly while there is a log;
//! - a key that was met and is not kept has a large value, the one that it had when it was met;
//! - what the log holds is not counted as memory of the shard's entries.
//!
//! What stays after undoing: access clocks of what was only read, as the script runs again at once and reads the same; what nodes and
//! tables have grown by to make room, as far as they shrink with some delay; the order within a bucket or node.
//!
//! Costs: no log, nothing: guards test one byte for all who listen. Else one lookup in the log for each guard.
//!
//! Not here: which shards, and what else a script leaves (`command::undo`); the inverses (`value`).
#![expect(unsafe_code, reason = "shares what entries own, and puts entries back")]

use std::ops::Range;

use super::DbIndex;
use super::changes::ChangeKind;
use super::db::{Hashes, due_tick};
use super::entry::{Encoding, Entry, EntryPtr, Parts, Str, Type, Value};
use super::hash::{KeyHasher, MapByHash};
use super::heap::Heap;
use super::shard::{Listeners, Shard, ShardStats};
use super::value::External;

/// Room that a log keeps for the next script, in keys.
const KEYS_KEPT_MAX: usize = 256;
const BYTES_KEPT_MAX: usize = 64 << 10;

/// Undoes a change to a large value.
pub(super) type Inverse = Box<dyn FnOnce(&mut External, &KeyHasher)>;

/// What undoes the changes of one edit, in the order of the changes.
#[derive(Default)]
pub(super) struct Inverses(Vec<Inverse>);

impl Inverses {
    /// The change that was made, or is made next, is undone by this.
    pub fn add(&mut self, inverse: impl FnOnce(&mut External, &KeyHasher) + 'static) {
        self.0.push(Box::new(inverse));
    }
}

/// What undoes the changes to a shard; without any, to be given to one.
#[derive(Default)]
pub struct UndoLog {
    /// Keys and small values.
    bytes: Vec<u8>,
    keys: Vec<Key>,
    /// The key that was met last of those with a hash.
    newest: MapByHash<u32>,
    steps: Vec<UndoRecord>,
    told: Vec<Told>,
    /// The shard's counters before.
    dirty: u64,
    stats: ShardStats,
}

/// A key that was met.
struct Key {
    db: DbIndex,
    hash: u64,
    name: Range<usize>,
    /// The one before with the same hash.
    older: Option<u32>,
    is_kept: bool,
}

/// What is undone, with the number of the key.
enum UndoRecord {
    /// It did not exist.
    Absent(u32),
    /// It held this.
    Entry(u32, Before),
    /// Its large value, which stayed where it was, has changed.
    Edit(u32, Inverse),
    /// It had another deadline.
    Deadline(u32, Option<u64>),
    /// It had another access clock.
    Clock(u32, u32),
}

/// An entry as it was.
struct Before {
    ty: Type,
    encoding: Encoding,
    clock: u32,
    deadline: Option<u64>,
    block_bytes: usize,
    value: Kept,
}

enum Kept {
    Int(i64),
    Inline(Range<usize>),
    External(External),
}

/// Who watches a key or waits for it is to be told of a change; none: only who waits.
struct Told {
    kind: Option<ChangeKind>,
    key: u32,
}

impl UndoLog {
    /// Whether nothing was changed, nor might have been.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn find(&self, db: DbIndex, hash: u64, key: &[u8]) -> Option<u32> {
        let mut next = self.newest.get(&hash).copied();
        while let Some(number) = next {
            let known = &self.keys[number as usize];
            if known.db == db && self.bytes[known.name.clone()] == *key {
                return Some(number);
            }
            next = known.older;
        }
        None
    }

    fn add_key(&mut self, db: DbIndex, hash: u64, key: &[u8]) -> u32 {
        let number = u32::try_from(self.keys.len()).expect("fewer keys than 2^32 fit the log");
        let name = self.add_bytes(key);
        let older = self.newest.insert(hash, number);
        self.keys.push(Key { db, hash, name, older, is_kept: false });
        number
    }

    fn add_bytes(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// Keeps what a key holds, whatever happens to it afterwards.
    ///
    /// # Safety
    /// - `pointer` leads to an entry that nobody has a reference to.
    unsafe fn keep(&mut self, number: u32, pointer: EntryPtr) {
        if std::mem::replace(&mut self.keys[number as usize].is_kept, true) {
            return;
        }
        // SAFETY: as the caller says.
        let shared = unsafe { pointer.share_external() };
        // SAFETY: nobody changes the entry meanwhile.
        let entry = unsafe { pointer.entry() };
        let value = match (shared, entry.encoding()) {
            (Some(external), _) => Kept::External(external),
            (None, Encoding::Int) => match entry.string() {
                Str::Int(value) => Kept::Int(value),
                Str::Bytes(_) => unreachable!("the encoding says that it is an integer"),
            },
            (None, _) => Kept::Inline(self.add_bytes(entry.inline_value())),
        };
        let before = Before {
            ty: entry.ty(),
            encoding: entry.encoding(),
            clock: entry.clock(),
            deadline: entry.deadline(),
            block_bytes: entry.block_bytes(),
            value,
        };
        self.steps.push(UndoRecord::Entry(number, before));
    }

    /// Empties it, and gives room back if there is much.
    fn clear(&mut self, heap: &mut Heap) {
        for step in self.steps.drain(..) {
            if let UndoRecord::Entry(_, Before { value: Kept::External(external), .. }) = step
                && let Some(external) = external.into_own()
                && !external.is_freed_at_once()
            {
                heap.free_later(external);
            }
        }
        if self.keys.len() > KEYS_KEPT_MAX || self.bytes.len() > BYTES_KEPT_MAX {
            *self = UndoLog::default();
        } else {
            self.bytes.clear();
            self.keys.clear();
            self.newest.clear();
            self.told.clear();
        }
    }
}

impl Shard {
    /// From now on changes are such that they can be taken back, until `take_back` or `commit`.
    pub fn begin_undoable(&mut self, mut log: Box<UndoLog>) {
        assert!(self.undo.is_none() && log.is_empty(), "one script at a time");
        (log.dirty, log.stats) = (self.dirty(), self.stats);
        self.undo = Some(log);
        self.listeners.set(Listeners::UNDO, true);
    }

    /// Whether changes can be taken back.
    #[inline]
    pub fn is_undoable(&self) -> bool {
        self.listeners.has(Listeners::UNDO)
    }

    /// Undoes all changes since `begin_undoable`; the emptied log.
    pub fn take_back(&mut self) -> Box<UndoLog> {
        let mut log = self.end_undoable();
        while let Some(step) = log.steps.pop() {
            self.undo_step(&mut log, step);
        }
        self.restore_counts(log.dirty, log.stats);
        log.clear(&mut self.heap);
        log
    }

    /// The changes since `begin_undoable` stay: who watches or waits is told of them, in their order. The emptied log.
    pub fn commit(&mut self) -> Box<UndoLog> {
        let mut log = self.end_undoable();
        for Told { kind, key } in std::mem::take(&mut log.told) {
            let Key { db, hash, name, .. } = &log.keys[key as usize];
            match kind {
                Some(kind) => self.note(kind, *db, *hash, &log.bytes[name.clone()]),
                None => self.list_ready(*db, *hash),
            }
        }
        log.clear(&mut self.heap);
        log
    }

    fn end_undoable(&mut self) -> Box<UndoLog> {
        self.listeners.set(Listeners::UNDO, false);
        self.undo.take().expect("the caller began it")
    }

    /// A guard is made for a key, which is there or not: before it changes, the snapshot and the log get what they need.
    #[cold]
    pub(super) fn before_change(&mut self, db: DbIndex, hash: u64, key: &[u8], found: Option<EntryPtr>) {
        if let Some(pointer) = found.filter(|_| self.is_walked_on()) {
            self.hand_over(db, hash, pointer);
        }
        let Some(log) = self.undo.as_deref_mut() else { return };
        if log.find(db, hash, key).is_some() {
            return;
        }
        let number = log.add_key(db, hash, key);
        match found {
            None => {
                log.keys[number as usize].is_kept = true;
                log.steps.push(UndoRecord::Absent(number));
            }
            // SAFETY: the caller found it in the table; the reference ends with this.
            Some(pointer) if unsafe { pointer.entry() }.external().is_none() => {
                // SAFETY: as above, and nobody has a reference to it.
                unsafe { log.keep(number, pointer) };
            }
            Some(pointer) => {
                // SAFETY: as above.
                let clock = unsafe { pointer.entry() }.clock();
                log.steps.push(UndoRecord::Clock(number, clock));
            }
        }
    }

    /// What a key holds is about to go, or to change in a way that has no inverse.
    ///
    /// # Safety
    /// - `pointer` leads to the key's entry, which nobody has a reference to.
    #[cold]
    pub(super) unsafe fn keep_before(&mut self, db: DbIndex, hash: u64, key: &[u8], pointer: EntryPtr) {
        if let Some(log) = self.undo.as_deref_mut() {
            let number = log.find(db, hash, key).unwrap_or_else(|| log.add_key(db, hash, key));
            // SAFETY: as the caller says.
            unsafe { log.keep(number, pointer) };
        }
    }

    /// Where the inverses of changes to a key's large value go; none if it is kept, or nothing can be taken back.
    #[cold]
    pub(super) fn inverses_of(&self, db: DbIndex, hash: u64, key: &[u8]) -> Option<Inverses> {
        let log = self.undo.as_deref()?;
        let number = log.find(db, hash, key).expect("the guard was met");
        (!log.keys[number as usize].is_kept).then(Inverses::default)
    }

    /// A key's large value was changed; this undoes it.
    pub(super) fn log_edits(&mut self, db: DbIndex, hash: u64, key: &[u8], inverses: Inverses) {
        let log = self.undo.as_deref_mut().expect("it gave out the inverses");
        let number = log.find(db, hash, key).expect("the guard was met");
        log.steps.extend(inverses.0.into_iter().map(|inverse| UndoRecord::Edit(number, inverse)));
    }

    /// The deadline of a key is about to change from this one.
    #[cold]
    pub(super) fn log_deadline(&mut self, db: DbIndex, hash: u64, key: &[u8], before: Option<u64>) {
        if let Some(log) = self.undo.as_deref_mut()
            && let Some(number) = log.find(db, hash, key)
            && !log.keys[number as usize].is_kept
        {
            log.steps.push(UndoRecord::Deadline(number, before));
        }
    }

    /// Whoever watches a key or waits for it is told later.
    #[cold]
    pub(super) fn tell_later(&mut self, kind: Option<ChangeKind>, db: DbIndex, hash: u64, key: &[u8]) {
        if self.listeners.has(Listeners::WATCHERS | Listeners::WAITERS)
            && let Some(log) = self.undo.as_deref_mut()
        {
            let key = log.find(db, hash, key).expect("what changes was met");
            log.told.push(Told { kind, key });
        }
    }

    fn undo_step(&mut self, log: &mut UndoLog, step: UndoRecord) {
        let (UndoRecord::Absent(number)
        | UndoRecord::Entry(number, _)
        | UndoRecord::Edit(number, _)
        | UndoRecord::Deadline(number, _)
        | UndoRecord::Clock(number, _)) = step;
        let Key { db, hash, ref name, .. } = log.keys[number as usize];
        let name = &log.bytes[name.clone()];
        let before = match step {
            UndoRecord::Entry(_, before) => return self.put_back(db, hash, name, before, &log.bytes),
            other => other,
        };
        // No deadline has come at the time 0, and nobody is told.
        let hasher = self.hasher.clone();
        let mut guard = self.write(db, hash, name, 0);
        match before {
            UndoRecord::Absent(_) => guard.recode(|guard| _ = guard.remove()),
            UndoRecord::Edit(_, inverse) => guard.recode(|guard| {
                guard.edit_external(|external| inverse(external, &hasher));
                guard.note_inner_due();
            }),
            UndoRecord::Deadline(_, deadline) => guard.recode(|guard| guard.set_deadline(deadline)),
            UndoRecord::Clock(_, clock) => guard.set_clock(clock),
            UndoRecord::Entry(..) => unreachable!("put back above"),
        }
    }

    /// Puts an entry in the place of whatever its key holds.
    fn put_back(&mut self, number: DbIndex, hash: u64, key: &[u8], before: Before, bytes: &[u8]) {
        let Before { ty, encoding, clock, deadline, block_bytes, value } = before;
        let value = match value {
            Kept::Int(value) => Value::Int(value),
            Kept::Inline(span) => Value::Inline(&bytes[span]),
            Kept::External(external) => Value::External(external),
        };
        let parts = Parts { ty, encoding, clock, deadline, key, value };
        let (due, inside) = (due_tick(parts.due()), parts.expires_inside());
        let (db, heap, hasher) = self.parts(number);
        let created = heap.create(parts, block_bytes);
        match db.find(hash, key) {
            Some((place, pointer)) => {
                // SAFETY: the entry is in the table; the reference ends with this.
                let entry: Entry<'_> = unsafe { pointer.entry() };
                let (deadline_before, inside_before) = (entry.deadline(), entry.expires_inside());
                db.recount_deadline(deadline_before, deadline);
                db.recount_inside(inside_before, inside);
                db.table.replace(place, created.block(), due);
                // SAFETY: the table has forgotten the entry; nobody has a reference to it.
                unsafe { heap.destroy(pointer) };
            }
            None => {
                db.table.insert(hash, created.block(), due, &Hashes(hasher));
                db.recount_deadline(None, deadline);
                db.recount_inside(false, inside);
            }
        }
        if self.is_walked_on() {
            self.pass_over(number, hash, created);
        }
    }
}

#[cfg(test)]
#[path = "undo_tests.rs"]
mod tests;
