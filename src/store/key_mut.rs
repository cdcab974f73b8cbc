//! The guard over one key: every change to the keyspace goes through it.
//!
//! Design: `Shard::write` looks the key up once; the guard remembers the place, so that a command may look, decide and
//! write without another lookup. When it is dropped it does the accounting (dirty counter, who watches or waits), so that a
//! command cannot forget it; memory is counted where it is allocated. What its changes are called the command says (`event`),
//! which debug builds insist on.
//!
//! Invariants: `found` is where the key is and the entry there, or none if it is absent.
//!
//! Costs: an overwrite whose size rounds to the same slot is written in place and touches no allocator.
//!
//! Not here: reading without writing (`shard`).
#![expect(unsafe_code, reason = "changes entries in place")]

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::DbIndex;
use super::changes::{ChangeKind, Changes, Event, Words};
use super::db::{Hashes, due_tick};
use super::entry::{
    BLOB_BYTES_MIN, CLOCK_MAX, Encoding, Entry, EntryPtr, Parts, Str, Type, Value, parse_int, text_encoding,
};
use super::eviction::Touch;
use super::hash::KeyHasher;
use super::mapping::{MAPPED_BYTES_MIN, PAGE_BYTES};
use super::owned::{OwnedEntry, OwnedValue};
use super::shard::{Listeners, Shard};
use super::slab::SLAB_BYTES_MAX;
use super::table::Place;
use super::undo::Inverses;
use super::value::{Blob, Expiry, External, inner_due};

/// A pack's block is left as it is if it is too large by this and twice its slack.
const PACK_SLACK_BYTES_MIN: usize = 64;

/// The value of a string to be stored.
pub enum NewString<'a> {
    /// Copied; a canonical integer is stored as one.
    Bytes(&'a [u8]),
    /// Copied; stored as text even if it reads like an integer.
    Text(&'a [u8]),
    /// Stored as an integer.
    Int(i64),
    /// Kept as it is if it is large, else copied.
    Blob(Bytes),
    /// As `Blob`, encoded raw whatever it reads like.
    Raw(Bytes),
}

/// What becomes of a key's deadline when its value is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// The key has none.
    None,
    /// It stays as it is; none for a new key.
    Keep,
    /// Milliseconds since 1970.
    At(u64),
}

/// Where a key was found: its place in the table, and the entry there.
#[derive(Clone, Copy)]
struct Found {
    place: Place,
    pointer: EntryPtr,
}

/// Exclusive access to one key of a shard, present or absent.
pub struct KeyMut<'a> {
    shard: &'a mut Shard,
    db: DbIndex,
    hash: u64,
    key: &'a [u8],
    found: Option<Found>,
    now_ms: u64,
    /// The access clock of a new value; none: that of now, also for what replaces an old one.
    fresh_clock: Option<u32>,
    change: Option<ChangeKind>,
    /// As how many changes the dirty counter takes it, if there is one.
    dirty: u64,
    /// Where events and effects go, if somebody listens.
    changes: Option<&'a mut Changes>,
    /// Whether the command has said what its change is called; debug builds see to it that none forgets.
    #[cfg(debug_assertions)]
    is_named: bool,
}

impl<'a> KeyMut<'a> {
    pub(super) fn new(
        shard: &'a mut Shard,
        db: DbIndex,
        hash: u64,
        key: &'a [u8],
        found: Option<(Place, EntryPtr)>,
        now_ms: u64,
    ) -> Self {
        if shard.listeners.has(Listeners::SNAPSHOT | Listeners::UNDO) {
            shard.before_change(db, hash, key, found.map(|(_, pointer)| pointer));
        }
        let found = found.map(|(place, pointer)| Found { place, pointer });
        KeyMut {
            shard,
            db,
            hash,
            key,
            found,
            now_ms,
            fresh_clock: None,
            change: None,
            dirty: 1,
            changes: None,
            #[cfg(debug_assertions)]
            is_named: true,
        }
    }

    /// For a command, which has to say what it did ([`Self::event`]); `changes` if somebody listens.
    #[inline]
    pub fn telling(mut self, changes: Option<&'a mut Changes>) -> Self {
        self.changes = changes;
        #[cfg(debug_assertions)]
        {
            self.is_named = false;
        }
        self
    }

    /// The command did this to the key: raised now, so said after the change. What the guard knows by itself, it raises: that
    /// the key is new, that its value was replaced as a whole, that it went with its last element.
    #[inline]
    pub fn event(&mut self, event: Event) {
        self.without_event();
        if let Some(changes) = &mut self.changes {
            changes.raise(event, self.db, self.key);
        }
    }

    /// The change has no event, or is told by the event of another key.
    #[inline]
    pub fn without_event(&mut self) {
        #[cfg(debug_assertions)]
        {
            self.is_named = true;
        }
    }

    /// The key that the command wanted to read does not exist.
    #[inline]
    pub fn missed(&mut self) {
        if let Some(changes) = &mut self.changes {
            changes.raise(Event::KEY_MISS, self.db, self.key);
        }
    }

    /// The command is repeated by this one instead of as it came; see [`Changes::repeat_as`].
    #[inline]
    pub fn repeat_as(&mut self, build: impl FnOnce(&mut Words)) {
        if let Some(changes) = &mut self.changes {
            changes.repeat_as(build);
        }
    }

    /// Before the command this one is repeated; see [`Changes::repeat_before`].
    #[inline]
    pub fn repeat_before(&mut self, build: impl FnOnce(&mut Words)) {
        if let Some(changes) = &mut self.changes {
            changes.repeat_before(build);
        }
    }

    /// Whether somebody listens to what commands change.
    #[inline]
    pub fn is_told(&self) -> bool {
        self.changes.is_some()
    }

    /// The key gets a new value as a whole, of this type.
    #[inline]
    pub(super) fn tell_overwritten(&mut self, ty: Type) {
        if self.changes.is_some() {
            self.replaced(self.entry().map(Entry::ty), ty);
        }
    }

    /// A value of one type, if there was any, was replaced as a whole by one of another. Most ways to set a value tell that
    /// themselves.
    #[inline]
    pub fn replaced(&mut self, before: Option<Type>, after: Type) {
        if let Some(changes) = &mut self.changes {
            changes.replaced(before, after, self.db, self.key);
        }
    }

    #[inline]
    fn tell_new(&mut self) {
        if let Some(changes) = &mut self.changes {
            changes.raise(Event::NEW, self.db, self.key);
        }
    }

    /// The access clock of the value that is set: a key that is accessed keeps its own.
    fn clock(&self) -> u32 {
        match (self.fresh_clock, self.entry()) {
            (Some(_), Some(entry)) => entry.clock(),
            (Some(fresh), None) => fresh,
            (None, _) => (self.now_ms / 1000) as u32 & CLOCK_MAX,
        }
    }

    /// Counts this as an access: leaves `touch` on the key if it exists. If it does not, `fresh` (24 bits) will be the
    /// clock of its value.
    #[inline]
    pub fn touched(mut self, touch: Touch, fresh: u32) -> Self {
        self.fresh_clock = Some(fresh);
        if touch != Touch::None
            && let Some(clock) = self.entry().map(Entry::clock)
        {
            self.set_clock(touch.apply(clock));
        }
        self
    }

    /// The entry, if the key exists.
    #[inline]
    pub fn entry(&self) -> Option<Entry<'_>> {
        let found = self.found?;
        // SAFETY: the entry is in the table, and whoever changes or frees it needs the guard mutably.
        Some(unsafe { found.pointer.entry() })
    }

    /// Creates the key as a string, or replaces whatever it was.
    pub fn set_string(&mut self, new: NewString<'_>, deadline: Deadline) {
        self.tell_overwritten(Type::String);
        self.update_string(new, deadline);
    }

    /// As `set_string`, where what is set comes of the string that was there, so that this is not told as replacing it.
    pub fn update_string(&mut self, new: NewString<'_>, deadline: Deadline) {
        let (encoding, value) = match new {
            NewString::Int(value) => (Encoding::Int, Value::Int(value)),
            NewString::Bytes(bytes) => encode(self.key.len(), bytes),
            NewString::Text(bytes) => encode_text(self.key.len(), bytes),
            NewString::Blob(bytes) | NewString::Raw(bytes) if bytes.len() >= BLOB_BYTES_MIN => {
                let allocated = bytes.len() as u64;
                (Encoding::Raw, Value::External(External::Blob(Blob { bytes, allocated })))
            }
            NewString::Blob(ref bytes) => encode(self.key.len(), bytes),
            NewString::Raw(ref bytes) => (Encoding::Raw, Value::Inline(bytes)),
        };
        let clock = self.clock();
        if deadline == Deadline::None
            && let Value::Inline(bytes) = value
            && self.overwrite_alike(encoding, bytes, clock)
        {
            return;
        }
        let before = self.entry().and_then(Entry::deadline);
        let deadline = match deadline {
            Deadline::None => None,
            Deadline::Keep => before,
            Deadline::At(deadline_ms) => Some(deadline_ms),
        };
        self.store(Parts { ty: Type::String, encoding, clock, deadline, key: self.key, value });
    }

    /// Overwrites the bytes of a string without a deadline by others of the same encoding and number, if it is such a string.
    fn overwrite_alike(&mut self, encoding: Encoding, bytes: &[u8], clock: u32) -> bool {
        let Some(Found { pointer, .. }) = self.found else { return false };
        // SAFETY: the entry is in the table, and the guard is borrowed mutably, so that nobody has a reference to it; the bytes
        // borrow nothing from the shard, which the guard has for itself.
        if !unsafe { pointer.overwrite_alike(encoding, bytes) } {
            return false;
        }
        self.set_clock(clock);
        self.change = Some(ChangeKind::Set);
        true
    }

    /// Appends to the string, or creates it as `set_string` would; returns its length. The key must not be of another
    /// type.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let Some(entry) = self.entry() else {
            self.set_string(NewString::Bytes(bytes), Deadline::None);
            return bytes.len();
        };
        let len = entry.string().len();
        let end = len + bytes.len();
        self.edit_raw(end, Some(len..end), |value| value[len..].copy_from_slice(bytes));
        len + bytes.len()
    }

    /// Overwrites a part of the string, padding it with zero bytes up to there; returns its length. Writing nothing
    /// changes nothing. The key must not be of another type.
    pub fn set_range(&mut self, offset: usize, bytes: &[u8]) -> usize {
        let len = self.entry().map_or(0, |entry| entry.string().len());
        if bytes.is_empty() {
            return len;
        }
        let new_len = len.max(offset + bytes.len());
        let changed = offset..offset + bytes.len();
        self.edit_raw(new_len, Some(changed.clone()), |value| value[changed].copy_from_slice(bytes));
        new_len
    }

    /// Makes the string at least `len` bytes long, padding it with zero bytes, encoded raw, and lends it to `edit`, which says
    /// whether anything is changed by that; if not, nobody is told, however long the string is now. A key that is absent is
    /// created. It must not be of another type.
    pub fn edit_string_if(&mut self, len: usize, edit: impl FnOnce(&mut [u8]) -> bool) -> bool {
        let before = self.change;
        let len = self.entry().map_or(len, |entry| entry.string().len().max(len));
        let mut has_changed = false;
        self.edit_raw(len, None, |value| has_changed = edit(value));
        if !has_changed {
            self.change = before;
        }
        has_changed
    }

    /// Sets or removes the deadline of a key that exists.
    pub fn set_deadline(&mut self, deadline: Option<u64>) {
        let Some(Found { place, pointer }) = self.found else { return };
        let before = self.entry().and_then(Entry::deadline);
        if before == deadline {
            if deadline.is_some() {
                // It was set all the same.
                self.change.get_or_insert(ChangeKind::Deadline);
            }
            return;
        }
        if self.shard.is_undoable() {
            self.shard.log_deadline(self.db, self.hash, self.key, before);
        }
        let (db, heap, _) = self.shard.parts(self.db);
        db.recount_deadline(before, deadline);
        if let (Some(_), Some(deadline_ms)) = (before, deadline) {
            // SAFETY: the database is borrowed mutably, so nobody has a reference to the entry.
            unsafe { pointer.set_deadline(deadline_ms) };
            db.table.note_due(place, due_tick(deadline));
        } else {
            // SAFETY: as above.
            let moved = unsafe { heap.rebuild(pointer, |parts| parts.deadline = deadline) };
            db.table.replace(place, moved.block(), due_tick(deadline));
            self.found = Some(Found { place, pointer: moved });
        }
        self.change.get_or_insert(ChangeKind::Deadline);
    }

    /// Changes how the value lies in memory and not what it is: nobody is told of it.
    pub(super) fn recode(&mut self, edit: impl FnOnce(&mut Self)) {
        let before = self.change;
        edit(self);
        self.change = before;
        self.pass_over();
    }

    /// What the value is changed to, or replaced by, goes: that is to be taken back, if anything is.
    #[inline]
    pub(super) fn keep(&mut self) {
        if self.shard.is_undoable()
            && let Some(Found { pointer, .. }) = self.found
        {
            // SAFETY: the guard is borrowed mutably, so nobody has a reference to the entry.
            unsafe { self.shard.keep_before(self.db, self.hash, self.key, pointer) };
        }
    }

    /// The snapshot has what was there before: what is there now it is to pass over.
    #[inline]
    fn pass_over(&mut self) {
        if self.shard.listeners.has(Listeners::SNAPSHOT)
            && let Some(Found { pointer, .. }) = self.found
        {
            self.shard.pass_over(self.db, self.hash, pointer);
        }
    }

    /// Sets the access clock of a key that exists: 24 bits. This is no change.
    pub fn set_clock(&mut self, clock: u32) {
        let Some(found) = self.found else { return };
        // SAFETY: the entry is in the table, and the reference ends here.
        unsafe { found.pointer.entry() }.set_clock(clock);
    }

    /// Removes the key; whether it existed.
    pub fn remove(&mut self) -> bool {
        self.keep();
        let Some(Found { place, .. }) = self.found.take() else { return false };
        let (db, heap, hasher) = self.shard.parts(self.db);
        db.remove(place, self.hash, hasher, heap);
        self.change = Some(ChangeKind::Removed);
        true
    }

    /// Tells now, rather than in the end, that the key went with its last element: there is more to come.
    #[inline]
    pub fn tell_emptied(&mut self) {
        if self.change == Some(ChangeKind::Emptied) {
            self.change = Some(ChangeKind::Removed);
            self.event(Event::DEL);
        }
    }

    /// Removes the key, whose last element was taken.
    pub fn remove_emptied(&mut self) {
        if self.remove() {
            self.change = Some(ChangeKind::Emptied);
        }
    }

    /// Removes the key because memory is short; whether it existed.
    pub fn evict(&mut self) -> bool {
        let existed = self.remove();
        if existed {
            self.change = Some(ChangeKind::Evicted);
            self.dirty = 0;
        }
        existed
    }

    /// Removes the key and hands out what it held, to be put elsewhere.
    pub fn take(&mut self) -> Option<OwnedEntry> {
        self.keep();
        let place = self.found.take()?.place;
        let (db, heap, hasher) = self.shard.parts(self.db);
        let pointer = db.detach(place, self.hash, hasher);
        // SAFETY: the entry is out of the table; nobody refers to it.
        let owned = unsafe { heap.dissolve(pointer) };
        self.change = Some(ChangeKind::Removed);
        Some(owned)
    }

    /// Copies what the key holds. Large strings are shared, not copied.
    pub fn copy(&self) -> Option<OwnedEntry> {
        self.entry().map(OwnedEntry::copy_of)
    }

    /// Puts what was taken or copied elsewhere, with its deadline, in the place of whatever the key held, which is told as a new
    /// key in any case.
    pub fn put(&mut self, owned: OwnedEntry) {
        if self.found.is_some() {
            self.tell_new();
        }
        let OwnedEntry { ty, encoding, clock, deadline, value } = owned;
        if let OwnedValue::External(External::Blob(Blob { bytes, .. })) = &value {
            self.shard.unshare_later(self.db, self.hash, self.key, bytes);
        }
        let inline;
        let value = match value {
            OwnedValue::Int(value) => Value::Int(value),
            OwnedValue::External(blob) => Value::External(blob),
            OwnedValue::Inline(bytes) => {
                inline = bytes;
                Value::Inline(&inline)
            }
        };
        self.store(Parts { ty, encoding, clock, deadline, key: self.key, value });
    }

    /// Writes an entry made of parts that borrow nothing from the shard, over the old one or anew.
    fn store(&mut self, parts: Parts<'_>) {
        match self.found {
            None => self.tell_new(),
            Some(_) => self.keep(),
        }
        let (db, heap, hasher) = self.shard.parts(self.db);
        let (after, inside) = (parts.deadline, parts.expires_inside());
        let due = due_tick(parts.due());
        match self.found {
            None => {
                let pointer = heap.create(parts, 0);
                let place = db.table.insert(self.hash, pointer.block(), due, &Hashes(hasher));
                self.found = Some(Found { place, pointer });
                db.recount_deadline(None, after);
                db.recount_inside(false, inside);
            }
            Some(Found { place, pointer }) => {
                // SAFETY: the entry is in the table; the references end with this.
                let entry = unsafe { pointer.entry() };
                let (before, inside_before) = (entry.deadline(), entry.expires_inside());
                db.recount_deadline(before, after);
                db.recount_inside(inside_before, inside);
                // SAFETY: the pointer leads to the entry in the table.
                if unsafe { heap.fits(pointer, &parts) } {
                    // SAFETY: it fits; the parts borrow nothing from the shard, which is borrowed mutably.
                    unsafe { heap.overwrite(pointer, parts) };
                    db.table.note_due(place, due);
                } else {
                    let created = heap.create(parts, 0);
                    db.table.replace(place, created.block(), due);
                    self.found = Some(Found { place, pointer: created });
                    // SAFETY: the table has forgotten the old entry; nobody has a reference to it.
                    unsafe { heap.destroy(pointer) };
                }
            }
        }
        self.change = Some(ChangeKind::Set);
    }

    /// Makes the string `len` bytes long (never shorter), encoded raw, and lets `edit` change it, nothing but `changed` if that is
    /// known. Room grows by half more than needed, so that appending is cheap on average.
    fn edit_raw(&mut self, len: usize, changed: Option<Range<usize>>, edit: impl FnOnce(&mut [u8])) {
        let Some(Found { pointer, .. }) = self.found else {
            let mut value = BytesMut::zeroed(len);
            edit(&mut value);
            let value = if len < BLOB_BYTES_MIN {
                Value::Inline(&value)
            } else {
                Value::External(External::Blob(blob(value)))
            };
            let parts = Parts {
                ty: Type::String,
                encoding: Encoding::Raw,
                clock: self.clock(),
                deadline: None,
                key: self.key,
                value,
            };
            return self.store(parts);
        };
        self.change = Some(ChangeKind::Set);
        let copied = self.shard.take_unshared(self.db, self.hash, self.key);
        let (_, heap, _) = self.shard.parts(self.db);
        // SAFETY: the entry is in the table; what follows changes it only once this reference is used no more.
        let entry = unsafe { pointer.entry() };
        assert!(entry.ty() == Type::String, "commands check the type first");
        if entry.external().is_some() {
            if changed.is_none() {
                self.keep();
            }
            return self.edit_undoable(ChangeKind::Set, |external, inverses| {
                let External::Blob(blob) = external else { unreachable!("large strings are blobs") };
                if let (Some(inverses), Some(changed)) = (inverses, changed) {
                    inverses.add(unwritten(blob, changed));
                }
                edit_blob(blob, copied.unwrap_or_default(), len, edit);
            });
        }
        let mut digits = itoa::Buffer::new();
        let is_int = entry.encoding() == Encoding::Int;
        let old = match entry.string() {
            Str::Int(value) => digits.format(value).as_bytes(),
            Str::Bytes(bytes) => bytes,
        };
        let (clock, deadline) = (entry.clock(), entry.deadline());
        let part = |value| Parts {
            ty: Type::String,
            encoding: Encoding::Raw,
            clock,
            deadline,
            key: entry.key(),
            value,
        };
        let created = if len >= BLOB_BYTES_MIN {
            let mut bytes = BytesMut::with_capacity(len + len / 2);
            bytes.extend_from_slice(old);
            bytes.resize(len, 0);
            edit(&mut bytes);
            heap.create(part(Value::External(External::Blob(blob(bytes)))), 0)
        } else if !is_int && entry.value_offset() + len <= entry.block_bytes() {
            // SAFETY: an inline string, no integer; the references made above are not used any more.
            edit(unsafe { pointer.resize_inline(len) });
            return;
        } else {
            let parts = part(Value::Room(old, len - old.len(), &[]));
            let block_bytes = parts.bytes() + if len > old.len() { len / 2 } else { 0 };
            let created = heap.create(parts, block_bytes);
            // SAFETY: created just above as an inline string; nobody has a reference.
            edit(unsafe { created.resize_inline(len) });
            created
        };
        self.replace(created);
    }

    /// Gives the key a value of a type, in the place of whatever it held; its deadline and its clock stay.
    pub(super) fn set_value(&mut self, ty: Type, encoding: Encoding, value: Value<'_>) {
        let (clock, deadline) = (self.clock(), self.entry().and_then(Entry::deadline));
        self.store(Parts { ty, encoding, clock, deadline, key: self.key, value });
    }

    /// Replaces `removed` bytes at `at` of a pack by as many as are inserted, to be written by the caller, and lends the
    /// pack out. Its block grows by a little more than needed, and shrinks when it is much too large.
    pub(super) fn splice_pack(&mut self, at: usize, removed: usize, inserted: usize) -> &mut [u8] {
        let pointer = self.found.expect("only a key that exists has a pack").pointer;
        self.change = Some(ChangeKind::Set);
        let (_, heap, _) = self.shard.parts(self.db);
        // SAFETY: the entry is in the table; what follows changes it only once this reference is used no more.
        let entry = unsafe { pointer.entry() };
        assert!(!matches!(entry.encoding(), Encoding::Int) && entry.external().is_none());
        let needed = entry.value_offset() + entry.inline_len() - removed + inserted;
        let capacity = entry.block_bytes();
        if needed <= capacity && capacity <= needed + 2 * pack_slack(needed) + PACK_SLACK_BYTES_MIN {
            // SAFETY: the value is inline and no integer; the shard is borrowed mutably as long as the result lives.
            return unsafe { pointer.splice_inline(at, removed, inserted) };
        }
        let old = entry.inline_value();
        let parts = Parts {
            ty: entry.ty(),
            encoding: entry.encoding(),
            clock: entry.clock(),
            deadline: entry.deadline(),
            key: entry.key(),
            value: Value::Room(&old[..at], inserted, &old[at + removed..]),
        };
        let slack = if inserted > removed { pack_slack(needed) } else { 0 };
        let created = heap.create(parts, needed + slack);
        self.replace(created);
        // SAFETY: as above, of the entry just created.
        unsafe { created.splice_inline(at, inserted, inserted) }
    }

    /// Changes the large value that the key has, and counts what that allocates.
    pub(super) fn edit_external<R>(&mut self, edit: impl FnOnce(&mut External) -> R) -> R {
        self.edit_external_as(ChangeKind::Set, edit)
    }

    /// As `edit_external`, where this is a change of less than the value.
    pub(super) fn edit_external_as<R>(
        &mut self,
        kind: ChangeKind,
        edit: impl FnOnce(&mut External) -> R,
    ) -> R {
        self.keep();
        self.edit_in_place(kind, edit)
    }

    /// As `edit_external_as`, where `edit` says how each of its changes is undone, if it is asked to.
    pub(super) fn edit_undoable<R>(
        &mut self,
        kind: ChangeKind,
        edit: impl FnOnce(&mut External, Option<&mut Inverses>) -> R,
    ) -> R {
        if !self.shard.is_undoable() {
            return self.edit_in_place(kind, |external| edit(external, None));
        }
        let mut inverses = self.shard.inverses_of(self.db, self.hash, self.key);
        let result = self.edit_in_place(kind, |external| edit(external, inverses.as_mut()));
        if let Some(inverses) = inverses {
            self.shard.log_edits(self.db, self.hash, self.key, inverses);
        }
        result
    }

    fn edit_in_place<R>(&mut self, kind: ChangeKind, edit: impl FnOnce(&mut External) -> R) -> R {
        let pointer = self.found.expect("only a key that exists has a value").pointer;
        if kind == ChangeKind::Set || matches!(self.change, None | Some(ChangeKind::Aside)) {
            self.change = Some(kind);
        }
        let (_, heap, _) = self.shard.parts(self.db);
        // SAFETY: the guard is borrowed mutably, so nobody has a reference to the entry.
        let external = unsafe { heap.external_mut(pointer) }.expect("the value is a large one");
        let before = external.allocated();
        let result = edit(external);
        heap.recount_blob(before, external.allocated());
        result
    }

    /// As `edit_undoable`, and no change unless `edit` says that it was one.
    pub(super) fn edit_undoable_if(
        &mut self,
        edit: impl FnOnce(&mut External, Option<&mut Inverses>) -> bool,
    ) -> bool {
        let before = self.change;
        let has_changed = self.edit_undoable(ChangeKind::Set, edit);
        if !has_changed {
            self.change = before;
        }
        has_changed
    }

    /// Notes when something inside of the value expires, after a change to it.
    pub(super) fn note_inner_due(&mut self) {
        let Some(Found { place, pointer }) = self.found else { return };
        let (db, ..) = self.shard.parts(self.db);
        // SAFETY: the entry is in the table; what follows changes it only once this reference is used no more.
        let entry = unsafe { pointer.entry() };
        let (before, inner) = (entry.expires_inside(), inner_due(entry));
        if before != inner.is_some() {
            // SAFETY: the guard is borrowed mutably, so nobody has a reference to the entry.
            unsafe { pointer.set_expires_inside(inner.is_some()) };
            db.recount_inside(before, inner.is_some());
        }
        db.table.note_due(place, due_tick(inner));
    }

    /// Removes what has expired inside of the value, after showing what it is called. Whoever empties the value removes the key.
    pub(super) fn expire_inside(&mut self, now_ms: u64, on_removed: &mut dyn FnMut(&[u8])) -> Expiry {
        self.keep();
        let pointer = self.found.expect("only a key that exists has a value").pointer;
        self.change = Some(ChangeKind::Set);
        let (db, heap, _) = self.shard.parts(self.db);
        // SAFETY: the guard is borrowed mutably, so nobody has a reference to the entry.
        let (before, expiry) = unsafe { heap.expire_inside(pointer, now_ms, usize::MAX, on_removed) };
        db.recount_inside(before, expiry.due.is_some());
        expiry
    }

    /// Names the encoding of a large value otherwise.
    pub(super) fn set_encoding(&mut self, encoding: Encoding) {
        self.keep();
        let pointer = self.found.expect("only a key that exists has a value").pointer;
        // SAFETY: the guard is borrowed mutably, so nobody has a reference to the entry; a large value lies as it lies, whatever its
        // encoding is called.
        unsafe { pointer.set_encoding(encoding) };
        self.change = Some(ChangeKind::Set);
    }

    /// What hashes the keys of the shard, and the parts of large values.
    #[inline]
    pub(super) fn hasher(&self) -> &KeyHasher {
        &self.shard.hasher
    }

    /// Counts what was changed here as so many changes instead of one: a list's elements, or none where the command's other
    /// key counts.
    pub fn count_as(&mut self, dirty: usize) {
        self.dirty = dirty as u64;
    }

    /// Whoever waits for the key is to look at it, whatever has changed.
    pub(super) fn wake_waiters(&mut self) {
        if self.shard.is_undoable() {
            return self.shard.tell_later(None, self.db, self.hash, self.key);
        }
        self.shard.list_ready(self.db, self.hash);
    }

    /// Tells whoever listens that the key was written to, though nothing about it has changed.
    pub fn note_unchanged(&mut self) {
        self.shard.note(ChangeKind::Set, self.db, self.hash, self.key);
    }

    /// Lets cron free what was removed from a large value, where it is too much to be freed at once.
    pub(super) fn discard(&mut self, removed: External) {
        self.shard.parts(self.db).1.free_later(removed);
    }

    /// Enters an entry with the same deadline in the place of another, which is freed.
    fn replace(&mut self, created: EntryPtr) {
        let Found { place, pointer } = self.found.expect("only a key that exists has an entry");
        let due = due_tick(self.entry().and_then(Entry::deadline));
        self.found = Some(Found { place, pointer: created });
        let (db, heap, _) = self.shard.parts(self.db);
        db.table.replace(place, created.block(), due);
        // SAFETY: the table has forgotten the old entry; nobody has a reference to it.
        unsafe { heap.destroy(pointer) };
    }
}

impl Drop for KeyMut<'_> {
    fn drop(&mut self) {
        let Some(kind) = self.change else { return };
        #[cfg(debug_assertions)]
        assert!(self.is_named || std::thread::panicking(), "a command changed a key and named no event");
        self.pass_over();
        self.shard.note_change(kind, self.db, self.hash, self.key, self.dirty);
        if let Some(changes) = &mut self.changes {
            changes.count(self.dirty);
            if kind == ChangeKind::Emptied {
                changes.raise(Event::DEL, self.db, self.key);
            }
        }
    }
}

/// Room that a pack's block gets beyond what is needed when it grows: less where growing is cheap.
fn pack_slack(needed: usize) -> usize {
    if needed <= SLAB_BYTES_MAX { needed / 8 } else { needed / 4 }
}

/// How Redis would encode a string that is set as a whole.
fn encode(key_bytes: usize, bytes: &[u8]) -> (Encoding, Value<'_>) {
    match parse_int(bytes) {
        Some(value) => (Encoding::Int, Value::Int(value)),
        None => encode_text(key_bytes, bytes),
    }
}

fn encode_text(key_bytes: usize, bytes: &[u8]) -> (Encoding, Value<'_>) {
    if bytes.len() < BLOB_BYTES_MIN {
        (text_encoding(key_bytes, bytes.len(), false), Value::Inline(bytes))
    } else {
        let allocated = bytes.len() as u64;
        (
            Encoding::Raw,
            Value::External(External::Blob(Blob { bytes: Bytes::copy_from_slice(bytes), allocated })),
        )
    }
}

/// A large string in these bytes.
pub(super) fn blob(bytes: BytesMut) -> Blob {
    let allocated = match bytes.capacity() {
        // What was never written takes addresses only.
        room if room >= MAPPED_BYTES_MIN => bytes.len().next_multiple_of(PAGE_BYTES).min(room),
        room => room,
    };
    Blob { bytes: bytes.freeze(), allocated: allocated as u64 }
}

/// Undoes writing to a part of a large string, which may make it longer.
fn unwritten(blob: &Blob, changed: Range<usize>) -> impl FnOnce(&mut External, &KeyHasher) + use<> {
    let len = blob.bytes.len();
    let start = changed.start.min(len);
    let old: Box<[u8]> = blob.bytes[start..changed.end.min(len)].into();
    move |external, _| {
        let External::Blob(blob) = external else { unreachable!("it was one when it was written to") };
        edit_blob(blob, BytesMut::new(), len, |bytes| {
            bytes[start..start + old.len()].copy_from_slice(&old);
        });
    }
}

/// Changes a large string in place, or a copy of it if a reply or another key still refers to it; `copied` is the beginning of
/// that copy.
fn edit_blob(target: &mut Blob, copied: BytesMut, len: usize, edit: impl FnOnce(&mut [u8])) {
    let mut bytes = match std::mem::take(&mut target.bytes).try_into_mut() {
        Ok(bytes) => bytes,
        Err(shared) => {
            let mut bytes = copied;
            bytes.reserve(len.max(shared.len()) + len / 2 - bytes.len());
            bytes.extend_from_slice(&shared[bytes.len()..]);
            bytes
        }
    };
    if bytes.capacity() < len {
        bytes.reserve(len + len / 2 - bytes.len());
    }
    bytes.resize(len, 0);
    edit(&mut bytes);
    *target = blob(bytes);
}
